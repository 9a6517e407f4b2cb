"""What is measured of one arm over one span of sessions. Undefined is None, never NaN and never zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policyengine.records import Bucket

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BUCKETS = tuple(Bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSeries:
    """One arm over T sessions and K closing trades; what a kind of evidence cannot know is None.

    `nav` (T,) at each session's close, from `capital` before the first; `rate` (T,) risk-free return over each session.
    `trade_session` (K,) session index, ascending; `trade_pnl` (K,) net realised P&L; `trade_bucket` (K,) index into BUCKETS.
    `cost`, `traded` (T,) money; `requests`, `rejects` (T,) counts, guardrail rejects only; `exposure` (T, len(BUCKETS)) sums of
    absolute fractions of NAV, cash not included. `periods_per_year` is sessions in a year.
    """

    name: str
    sessions: NDArray[np.datetime64]
    nav: Floats
    capital: float
    rate: Floats
    periods_per_year: float
    trade_session: Ints
    trade_pnl: Floats
    trade_bucket: Ints
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
        trades = slice(*np.searchsorted(self.trade_session, [first, last + 1]).tolist())
        part = slice(first, last + 1)
        return ArmSeries(
            name=self.name,
            sessions=self.sessions[part],
            nav=self.nav[part],
            capital=self.capital if first == 0 else float(self.nav[first - 1]),
            rate=self.rate[part],
            periods_per_year=self.periods_per_year,
            trade_session=self.trade_session[trades] - first,
            trade_pnl=self.trade_pnl[trades],
            trade_bucket=self.trade_bucket[trades],
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
    lost = -math.fsum(arm.trade_pnl[arm.trade_pnl < 0.0])
    return math.fsum(arm.trade_pnl[arm.trade_pnl > 0.0]) / lost if lost > 0.0 else None


def _win_rate(arm: ArmSeries) -> float | None:
    return float((arm.trade_pnl > 0.0).sum()) / arm.trade_pnl.size if arm.trade_pnl.size else None


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


def _bucket_pnl(bucket: Bucket) -> Callable[[ArmSeries], float | None]:
    column = BUCKETS.index(bucket)
    return lambda arm: math.fsum(arm.trade_pnl[arm.trade_bucket == column])


METRICS: Mapping[str, Metric] = {
    "total_profit": Metric(unit="base currency", better="higher", compute=_total_profit),
    "total_return_pct": Metric(unit="percent", better="higher", compute=lambda a: 100.0 * (float(a.nav[-1]) / a.capital - 1.0)),
    "annual_volatility": Metric(unit="fraction a year", better="lower", compute=_annual_volatility),
    "sharpe": Metric(unit="annual", better="higher", compute=_sharpe),
    "profit_factor": Metric(unit="ratio", better="higher", compute=_profit_factor),
    "win_rate": Metric(unit="fraction", better="higher", compute=_win_rate),
    "max_drawdown": Metric(unit="fraction", better="lower", compute=lambda a: max_drawdown(a.nav, a.capital)),
    "realized_pnl": Metric(unit="base currency", better="higher", compute=lambda a: math.fsum(a.trade_pnl)),
    "total_trades": Metric(unit="closing trades", better="neither", compute=lambda a: float(a.trade_pnl.size)),
    "winning_trades": Metric(unit="closing trades", better="higher", compute=lambda a: float((a.trade_pnl > 0.0).sum())),
    "losing_trades": Metric(unit="closing trades", better="lower", compute=lambda a: float((a.trade_pnl < 0.0).sum())),
    "trade_dates": Metric(unit="sessions with a closing trade", better="neither", compute=lambda a: float(np.unique(a.trade_session).size)),
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
