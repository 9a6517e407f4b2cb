"""A grid of policies in one run of the command, start and report of it included, beside a run for each policy.

    python bench/grid.py [--quick]

A cell is one policy over one window. The kernels are compiled before, by the first run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import measure
from cold_start import COMMAND, started
from measure import Case, Piece

WINDOWS = 75
"""Quarters of the demo, its windows as shipped."""


def runs(place: Path, experiment: str, policies: int) -> dict[str, Piece]:
    """The grid, and its policies one run each, of which one is run; each forgets what it tried."""
    command = [COMMAND, "task.report=false", "hydra.run.dir=outputs", "runtime.state_dir=state"]
    return {
        f"{measure.OURS}, {experiment}": Piece(run=lambda: started([*command, f"experiment={experiment}"], "next ", place)),
        "a run for each policy": Piece(run=lambda: started(command, "next ", place), part=1.0 / policies),
    }


def cases(*, quick: bool) -> Iterator[Case]:
    """The shipped grids on the demo."""
    for experiment, policies in (("grid", 12),) if quick else (("grid", 12), ("grid_1000", 1_000)):
        yield Case(
            name=f"{policies:,} policies x {WINDOWS} windows",
            build=lambda place, experiment=experiment, policies=policies: runs(place, experiment, policies),  # type: ignore[misc]
            repeat=3,
            units=policies * WINDOWS,
            unit="cell",
        )


if __name__ == "__main__":
    measure.main("grid", cases, ("numba", "numpy", "duckdb"))
