"""Signals and trades as columns: one NumPy array for each field, all of one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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

    `symbols` sorted texts; `code` (M,) index into them. `traded_at` (M,) datetime64[us], UTC; `entry_at` likewise, NaT where absent.
    `side` (M,) int8 of the closing fill: 1 buy, -1 sell. `bucket` (M,) text: the trade's own, else the universe's. `quantity`,
    `realized_pnl` (M,) float64, finite. `price`, `commission`, `base_confidence`, `effective_confidence`, `multiplier`,
    `entry_price` (M,) float64, NaN where absent. `trade_id` (M,) texts; `signal_id`, `run_id` (M,) texts or None.
    """

    symbols: tuple[str, ...]
    code: NDArray[np.intp]
    trade_id: Texts
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
class DailyTradePnl:
    """Closing trades by UTC date and bucket, D rows ordered by (day, bucket).

    `day` (D,) datetime64[D]; `bucket` (D,) text; counts (D,) int64; `gross_profit`, `gross_loss` (a positive number) and
    `realized_pnl` (D,) float64 in the ledger's currency, added exactly to 1e-10 before they become floats.
    """

    day: NDArray[np.datetime64]
    bucket: NDArray[np.str_]
    trades: NDArray[np.int64]
    losing_trades: NDArray[np.int64]
    zero_trades: NDArray[np.int64]
    gross_profit: Floats
    gross_loss: Floats
    realized_pnl: Floats


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


def read_closing_trades(engine: Engine, place: str, universe: UniverseSpec) -> ClosingTrades:
    """The closing trades; DataError where `schemas.market.CLOSING_TRADES` does not hold."""
    table = engine.table(statement("closing_trades"), place=place)
    admit_frame(table, "CLOSING_TRADES", place=place)
    symbols = _symbols(engine, "closing_trades", place)
    code = table["code"].to_numpy().astype(np.intp)
    listed = np.array([universe.bucket(symbol).value for symbol in symbols], dtype=object)
    own = _texts(table, "bucket")
    return ClosingTrades(
        symbols=symbols,
        code=code,
        traded_at=_instants(table, "traded_at"),
        entry_at=_instants(table, "entry_at"),
        side=table["side"].to_numpy(),
        bucket=np.where(own == None, listed[code], own).astype(np.str_),  # noqa: E711 - elementwise
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


def read_daily_pnl(engine: Engine, place: str) -> DailyTradePnl:
    """Closing trades by date and bucket; DataError where `schemas.market.DAILY_TRADE_PNL` does not hold."""
    table = engine.table(statement("daily_trade_pnl"), place=place)
    admit_frame(table, "DAILY_TRADE_PNL", place=place)
    return DailyTradePnl(
        day=table["day"].to_numpy().astype("datetime64[D]"),
        bucket=_texts(table, "bucket").astype(np.str_),
        trades=table["trades"].to_numpy(),
        losing_trades=table["losing_trades"].to_numpy(),
        zero_trades=table["zero_trades"].to_numpy(),
        gross_profit=_floats(table, "gross_profit"),
        gross_loss=_floats(table, "gross_loss"),
        realized_pnl=_floats(table, "realized_pnl"),
    )


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
