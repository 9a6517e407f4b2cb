"""Frames on their way from the engine into Python: each is held to its contract once, as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from policyengine.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Contract = Literal["DAILY_BARS", "SIGNALS", "CLOSING_TRADES", "LEDGER_SUMS"]


def admit_frame(table: pa.Table, contract: Contract, *, place: str) -> None:
    """Hold `table` to a contract of `schemas.market`; DataError at `place` names column, rule, count and first value."""
    from schemas import market  # noqa: PLC0415 - pandera costs 0.45 s, and sources without rows to read never need it

    try:
        market.validate(getattr(market, contract), table.to_pandas())
    except market.ContractBroken as error:
        raise DataError(place, str(error)) from error
