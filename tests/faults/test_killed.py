"""Processes that are killed: a worker of a sweep, and a run half-way."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import composed_spec

COMMAND = str(Path(sys.executable).parent / "policyengine")


def children(pid: int) -> list[int]:
    """Processes that descend from `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[1]) == pid:
                found += [int(entry.name), *children(int(entry.name))]
    return found


def wait_for(condition: object, seconds: float = 60.0) -> bool:
    assert callable(condition)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_worker_killed_during_a_sweep_is_a_row(tmp_path: Path) -> None:
    """Eight jobs on two workers; one worker is killed as soon as the first result stands."""
    words = [COMMAND, "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "window=30d,90d,180d,365d", "seed=1,2"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_for(lambda: list(tmp_path.glob("outputs/*/*/*/result.json")))
        workers = [
            pid for pid in children(process.pid) if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != process.pid
        ]
        assert workers
        os.kill(workers[0], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, out + err
    assert "Traceback" not in err
    (matrix,) = tmp_path.glob("outputs/*/*/matrix.csv")
    with matrix.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["job"]) for row in rows] == list(range(8))
    lost = [row for row in rows if row["error"]]
    assert 0 < len(lost) < 8
    assert all("left no result: the job was killed or never started" in row["error"] for row in lost)


@pytest.mark.long
def test_a_run_killed_at_any_moment_leaves_no_torn_file(tmp_path: Path) -> None:
    """Killed while it writes; whatever JSON or Parquet stands under its own name is whole."""
    import json

    import pyarrow.parquet as pq

    composed_spec()  # the stack is in the page cache, so that the moments below fall into the writing
    for round_ in range(6):
        folder = tmp_path / str(round_)
        folder.mkdir()
        process = subprocess.Popen([COMMAND, "window=365d"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda folder=folder: any(p.is_file() for p in folder.glob("outputs/*/*/*")), 60.0)
        time.sleep(0.02 * round_)
        process.kill()
        process.wait()
        for path in folder.glob("outputs/*/*/*"):
            if path.name.startswith("."):
                continue
            if path.suffix == ".parquet":
                pq.read_table(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
