from __future__ import annotations

import csv
from pathlib import Path

from tests.conftest import Command


def test_the_controls_print_both_columns_and_exit_0(pe: Command, tmp_path: Path) -> None:
    result = pe("task=selftest", "task.reps=40", "task.only=[scale,sweep_null]")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.rstrip().endswith("13 of 13 bounds hold")
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    (path,) = (tmp_path / "work").glob("outputs/*/*/controls.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    sweep = rows[-1]
    assert float(sweep["plain"]) >= 0.9  # the best of 100 useless policies, unadjusted
    assert float(sweep["rate"]) <= 0.2
    assert not (tmp_path / "home" / ".local").exists()  # it judges simulations, which are no trials


def test_the_same_seed_gives_the_same_table(pe: Command) -> None:
    words = ("task=selftest", "task.reps=20", "task.only=[canary]", "task.seed=5")
    assert pe(*words).stdout == pe(*words).stdout


def test_bad_arguments(pe: Command) -> None:
    assert "task.reps: 5 is below 20" in pe("task=selftest", "task.reps=5").stderr
    unknown = pe("task=selftest", "task.only=[scal]")
    assert (unknown.returncode, "unknown control 'scal'" in unknown.stderr) == (1, True)
