"""The in-memory DuckDB: opened, limited, locked, and asked; its errors become ours here and nowhere else."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from policyengine.errors import DataError, SourceUnavailable

if TYPE_CHECKING:
    import pyarrow as pa

ARRIVED, GIVEN, MAPPED, CANONICAL = "arrived", "given", "mapped", "canonical"
"""Schemas: what was read, the same as the SELECTs see it, the SELECTs, and what everything of ours reads."""

_SQL_DIR = Path(__file__).parent / "sql"


@cache
def statement(name: str) -> str:
    """Text of `sql/<name>.sql`."""
    return (_SQL_DIR / f"{name}.sql").read_text(encoding="utf-8")


def quoted(identifier: str) -> str:
    """`identifier` as SQL wants a name."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as SQL wants a string; for the few places that take no parameter."""
    return "'" + text.replace("'", "''") + "'"


def printable(text: str) -> str:
    """`text` with control and direction-changing characters escaped, since data may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Engine:
    """One connection. Every method raises `DataError` or `SourceUnavailable` at `place`, never an error of DuckDB."""

    def __init__(self, *, memory_limit_mb: int, temp_dir: Path, secrets: Mapping[str, str]) -> None:
        """Open an empty database; `secrets` maps what must never be printed to what is printed instead."""
        self._secrets = secrets
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_limit_mb}MB",
            "temp_directory": str(temp_dir),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        with self._translated("duckdb"):
            self._duckdb = duckdb.connect(":memory:", config=config)
        self.run("SET TimeZone = 'UTC'", place="duckdb")
        for schema in (ARRIVED, GIVEN, MAPPED, CANONICAL):
            self.run(f"CREATE SCHEMA {schema}", place="duckdb")
        self.run(f"SET schema = '{GIVEN}'", place="duckdb")

    def lock(self, files: Sequence[str], folders: Sequence[str] = ()) -> None:
        """From here on read `files` and below `folders` only, and change no setting."""
        if files:
            self.run(f"SET allowed_paths = [{', '.join(map(literal, files))}]", place="duckdb")
        if folders:
            self.run(f"SET allowed_directories = [{', '.join(map(literal, folders))}]", place="duckdb")
        self.run("SET enable_external_access = false", place="duckdb")
        self.run("SET lock_configuration = true", place="duckdb")

    def close(self) -> None:
        """Free the database."""
        self._duckdb.close()

    def run(self, sql: str, *, place: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a statement whose result is small; it may hold no instants (their fetch needs pytz)."""
        with self._translated(place):
            result = self._duckdb.execute(sql, parameters) if parameters is not None else self._duckdb.execute(sql)
            return result.fetchall()

    def table(self, sql: str, *, place: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """The result as an Arrow table."""
        with self._translated(place):
            return self._duckdb.sql(sql, params=parameters or None).to_arrow_table()

    def batches(self, sql: str, *, place: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The result as Arrow batches of about `rows` rows, never all in memory."""
        with self._translated(place):
            reader = self._duckdb.sql(sql).to_arrow_reader(rows)
        try:
            yield from reader
        except OSError as error:  # what breaks in mid-stream reaches Arrow, which keeps nothing of it but the text
            raise self._streamed(error, place) from error

    def columns(self, table: str, *, place: str) -> dict[str, str]:
        """Names and DuckDB types of the columns of `table` (qualified and quoted)."""
        return {str(row[0]): str(row[1]).strip('"') for row in self.run(f"DESCRIBE SELECT * FROM {table}", place=place)}

    def store(self, table: str, arrow: pa.RecordBatchReader, types: Mapping[str, str], *, place: str) -> None:
        """Copy `arrow` into `arrived.table`, which may spill to the temporary folder; columns (quoted) in `types` are cast."""
        casts = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in types.items())
        replace = f" REPLACE ({casts})" if casts else ""
        with self._translated(place):
            self._duckdb.register("arriving", arrow)
            try:
                self._duckdb.execute(f"CREATE TABLE {ARRIVED}.{quoted(table)} AS SELECT *{replace} FROM arriving")
            finally:
                self._duckdb.unregister("arriving")

    def statements(self, text: str, *, place: str) -> list[duckdb.Statement]:
        """`text` parsed, not run."""
        with self._translated(place):
            return self._duckdb.extract_statements(text)

    def tables_read(self, select: str, *, place: str) -> set[str]:
        """Names of the tables that `select` reads, qualified and quoted where it says so. Reads no file once locked."""
        with self._translated(place):
            return set(self._duckdb.get_table_names(select, qualified=True))

    @contextmanager
    def _translated(self, place: str) -> Iterator[None]:
        try:
            yield
        except (duckdb.IOException, duckdb.HTTPException) as error:
            raise SourceUnavailable(place, self.shown(error)) from error
        except duckdb.PermissionException as error:
            raise DataError(place, f"reads what the source does not declare: {self.shown(error)}") from error
        except duckdb.OutOfMemoryException as error:
            raise DataError(place, f"does not fit into the memory limit: {self.shown(error)}") from error
        except duckdb.Error as error:
            raise DataError(place, self.shown(error)) from error

    def _streamed(self, error: OSError, place: str) -> DataError | SourceUnavailable:
        kind = str(error).partition(" Error: ")[0]
        if kind in {"IO", "HTTP"}:
            return SourceUnavailable(place, self.shown(error))
        return DataError(place, f"{'does not fit into the memory limit: ' if kind == 'Out of Memory' else ''}{self.shown(error)}")

    def shown(self, error: BaseException) -> str:
        """First line of the error's message, without the kind of error and without secrets."""
        return first_line(error, self._secrets)


def first_line(error: BaseException, secrets: Mapping[str, str]) -> str:
    """First line of `error`'s message (three of a CSV error), without DuckDB's kind of error, `secrets` replaced by their values."""
    lines = str(error).strip().splitlines()
    text = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", "; ".join(lines[: 3 if "CSV Error on Line" in lines[0] else 1])) if lines else ""
    for secret, instead in secrets.items():
        text = text.replace(secret, instead)
    return printable(text)
