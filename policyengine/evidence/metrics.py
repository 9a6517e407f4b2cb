"""What is measured of one arm over one span of sessions. Undefined is None, never NaN and never zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from policyengine.records import BUCKETS, Bucket

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeSums:
    """Closing trades added up by session and bucket, (T, len(BUCKETS)) each, so that no measure grows with the number of trades.

    `closed`, `won`, `lost` counts: of all, of those with net realised P&L above 0 and below 0. `profit`, `loss` the sums of what was
    gained and of what was lost, both >= 0.
    """

    closed: Ints
    won: Ints
    lost: Ints
    profit: Floats
    loss: Floats

    @classmethod
    def of_trades(cls, sessions: int, *, session: Ints, bucket: Ints, pnl: Floats) -> TradeSums:
        """K trades over so many `sessions`: `session` (K,) index, `bucket` (K,) index into BUCKETS, `pnl` (K,) net realised P&L, finite.

        P&L is added in the order of the trades.
        """
        shape = (sessions, len(BUCKETS))
        cell = np.asarray(session) * shape[1] + np.asarray(bucket)

        def summed(weights: Floats | None, kept: NDArray[np.bool_]) -> NDArray[Any]:
            inside = cell[kept].astype(np.intp)
            found: NDArray[Any] = np.bincount(inside, None if weights is None else weights[kept], minlength=shape[0] * shape[1])
            return found.reshape(shape)

        gain, fall = pnl > 0.0, pnl < 0.0
        return cls(
            closed=summed(None, np.full(cell.shape, True)),
            won=summed(None, gain),
            lost=summed(None, fall),
            profit=summed(pnl, gain),
            loss=summed(-pnl, fall),
        )

    def between(self, part: slice) -> TradeSums:
        """The sessions in `part`."""
        return TradeSums(closed=self.closed[part], won=self.won[part], lost=self.lost[part], profit=self.profit[part], loss=self.loss[part])

    def realized(self) -> Floats:
        """Net realised P&L, (T, len(BUCKETS))."""
        return self.profit - self.loss


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSeries:
    """One arm over T sessions; what a kind of evidence cannot know is None.

    `nav` (T,) at each session's close, from `capital` before the first; `rate` (T,) risk-free return over each session.
    `trades` its closing trades by session and bucket. `cost`, `traded` (T,) money; `requests`, `rejects` (T,) counts, guardrail rejects
    only; `exposure` (T, len(BUCKETS)) sums of absolute fractions of NAV, cash not included. `periods_per_year` is sessions in a year.
    """

    name: str
    sessions: NDArray[np.datetime64]
    nav: Floats
    capital: float
    rate: Floats
    periods_per_year: float
    trades: TradeSums
    cost: Floats | None = None
    traded: Floats | None = None
    requests: Ints | None = None
    rejects: Ints | None = None
    exposure: Floats | None = None

    def excess_returns(self) -> Floats:
        """Return of each session on the NAV before it, less the risk-free rate, (T,)."""
        before = np.concatenate(([self.capital], self.nav[:-1]))
        returns: Floats = self.nav / before - 1.0 - self.rate
        return returns

    def until(self, end: date) -> ArmSeries:
        """The part up to and including day `end`."""
        return self.between(0, int(np.searchsorted(self.sessions, np.datetime64(end), side="right")) - 1)

    def between(self, first: int, last: int) -> ArmSeries:
        """The part from session index `first` to `last`, both included, opening at the NAV before it."""
        part = slice(first, last + 1)
        return ArmSeries(
            name=self.name,
            sessions=self.sessions[part],
            nav=self.nav[part],
            capital=self.capital if first == 0 else float(self.nav[first - 1]),
            rate=self.rate[part],
            periods_per_year=self.periods_per_year,
            trades=self.trades.between(part),
            cost=None if self.cost is None else self.cost[part],
            traded=None if self.traded is None else self.traded[part],
            requests=None if self.requests is None else self.requests[part],
            rejects=None if self.rejects is None else self.rejects[part],
            exposure=None if self.exposure is None else self.exposure[part],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measure: its unit, which way is better for an arm, and how it is computed."""

    unit: str
    better: Literal["higher", "lower", "neither"]
    compute: Callable[[ArmSeries], float | None]


def max_drawdown(nav: Floats, capital: float) -> float:
    """Largest fall from a running peak, as a positive fraction of the peak; the peak starts at `capital`."""
    peak = np.maximum.accumulate(np.concatenate(([capital], nav)))
    return float((1.0 - nav / peak[1:]).max(initial=0.0))


def _total_profit(arm: ArmSeries) -> float:
    return math.fsum((float(arm.nav[-1]), -arm.capital))


def _annual_volatility(arm: ArmSeries) -> float | None:
    if arm.nav.size < 2:
        return None
    return float(arm.excess_returns().std(ddof=1)) * math.sqrt(arm.periods_per_year)


def _sharpe(arm: ArmSeries) -> float | None:
    volatility = _annual_volatility(arm)
    if volatility is None or volatility <= 1e-9:
        return None
    return float(arm.excess_returns().mean()) * arm.periods_per_year / volatility


def _profit_factor(arm: ArmSeries) -> float | None:
    """Gross profit over gross loss of closing trades; None without a loss."""
    lost = _added(arm.trades.loss)
    return _added(arm.trades.profit) / lost if lost > 0.0 else None


def _win_rate(arm: ArmSeries) -> float | None:
    closed = int(arm.trades.closed.sum())
    return int(arm.trades.won.sum()) / closed if closed else None


def _turnover(arm: ArmSeries) -> float | None:
    return None if arm.traded is None else math.fsum(arm.traded) / float(arm.nav.mean())


def _cost_bps(arm: ArmSeries) -> float | None:
    return None if arm.cost is None else 10_000.0 * math.fsum(arm.cost) / float(arm.nav.mean())


def _reject_rate(arm: ArmSeries) -> float | None:
    if arm.requests is None or arm.rejects is None:
        return None
    requests = int(arm.requests.sum())
    return int(arm.rejects.sum()) / requests if requests else None


def _exposure(bucket: Bucket, statistic: Callable[[Floats], float]) -> Callable[[ArmSeries], float | None]:
    column = BUCKETS.index(bucket)
    return lambda arm: None if arm.exposure is None else float(statistic(arm.exposure[:, column]))


def _realized(profit: Floats, loss: Floats) -> float:
    return _added(profit, -loss)


def _added(*amounts: Floats) -> float:
    """Their exact sum, rounded once; most sessions and buckets add nothing to it."""
    return math.fsum(chain.from_iterable(part[part != 0.0].tolist() for part in amounts))


def _bucket_pnl(bucket: Bucket) -> Callable[[ArmSeries], float | None]:
    column = BUCKETS.index(bucket)
    return lambda arm: _realized(arm.trades.profit[:, column], arm.trades.loss[:, column])


METRICS: Mapping[str, Metric] = {
    "total_profit": Metric(unit="base currency", better="higher", compute=_total_profit),
    "total_return_pct": Metric(unit="percent", better="higher", compute=lambda a: 100.0 * (float(a.nav[-1]) / a.capital - 1.0)),
    "annual_volatility": Metric(unit="fraction a year", better="lower", compute=_annual_volatility),
    "sharpe": Metric(unit="annual", better="higher", compute=_sharpe),
    "profit_factor": Metric(unit="ratio", better="higher", compute=_profit_factor),
    "win_rate": Metric(unit="fraction", better="higher", compute=_win_rate),
    "max_drawdown": Metric(unit="fraction", better="lower", compute=lambda a: max_drawdown(a.nav, a.capital)),
    "realized_pnl": Metric(unit="base currency", better="higher", compute=lambda a: _realized(a.trades.profit, a.trades.loss)),
    "total_trades": Metric(unit="closing trades", better="neither", compute=lambda a: float(a.trades.closed.sum())),
    "winning_trades": Metric(unit="closing trades", better="higher", compute=lambda a: float(a.trades.won.sum())),
    "losing_trades": Metric(unit="closing trades", better="lower", compute=lambda a: float(a.trades.lost.sum())),
    "trade_dates": Metric(
        unit="sessions with a closing trade", better="neither", compute=lambda a: float(a.trades.closed.any(axis=1).sum())
    ),
    "turnover": Metric(unit="multiples of NAV", better="lower", compute=_turnover),
    "cost_bps": Metric(unit="bps of NAV", better="lower", compute=_cost_bps),
    "reject_rate": Metric(unit="fraction of requests", better="lower", compute=_reject_rate),
    **{
        f"exposure_{bucket}_{name}": Metric(unit="fraction of NAV", better="neither", compute=_exposure(bucket, statistic))
        for bucket in BUCKETS
        for name, statistic in (("mean", np.mean), ("min", np.min), ("max", np.max))
    },
    **{f"realized_pnl_{bucket}": Metric(unit="base currency", better="higher", compute=_bucket_pnl(bucket)) for bucket in BUCKETS},
}


def measure(arm: ArmSeries) -> dict[str, float | None]:
    """Every metric of `arm` over the whole of it, in the order of METRICS.

    Raises:
        ValueError: `arm` holds no session.
    """
    if arm.nav.size == 0:
        raise ValueError("no session to measure")
    return {name: metric.compute(arm) for name, metric in METRICS.items()}
