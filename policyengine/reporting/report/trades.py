"""All trades of a run as one CSV file that no spreadsheet runs anything from."""

from __future__ import annotations

from typing import Any

from policyengine.reporting.payload import TRADE_NUMBERS, TRADE_TEXTS
from policyengine.reporting.stored import Column, Table
from policyengine.reporting.text import csv_text

PLAIN = "^[A-Za-z0-9_][ -~]*$"
"""A text that `csv_text` leaves as it is; most are, and Arrow tells so at once."""


def trades_csv(trades: Table) -> bytes:
    """`trades` with the columns that are stored, texts made harmless, an unknown number as an empty cell."""
    import pyarrow as pa  # noqa: PLC0415 - 0.1 s, only where a file is written
    from pyarrow import csv  # noqa: PLC0415

    columns = {name: _harmless(trades[name]) for name in TRADE_TEXTS if name in trades}
    columns |= {name: pa.array(trades[name] + 0.0, from_pandas=True) for name in TRADE_NUMBERS if name in trades}
    buffer = pa.BufferOutputStream()
    csv.write_csv(pa.table(columns), buffer, csv.WriteOptions(quoting_style="needed"))
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _harmless(texts: Column) -> Any:
    """An Arrow column of texts; instants in ISO 8601, UTC as everywhere."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    column = pa.array(texts if texts.dtype == object else texts.astype(str).tolist(), pa.string())
    if pc.all(pc.match_substring_regex(column, PLAIN), min_count=0).as_py():
        return column
    return pa.array([None if text is None else csv_text(text) for text in column.to_pylist()], pa.string())
