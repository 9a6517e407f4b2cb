"""A fingerprint of canonical content that does not depend on file format, compression, row order or batch size."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from policyengine.market.columns import VIEWS, Kind
from policyengine.market.engine import CANONICAL, Engine

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 100_000
ORDER = {"prices": ("symbol", "priced_at"), "signals": ("signal_id",), "trades": ("traded_at", "trade_id")}
"""Canonical order of each view, up to rows that share all of these. Ledgers mostly lie in that of theirs."""


def digest_views(engine: Engine, given: Mapping[str, Collection[str]], origin: str) -> str:
    """Sha256, in hex, over the views `given`, by name, each with the columns that its SELECT gives.

    Rows are taken in the order of ORDER, then of every other column, so that rows with equal keys have an order too. A source that
    lies in that order already is read once, as it lies; another is sorted by the engine, which may spill. Each column is hashed by
    itself: which values are there, then the values (texts: their lengths and their UTF-8 bytes apart; instants: microseconds;
    NaN is one value, -0.0 is 0.0). A column without any value counts as absent.
    """
    whole = hashlib.sha256()
    for view in sorted(given):
        whole.update(f"view {view}\n".encode())
        for name, rows, digest in _columns(engine, view, given[view], f"{origin}, view {view}"):
            whole.update(f"{name} {rows} {digest}\n".encode())
    return whole.hexdigest()


def _columns(engine: Engine, view: str, given: Collection[str], place: str) -> list[tuple[str, int, str]]:
    columns = [column for column in VIEWS[view] if column.name in given]
    keys = ORDER[view]
    rest = tuple(c.name for c in columns if c.name not in keys)
    values = ", ".join(f"epoch_us({c.name}) AS {c.name}" if c.kind is Kind.INSTANT else f"{view}.{c.name}" for c in columns)
    sql = f"SELECT {values} FROM {CANONICAL}.{view} AS {view}"
    # by keys alone is twice as fast as by all, and the same where no two rows share theirs
    for by in ((), keys):
        found = _hashed(engine.batches(sql + _ordered(view, by), place=place, rows=_BATCH_ROWS), [c.name for c in columns], keys)
        if found is not None:
            return found
    found = _hashed(engine.batches(sql + _ordered(view, (*keys, *rest)), place=place, rows=_BATCH_ROWS), [c.name for c in columns], ())
    assert found is not None  # noqa: S101 - without keys nothing is out of order
    return found


def _ordered(view: str, names: Sequence[str]) -> str:
    return f" ORDER BY {', '.join(f'{view}.{name}' for name in names)}" if names else ""


def _hashed(batches: Iterable[pa.RecordBatch], names: Sequence[str], keys: Sequence[str]) -> list[tuple[str, int, str]] | None:
    """Name, rows and digest of each column that holds a value; None as soon as a row does not come after the one before it by `keys`."""
    hashers = {name: [hashlib.sha256() for _ in range(3)] for name in names}
    present = dict.fromkeys(names, 0)
    rows, last = 0, None
    for batch in batches:
        if keys and not _rising(batch.select(keys), last):
            return None
        last = _row(batch, keys, batch.num_rows - 1) if batch.num_rows else last
        rows += batch.num_rows
        for name, parts in hashers.items():
            array = batch.column(name)
            present[name] += len(array) - array.null_count
            for hasher, data in zip(parts, _bytes(array), strict=False):
                hasher.update(data)
    return [(name, rows, "".join(p.hexdigest() for p in parts)) for name, parts in hashers.items() if present[name]]


def _row(batch: pa.RecordBatch, keys: Sequence[str], at: int) -> tuple[Any, ...]:
    return tuple(batch.column(name)[at].as_py() for name in keys)


def _rising(keys: pa.RecordBatch, last: tuple[Any, ...] | None) -> bool:
    """Whether each row of `keys` is above the one before it, the first above `last`; texts by code point, as the engine sorts them."""
    import pyarrow.compute as pc  # noqa: PLC0415

    if keys.num_rows == 0:
        return True
    if last is not None and not last < _row(keys, keys.schema.names, 0):
        return False
    before, after = keys.slice(0, keys.num_rows - 1), keys.slice(1)
    above = None
    for one, other in reversed(list(zip(before.columns, after.columns, strict=True))):
        less = pc.less(one, other)
        above = less if above is None else pc.or_(less, pc.and_(pc.equal(one, other), above))
    return bool(pc.all(above, min_count=0).as_py())


def _bytes(array: pa.Array) -> tuple[bytes | memoryview, ...]:
    """Validity, then values; of texts lengths and characters. The same however the column was cut into batches."""
    import pyarrow as pa  # noqa: PLC0415 - pandas brings it anyway, but not before a source is read
    import pyarrow.compute as pc  # noqa: PLC0415

    valid = array.is_valid().to_numpy(zero_copy_only=False).tobytes() if array.null_count else b"\x01" * len(array)
    if pa.types.is_string(array.type):
        filled = array.fill_null("").cast(pa.large_string())
        lengths = pc.binary_length(filled).to_numpy().astype("<i8")
        offsets = np.frombuffer(filled.buffers()[1], dtype=np.int64)[filled.offset : filled.offset + len(filled) + 1]
        characters = memoryview(filled.buffers()[2] or b"")[offsets[0] : offsets[-1]]
        return valid, memoryview(lengths), characters
    values = array.fill_null(False if pa.types.is_boolean(array.type) else 0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = values + 0.0
        values[np.isnan(values)] = np.nan
    return valid, memoryview(values.astype(values.dtype.newbyteorder("<"), copy=False))
