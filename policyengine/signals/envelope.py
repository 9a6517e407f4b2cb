"""Keeping what was signalled: one Parquet segment for each run, written whole, never written again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from policyengine.errors import DataError, OutputError
from policyengine.store import Words, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

SIGNALS, VALIDATION = "signals", "validation"
"""The folders of the segments, in the state folder."""
Contract = Literal["ENVELOPE", "VALIDATION"]
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def append(folder: Path, run_id: str, columns: Mapping[str, object], contract: Contract = "ENVELOPE") -> Path:
    """Write the rows of run `run_id` as a segment of its own in `folder`; returns its path. No rows make an empty segment.

    `columns` are equally long: NumPy arrays, lists or `Words`, one for each column that `contract` of `schemas.signals` names but for
    `run_id`. Instants without a zone are UTC. NaN and None are absent, and are stored as null.

    Raises:
        DataError: `run_id` is no plain name, or a rule of the contract does not hold; nothing was written.
        OutputError: the run has its segment already, or it cannot be written.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise DataError(str(folder), f"run_id {run_id!r} is not a name of letters, digits, '-' and '_', at most 64")
    path = folder / f"{run_id}.parquet"
    if path.exists():
        raise OutputError(f"{path}: is there already, and segments are never written again")
    table = _admitted(run_id, columns, contract, str(path))
    write_parquet(path, {name: table[name] for name in table.column_names})
    return path


def _admitted(run_id: str, columns: Mapping[str, object], contract: Contract, place: str) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - with pandera 0.6 s, only where signals are kept

    from schemas import market, signals  # noqa: PLC0415

    schema = getattr(signals, contract)
    missing = [name for name in schema.columns if name not in (*columns, "run_id")]
    foreign = [name for name in columns if name not in schema.columns or name == "run_id"]
    if missing or foreign:
        raise DataError(place, f"columns {', '.join(missing) or 'none'} are missing and {', '.join(foreign) or 'none'} too many")
    try:
        arrays = {name: _array(pa, columns[name], column.dtype) for name, column in schema.columns.items() if name != "run_id"}
        table = pa.table({"run_id": pa.array([run_id] * len(arrays["symbol"]), pa.string()), **arrays})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(place, f"a column is not of its type: {str(error).splitlines()[0]}") from error
    try:
        market.validate(schema, table.to_pandas())
    except market.ContractBroken as error:
        raise DataError(place, str(error)) from error
    return table


def _array(pa: Any, value: object, dtype: object) -> Any:
    """`value` in the Arrow type of a column of `dtype`, None being text; what is no number is null."""
    if isinstance(value, Words):
        return value.array(pa)
    kinds = {"float64": pa.float64(), "int8": pa.int8(), "bool": pa.bool_(), "datetime64[us, UTC]": pa.timestamp("us", tz="UTC")}
    whole = str(dtype) == "int8"  # a list, or from_pandas, would have its fractions cut off
    values = np.asarray(value) if whole else value
    return pa.array(values, pa.string() if dtype is None else kinds[str(dtype)], from_pandas=dtype is not None and not whole)
