"""A grid from the command line: its files, its parts, a run that is killed, policies that are ruined."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policyengine.reporting.terminal import WIDTH
from tests.conftest import Command

SHORT = ("experiment=grid", "window.as_of=2001-06-30")
"""A year and a half of the demo: six quarters."""
TABLES = ("matrix.csv", "policies.csv", "grid.json")
MANY = "grid.axes={sizing.multipliers.core:{start:0.01,stop:0.40,step:0.01},sizing.multipliers.spec:{start:0.1,stop:0.6,step:0.1}}"
"""240 policies: eight chunks."""


def folder_of(work: Path, ending: str = "") -> Path:
    (folder,) = (path for path in work.glob(f"outputs/*/*{ending}") if path.name.endswith("-sweep") == bool(ending))
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "matrix.csv").open() as file:
        return list(csv.DictReader(file))


def summary(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / "grid.json").read_text())
    return made


def inside(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


@pytest.mark.long
def test_a_grid_says_what_it_tried_and_what_it_does_not_show(pe: Command, tmp_path: Path) -> None:
    result = pe(*SHORT, "grid.axes={sizing.multipliers.spec:[0.5,0.8,0.50]}", "grid.policies=[{limits:{risk_max_frac:0.1}}]")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].endswith(" of BARBELL_SIZED: 3 policies x 6 windows")
    assert lines[1] == "equal     1 of 4 that were asked for are equal to another"
    assert lines[2] == "data      demo: 22 instruments, 2000-01-03 to 2001-06-29"
    assert lines[3].startswith("replay    18 cells over 377 sessions in ")
    assert "the best of many is no evidence" in result.stdout
    assert "Trials on these days: 3" in " ".join(result.stdout.split())
    assert lines[-1].startswith("          policyengine ++evidence.arms.candidate.")
    assert all(len(line) <= WIDTH for line in lines[:-1])
    folder = folder_of(tmp_path / "work")
    assert sorted(path.name for path in folder.iterdir()) == [*sorted((*TABLES, "run.json"))]
    found = rows(folder)
    assert [(row["policy"], row["window"]) for row in found[:7]] == [
        *(("0", window) for window in ("2000-Q1", "2000-Q2", "2000-Q3", "2000-Q4", "2001-Q1", "2001-Q2")),
        ("1", "2000-Q1"),
    ]
    assert [row["limits.risk_max_frac"] for row in found] == [""] * 12 + ["0.1"] * 6
    assert [row["sizing.multipliers.spec"] for row in found] == ["0.5"] * 6 + ["0.8"] * 6 + [""] * 6
    assert not list((tmp_path / "home").rglob("chunk_*"))


@pytest.mark.long
def test_parts_collected_are_the_grid_of_one_run_byte_for_byte(pe: Command, tmp_path: Path) -> None:
    assert pe(*SHORT).returncode == 0
    whole = tables(folder_of(tmp_path / "work"))
    for launcher, parts in (("basic", 3), ("joblib", 5)):
        work = inside(tmp_path, launcher)
        given = ",".join(map(str, range(1, parts + 1)))
        result = pe("-m", *SHORT, f"grid.part={given}", f"grid.parts={parts}", f"hydra/launcher={launcher}", cwd=work)
        assert result.returncode == 0, result.stderr + result.stdout
        assert f"sweep     {parts} of {parts} jobs gave evidence\ngrid      12 of 12 policies, 0 of them failed\n" in result.stdout
        folder = folder_of(work, "-sweep")
        assert tables(folder) == whole
        assert pe("task=collect", f"task.path={folder}").returncode == 0
        assert tables(folder) == whole
    assert not list((tmp_path / "home").rglob("chunk_*"))


@pytest.mark.long
def test_a_part_that_was_killed_is_a_row_that_says_so(pe: Command, tmp_path: Path) -> None:
    assert pe("-m", *SHORT, "grid.part=1,2,3", "grid.parts=3").returncode == 0
    folder = folder_of(tmp_path / "work", "-sweep")
    before = rows(folder)
    (folder / "1" / "result.json").unlink()
    result = pe("task=collect", f"task.path={folder}")
    assert result.returncode == 1
    assert "grid      8 of 12 policies" in result.stdout
    *others, last = rows(folder)
    assert others == before[:24] + before[48:]
    assert last["error"].endswith("grid.part=2 grid.parts=3: left no result: the job was killed or never started")
    assert last["policy"] == ""


@pytest.mark.long
def test_grids_that_are_not_parts_of_one_are_rows_with_their_jobs(pe: Command, tmp_path: Path) -> None:
    mine = inside(tmp_path, "mine") / "experiment"
    mine.mkdir()
    (mine / "plain.yaml").write_text("# @package _global_\nseed: 20260101\n")
    (mine / "pair.yaml").write_text("# @package _global_\ngrid:\n  axes: {sizing.multipliers.spec: [0.8, 0.5]}\n")
    result = pe("--config-dir", str(mine.parent), "-m", "window=30d,90d", "window.as_of=2001-06-30", "experiment=plain,pair")
    assert result.returncode == 0, result.stdout
    found = rows(folder_of(tmp_path / "work", "-sweep"))
    assert [(row["job"], row["window"], row["policy"]) for row in found] == [
        *(("0", "30d", ""), ("1", "30d", "0"), ("1", "30d", "1")),
        *(("2", "90d", ""), ("3", "90d", "0"), ("3", "90d", "1")),
    ]
    for alone, same, other in (found[:3], found[3:]):
        for name in set(same) - {"job", "overrides", "policy", "sizing.multipliers.spec"}:
            assert same[name] == alone[name] or math.isclose(float(same[name]), float(alone[name]), rel_tol=1e-8, abs_tol=1e-9), name
        assert other["policy_hash"] != alone["policy_hash"]


def start(tmp_path: Path, work: Path, *args: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "policyengine"), *args]
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL")}
    return subprocess.Popen(command, cwd=work, env={**keep, "HOME": str(tmp_path / "home")}, stdout=subprocess.DEVNULL)


@pytest.mark.long
def test_a_grid_that_is_killed_goes_on_where_it_was_and_gives_the_same_bytes(pe: Command, tmp_path: Path) -> None:
    killed = start(tmp_path, inside(tmp_path, "killed"), *SHORT, MANY)
    grids = tmp_path / "home" / ".local" / "share" / "policyengine" / "grids"
    for _ in range(60_000):
        if len(list(grids.glob("*/chunk_*"))) >= 2 or killed.poll() is not None:
            break
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    left = sorted(path.name for path in grids.glob("*/chunk_*"))
    assert left[:2] == ["chunk_00000.json", "chunk_00032.json"]
    assert len(left) < 8
    assert not list(tmp_path.glob("killed/outputs/*/*/matrix.csv"))
    again = pe(*SHORT, MANY)
    assert again.returncode == 0, again.stderr
    assert f"resumed   {32 * len(left)} policies of a run that was stopped" in again.stdout
    assert json.loads((folder_of(tmp_path / "work") / "run.json").read_text())["resumed_policies"] == 32 * len(left)
    assert not list(grids.parent.rglob("chunk_*"))
    fresh = inside(tmp_path, "fresh")
    assert pe(*SHORT, MANY, "runtime.state_dir=" + str(tmp_path / "state"), cwd=fresh).returncode == 0
    assert tables(folder_of(fresh)) == tables(folder_of(tmp_path / "work"))


@pytest.fixture
def squeeze(tmp_path: Path) -> list[str]:
    """A name that falls, so that the engines short it, until it is worth ten times as much in one day."""
    rng = np.random.default_rng(11)
    days = pd.bdate_range("2015-01-01", periods=400, tz="UTC")
    close = 100.0 * np.exp(np.cumsum(rng.normal(-0.004, 0.01, days.size)))
    close[300:] *= 10.0
    mine = tmp_path / "mine"
    for group in ("source", "universe", "experiment"):
        (mine / group).mkdir(parents=True)
    names = [pd.DataFrame({"symbol": symbol, "priced_at": days, "close": price}) for symbol, price in (("S0", close), ("CASH", 100.0))]
    pd.concat(names).to_parquet(mine / "prices.parquet")
    (mine / "source" / "squeeze.yaml").write_text(
        f"kind: parquet\npath: {mine}/prices.parquet\nviews:\n  prices: SELECT symbol, priced_at, close FROM source\n"
    )
    (mine / "universe" / "squeeze.yaml").write_text("instruments:\n  CASH: {bucket: safe}\n  S0: {bucket: spec}\n")
    (mine / "experiment" / "careless.yaml").write_text(
        "# @package _global_\ngrid:\n  policies:\n    - {name: CAREFUL, sizing: {multipliers: {spec: 0.5}}}\n"
        "    - {name: CARELESS, limits: {enabled: false}, sleeves: {enabled: false}}\n"
    )
    return ["--config-dir", str(mine), "source=squeeze", "universe=squeeze", "execution.allow_short=true", "window.calendar=all"]


def test_a_policy_that_is_ruined_is_rows_with_an_error_and_the_others_stand(pe: Command, squeeze: list[str], tmp_path: Path) -> None:
    result = pe(*squeeze, "experiment=careless")
    assert result.returncode == 0, result.stderr
    assert "failed    1 policy; matrix.csv says why" in result.stdout
    found = rows(folder_of(tmp_path / "work"))
    errors = {(row["name"], row["error"]) for row in found}
    assert errors == {("CAREFUL", ""), ("CARELESS", "lost all its capital in the replay")}
    assert all(row["candidate_sharpe"] == "" for row in found if row["error"])
    assert summary(folder_of(tmp_path / "work"))["failed"] == 1
    assert [one["policy"] for one in summary(folder_of(tmp_path / "work"))["ranking"]["sharpe"]["best"]] == [0]


@pytest.mark.long
def test_a_grid_without_one_policy_that_gives_evidence_is_an_error(pe: Command, squeeze: list[str], tmp_path: Path) -> None:
    careless = ["experiment=grid", "grid.axes={limits.enabled:[false],sleeves.enabled:[false],sizing.multipliers.spec:[0.9,1.0]}"]
    result = pe(*squeeze, *careless)
    assert result.returncode == 1
    assert "error  grid: not one of 2 policies gave evidence; the first: lost all its capital in the replay" in result.stderr
    assert "next      give other policies: none of these can be ranked" in result.stdout
    assert {row["error"] for row in rows(folder_of(tmp_path / "work"))} == {"lost all its capital in the replay"}
    parts = pe("-m", *squeeze, *careless, "grid.part=1,2", "grid.parts=2", cwd=inside(tmp_path, "parts"))
    assert parts.returncode == 1
    assert tables(folder_of(tmp_path / "parts", "-sweep")) == tables(folder_of(tmp_path / "work"))


def test_a_baseline_that_is_ruined_ruins_the_grid(pe: Command, squeeze: list[str]) -> None:
    result = pe(*squeeze, "experiment=careless", "limits.enabled=false", "sleeves.enabled=false")
    assert result.returncode == 1
    assert "the baseline, TS_ONLY, lost all its capital" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("grid.axes={sizing.multipliers.spec:[0.5,3]}",), "grid.axes.sizing.multipliers.spec: 3 is not in [0, 2]"),
        (("grid.axes={execution.spread_bps:[1,2]}",), "a grid shares all else, its signals too; sweep it with -m"),
        (("task=selftest",), "grid: is for task=evaluate"),
        (("evidence.publish=true",), "evidence.publish: true in a grid"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(pe: Command, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = pe(*SHORT, *words)
    assert result.returncode == 1
    assert message in result.stderr
    assert not (tmp_path / "home/.local").exists()
