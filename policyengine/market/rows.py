"""Signals and trades as columns: one NumPy array for each field, all of one length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.market.border import admit_frame
from policyengine.market.engine import Engine, statement
from policyengine.spec.universe import UniverseSpec

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
"""Python texts, None where absent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalRows:
    """S signals, ordered by (signalled_at, symbol, signal_id).

    `symbols` sorted texts; `code` (S,) index into them. `signalled_at` (S,) datetime64[us], UTC. `direction` (S,) int8: 1 buy,
    -1 sell, 0 hold. `confidence` (S,) in [0, 1], NaN only on a hold. `strength`, `edge_score`, `horizon_days`, `expected_return` and
    `predicted_volatility` over that horizon, and the overlay features `cost_bps`, `gap_frac`, `funding_bps`, `participation_frac`,
    `leverage` (S,) float64, NaN where the source is silent, never infinite. `source`, `regime` (S,) texts or None, as the source
    writes them. `signal_id` (S,) texts, the durable key.
    """

    symbols: tuple[str, ...]
    code: NDArray[np.intp]
    signalled_at: NDArray[np.datetime64]
    direction: NDArray[np.int8]
    confidence: Floats
    strength: Floats
    edge_score: Floats
    horizon_days: Floats
    expected_return: Floats
    predicted_volatility: Floats
    cost_bps: Floats
    gap_frac: Floats
    funding_bps: Floats
    participation_frac: Floats
    leverage: Floats
    source: Texts
    regime: Texts
    signal_id: Texts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClosingTrades:
    """M closing trades, ordered by (traded_at, trade_id): realized_pnl given, not said to be open, neither synthetic nor diagnostic.

    `symbol` (M,) texts. `traded_at` (M,) datetime64[us], UTC; `entry_at` likewise, NaT where absent. `side` (M,) int8 of the closing
    fill: 1 buy, -1 sell. `bucket` (M,) text: the trade's own, else the universe's. `quantity`, `realized_pnl` (M,) float64, finite.
    `price`, `commission`, `base_confidence`, `effective_confidence`, `multiplier`, `entry_price` (M,) float64, NaN where absent.
    `trade_id` (M,) texts; `signal_id`, `run_id` (M,) texts or None.
    """

    trade_id: Texts
    symbol: Texts
    traded_at: NDArray[np.datetime64]
    side: NDArray[np.int8]
    bucket: NDArray[np.str_]
    quantity: Floats
    price: Floats
    realized_pnl: Floats
    commission: Floats
    base_confidence: Floats
    effective_confidence: Floats
    multiplier: Floats
    entry_price: Floats
    entry_at: NDArray[np.datetime64]
    signal_id: Texts
    run_id: Texts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LedgerSums:
    """Closing trades added up by UTC date, bucket and class of base confidence, D rows ordered so.

    `multipliers` rising; `clipped` (D,) int64, the class: how many of them take the base confidence of its trades above 1, 0 where it is
    unknown. `day` (D,) datetime64[D]; `bucket` (D,) text: the trade's own, else the universe's. Counts (D,) int64: `closed` of all
    trades, `won` and `lost` of those with P&L above and below 0, `known` of those with a base confidence above 0, `named` of those that
    name their signal. `profit` and `loss` (D,) float64, both >= 0, in the ledger's currency: what was gained and what was lost;
    `profit_over_base` and `loss_over_base` the same with each P&L divided by its base confidence, 0 in class 0. P&L is added exactly to
    1e-10 before it becomes a float, so that neither threads nor the order of the rows decide.
    """

    multipliers: tuple[float, ...]
    day: NDArray[np.datetime64]
    bucket: NDArray[np.str_]
    clipped: NDArray[np.int64]
    closed: NDArray[np.int64]
    won: NDArray[np.int64]
    lost: NDArray[np.int64]
    known: NDArray[np.int64]
    named: NDArray[np.int64]
    profit: Floats
    loss: Floats
    profit_over_base: Floats
    loss_over_base: Floats


def read_signals(engine: Engine, place: str) -> SignalRows:
    """The signals view; DataError where `schemas.market.SIGNALS` does not hold."""
    table = engine.table(statement("signals"), place=place)
    admit_frame(table, "SIGNALS", place=place)
    return SignalRows(
        symbols=_symbols(engine, "signals", place),
        code=table["code"].to_numpy().astype(np.intp),
        signalled_at=_instants(table, "signalled_at"),
        direction=table["direction"].to_numpy(),
        confidence=_floats(table, "confidence"),
        strength=_floats(table, "strength"),
        edge_score=_floats(table, "edge_score"),
        horizon_days=_floats(table, "horizon_days"),
        expected_return=_floats(table, "expected_return"),
        predicted_volatility=_floats(table, "predicted_volatility"),
        cost_bps=_floats(table, "cost_bps"),
        gap_frac=_floats(table, "gap_frac"),
        funding_bps=_floats(table, "funding_bps"),
        participation_frac=_floats(table, "participation_frac"),
        leverage=_floats(table, "leverage"),
        source=_texts(table, "source"),
        regime=_texts(table, "regime"),
        signal_id=_texts(table, "signal_id"),
    )


def read_closing_trades(
    engine: Engine, place: str, universe: UniverseSpec, *, first: date, last: date, count: int, newest: bool
) -> ClosingTrades:
    """At most `count` closing trades, the oldest or the newest, of the days from `first` to `last`.

    Raises:
        DataError: `schemas.market.CLOSING_TRADES` does not hold.
    """
    order = "DESC" if newest else "ASC"
    days = {"first": first.isoformat(), "last": last.isoformat()}
    table = engine.table(statement("closing_trades").format(order=order, count=count), place=place, parameters=days)
    admit_frame(table, "CLOSING_TRADES", place=place)
    symbol, own = _texts(table, "symbol"), _texts(table, "bucket")
    listed = {name: universe.bucket(name).value for name in set(symbol.tolist())}
    bucket = [listed[name] if of is None else of for name, of in zip(symbol.tolist(), own.tolist(), strict=True)]
    return ClosingTrades(
        symbol=symbol,
        traded_at=_instants(table, "traded_at"),
        entry_at=_instants(table, "entry_at"),
        side=table["side"].to_numpy(),
        bucket=np.array(bucket, dtype=np.str_),
        quantity=_floats(table, "quantity"),
        price=_floats(table, "price"),
        realized_pnl=_floats(table, "realized_pnl"),
        commission=_floats(table, "commission"),
        base_confidence=_floats(table, "base_confidence"),
        effective_confidence=_floats(table, "effective_confidence"),
        multiplier=_floats(table, "multiplier"),
        entry_price=_floats(table, "entry_price"),
        trade_id=_texts(table, "trade_id"),
        signal_id=_texts(table, "signal_id"),
        run_id=_texts(table, "run_id"),
    )


def read_ledger_sums(engine: Engine, place: str, multipliers: Iterable[float]) -> LedgerSums:
    """The closing trades, added up in one pass inside the engine; of `multipliers` those above 1 make the classes.

    Raises:
        DataError: a base confidence lies outside [0, 1], a P&L or a sum is beyond 1e27, or `schemas.market.LEDGER_SUMS` does not hold.
    """
    rising = tuple(sorted({m for m in multipliers if m > 1.0}))
    names = {f"m{i}": m for i, m in enumerate(rising)}
    above = " + ".join(f"CAST(base_confidence * ${name} > 1.0 AS INTEGER)" for name in names) or "0"
    table = engine.table(statement("ledger_sums").format(clipped=above), place=place, parameters=names)
    _refuse_confidences(table, place)
    admit_frame(table, "LEDGER_SUMS", place=place)
    numbers = {name: table[name].to_numpy() for name in ("clipped", "closed", "won", "lost", "known", "named")}
    return LedgerSums(
        multipliers=rising,
        day=table["day"].to_numpy().astype("datetime64[D]"),
        bucket=_texts(table, "bucket").astype(np.str_),
        **numbers,
        profit=_floats(table, "profit"),
        loss=_floats(table, "loss"),
        profit_over_base=_floats(table, "profit_over_base"),
        loss_over_base=_floats(table, "loss_over_base"),
    )


def _refuse_confidences(sums: pa.Table, place: str) -> None:
    """The contract of single trades on the one number that scales them, since no frame of single trades is made."""
    for name, beyond in (("least_base", np.less), ("most_base", np.greater)):
        extreme = _floats(sums, name)
        broken = np.flatnonzero(beyond(extreme, 0.0 if name == "least_base" else 1.0))
        if broken.size:
            raise DataError(place, f"column base_confidence: broken rule 'in_range(0.0, 1.0)'; first: {extreme[broken[0]]:g}")


def _symbols(engine: Engine, view: str, place: str) -> tuple[str, ...]:
    sql = statement("symbols").format(view=view)
    return tuple(row[0] for row in engine.run(sql, place=place))


def _floats(table: pa.Table, name: str) -> Floats:
    column = table[name].to_numpy()
    return np.asarray(column, dtype=np.float64)


def _texts(table: pa.Table, name: str) -> Texts:
    return np.asarray(table[name].to_numpy(), dtype=object)


def _instants(table: pa.Table, name: str) -> NDArray[np.datetime64]:
    microseconds: NDArray[np.int64] = table[name].fill_null(np.iinfo(np.int64).min).to_numpy()  # that one is NaT
    return microseconds.astype("datetime64[us]")
