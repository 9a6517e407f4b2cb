"""task=selftest: the gate's negative controls: policies whose worth is known, judged by the plain rule and by ours."""

from __future__ import annotations

from collections.abc import Sequence

from policyengine.evidence.controls import run_controls
from policyengine.evidence.controls.rows import ControlRow
from policyengine.spec.bind import plain
from policyengine.spec.task import SelftestTask
from policyengine.store import write_csv
from policyengine.tasks.run import Run

RECORDED_REPS = 2000
"""Repetitions of the runs in bench/results, which docs/gate.md shows."""


def selftest(task: SelftestTask, run: Run) -> tuple[ControlRow, ...]:
    """Run the controls, print a line for each as it is known, store them, and return them.

    Raises:
        DataError: a control that does not exist.
    """
    progress = run.progress.step("selftest")
    run.say(f"negative controls of the gate, {task.reps:,} repetitions a cell, seed {task.seed}")
    run.say("rates in percent with their Monte Carlo error; naive is the plain rule or test")
    run.say(f"{'':<28}{'n':>4} {'':<17}{'naive':>6}{'ours':>7}{'+-':>5}{'bound':>9}")
    shown: list[str] = []

    def say(row: ControlRow) -> None:
        run.progress.close()
        if row.scenario not in shown:
            shown.append(row.scenario)
            run.say(row.scenario)
        run.say(_line(row))

    rows = run_controls(
        reps=task.reps,
        seed=task.seed,
        n_boot=task.n_boot,
        only=task.only,
        progress=lambda done, total, _: progress(done, total),
        on_row=say,
    )
    run.progress.close()
    cells = [{**plain(row), "ok": row.ok} for row in rows]
    write_csv(run.folder / "controls.csv", list(cells[0]), cells)
    broken = sum(not row.ok for row in rows)
    if task.reps < RECORDED_REPS:
        run.say(f"{task.reps:,} repetitions: rates within +-{100.0 * _room(rows):.1f}% at worst; the recorded runs use {RECORDED_REPS:,}")
    run.say(f"{len(rows) - broken} of {len(rows)} bounds hold" + (f"; {broken} broken" if broken else ""))
    return rows


def _room(rows: Sequence[ControlRow]) -> float:
    """How far the least certain of the rates may be from the truth: three Monte Carlo errors, and never less than 3/n, the rule of three.

    A rate of no samples is wholly uncertain.
    """
    return min(1.0, max(3.0 * max(row.error, 1.0 / row.reps) if row.reps else 1.0 for row in rows))


def _line(row: ControlRow) -> str:
    naive = "-" if row.plain is None else f"{100 * row.plain:.1f}"
    bound = f"{row.operator} {100 * row.bound:.1f}"
    return (
        f"  {row.case[:25]:<26}{row.n_sessions:>4} {row.measure[:16]:<17}{naive:>6}{100 * row.rate:>7.1f}{100 * row.error:>5.1f}{bound:>9}"
        f"{'' if row.ok else ' BROKEN'}"
    )
