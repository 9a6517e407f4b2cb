"""Small real sources, made in the test's folder."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from policyengine.market import Market, open_market
from policyengine.spec.bind import bind
from policyengine.spec.source import CsvSource, ParquetSource, PostgresSource, SourceSpec, SqliteSource
from policyengine.spec.universe import UniverseSpec

REPOSITORY = Path(__file__).parents[3]
KINDS = {"parquet": ParquetSource, "csv": CsvSource, "sqlite": SqliteSource, "postgres": PostgresSource}
BUCKETS = {"TBILL": "safe", "SPY": "core", "MSFT": "core", "BTC": "spec", "WTI": "spec"}

Opening = Callable[..., AbstractContextManager[Market]]


def source_spec(kind: str, **keys: Any) -> SourceSpec:
    """Bind a source as the command line does."""
    return bind(KINDS[kind], keys, "source")


def universe_spec(buckets: Mapping[str, str] = BUCKETS, **keys: Any) -> UniverseSpec:
    """A universe of `buckets`: symbol to bucket."""
    return bind(UniverseSpec, {"instruments": {s: {"bucket": b} for s, b in buckets.items()}, **keys}, "universe")


@pytest.fixture
def opened(tmp_path: Path) -> Opening:
    """Open a source: `opened("parquet", path=..., views={...}, universe=...)`."""

    @contextmanager
    def opening(kind: str = "parquet", *, universe: UniverseSpec | None = None, **keys: Any) -> Iterator[Market]:
        spec = source_spec(kind, **{k: str(v) if isinstance(v, Path) else v for k, v in keys.items()})
        with open_market(
            spec, universe or universe_spec(), memory_limit_mb=256, temp_dir=tmp_path / "spill", shipped_dir=REPOSITORY / "data"
        ) as market:
            yield market

    return opening


def bars(*rows: tuple[str, str, float], **columns: Any) -> pd.DataFrame:
    """Bars (symbol, instant, close) as a frame; instants are UTC."""
    frame = pd.DataFrame(rows, columns=["symbol", "priced_at", "close"])
    frame["priced_at"] = pd.to_datetime(frame["priced_at"], utc=True, format="ISO8601")
    frame["close"] = frame["close"].astype(float)
    return frame.assign(**columns)


def parquet(path: Path, frame: pd.DataFrame) -> Path:
    """Write `frame`; NaN becomes NULL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    return path


def sqlite(path: Path, tables: Mapping[str, tuple[str, Iterable[tuple[Any, ...]]]]) -> Path:
    """Write tables: name to (column definitions, rows)."""
    connection = sqlite3.connect(path)
    for name, (columns, rows) in tables.items():
        connection.execute(f'CREATE TABLE "{name}" ({columns})')
        width = len(connection.execute(f'PRAGMA table_info("{name}")').fetchall())
        connection.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * width)})', rows)
    connection.commit()
    connection.close()
    return path


ALL = {"prices": "SELECT * FROM source"}
"""Views of a file whose columns are already ours."""
TRADES = {"trades": "SELECT * FROM source"}


def trades(*rows: tuple[str, str, str, float], **columns: Any) -> pd.DataFrame:
    """Closing trades (trade_id, symbol, instant, realised P&L) of 10 shares, sold."""
    frame = pd.DataFrame(rows, columns=["trade_id", "symbol", "traded_at", "realized_pnl"])
    frame["traded_at"] = pd.to_datetime(frame["traded_at"], utc=True, format="ISO8601")
    return frame.assign(quantity=10.0, side="SELL").assign(**columns)


@pytest.fixture
def make() -> ModuleType:
    """The functions above; test modules are not a package that could import them."""
    return sys.modules[__name__]
