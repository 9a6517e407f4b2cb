from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import Command


def sweep_folder(work: Path) -> Path:
    (folder,) = work.glob("outputs/*/*-sweep")
    return folder


def matrix(folder: Path) -> list[dict[str, str]]:
    with (folder / "matrix.csv").open() as file:
        return list(csv.DictReader(file))


def test_four_windows_give_one_matrix_and_say_that_they_overlap(pe: Command, tmp_path: Path) -> None:
    result = pe("-m", "window=30d,90d,180d,365d")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("sweep     4 of 4 jobs gave evidence\n")
    assert "the windows given overlap and" in result.stdout
    folder = sweep_folder(tmp_path / "work")
    rows = matrix(folder)
    assert [row["window"] for row in rows] == ["30d", "90d", "180d", "365d"]
    assert len({row["policy_hash"] for row in rows}) == 1
    before = (folder / "matrix.csv").read_bytes(), (folder / "verdict.json").read_bytes()
    again = pe("task=collect", f"task.path={folder}")
    assert again.returncode == 0
    assert ((folder / "matrix.csv").read_bytes(), (folder / "verdict.json").read_bytes()) == before


def test_a_job_that_fails_is_a_row_and_the_others_go_on(pe: Command, tmp_path: Path) -> None:
    result = pe("-m", "window=30d,90d,180d,365d", "window.days=30,99999")
    assert result.returncode == 1
    assert "sweep     4 of 8 jobs gave evidence" in result.stdout
    rows = matrix(sweep_folder(tmp_path / "work"))
    assert len(rows) == 8
    failed = [row for row in rows if row["error"]]
    assert len(failed) == 4
    assert all("before the first session 2000-01-03" in row["error"] for row in failed)
    assert "Traceback" not in result.stderr


def test_a_bad_value_in_one_job_is_a_row_too(pe: Command, tmp_path: Path) -> None:
    result = pe("-m", "window=365d", "sizing.multipliers.spec=0.8,3")
    assert result.returncode == 1
    assert [row["error"] for row in matrix(sweep_folder(tmp_path / "work"))] == [
        "",
        "command line: sizing.multipliers.spec: 3 is not in [0, 2]",
    ]


@pytest.mark.parametrize("words", [("gate.floors.trades_min=0",), ("task.stage=lvie",)])
def test_what_the_whole_sweep_rests_on_is_an_error_of_the_sweep(pe: Command, words: tuple[str, ...]) -> None:
    result = pe("-m", *words, "window=30d,90d")
    assert result.returncode == 1
    assert f"error  {words[0].partition('=')[0]}: " in result.stderr
    assert "Warning" not in result.stderr


@pytest.mark.long
def test_a_sweep_in_parallel_gives_the_same_matrix(pe: Command, tmp_path: Path) -> None:
    for name, launcher in (("one", "basic"), ("two", "joblib")):
        (tmp_path / name).mkdir()
        result = pe("-m", "window=90d,365d", f"hydra/launcher={launcher}", cwd=tmp_path / name)
        assert result.returncode == 0, result.stderr
    one, two = (sweep_folder(tmp_path / name) for name in ("one", "two"))
    assert (one / "matrix.csv").read_bytes() == (two / "matrix.csv").read_bytes()


def test_a_sweep_never_publishes(pe: Command, tmp_path: Path) -> None:
    result = pe("-m", "window=30d", "evidence.publish=true")
    assert result.returncode == 1
    assert "a sweep's job never becomes the canonical" in " ".join(result.stdout.split())
    assert not (tmp_path / "home/.local").exists()  # refused before the first side effect


@pytest.mark.parametrize("task", ["gate", "collect"])
def test_other_tasks_cannot_be_swept(pe: Command, task: str) -> None:
    result = pe("-m", f"task={task}", *(["task.path=x"] if task == "collect" else []), "seed=1,2")
    assert result.returncode == 1
    assert f"'{task}' cannot be swept" in result.stdout


def test_collect_names_a_job_that_left_nothing(pe: Command, tmp_path: Path) -> None:
    assert pe("-m", "window=30d,90d").returncode == 0
    folder = sweep_folder(tmp_path / "work")
    (folder / "1" / "result.json").unlink()
    result = pe("task=collect", f"task.path={folder}")
    assert result.returncode == 1
    assert "left no result: the job was killed or never started" in result.stdout
    assert [bool(row["error"]) for row in matrix(folder)] == [False, True]
    (folder / "1" / "result.json").write_text(json.dumps({"error": None})[:-3])
    assert "left no usable result" in pe("task=collect", f"task.path={folder}").stdout


def test_collect_refuses_a_folder_without_a_sweep(pe: Command, tmp_path: Path) -> None:
    result = pe("task=collect", f"task.path={tmp_path}")
    assert (result.returncode, "holds no sweep" in result.stderr) == (1, True)
