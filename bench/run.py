"""Every benchmark, side by side with its peers: tables in bench/results, and bench/results/summary.txt of all of them.

    python bench/run.py [--only NAME ...] [--quick]

Each topic runs in a process of its own on one BLAS thread; its pieces are timed in turn in that process. Its environment:

    python -m venv .venv-bench
    .venv-bench/bin/python -m pip install --require-hashes -r bench/requirements.lock
    .venv-bench/bin/python -m pip install --no-deps --no-build-isolation -e .

`--quick` runs small cases twice, prints them and stores nothing. Times are recorded and never gate anything.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import OURS, Row, machine, shown, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
TOPICS = ("cold_start", "replay", "grid", "gate", "shell", "ledger", "report", "audit")
SCRIPTS = ("sweep", "ledger_scale")
"""Those that print a table of their own: growth with the size of the work, without peers."""


def run_topic(name: str, *, quick: bool) -> list[Row]:
    """Run one topic, print and store its table; its rows.

    Raises:
        SystemExit: it failed, or two pieces did not compute the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{name}.py")]
        if name in TOPICS:
            command += ["--rows", str(rows), *(["--quick"] if quick else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "XDG_DATA_HOME": folder}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment, cwd=folder)
        print(done.stdout, flush=True)
        if done.returncode != 0:
            raise SystemExit(f"{name} failed with {done.returncode}")
        if not quick:
            (RESULTS / f"{name}.txt").write_text(done.stdout)
        return [Row(**row) for row in json.loads(rows.read_text())] if rows.exists() else []


def summary(rows: list[Row]) -> list[str]:
    """Each peer against ours, the first piece of its case."""
    columns = {"topic": "<", "case": "<", OURS: ">", "MB": ">", "beside": "<", "takes": ">", "times ours": ">", "their MB": ">"}
    columns |= {"difference": ">"}
    lines = []
    for topic, case in dict.fromkeys((row.topic, row.case) for row in rows):
        ours, *peers = [row for row in rows if (row.topic, row.case) == (topic, case)]
        own = {OURS: shown(ours.median), "MB": megabytes(ours)}
        nobody = dict.fromkeys(("beside", "takes", "times ours", "their MB", "difference"), "")
        for i, peer in enumerate(peers or [None]):
            beside = nobody
            if peer is not None:
                beside = {
                    "beside": peer.who,
                    "takes": shown(peer.median),
                    "times ours": f"{peer.times_ours:.3g}",
                    "their MB": megabytes(peer),
                    "difference": "" if peer.difference is None else f"{peer.difference:.0e}",
                }
            lines.append({"topic": topic, "case": case, **own} | beside if i == 0 else dict.fromkeys(columns, "") | beside)
    return table(columns, lines)


def megabytes(row: Row) -> str:
    """Peak memory, `?` where it is unknown."""
    return "?" if row.peak_mb is None else f"{row.peak_mb:,.0f}"


def main() -> None:
    """Run what was asked for, and draw the summary anew from what is stored of the rest."""
    present = [name for name in (*TOPICS, *SCRIPTS) if (HERE / f"{name}.py").exists()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=present, default=present, metavar="NAME", help=f"of {', '.join(present)}")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    stored = RESULTS / "rows.json"
    known = [Row(**row) for row in json.loads(stored.read_text())] if stored.exists() and not given.quick else []
    about = machine()
    for name in given.only:
        found = run_topic(name, quick=given.quick)
        known = [row for row in known if row.topic != name] + found
        if not given.quick:
            stored.write_text(json.dumps([row_of(row) for row in known], indent=1) + "\n")
    known.sort(key=lambda row: TOPICS.index(row.topic))
    lines = ["medians of all topics; spreads, runs and versions are in the table of each", about, *summary(known)]
    print("\n".join(lines))
    if not given.quick:
        (RESULTS / "summary.txt").write_text("\n".join(lines) + "\n")


def row_of(row: Row) -> dict[str, object]:
    """A row as it is stored."""
    return {name: getattr(row, name) for name in Row.__slots__}


if __name__ == "__main__":
    main()
