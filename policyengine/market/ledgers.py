"""Tables of SQLite and Postgres, read through ADBC into Arrow: read-only, and only those that are asked for.

The drivers are an extra, and cost 0.25 s: imported where they are used.
"""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlsplit

from policyengine.errors import ConfigError, SourceUnavailable
from policyengine.market.engine import first_line, quoted
from policyengine.market.files import without_password

if TYPE_CHECKING:
    import pyarrow as pa

Keep: TypeAlias = Callable[["pa.RecordBatchReader", Mapping[str, str]], None]
"""Takes the rows of one table, and the DuckDB types of the columns (quoted) that arrive as another type than they have."""

_BATCH_ROWS = "adbc.sqlite.query.batch_rows"
_SQLITE_MAGIC = b"SQLite format 3\x00"
_EXTRA = "pip install 'barbell-policyengine[ledgers]'"
_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
_SQLITE_EXACT = "CASE typeof({0}) WHEN 'real' THEN printf('%!.17g', {0}) ELSE CAST({0} AS TEXT) END AS {0}"
_POSTGRES_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_POSTGRES_TABLES = """
SELECT table_name, table_schema, table_schema = ANY (current_schemas(false))
FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 2, 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a ledger: its name to show, every way a SELECT may spell it (lower case), and its name in the ledger's SQL."""

    name: str
    spellings: frozenset[str]
    sql: str


class Ledger(ABC):
    """An open database. Every method raises `SourceUnavailable` at its origin, without secrets."""

    def __init__(self, driver: str, uri: str, origin: str, hidden: Mapping[str, str]) -> None:
        """Connect to `uri` through the ADBC `driver`."""
        self._origin = origin
        self._hidden = hidden
        try:
            manager = importlib.import_module("adbc_driver_manager")
            dbapi = importlib.import_module(f"adbc_driver_{driver}.dbapi")
        except ImportError as error:
            raise SourceUnavailable(origin, f"needs drivers that are not installed: {_EXTRA}") from error
        self._error: type[Exception] = manager.Error
        with self._translated():
            self._connection = dbapi.connect(uri)

    @abstractmethod
    def tables(self) -> tuple[Table, ...]:
        """Tables and views that may be read."""

    @abstractmethod
    def read(self, table: Table, keep: Keep) -> None:
        """Hand the rows of `table` to `keep`."""

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small query."""
        with self._translated(), closing(self._connection.cursor()) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def hand(self, sql: str, keep: Keep, options: Mapping[str, str]) -> None:
        """Hand the result of `sql`, run with the driver's `options`, to `keep`."""
        with self._translated(), closing(self._connection.cursor()) as cursor:
            cursor.adbc_statement.set_options(**options)
            cursor.execute(sql)
            with cursor.fetch_record_batch() as reader:
                sent_as_text = [f.name for f in reader.schema if (f.metadata or {}).get(b"POSTGRESQL:type") == b"numeric"]
                keep(reader, {quoted(name): "DOUBLE" for name in sent_as_text})

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise SourceUnavailable(self._origin, first_line(error, self._hidden)) from error


class Sqlite(Ledger):
    """A SQLite file."""

    def tables(self) -> tuple[Table, ...]:
        """Tables and views in the file."""
        names = [row[0] for row in self.rows(_SQLITE_TABLES)]
        return tuple(Table(name=n, spellings=frozenset({n.lower(), f"main.{n}".lower()}), sql=quoted(n)) for n in names)

    def read(self, table: Table, keep: Keep) -> None:
        """Hand the rows of `table` to `keep`.

        What the driver does and is mended here: it takes a column's type from the first batch, so the first batch is the whole table;
        it prints the numbers of a column that also holds texts with seven digits; it calls a column without values BIGINT.
        """
        columns = [(quoted(row[1]), row[2].upper()) for row in self.rows(f"PRAGMA table_info({table.sql})")]
        types = {name: "VARCHAR" for name, declared in columns if _declares(declared, "CHAR", "CLOB", "TEXT")}
        loose = [(name, declared) for name, declared in columns if name not in types]
        looks = "".join(f", count({c}), coalesce(max(typeof({c}) = 'real') + max(typeof({c}) = 'text'), 0)" for c, _ in loose)
        total, *found = self.rows(f"SELECT count(*){looks} FROM {table.sql}")[0]
        mixed = set()
        for (name, declared), filled, kinds in zip(loose, found[::2], found[1::2], strict=True):
            if kinds > 1:
                mixed.add(name)
            if filled == 0 and not _declares(declared, "INT", "BLOB"):
                types[name] = "VARCHAR" if _declares(declared, "DATE", "TIME") or not declared else "DOUBLE"
        listed = ", ".join(_SQLITE_EXACT.format(c) if c in mixed else c for c, _ in columns)
        self.hand(f"SELECT {listed} FROM {table.sql}", lambda rows, _: keep(rows, types), {_BATCH_ROWS: str(total + 1)})


def _declares(declared: str, *words: str) -> bool:
    return any(word in declared for word in words)


class Postgres(Ledger):
    """A Postgres database, in one read-only snapshot."""

    def __init__(self, uri: str, origin: str) -> None:
        """Connect and begin the snapshot."""
        super().__init__("postgresql", uri, origin, secrets(uri, origin))
        with self._translated(), closing(self._connection.cursor()) as cursor:
            cursor.execute(_POSTGRES_SNAPSHOT)

    def tables(self) -> tuple[Table, ...]:
        """Tables and views that this user may see; those off the search path only with their schema."""
        found = []
        for name, schema, on_path in self.rows(_POSTGRES_TABLES):
            whole = f"{schema}.{name}"
            spellings = frozenset({whole.lower(), name.lower()} if on_path else {whole.lower()})
            found.append(Table(name=name if on_path else whole, spellings=spellings, sql=f"{quoted(schema)}.{quoted(name)}"))
        return tuple(found)

    def read(self, table: Table, keep: Keep) -> None:
        """Hand the rows of `table` to `keep`."""
        self.hand(f"SELECT * FROM {table.sql}", keep, {})


@contextmanager
def sqlite(path: str) -> Iterator[Sqlite]:
    """The SQLite file at `path`, never created, never written.

    Raises:
        ConfigError: the path is empty.
        SourceUnavailable: there is no such file, it is not SQLite, it is truncated, or the drivers are not installed.
    """
    if not path.strip():
        raise ConfigError("source.path", "'' is empty; give the file: source.path=FILE")
    file = Path(path).expanduser()
    _check_sqlite_file(path, file)
    with closing(Sqlite("sqlite", f"file:{quote(str(file.absolute()))}?mode=ro", path, {})) as ledger:
        yield ledger


@contextmanager
def postgres(uri: str) -> Iterator[Postgres]:
    """The database at `uri`, in one read-only snapshot.

    Raises:
        ConfigError: the URI is empty or not a postgresql:// URI; it is not shown.
        SourceUnavailable: the server does not answer, or refuses, or the drivers are not installed.
    """
    with closing(Postgres(uri, postgres_origin(uri))) as ledger:
        yield ledger


def postgres_origin(uri: str) -> str:
    """`uri` without password and query; ConfigError, which does not show it, when it is not a URI."""
    form = "postgresql://USER@HOST:PORT/DATABASE"
    if not uri.strip():
        raise ConfigError("source.uri", f"'' is empty; give source.uri={form}")
    origin = without_password(uri)
    if not uri.startswith(("postgresql://", "postgres://")) or origin.endswith("..."):
        raise ConfigError("source.uri", f"is not a URI of the form {form} (in a password, percent-encode special characters)")
    return origin


def secrets(uri: str, origin: str) -> dict[str, str]:
    """What of `uri` must never be printed, and what to print instead; the longest first."""
    parts = urlsplit(uri)
    raw = parts.netloc.rpartition("@")[0].partition(":")[2]
    query = parse_qs(parts.query)
    hidden = {raw, unquote(raw), *query.get("password", []), *query.get("sslpassword", [])} - {""}
    return {uri: origin, **dict.fromkeys(sorted(hidden, key=len, reverse=True), "***")}


def _check_sqlite_file(path: str, file: Path) -> None:
    if not file.exists():
        raise SourceUnavailable(path, "there is no such file")
    if not file.is_file():
        raise SourceUnavailable(path, "is not a file; give the SQLite file itself")
    try:
        with file.open("rb") as opened:
            header = opened.read(100)
    except OSError as error:
        raise SourceUnavailable(path, f"cannot be read: {error.strerror}") from error
    if not header.startswith(_SQLITE_MAGIC) or len(header) < 100:
        raise SourceUnavailable(path, "is not a SQLite file")
    page_size = int.from_bytes(header[16:18], "big")
    expected = int.from_bytes(header[28:32], "big") * (65536 if page_size == 1 else page_size)
    # older writers leave a stale page count, and then these two counters differ
    if header[24:28] == header[92:96] and file.stat().st_size < expected:
        raise SourceUnavailable(path, f"is truncated: {file.stat().st_size} of {expected} bytes are there")
