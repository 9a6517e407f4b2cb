"""Where the data are and how the user's columns become ours. A source is a file of YAML, not a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from policyengine.errors import ConfigError
from policyengine.records import Severity

CANONICAL_VIEWS = ("prices", "signals", "trades")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksSpec:
    """What each data check does when it does not hold."""

    duplicate_keys: Severity = Severity.ERROR
    non_finite_prices: Severity = Severity.ERROR
    negative_volumes: Severity = Severity.ERROR
    bars_out_of_order: Severity = Severity.ALERT
    split_like_prices: Severity = Severity.ALERT
    naive_times: Severity = Severity.ALERT
    symbols_in_two_buckets: Severity = Severity.ERROR
    trades_without_signal: Severity = Severity.ALERT
    pnl_all_positive: Severity = Severity.ALERT
    pnl_on_one_date: Severity = Severity.ALERT
    pnl_unexplained: Severity = Severity.ALERT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Views:
    """What every kind has: one SELECT for each canonical view, and the severity of each check.

    `optional` maps a table to columns (name -> DuckDB type) that older files lack; where absent they read as NULL. `synthetic` declares
    data that were made up, which is then said wherever they are shown.
    """

    views: Mapping[str, str]
    synthetic: bool = False
    optional: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    checks: ChecksSpec = field(default_factory=ChecksSpec)

    def __post_init__(self) -> None:
        """Refuse views that we do not know, and a source without any."""
        for name in self.views:
            if name not in CANONICAL_VIEWS:
                raise ConfigError(f"views.{name}", f"unknown view '{name}'; known: {', '.join(CANONICAL_VIEWS)}")
        if not self.views:
            raise ConfigError("views", "{} is empty; at least 'prices' or 'trades' is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetSource(_Views):
    """Parquet files: `path` is a file, a glob or a folder (read as hive partitions), seen by the SELECTs as table `source`.

    `shipped:NAME` is the file NAME among the data that come with the package.
    """

    KIND: ClassVar[str] = "parquet"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSource(_Views):
    """CSV files, plain or gzipped: `path` is a file or a glob, seen by the SELECTs as table `source`; `types` pins column types."""

    KIND: ClassVar[str] = "csv"
    path: str
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSource(_Views):
    """A SQLite file, opened read-only; the SELECTs see its tables under their own names."""

    KIND: ClassVar[str] = "sqlite"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSource(_Views):
    """A Postgres database by URI, in a read-only transaction; the SELECTs see the tables on its search path."""

    KIND: ClassVar[str] = "postgres"
    uri: str


SourceSpec = ParquetSource | CsvSource | SqliteSource | PostgresSource
