"""How trade-history evidence grows with the trades: the whole command, on made-up ledgers in Parquet, each in a process of its own.

    python bench/ledger_scale.py [--quick] [--folder FOLDER]

The least of three runs counts (one of the longest), since whatever else the machine does only adds. Ratios are those of user CPU
seconds, which others on the same cores disturb less than the wall clock. The ledgers lie in the order of time but for the one that says
otherwise; they and what the engine spills need up to 30 GB below FOLDER, and are deleted.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.ledgers import large  # noqa: E402 - the same ledgers as the guards in the tests

COMMAND = Path(sys.executable).parent / "policyengine"
REPEAT = 3
LONG = 100_000_000
"""A ledger that is evaluated once only."""
SOURCE = """
defaults:
  - override /universe@_global_.universe: round_trips
kind: parquet
path: ???
synthetic: true
views: {trades: SELECT * FROM source}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One run of the command: seconds of the clock and of CPU, the most resident memory."""

    wall: float
    user: float
    peak_mb: float


def evaluated(data: Path, folder: Path) -> Spent:
    """`policyengine evidence=trade_history` in a new folder without state, report included."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        (Path(work) / "conf" / "source").mkdir(parents=True)
        (Path(work) / "conf" / "source" / "ledger.yaml").write_text(SOURCE)
        arguments = [
            "--config-dir",
            "conf",
            "source=ledger",
            "evidence=trade_history",
            "evidence.initial_capital=1e12",
            f"source.path={data}",
        ]
        started = time.monotonic()
        process = subprocess.Popen(
            [COMMAND, *arguments], cwd=work, env={**os.environ, "XDG_DATA_HOME": str(Path(work) / "state")}, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    if status:
        raise SystemExit(f"policyengine ended with {os.waitstatus_to_exitcode(status)} on {data}")
    return Spent(wall=wall, user=used.ru_utime, peak_mb=used.ru_maxrss / 1024)


def shuffled(folder: Path, out: Path) -> Path:
    """The ledger in `folder` with its rows in no order."""
    out.mkdir()
    with duckdb.connect(config={"temp_directory": str(out / "spill"), "memory_limit": "4GB"}) as made:
        made.execute("SET enable_progress_bar = false")
        made.execute(f"COPY (FROM '{folder}/*.parquet' ORDER BY hash(trade_id)) TO '{out}/part.parquet' (FORMAT parquet)")
    return out


def apart(make: Callable[..., Path], *arguments: object) -> Path:
    """Make a ledger in a process of its own: what this one holds would count as the memory of its children."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(make, *arguments).result()


def line(what: str, runs: list[Spent], before: list[Spent] | None) -> str:
    """The least of `runs`, and what it is of the least `before`."""
    wall, user, peak = (min(getattr(run, name) for run in runs) for name in ("wall", "user", "peak_mb"))
    ratio = "" if before is None else f"{user / min(run.user for run in before):8.2f}"
    return f"{what:<26}{wall:10.1f}{user:12.1f}{peak:10.0f}{ratio:>10}"


def main() -> None:
    """Print the table and, unless quick, keep it under results/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 thousand and a million trades")
    parser.add_argument("--folder", type=Path, default=None, help="where the ledgers are made")
    chosen = parser.parse_args()
    sizes = (100_000, 1_000_000) if chosen.quick else (1_000_000, 10_000_000, 100_000_000)
    versions = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "numpy", "pyarrow"))
    lines = [
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {versions}",
        f"least of {REPEAT} runs, one of {LONG:,}",
        "",
        f"{'trades':<26}{'wall s':>10}{'user CPU s':>12}{'peak MB':>10}{'ratio':>10}",
    ]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as made:
        folder, before = Path(made), None
        for trades in sizes:
            data = apart(large, folder / str(trades), trades, max(1, trades // 6_250_000))
            runs = [evaluated(data, folder) for _ in range(REPEAT if trades < LONG else 1)]
            lines.append(line(f"{trades:,}", runs, before))
            print(lines[-1], flush=True)
            before = runs
            if trades == sizes[1]:
                mixed = apart(shuffled, data, folder / "mixed")
                lines.append(line(f"{trades:,} in no order", [evaluated(mixed, folder) for _ in range(REPEAT)], None))
                print(lines[-1], flush=True)
    text = "\n".join([*lines, "", f"load of the machine at the end: {os.getloadavg()[0]:.1f}", ""])
    print(text)
    if not chosen.quick:
        (ROOT / "bench" / "results" / "ledger_scale.txt").write_text(text)


if __name__ == "__main__":
    main()
