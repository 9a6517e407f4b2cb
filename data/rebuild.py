# /// script
# requires-python = ">=3.11"
# dependencies = ["skfolio==1.12.2", "arch==8.0.0", "pyarrow==26.0.1"]
# ///
"""Derive ``prices.parquet`` from the datasets inside two pinned packages; ``--check`` compares with the committed bytes.

Run it in an environment installed from ``requirements.lock`` beside this file. ``SOURCES.md`` says where the figures come from.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
PRICES = "prices.parquet"
PYARROW_VERSION = "26.0.1"  # another writer gives other bytes

FIRST_DATE = date(2000, 1, 3)
LAST_DATE = date(2018, 11, 30)  # the last month that has a risk-free rate
CURRENCY = "USD"

WTI_MISSING = "."
TBILL_START = Decimal(100)
TBILL_TICK = Decimal("0.000001")
TBILL_CONTEXT = Context(prec=34, rounding=ROUND_HALF_EVEN)  # decimal, because the last bit of a float power differs between machines

SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("priced_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
    ]
)


class RebuildError(Exception):
    """An input, the writer or an output is not the pinned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One gzipped CSV file inside an installed package."""

    package: str
    path: str
    sha256: str

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the file's rows as text, after its bytes were checked against ``sha256``.

        The package is located, not imported: arch's loader turns unreadable cells into NaN and the months of ``frenchdata`` into
        nanoseconds of 1970.
        """
        try:
            content = Path(str(metadata.distribution(self.package).locate_file(self.path))).read_bytes()
        except (metadata.PackageNotFoundError, FileNotFoundError) as e:
            raise RebuildError(f"{self.path}: not in this environment; install requirements.lock") from e
        if (digest := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise RebuildError(f"{self.path}: sha256 {digest} is not the pinned {self.sha256}")
        yield from csv.DictReader(io.StringIO(gzip.decompress(content).decode("utf-8"), newline=""))


LARGE_CAPS = Source(
    package="skfolio",
    path="skfolio/datasets/data/sp500_dataset.csv.gz",
    sha256="ee21cac28befb1d0a739a9ceb22184f995394726aa0cfde9a21941d1ac04ac0d",
)
WTI = Source(
    package="arch",
    path="arch/data/wti/wti.csv.gz",
    sha256="b83498894138a65cdc14a67fc1716aa90b3cfda274f976bd3692cc3f1500084d",
)
RISK_FREE = Source(
    package="arch",
    path="arch/data/frenchdata/frenchdata.csv.gz",
    sha256="f23436727b01d879e1372e3ee277514b0962a23d2b158f1aee6a402a90994f52",
)

Closes = dict[date, float]
Month = tuple[int, int]


def read_large_caps() -> dict[str, Closes]:
    """Return the adjusted closes of the 20 large caps over the frame, by symbol; every symbol has every session."""
    closes: dict[str, Closes] = {}
    for row in LARGE_CAPS.rows():
        day = date.fromisoformat(row.pop("Date"))
        if FIRST_DATE <= day <= LAST_DATE:
            for symbol, text in row.items():
                closes.setdefault(symbol, {})[day] = parse_close(text, f"{symbol} {day}")
    return closes


def read_wti(sessions: list[date]) -> Closes:
    """Return WTI spot on those sessions that have one; a session without a figure is absent, never filled."""
    wanted = set(sessions)
    closes: Closes = {}
    for row in WTI.rows():
        day = datetime.strptime(row["Date"], "%m/%d/%Y").replace(tzinfo=UTC).date()
        if day in wanted and row["DCOILWTICO"] != WTI_MISSING:
            closes[day] = parse_close(row["DCOILWTICO"], f"WTI {day}")
    return closes


def read_risk_free() -> dict[Month, Decimal]:
    """Return the risk-free rate of each calendar month as a fraction (the file states percent)."""
    return {(int(row["Date"][:4]), int(row["Date"][4:])): Decimal(row["RF"]) / 100 for row in RISK_FREE.rows()}


def parse_close(text: str, where: str) -> float:
    """Return the figure the source prints; refuse what is not finite and positive, because nothing here may be altered."""
    try:
        close = float(text)
    except ValueError:
        close = math.nan
    if not (math.isfinite(close) and close > 0):
        raise RebuildError(f"{where}: close {text!r} is not a finite positive number")
    return close


def compound_tbill(sessions: list[date], rate_by_month: dict[Month, Decimal]) -> Closes:
    """Compound the monthly risk-free rate by session into an index: 100 at the first session, six decimals.

    ``level[i] = level[i-1] * (1 + rate) ** (1 / n)``, with the rate of the month session ``i`` is in and ``n`` that month's sessions, so
    that a month of the index earns the month's rate exactly (before rounding). The first session earns nothing.
    """
    sessions_in = Counter((day.year, day.month) for day in sessions)
    context = TBILL_CONTEXT
    level = TBILL_START
    closes = {sessions[0]: float(level)}
    for day in sessions[1:]:
        month = (day.year, day.month)
        growth = context.power(1 + rate_by_month[month], context.divide(Decimal(1), Decimal(sessions_in[month])))
        level = context.multiply(level, growth)
        closes[day] = float(level.quantize(TBILL_TICK, context=context))
    return closes


def build_prices() -> pa.Table:
    """Return the whole frame in ``SCHEMA``, sorted by symbol and priced_at, one row per figure that exists."""
    large_caps = read_large_caps()
    sessions = list(next(iter(large_caps.values())))
    if (sessions[0], sessions[-1]) != (FIRST_DATE, LAST_DATE) or any(a >= b for a, b in pairwise(sessions)):
        raise RebuildError(f"{LARGE_CAPS.path}: sessions do not rise from {FIRST_DATE} to {LAST_DATE}")
    series = large_caps | {"WTI": read_wti(sessions), "TBILL": compound_tbill(sessions, read_risk_free())}
    rows = [(symbol, day, series[symbol][day]) for symbol in sorted(series) for day in sorted(series[symbol])]
    return pa.table(
        {
            "symbol": [symbol for symbol, _, _ in rows],
            "priced_at": [datetime(day.year, day.month, day.day, tzinfo=UTC) for _, day, _ in rows],
            "close": [close for _, _, close in rows],
            "currency": [CURRENCY] * len(rows),
        },
        schema=SCHEMA,
    )


def write_prices(path: Path) -> None:
    """Write the frame to ``path`` with every writer option fixed, through a temporary name."""
    if pa.__version__ != PYARROW_VERSION:
        raise RebuildError(f"pyarrow {pa.__version__}: the bytes are pinned to {PYARROW_VERSION}")
    partial = path.with_suffix(".partial")
    pq.write_table(
        build_prices(),
        partial,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=19,
        use_dictionary=True,
        write_statistics=True,
        row_group_size=1 << 20,
    )
    partial.replace(path)


def describe(path: Path) -> str:
    """Return the facts that ``SOURCES.md`` states of the file, as text."""
    content = path.read_bytes()
    counts = Counter(pq.read_table(path, columns=["symbol"])["symbol"].to_pylist())
    lines = [f"{path.name} sha256 {hashlib.sha256(content).hexdigest()} bytes {len(content)} rows {counts.total()}"]
    return "\n".join(lines + [f"{symbol} {count}" for symbol, count in counts.items()])


def check_prices() -> None:
    """Rebuild into a temporary folder; raise unless the committed bytes are the same and ``SOURCES.md`` states their sha256."""
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = Path(folder) / PRICES
        write_prices(rebuilt)
        content = rebuilt.read_bytes()
    committed = HERE / PRICES
    if not committed.is_file() or committed.read_bytes() != content:
        raise RebuildError(f"{PRICES}: the committed file is not what the sources give")
    if (digest := hashlib.sha256(content).hexdigest()) not in (HERE / "SOURCES.md").read_text(encoding="utf-8"):
        raise RebuildError(f"SOURCES.md: does not state the sha256 of {PRICES}, {digest}")


def main() -> int:
    """Rebuild in place, or with ``--check`` only compare; 0 done or equal, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Rebuild the shipped prices from their pinned sources.")
    parser.add_argument("--check", action="store_true", help="compare with the committed file, write nothing beside it")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check_prices()
        else:
            write_prices(HERE / PRICES)
    except RebuildError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    print(describe(HERE / PRICES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
