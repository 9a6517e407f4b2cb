"""Writing and reading results: whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError, OutputError

SIGNIFICANT_DIGITS = 12
MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A column of few texts: `codes` (n,) index `words`, None among which is null; -1 means the last of them, as in Python."""

    codes: NDArray[np.integer[Any]]
    words: tuple[str | None, ...]

    def array(self, pa: Any) -> Any:
        """As text, the dictionary looked up by Arrow instead of Python."""
        codes = np.where(self.codes < 0, len(self.words) + self.codes, self.codes).astype(np.int32)
        return pa.array(self.words, pa.string()).take(pa.array(codes))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader finds the old file or the whole new one, also after a crash.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Give what goes wrong with `path` its name.

    Raises:
        OutputError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be read or written: {error.strerror or error}") from error


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON with sorted keys; floats to 12 significant digits, so that rounding in the last bits cannot show.

    Raises:
        OutputError: the folder cannot be made or written.
        ValueError: a number is not finite.
    """
    write_bytes(path, (json.dumps(rounded(value), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON strictly: no duplicate keys, no NaN, no bytes after the value.

    Raises:
        DataError: the file is missing, too large or not such JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(str(path), f"{path.stat().st_size:,} bytes is more than {MAX_JSON_BYTES:,}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(str(path), "does not exist") from None
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}") from error
    return parse_json(content, str(path))


def parse_json(content: bytes, place: str) -> Any:
    """JSON that says one thing only: no duplicate keys, no NaN, no bytes after the value.

    Raises:
        DataError: naming `place`.
    """
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(place, f"is not valid JSON: {error}") from error


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rows` as CSV; an absent or unknown value is an empty cell, a text that a spreadsheet would run is quoted by '.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    write_bytes(path, (csv_lines(columns, [dict(zip(columns, columns, strict=True))]) + csv_lines(columns, rows)).encode())


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """`rows` as `write_csv` writes them, without a header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


@contextmanager
def growing(path: Path) -> Iterator[Callable[[str], object]]:
    """A function that appends text to what becomes `path`, whole, once all is written; nothing stays of one that fails.

    Raises:
        OutputError: it cannot be written.
    """
    with reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                yield file.write
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.parent)


def write_parquet(path: Path, columns: Mapping[str, object]) -> None:
    """Write equally long arrays as one Parquet file.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    write_bytes(path, parquet_bytes(columns))


def parquet_bytes(columns: Mapping[str, object]) -> bytes:
    """Equally long arrays as the bytes of a Parquet file."""
    import pyarrow as pa  # noqa: PLC0415 - 0.1 s, only where a file is written
    import pyarrow.parquet as pq  # noqa: PLC0415

    arrays = {name: value.array(pa) if isinstance(value, Words) else value for name, value in columns.items()}
    table = pa.table(arrays)
    repeating = [name for name, column in zip(table.column_names, table.columns, strict=True) if _repeats(column, pa)]
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", use_dictionary=repeating)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def rounded(value: object) -> Any:
    """`value` with each float rounded to 12 significant digits.

    Raises:
        ValueError: a float is not finite.
    """
    if isinstance(value, bool) or value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be stored: unknown is null, never NaN")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0
    if isinstance(value, Mapping):
        return {str(k): rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _repeats(column: Any, pa: Any) -> bool:
    """Whether a column is of few texts, by its first ones: a dictionary of numbers or of names that never recur is work for nothing."""
    first = column.slice(0, 1000)
    return bool(pa.types.is_string(column.type) and 2 * len(first.unique()) <= len(first))


def csv_cell(value: object) -> object:
    """One value as it stands in a CSV file."""
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return "" if value is None else value


@lru_cache(maxsize=2**15)
def _number(value: float) -> str:
    """Kept: a grid writes the numbers of its baseline, and zeros, with every policy."""
    return repr(rounded(value))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [k for k, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!a} stands twice")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
