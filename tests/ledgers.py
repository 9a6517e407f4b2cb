"""Ledgers of closing trades for the tests: written as Parquet, opened as the command opens them, and a slow definition of their scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from policyengine.market import Market, open_market
from policyengine.records import Bucket
from policyengine.spec.bind import bind
from policyengine.spec.source import ParquetSource
from policyengine.spec.universe import UniverseSpec

VIEWS = {"trades": "SELECT * FROM source"}
LARGE = """
    SELECT
        't_' || lpad(CAST(i AS VARCHAR), 10, '0') AS trade_id,
        'S' || lpad(CAST(hash(i) % 500 AS VARCHAR), 3, '0') AS symbol,
        (['safe', 'core', 'spec', 'other'])[CAST(1 + hash(i) % 500 % 4 AS BIGINT)] AS bucket,
        make_timestamptz(CAST(1388620800000000 + i * (3650 * 86400000000.0 / {trades}) AS BIGINT)) AS traded_at,
        CASE WHEN hash(i + 1) % 2 = 0 THEN 'BUY' ELSE 'SELL' END AS side,
        CAST(1 + hash(i + 2) % 100 AS DOUBLE) AS quantity,
        CAST(100 + hash(i + 3) % 10000 / 100 AS DOUBLE) AS price,
        CAST(100 + hash(i + 4) % 10000 / 100 AS DOUBLE) AS entry_price,
        CAST(
            round((1 + hash(i + 2) % 100) * (hash(i + 3) % 10000 / 100 - hash(i + 4) % 10000 / 100) * (hash(i + 5) % 1000) / 1000, 2)
            AS DOUBLE
        ) AS realized_pnl,
        CASE WHEN hash(i + 6) % 3 > 0 THEN CAST(hash(i + 7) % 1001 / 1000 AS DOUBLE) END AS base_confidence,
        's_' || lpad(CAST(i // 2 AS VARCHAR), 10, '0') AS signal_id
    FROM range({first}, {last}) AS rows(i)
"""
"""Ten years of trades in 500 symbols, a third of them without a base confidence, some losing more than their prices moved."""


def rows(pnl: Sequence[float], base: Sequence[float | None], bucket: Sequence[str], days: Sequence[str]) -> list[dict[str, Any]]:
    """Trades t0, t1, ... of symbol A."""
    return [
        {
            "trade_id": f"t{i}",
            "symbol": "A",
            "traded_at": f"{day}T12:00:00Z",
            "side": "SELL",
            "quantity": 1.0,
            "realized_pnl": gain,
            "base_confidence": of,
            "bucket": name,
        }
        for i, (gain, of, name, day) in enumerate(zip(pnl, base, bucket, days, strict=True))
    ]


TYPES = pa.schema(
    [
        *((name, pa.string()) for name in ("trade_id", "symbol", "traded_at", "side")),
        ("quantity", pa.float64()),
        ("realized_pnl", pa.float64()),
        ("base_confidence", pa.float64()),
        ("bucket", pa.string()),
    ]
)


def written(path: Path, trades: Sequence[Mapping[str, Any]], *, group: int | None = None) -> Path:
    """One Parquet file with row groups of `group` trades."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(trades), schema=TYPES), path, row_group_size=group)
    return path


def large(folder: Path, trades: int, files: int = 4) -> Path:
    """A folder of Parquet files that hold so many trades in the order of time."""
    folder.mkdir(parents=True)
    with duckdb.connect() as made:
        made.execute("SET enable_progress_bar = false")
        for n in range(files):
            first, last = trades * n // files, trades * (n + 1) // files
            made.execute(f"COPY ({LARGE.format(trades=trades, first=first, last=last)}) TO '{folder}/part-{n:03}.parquet' (FORMAT parquet)")
    return folder


@contextmanager
def opened(path: Path, *, memory_limit_mb: int = 256) -> Iterator[Market]:
    """The ledger at `path`, its symbols in bucket other where it names none."""
    source = bind(ParquetSource, {"path": str(path), "views": VIEWS}, "source")
    universe = bind(UniverseSpec, {"instruments": {}, "unclassified": "other"}, "universe")
    spill = path.parent / "spill"
    with open_market(source, universe, memory_limit_mb=memory_limit_mb, temp_dir=spill, shipped_dir=path.parent) as market:
        yield market


def scale(multipliers: Mapping[Bucket, float], base: float | None, bucket: str) -> float:
    """What the overlay makes of one trade, as the definition says it."""
    multiplier = multipliers[Bucket(bucket)]
    return multiplier if base is None or base <= 0.0 else min(max(base * multiplier, 0.0), 1.0) / base
