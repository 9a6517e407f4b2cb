"""From a source's YAML to the tables that its SELECTs see, for each kind."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from policyengine.errors import DataError, SourceUnavailable
from policyengine.market import ledgers
from policyengine.market.engine import ARRIVED, Engine, literal, quoted
from policyengine.market.files import Files, locate
from policyengine.market.selects import Tables, Wanted, check_types, fill_optional, parts
from policyengine.spec.source import CsvSource, ParquetSource, PostgresSource, SourceSpec, SqliteSource

if TYPE_CHECKING:
    import pyarrow as pa

_FILE_TABLE = "source"
_CSV_TYPES = "['NULL', 'BIGINT', 'DOUBLE', 'VARCHAR']"
"""Dates stay text until the canonical cast, which knows only ISO: a sniffer would guess between day and month first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a source is: what to print of it, what never to print, and its files when it has files."""

    origin: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    files: Files | None = None


def find(source: SourceSpec, *, shipped_dir: Path) -> Place:
    """Where `source` is; errors as `locate` and `postgres_origin`."""
    match source:
        case ParquetSource():
            return _at(source.path, locate(source.path, suffix=".parquet", folders=True, shipped_dir=shipped_dir))
        case CsvSource():
            return _at(source.path, locate(source.path, suffix=".csv", folders=False, shipped_dir=shipped_dir))
        case SqliteSource():
            return Place(origin=source.path)
        case PostgresSource():
            origin = ledgers.postgres_origin(source.uri)
            return Place(origin=origin, secrets=ledgers.secrets(source.uri, origin))
        case _:
            assert_never(source)


def admit(engine: Engine, place: Place) -> None:
    """Load what a remote path needs, then lock the engine to the declared paths."""
    files = place.files
    if files is None:
        engine.lock(())
        return
    if files.extension is not None:
        _load(engine, files.extension, place.origin)
    engine.lock(files.paths, files.remote_folders)


def bring(engine: Engine, source: SourceSpec, place: Place, wanted: Wanted) -> Tables:
    """Make the tables that `source` has visible to the SELECTs; of a database only the `wanted` ones.

    Raises:
        SourceUnavailable: it cannot be opened, is truncated, or the drivers for it are not installed.
    """
    match source:
        case ParquetSource() | CsvSource():
            return _bring_files(engine, source, place)
        case SqliteSource():
            return _bring_ledger(engine, source, place, wanted, ledgers.sqlite(source.path))
        case PostgresSource():
            return _bring_ledger(engine, source, place, wanted, ledgers.postgres(source.uri))
        case _:
            assert_never(source)


def _at(path: str, files: Files) -> Place:
    hidden = {path: files.origin} if files.remote else {}
    shipped = {files.paths[0]: files.origin} if path.startswith("shipped:") else {}
    return Place(origin=files.origin, secrets={**hidden, **shipped}, files=files)


def _load(engine: Engine, extension: str, origin: str) -> None:
    try:
        engine.run(f"LOAD {extension}", place=origin)
    except DataError as error:
        install = f"python -c \"import duckdb; duckdb.sql('INSTALL {extension}')\""
        rule = f"needs DuckDB's extension '{extension}', which is not installed here; with a network, once: {install}"
        raise SourceUnavailable(origin, rule) from error


def _bring_files(engine: Engine, source: ParquetSource | CsvSource, place: Place) -> Tables:
    assert place.files is not None  # noqa: S101 - narrows for the type checker what find() has set
    files = place.files
    paths = f"[{', '.join(map(literal, files.paths))}]"
    options = [f"union_by_name = {len(files.paths) > 1}", f"hive_partitioning = {files.partitioned}", "hive_types_autocast = false"]
    if isinstance(source, ParquetSource):
        sql = f"CREATE VIEW {ARRIVED}.source AS SELECT * FROM read_parquet({paths}, {', '.join(options)})"
    else:
        check_types(engine, source.types, "source.types")
        options += ["header = true", "skip = 0", "strict_mode = true", "sample_size = -1", f"auto_type_candidates = {_CSV_TYPES}"]
        if source.types:
            types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in source.types.items())
            options.append(f"types = {{{types}}}")
        # a table, since each look at a view would parse the text again
        sql = f"CREATE TABLE {ARRIVED}.source AS SELECT * FROM read_csv({paths}, {', '.join(options)})"
    try:
        engine.run(sql, place=place.origin)
    except DataError as error:
        raise SourceUnavailable(place.origin, f"cannot be read: {error.rule}") from error
    fill_optional(engine, (_FILE_TABLE,), f"{ARRIVED}.source", source.optional.get(_FILE_TABLE, {}), place=place.origin)
    return Tables(known=(_FILE_TABLE,), read=(_FILE_TABLE,))


def _bring_ledger(
    engine: Engine,
    source: SqliteSource | PostgresSource,
    place: Place,
    wanted: Wanted,
    opening: AbstractContextManager[ledgers.Ledger],
) -> Tables:
    with opening as ledger:
        known = ledger.tables()
        read = {name: table for table in known for name in _spellings(table, wanted)}
        for name, table in read.items():
            _copy(engine, ledger, name, table, place.origin)
    for name, table in read.items():
        optional = next((columns for t, columns in source.optional.items() if t.lower() in table.spellings), {})
        fill_optional(engine, parts(name), f"{ARRIVED}.{quoted(name)}", optional, place=place.origin)
    return Tables(known=tuple(table.name for table in known), read=tuple(read))


def _spellings(table: ledgers.Table, wanted: Wanted) -> list[str]:
    """Every way in which the SELECTs write `table`, one for each table that they then see; none when they do not read it."""
    written = {".".join(parts(name)).lower(): ".".join(map(quoted, parts(name))) for name in wanted.names}
    for text in wanted.unclear:
        bare = text.lower().replace('"', "")
        written |= {
            s: ".".join(map(quoted, s.split(".", 1))) for s in table.spellings if re.search(rf"(?<![\w.]){re.escape(s)}(?![\w.])", bare)
        }
    return [name for plain, name in sorted(written.items()) if plain in table.spellings]


def _copy(engine: Engine, ledger: ledgers.Ledger, name: str, table: ledgers.Table, origin: str) -> None:
    def keep(rows: pa.RecordBatchReader, types: Mapping[str, str]) -> None:
        engine.store(name, rows, types, place=f"{origin}, table {table.name}")

    ledger.read(table, keep)
