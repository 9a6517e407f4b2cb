"""A fingerprint of canonical content that does not depend on file format, compression, row order or batch size."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from policyengine.market.columns import KEYS, VIEWS, Kind
from policyengine.market.engine import CANONICAL, Engine

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 100_000


def digest_views(engine: Engine, given: Mapping[str, Collection[str]], origin: str) -> str:
    """Sha256, in hex, over the views `given`, by name, each with the columns that its SELECT gives.

    Rows are sorted by key, then by every other column, so that rows with equal keys have an order too. Each column is hashed by
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
    keys = KEYS[view]
    order = (*keys, *(c.name for c in columns if c.name not in keys))
    values = ", ".join(f"epoch_us({c.name}) AS {c.name}" if c.kind is Kind.INSTANT else f"{view}.{c.name}" for c in columns)
    by = ", ".join(f"{view}.{name}" for name in order)
    sql = f"SELECT {values} FROM {CANONICAL}.{view} AS {view} ORDER BY {by}"
    hashers = {c.name: [hashlib.sha256() for _ in range(3)] for c in columns}
    present = dict.fromkeys(hashers, 0)
    rows = 0
    for batch in engine.batches(sql, place=place, rows=_BATCH_ROWS):
        rows += batch.num_rows
        for name, parts in hashers.items():
            array = batch.column(name)
            present[name] += len(array) - array.null_count
            for hasher, data in zip(parts, _bytes(array), strict=False):
                hasher.update(data)
    return [(name, rows, "".join(p.hexdigest() for p in parts)) for name, parts in hashers.items() if present[name]]


def _bytes(array: pa.Array) -> tuple[bytes, ...]:
    """Validity, then values; of texts lengths and characters. The same however the column was cut into batches."""
    import pyarrow as pa  # noqa: PLC0415 - pandas brings it anyway, but not before a source is read
    import pyarrow.compute as pc  # noqa: PLC0415

    valid = array.is_valid().to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_string(array.type):
        filled = array.fill_null("").cast(pa.large_string())
        lengths = pc.binary_length(filled).to_numpy().astype("<i8")
        offsets = np.frombuffer(filled.buffers()[1], dtype=np.int64)[filled.offset : filled.offset + len(filled) + 1]
        characters = memoryview(filled.buffers()[2] or b"")[offsets[0] : offsets[-1]]
        return valid, lengths.tobytes(), bytes(characters)
    values = array.fill_null(False if pa.types.is_boolean(array.type) else 0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values + 0.0)
    return valid, values.astype(values.dtype.newbyteorder("<")).tobytes()
