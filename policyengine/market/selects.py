"""The user's SELECTs: exactly one statement each, over the tables that the source has, made into views."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from policyengine.errors import ConfigError, DataError
from policyengine.market.columns import VIEWS, Column
from policyengine.market.engine import CANONICAL, GIVEN, MAPPED, Engine, printable, quoted

_PART = r'"(?:[^"]|"")*"|[^\s."]+'
_NAME = re.compile(rf"(?:{_PART})(?:\.(?:{_PART}))*")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*(\(\d+(, ?\d+)?\))?(\[\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Tables of a source: all that it has, for errors, and those that were read, as the SELECTs write them."""

    known: tuple[str, ...]
    read: tuple[str, ...]


def checked(engine: Engine, view: str, text: str) -> str:
    """`text`, which is exactly one SELECT statement, without a closing semicolon.

    Raises:
        ConfigError: it does not parse, or is no statement, several, or another kind of statement.
    """
    path = f"source.views.{view}"
    try:
        found = engine.statements(text, place=path)
    except DataError as error:
        raise ConfigError(path, error.rule) from error
    if len(found) != 1:
        raise ConfigError(path, f"holds {len(found)} statements; exactly one SELECT is wanted")
    if found[0].type != duckdb.StatementType.SELECT:
        raise ConfigError(path, f"is a statement of type {found[0].type.name}; exactly one SELECT is wanted")
    encoded = text.encode()  # positions of tokens are in bytes
    ends = (at for at, kind in duckdb.tokenize(text) if encoded[at : at + 1] == b";" and kind == duckdb.token_type.operator)
    return encoded[: min(ends, default=None)].decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Tables that SELECTs read: by name, as written, and the SELECTs in which the engine could not tell."""

    names: tuple[str, ...]
    unclear: tuple[str, ...]


def tables_wanted(engine: Engine, selects: Mapping[str, str]) -> Wanted:
    """Tables that the SELECTs read, asked of the engine before any of them exists.

    Raises:
        ConfigError: a SELECT reads a file that the source does not declare.
    """
    names: set[str] = set()
    unclear = []
    for view, text in selects.items():
        try:
            names |= engine.tables_read(text, place=f"source.views.{view}")
        except DataError as error:
            # USING and the like cannot be bound without the tables' columns
            if not isinstance(error.__cause__, duckdb.BinderException):
                raise ConfigError(f"source.views.{view}", error.rule) from error
            unclear.append(text)
    return Wanted(names=tuple(sorted(names)), unclear=tuple(unclear))


def parts(table: str) -> tuple[str, ...]:
    """Unquoted parts of a table as a SELECT writes it: `main."o d"` and `main."o d" AS t` are ('main', 'o d')."""
    name = _NAME.match(table)
    written = re.findall(_PART, name[0] if name else table)
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in written)


def check_types(engine: Engine, types: Mapping[str, str], path: str) -> None:
    """Refuse what is not the name of a type, before it stands in SQL."""
    for name, text in types.items():
        broken = ConfigError(f"{path}.{name}", f"'{text}' is not a type that DuckDB knows")
        if not _TYPE.fullmatch(text):
            raise broken
        try:
            engine.run(f"SELECT CAST(NULL AS {text})", place=name)
        except DataError as error:
            raise broken from error


def fill_optional(engine: Engine, table: tuple[str, ...], arrived: str, optional: Mapping[str, str], *, place: str) -> None:
    """Give the SELECTs `table`: what `arrived`, plus each optional column that it lacks, as NULL."""
    path = f"source.optional.{table[-1]}"
    check_types(engine, optional, path)
    have = {name.lower() for name in engine.columns(arrived, place=place)}
    missing = "".join(f", CAST(NULL AS {text}) AS {quoted(name)}" for name, text in optional.items() if name.lower() not in have)
    schema = table[-2] if len(table) > 1 else GIVEN
    engine.run(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}", place=place)
    engine.run(f"CREATE VIEW {quoted(schema)}.{quoted(table[-1])} AS SELECT *{missing} FROM {arrived}", place=place)


def create_views(engine: Engine, selects: Mapping[str, str], origin: str, tables: Tables) -> dict[str, dict[str, str]]:
    """Create `mapped` and `canonical` views; return for each view the type of every canonical column that its SELECT gives.

    Raises:
        DataError: a table or column that is not there, with those that are.
    """
    found = {}
    for view, text in selects.items():
        place = f"{origin}, view {view}"
        _create_mapped(engine, mapped(view), text, place, tables)
        columns = engine.columns(mapped(view), place=place)
        types = {name.lower(): kind for name, kind in columns.items()}
        missing = [c.name for c in VIEWS[view] if c.required and c.name not in types]
        if missing:
            raise DataError(place, f"column {', '.join(missing)} is missing; columns found: {listed(columns)}")
        found[view] = {c.name: types[c.name] for c in VIEWS[view] if c.name in types}
        values = ", ".join(f"{c.value(found[view].get(c.name))} AS {quoted(c.name)}" for c in VIEWS[view])
        engine.run(f"CREATE VIEW {CANONICAL}.{view} AS SELECT {values} FROM {mapped(view)}", place=place)
    return found


def mapped(view: str) -> str:
    """Qualified name of what the user's SELECT for `view` gives.

    Not the name of the view itself: inside its schema that would hide a table of the same name from the SELECT.
    """
    return f'{MAPPED}."{view} as selected"'


def _create_mapped(engine: Engine, name: str, text: str, place: str, tables: Tables) -> None:
    try:
        engine.run(f"CREATE VIEW {name} AS (\n{text}\n)", place=place)
    except DataError as error:
        cause = error.__cause__
        if isinstance(cause, duckdb.CatalogException) and error.rule.startswith("Table with name"):
            raise DataError(place, f"{error.rule.rstrip('!')}; tables found: {listed(tables.known)}") from cause
        if isinstance(cause, duckdb.BinderException):
            raise DataError(place, f"{error.rule.rstrip('!')}; {_columns_found(engine, tables, place)}") from cause
        raise


def _columns_found(engine: Engine, tables: Tables, place: str) -> str:
    shown = []
    for table in tables.read:
        names = engine.columns(".".join(map(quoted, parts(table))), place=place)
        shown.append(f"{'.'.join(parts(table))}({listed(names)})")
    return f"columns found: {'; '.join(shown)}"


def listed(names: Iterable[str]) -> str:
    """`names` for an error; quoted where they are not plain words, so that a header that was not split shows."""
    return printable(", ".join(name if re.fullmatch(r"\w+(\.\w+)?", name) else quoted(name) for name in names)) or "none"


def misfits(view: str, found: Mapping[str, str]) -> list[tuple[Column, str]]:
    """Columns of `view` whose values must be looked at, each with the condition of a value that cannot be taken."""
    conditions = [(c, c.misfit(found[c.name])) for c in VIEWS[view] if c.name in found]
    return [(column, condition) for column, condition in conditions if condition is not None]


def blanks(view: str, found: Mapping[str, str]) -> list[tuple[Column, str]]:
    """Columns of `view` that no row may lack, each with the condition of a row that does; a text of spaces is none."""
    filled = [(column, column.value(found[column.name])) for column in VIEWS[view] if column.filled]
    # what is not below '!' begins with more than a space, and need not be trimmed
    absent = "CASE WHEN {0} < '!' THEN trim({0}) = '' ELSE {0} IS NULL END"
    return [(c, absent.format(value) if c.kind.sql_type == "VARCHAR" else f"{value} IS NULL") for c, value in filled]
