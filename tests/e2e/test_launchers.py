"""The same sweep on every launcher: the same bytes, and a process that dies costs no more than its own jobs.

What needs an extra is run by .ci/run in the environment of each, whose launcher POLICYENGINE_TEST_LAUNCHER names.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.faults.test_killed import children, wait_for

LAUNCHER = os.environ.get("POLICYENGINE_TEST_LAUNCHER", "joblib")
"""Joblib is in the environment of the other tests."""
FEW = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra.launcher.parallel=2", "hydra.launcher.chunk=4"],
    "ray": ["hydra.launcher.workers=2"],
    "dask": ["hydra.launcher.workers=2"],
}[LAUNCHER]
"""Two processes at a time."""
WORKS = {"joblib": b"popen_loky", "submitit_local": b"submitit.core._submit", "ray": b"ray::_call", "dask": b"multiprocessing.spawn"}[
    LAUNCHER
]
"""What the command line of a process says that runs jobs."""
TRIES_AGAIN = LAUNCHER in {"ray", "dask"}
SPEC = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8"
RECENT = """\
kind: parquet
path: shipped:prices.parquet
views:
  prices: SELECT symbol, priced_at, close, currency FROM source WHERE priced_at >= '2018-01-01'
"""


@pytest.fixture
def recent(tmp_path: Path) -> list[str]:
    """A sweep over the last year of the data that ship, from a folder of the user's, given relative to where the sweep is started."""
    file = tmp_path / "work" / "mine" / "source" / "recent.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(RECENT)
    return ["--config-dir", "mine", "-m", "source=recent", "window=90d", f"sizing.multipliers.spec={SPEC}"]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose name is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pe", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("matrix.csv", "matrix.json", "verdict.json")}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "matrix.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.launchers
def test_64_cells_give_the_same_bytes_as_in_one_process(
    pe: Command, recent: list[str], tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*recent, f"sizing.multipliers.core={SPEC}"]
    one = pe(*words, "hydra.sweep.dir=one", timeout=600)
    assert one.returncode == 0, one.stderr
    many = pe(*words, "hydra.sweep.dir=many", f"hydra/launcher={LAUNCHER}", *FEW, env={"TMPDIR": str(temporary)}, timeout=600)
    assert many.returncode == 0, many.stderr
    assert many.stdout.splitlines()[0] == "sweep     64 of 64 jobs gave evidence"
    work, home = tmp_path / "work", tmp_path / "home"
    assert results(work / "many") == results(work / "one")
    assert len({(row["job"], row["policy_hash"]) for row in rows(work / "many")}) == 64
    assert [path.name for path in home.iterdir()] == [".local"], "only the state of trials is written into the home folder"
    trials = [json.loads(line) for line in (home / ".local/share/policyengine/trials/trials.jsonl").read_text().splitlines()]
    assert len({trial["run_id"] for trial in trials}) <= 128
    assert list(temporary.iterdir()) == [], "nothing temporary is left"


def begun(words: list[str], tmp_path: Path) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).parent / "policyengine"), *words]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    return subprocess.Popen(command, cwd=tmp_path / "work", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_one(sweep: subprocess.Popen[str], folder: Path) -> None:
    """Kill a process that runs jobs, once the first result stands."""

    def working() -> list[int]:
        found = []
        for pid in children(sweep.pid):
            try:
                if WORKS in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:  # it has ended since
                continue
        return found

    assert wait_for(lambda: list(folder.glob("*/result.json"))), "no job has ended"
    assert wait_for(working)
    os.kill(working()[-1], signal.SIGKILL)


@pytest.mark.launchers
@pytest.mark.parametrize("again", [True, False] if TRIES_AGAIN else [False])
def test_a_process_that_is_killed_is_tried_again_or_a_row(pe: Command, recent: list[str], tmp_path: Path, again: bool) -> None:
    folder = tmp_path / "work" / "killed"
    retries = [f"hydra.launcher.retries={int(again)}"] if TRIES_AGAIN else []
    words = [*recent, "sizing.multipliers.core=0.5,0.6", "hydra.sweep.dir=killed", f"hydra/launcher={LAUNCHER}", *FEW, *retries]
    sweep = begun(words, tmp_path)
    try:
        kill_one(sweep, folder)
        out, err = sweep.communicate(timeout=300)
    finally:
        sweep.kill()
    assert "Traceback" not in err
    assert [int(row["job"]) for row in rows(folder)] == list(range(16))
    lost = [row["error"] for row in rows(folder) if row["error"]]
    if again:
        assert (sweep.returncode, lost) == (0, []), out + err
    else:
        assert sweep.returncode == 1, out + err
        assert 0 < len(lost) < 16
        assert set(lost) == {"left no result: the job was killed or never started"}
        assert "warning  " in err
    before = results(folder)
    assert pe("task=collect", f"task.path={folder}").returncode == (0 if again else 1)
    assert results(folder) == before
    if LAUNCHER != "joblib":  # whose other workers end with the one that was killed
        assert len(lost) <= (4 if LAUNCHER == "submitit_local" else 2), "only what ran in the process that was killed is lost"


MISSING = "error  hydra/launcher={0}: needs the extra '{1}': pip install 'barbell-policyengine[{1}]'\n"


@pytest.mark.parametrize(
    ("launcher", "extra"), [("submitit_local", "submitit"), ("submitit_slurm", "submitit"), ("ray", "ray"), ("dask", "dask")]
)
def test_a_launcher_that_is_not_installed_is_one_line(pe: Command, tmp_path: Path, launcher: str, extra: str) -> None:
    if find_spec("distributed" if extra == "dask" else extra) is not None:
        pytest.skip(f"{extra} is installed here")
    result = pe("-m", f"hydra/launcher={launcher}", "window=30d,90d")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", MISSING.format(launcher, extra))
    assert not list((tmp_path / "work").iterdir())


def test_a_misspelt_launcher_is_told_what_it_may_have_meant(pe: Command) -> None:
    result = pe("-m", "hydra/launcher=rya", "window=30d")
    assert (result.returncode, result.stderr) == (1, "error  hydra/launcher: unknown option 'rya'; did you mean 'ray'?\n")


@pytest.mark.launchers
@pytest.mark.skipif(LAUNCHER == "joblib", reason="a plugin of others, with options of its own")
def test_an_option_that_cannot_be_is_named_before_anything_is_written(pe: Command, tmp_path: Path) -> None:
    option = "retries=-1" if TRIES_AGAIN else "parallel=-1"
    result = pe("-m", f"hydra/launcher={LAUNCHER}", f"hydra.launcher.{option}", "window=30d")
    name, _, value = option.partition("=")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error  hydra.launcher.{name}: {value} is below {0 if TRIES_AGAIN else 1}\n"
    assert not list((tmp_path / "work").iterdir())


def test_a_job_folder_with_results_of_another_run_is_refused(pe: Command, tmp_path: Path) -> None:
    (tmp_path / "work" / "mine" / "1").mkdir(parents=True)
    (tmp_path / "work" / "mine" / "1" / "evidence.json").write_text("{}")
    result = pe("-m", "window=30d,90d", "hydra.sweep.dir=mine")
    assert result.returncode == 1
    assert "error  hydra.sweep.dir: mine/1 holds evidence.json of another run or sweep, which would be lost" in result.stderr
    assert [path.name for path in (tmp_path / "work" / "mine").iterdir()] == ["1"]
