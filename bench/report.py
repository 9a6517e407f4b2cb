"""What a run's report costs after its verdict: the payload alone, and the whole page with its charts and tables.

    python bench/report.py [--quick]

There is no peer that draws the same; the bare import of what draws is beside it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import measure
from measure import Case, Piece, Spent, child_seconds

from policyengine.reporting.payload import encoded, payload_of
from policyengine.reporting.report import write_report
from policyengine.reporting.stored import read_run

COMMAND = str(Path(sys.executable).parent / "policyengine")


def drawn(place: Path) -> dict[str, Piece]:
    """The report of one run of the demo."""
    folder = place / "run"
    if not folder.exists():
        options = ["task.report=false", f"hydra.run.dir={folder}", f"runtime.state_dir={place / 'state'}"]
        done = subprocess.run([COMMAND, *options], cwd=place, stdout=subprocess.DEVNULL, check=False)
        assert (folder / "evidence.json").exists(), f"the run ended with {done.returncode}"

    def bare() -> Spent:
        took, peak = child_seconds([sys.executable, "-c", "import altair, vl_convert; print('done', flush=True)"], "done", place)
        return Spent(seconds=took, peak_mb=peak)

    return {
        f"{measure.OURS}, report": Piece(run=lambda: write_report(folder)),
        f"{measure.OURS}, payload": Piece(run=lambda: encoded(payload_of(read_run(folder), None))),
        "bare import of altair and vl-convert": Piece(run=bare),
    }


def cases(*, quick: bool) -> Iterator[Case]:
    """The demo."""
    yield Case(name="demo", build=drawn, repeat=2 if quick else 5)


if __name__ == "__main__":
    measure.main("report", cases, ("altair", "vl-convert-python", "pyarrow"))
