"""What is said after a grid: narrow, plain ASCII, with nothing that the stored summary does not hold."""

from __future__ import annotations

import shlex
from typing import Any

from policyengine.reporting.grid import grid_lines, next_lines
from policyengine.reporting.terminal import WIDTH

FILES = {"matrix": "outputs/x/matrix.csv"}


def ranked(number: int, sharpe: float | None, **changes: object) -> dict[str, Any]:
    delta = {"total_return_pct": -1.5, "max_drawdown": 0.0012, "sharpe": sharpe}
    return {"policy": number, "policy_hash": "abcdef12", "changes": changes, "error": None, "delta": delta}


def made(**changes: Any) -> dict[str, Any]:
    best = [ranked(k, 0.5 - k / 10, **{"sizing.multipliers.spec": 0.1 * k, "limits.buckets.spec.max_frac": 0.05}) for k in range(5)]
    summary: dict[str, Any] = {
        "grid": "0123456789",
        "kind": "walk_forward",
        "asked": 12,
        "policies": 12,
        "part": 1,
        "parts": 1,
        "evaluated": 12,
        "failed": 0,
        "windows": 6,
        "arms": {"baseline": "TS_ONLY", "candidate": "BARBELL_SIZED"},
        "sample": {"start_date": "2000-01-03", "end_date": "2001-06-29", "sessions": 377},
        "instruments": 22,
        "baseline": {"total_profit": 1234.5, "total_return_pct": 0.12, "max_drawdown": 0.01, "sharpe": None},
        "findings": [],
        "notes": [],
        "caution": "the best of many is no evidence",
        "ranking": {"sharpe": {"best": best, "worst": [ranked(11, -0.25, name="[/x]\n\x1b[31m")]}},
    }
    return summary | changes


def said(summary: dict[str, Any], *, resumed: int = 0) -> list[str]:
    return list(grid_lines(summary, FILES, source="demo", seconds=0.36, resumed=resumed, trials=1012))


def test_the_screen_of_a_grid() -> None:
    lines = said(made())
    assert lines[:6] == [
        "grid      012345 of BARBELL_SIZED: 12 policies x 6 windows",
        "data      demo: 22 instruments, 2000-01-03 to 2001-06-29",
        "walk forward 72 cells over 377 sessions in 0.4 s, 5 ms each",
        "",
        "TS_ONLY       profit       1,234.50  return    0.12%  maxDD  1.00%  Sharpe     -",
        "policy hash    d.return pp d.maxDD pp d.Sharpe  changes",
    ]
    assert lines[7] == "     1 abcdef        -1.50      +0.12    +0.40  spec=0.1 max_frac=0.05"
    assert lines[11:13] == ["... the worst", '    11 abcdef        -1.50      +0.12    -0.25  name="[/x]\\n\\u001b[31m"']
    assert "Trials on these days: 1,012" in " ".join(lines)
    assert lines[-3:] == [
        "matrix    outputs/x/matrix.csv",
        "next      evaluate policy 0 alone, with the rest as given here but for the grid:",
        "          policyengine ++evidence.arms.candidate.sizing.multipliers.spec=0.0 "
        "++evidence.arms.candidate.limits.buckets.spec.max_frac=0.05",
    ]
    assert all(len(line) <= WIDTH and line.isascii() and line.isprintable() for line in lines[:-1])


def test_what_differs_from_a_plain_run_of_all_policies_is_said() -> None:
    lines = said(made(part=2, parts=3, evaluated=4, asked=20, failed=3, notes=["a note"]), resumed=32)
    assert "part      2 of 3: 4 policies" in lines
    assert "equal     8 of 20 that were asked for are equal to another" in lines
    assert "failed    3 policies; matrix.csv says why" in lines
    assert "resumed   32 policies of a run that was stopped" in lines
    assert "  note  a note" in lines
    assert not any("ms each" in line for line in lines)  # part of the time was spent in the run before


def test_a_grid_without_a_rank_has_no_best() -> None:
    lines = said(made(ranking={"sharpe": {"best": [], "worst": []}}, failed=12))
    assert lines[-1] == "next      give other policies: none of these can be ranked"
    assert "... the worst" not in lines


def test_the_worst_is_not_said_twice_where_all_are_among_the_best() -> None:
    one = ranked(0, 0.5)
    lines = said(made(ranking={"sharpe": {"best": [one], "worst": [one]}}))
    assert sum("abcdef" in line for line in lines) == 1


def test_the_command_is_one_that_a_shell_takes() -> None:
    changes = {"limits.cash_sweep.symbols": ["A B", "$x"], "limits.metric": "euclidean"}
    *_, line = next_lines(made(ranking={"sharpe": {"best": [ranked(0, 0.5, **changes)], "worst": []}}))
    assert shlex.split(line)[1:] == [
        '++evidence.arms.candidate.limits.cash_sweep.symbols=["A B","$x"]',
        "++evidence.arms.candidate.limits.metric=euclidean",
    ]
