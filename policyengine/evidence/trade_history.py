"""Trade-history evidence: the realised P&L of a ledger, each trade scaled by what the overlay would have made of its size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.sizing import size
from policyengine.errors import DataError
from policyengine.evidence.evidence import Evidence
from policyengine.evidence.metrics import BUCKETS, ArmSeries
from policyengine.market.panel import PricePanel
from policyengine.market.rows import ClosingTrades
from policyengine.records import Arm, Bucket
from policyengine.spec.root import ArmSpec, PolicySpec, Spec

Floats = NDArray[np.float64]
WEEKDAYS_PER_YEAR, DAYS_PER_YEAR = 261.0, 365.0
IDENTITY_TRADES = 30
"""So many first trades tell one ledger from another: new ones do not change them."""

BY_BUCKET = "regimes and overlays of the sizing are not applied: a ledger does not hold what they read"
CANNOT_SHOW = (
    (
        "trade history scales each trade's realised P&L after the fact; it cannot show what the candidate would have filled, paid, "
        "held or borrowed, nor trades that other sizes would have made or prevented"
    ),
    "positions between trades are unknown: exposure, turnover, costs and limits are not measured, and drawdown sees closed trades only",
)


def trade_history_evidence(spec: Spec, trades: ClosingTrades, panel: PricePanel | None) -> Evidence:
    """Both arms over the closing trades of a ledger.

    The scale of a trade is effective / base confidence under the arm's overlay where the ledger has a base confidence above 0,
    else the overlay's multiplier of its bucket; 1 with the overlay off. Sessions are those of `panel`, or weekdays without
    one, from the first trade to the last; a trade between sessions counts on the next.

    Raises:
        DataError: there is no closing trade.
    """
    if trades.realized_pnl.size == 0:
        raise DataError("trades", "holds no closing trade: no row with realized_pnl that is not synthetic or diagnostic")
    buckets = _buckets(trades)
    series = _arms(spec, trades, panel, [(spec.arm(arm).name, spec.policy(arm)) for arm in Arm])
    known = int((trades.base_confidence > 0.0).sum())
    return Evidence(
        kind="trade_history",
        source_key=_source_key(trades),
        baseline=series[0],
        candidate=series[1],
        breaches=None,
        audited_frac=(_audited(trades), _audited(trades)),
        notes=(*CANNOT_SHOW, BY_BUCKET) if spec.candidate.sizing.regimes or spec.candidate.sizing.overlays else CANNOT_SHOW,
        tables={
            "trades": {
                "trade_id": list(trades.trade_id),
                "symbol": [trades.symbols[code] for code in trades.code.tolist()],
                "bucket": [bucket.value for bucket in buckets],
                "traded_at": trades.traded_at,
                "baseline_realized_pnl": series[0].trade_pnl,
                "candidate_realized_pnl": series[1].trade_pnl,
            }
        },
        counts={"closing_trades": len(buckets), "scaled_by_confidence": known, "scaled_by_bucket": len(buckets) - known},
    )


def trial_returns(spec: Spec, trades: ClosingTrades, panel: PricePanel | None, policies: Sequence[PolicySpec]) -> Floats:
    """Returns (T, A) of those of K stored `policies` that read the ledger by the same SELECTs, in their order."""
    alike = [("trial", policy) for policy in policies if dict(policy.selects) == dict(spec.source.views)]
    columns = [arm.excess_returns() for arm in _arms(spec, trades, panel, alike)]
    return np.stack(columns, axis=1) if columns else np.empty((_sessions(_days(trades), panel).size, 0))


def scales(arm: PolicySpec | ArmSpec, base: Floats, buckets: list[Bucket]) -> Floats:
    """Size of each trade under `arm` relative to the ledger's, (K,); by bucket alone, a ledger does not hold what the overlays read."""
    if not arm.sizing.enabled:
        return np.ones(base.size)
    known = base > 0.0
    by_bucket_alone = replace(arm.sizing, regimes={}, overlays={})
    sized = size(by_bucket_alone, np.where(known, base, 0.5), buckets=buckets, regimes=[None] * base.size, features={})
    by_bucket = np.array([arm.sizing.multipliers[bucket] for bucket in buckets])
    return np.where(known, sized.effective / np.where(known, base, 1.0), by_bucket)


def _arms(spec: Spec, trades: ClosingTrades, panel: PricePanel | None, policies: Sequence[tuple[str, PolicySpec]]) -> list[ArmSeries]:
    """The ledger under each named policy."""
    days = _days(trades)
    sessions = _sessions(days, panel)
    session = np.searchsorted(sessions, days)
    buckets = _buckets(trades)
    return [
        ArmSeries(
            name=name,
            sessions=sessions,
            nav=_nav(spec, sessions, session, pnl),
            capital=spec.evidence.capital,
            rate=np.zeros(sessions.size),
            periods_per_year=WEEKDAYS_PER_YEAR if panel is None else float(panel.periods_per_year),
            trade_session=session,
            trade_pnl=pnl,
            trade_bucket=np.array([BUCKETS.index(bucket) for bucket in buckets]),
        )
        for name, policy in policies
        for pnl in [trades.realized_pnl * scales(policy, trades.base_confidence, buckets)]
    ]


def _nav(spec: Spec, sessions: NDArray[np.datetime64], session: NDArray[np.int64], pnl: Floats) -> Floats:
    capital = spec.evidence.capital
    nav: Floats = np.add(capital, np.cumsum(np.bincount(session, weights=pnl, minlength=sessions.size)), dtype=np.float64)
    if float(nav.min()) <= 0.0:
        lost = f"{capital:,.2f} is lost by {sessions[int(nav.argmin())]}"
        raise DataError("evidence.initial_capital", f"{lost}; the ledger needs more capital")
    return nav


def _days(trades: ClosingTrades) -> NDArray[np.datetime64]:
    return trades.traded_at.astype("datetime64[D]")


def _buckets(trades: ClosingTrades) -> list[Bucket]:
    return [Bucket(name) for name in trades.bucket.tolist()]


def _source_key(trades: ClosingTrades) -> str:
    """SHA-256 over the first trades: date, symbol and P&L."""
    first = zip(
        trades.traded_at[:IDENTITY_TRADES].astype("datetime64[D]").astype(str).tolist(),
        trades.code[:IDENTITY_TRADES].tolist(),
        trades.realized_pnl[:IDENTITY_TRADES].tolist(),
        strict=True,
    )
    return hashlib.sha256("|".join(f"{day} {trades.symbols[code]} {pnl:.6g}" for day, code, pnl in first).encode()).hexdigest()


def _sessions(days: NDArray[np.datetime64], panel: PricePanel | None) -> NDArray[np.datetime64]:
    """Sessions from the first trade to the first one on or after the last: the panel's, and weekdays (or every day) where it has none."""
    first, last = days.min(), days.max()
    calendar = np.arange(first, last + np.timedelta64(7, "D"))
    if panel is None or panel.periods_per_year < DAYS_PER_YEAR:
        calendar = calendar[np.is_busday(calendar)]
    if panel is not None:
        priced = panel.sessions.astype("datetime64[D]")
        calendar = np.union1d(priced, calendar[(calendar < priced[0]) | (calendar > priced[-1])])
    inside = calendar[(calendar >= first) & (calendar < last)]
    return np.concatenate([inside, calendar[calendar >= last][:1]])


def _audited(trades: ClosingTrades) -> float | None:
    """Share of trades that name their signal; None where none does, as in a ledger that does not know signals."""
    named = sum(signal is not None for signal in trades.signal_id.tolist())
    return named / trades.signal_id.size if named else None
