"""A cold run on the shipped data, to its printed verdict, beside the bare import of its stack, in turn, each in a process of its own.

    python bench/cold_start.py [--quick]

The report is drawn after the verdict and not part of it. An import is timed twice: until it is done, and until the command that did it has
ended, which is what a shell would tell. Where hypothesis is installed, pandera imports it: an environment made from
requirements.lock has none.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import measure
from measure import Case, Piece, Spent, child_seconds

STACK = "import hydra, duckdb, pandas, scipy.stats, pandera.pandas"
OWN = STACK.replace("scipy.stats, ", "")
COMMAND = str(Path(sys.executable).parent / "policyengine")


def started(command: list[str], until: str, place: Path) -> Spent:
    """A command in a new folder, with no state of earlier runs."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        took, peak = child_seconds(command, until, Path(folder))
    return Spent(seconds=took, peak_mb=peak)


def ended(command: list[str], place: Path) -> Spent:
    """A command, until it has ended."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=place, check=False)
    took = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}")
    return Spent(seconds=took, peak_mb=None)


def imported(code: str, place: Path) -> Spent:
    """A bare import: until the interpreter has done it."""
    return started([sys.executable, "-c", f"{code}; print('done', flush=True)"], "done", place)


def runs(place: Path, *options: str) -> dict[str, Piece]:
    """A run of the command, beside bare imports."""
    command = [COMMAND, *options, f"runtime.state_dir={place / 'state'}", "hydra.run.dir=outputs"]
    return {
        measure.OURS: Piece(run=lambda: started(command, "next ", place)),
        "bare import of the stack, to its end": Piece(run=lambda: ended([sys.executable, "-c", STACK], place)),
        "bare import of the stack": Piece(run=lambda: imported(STACK, place)),
        "the same without scipy.stats": Piece(run=lambda: imported(OWN, place)),
    }


def cases(*, quick: bool) -> Iterator[Case]:
    """The demo, and one line that needs nothing."""
    yield Case(name="demo, to the verdict", build=runs, repeat=3 if quick else 9)
    version = {
        measure.OURS: Piece(run=lambda: started([COMMAND, "--version"], "policyengine ", Path.cwd())),
        "bare python": Piece(run=lambda: imported("pass", Path.cwd())),
        "bare import of hydra": Piece(run=lambda: imported("import hydra", Path.cwd())),
    }
    yield Case(name="--version", build=lambda _: version, repeat=3 if quick else 9)


if __name__ == "__main__":
    measure.main("cold_start", cases, ("hydra-core", "duckdb", "pandas", "pandera", "scipy", "hypothesis"))
