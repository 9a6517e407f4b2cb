"""Negative controls: policies that do nothing, do harm, or are real, judged by a plain rule and by the gate.

Each control simulates, counts and compares with the bound of docs/gate.md. Both columns are reported: a harness that cannot
show the plain rule failing is no evidence that ours holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from policyengine.errors import DataError
from policyengine.evidence.controls import searches, tilts
from policyengine.evidence.controls.rows import ControlRow, Run

CONTROLS: Mapping[str, tuple[Callable[[Run], Iterable[ControlRow]], int]] = {
    "scale": (tilts.scale, 12),
    "null_tilt": (tilts.null_tilt, 8),
    "null_noise": (tilts.null_noise, 4),
    "harm": (tilts.harm, 3),
    "real": (tilts.real, 4),
    "cut": (tilts.cut, 2),
    "convex": (searches.convexity, 1),
    "sweep_null": (searches.sweep_null, 1),
    "beside_good": (searches.beside_good, 1),
    "daily": (searches.daily_evaluation, 1),
    "canary": (searches.canary_null, 1),
}
"""Every control with the number of cells that it repeats, which is what progress counts."""


def run_controls(
    *,
    reps: int,
    seed: int,
    n_boot: int = 999,
    only: Collection[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
    on_row: Callable[[ControlRow], None] | None = None,
) -> tuple[ControlRow, ...]:
    """Run the negative controls and return their rows, in the order of docs/gate.md.

    Args:
        reps: repetitions of each cell, at least 20; the recorded run uses 2,000.
        seed: non-negative; the same seed gives the same rows.
        n_boot: resamples of each test; fewer than the gate's 9,999, since a rate over many samples needs no finer p-values.
        only: names of controls to run; empty means all.
        progress: called after each repetition with (repetitions done, in total, name of the control).
        on_row: called with each row as soon as it is known.

    Raises:
        DataError: too few repetitions, a bad seed or an unknown control.
    """
    if reps < 20 or seed < 0:
        raise DataError("reps" if reps < 20 else "seed", f"{reps if reps < 20 else seed} is below {20 if reps < 20 else 0}")
    unknown = [name for name in only if name not in CONTROLS]
    if unknown:
        raise DataError("only", f"unknown control '{unknown[0]}'; known: {', '.join(CONTROLS)}")
    chosen = [name for name in CONTROLS if not only or name in only]
    total = reps * sum(CONTROLS[name][1] for name in chosen)
    done = 0
    rows: list[ControlRow] = []
    for name in chosen:

        def tick(name: str = name) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total, name)

        for found in CONTROLS[name][0](Run(reps=reps, seed=seed, n_boot=n_boot, tick=tick)):
            rows.append(found)
            if on_row is not None:
                on_row(found)
    return tuple(rows)
