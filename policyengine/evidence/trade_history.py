"""Trade-history evidence: the realised P&L of a ledger, each trade scaled by what the overlay would have made of its size.

The ledger is added up inside the engine; what reaches Python grows with its days, not with its trades.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.sizing import codes_of, size
from policyengine.errors import DataError
from policyengine.evidence.evidence import Evidence, Table
from policyengine.evidence.metrics import ArmSeries, TradeSums
from policyengine.market import ClosingTrades, LedgerSums, Market, PricePanel
from policyengine.records import BUCKETS, Arm, Bucket
from policyengine.spec.root import ArmSpec, PolicySpec, Spec

Floats = NDArray[np.float64]
WEEKDAYS_PER_YEAR, DAYS_PER_YEAR = 261.0, 365.0
IDENTITY_TRADES = 30
"""So many first trades tell one ledger from another: new ones do not change them."""
STORED_TRADES = 100_000
"""Trades that a run's folder holds at most, the newest; a longer ledger would be copied row by row."""
POLICIES_A_PASS = 32
"""Policies whose multipliers part one pass over the ledger into classes, so that its result stays small."""

BY_BUCKET = "regimes and overlays of the sizing are not applied: a ledger does not hold what they read"
CANNOT_SHOW = (
    (
        "trade history scales each trade's realised P&L after the fact; it cannot show what the candidate would have filled, paid, "
        "held or borrowed, nor trades that other sizes would have made or prevented"
    ),
    "positions between trades are unknown: exposure, turnover, costs and limits are not measured, and drawdown sees closed trades only",
)


def trade_history_evidence(spec: Spec, market: Market, panel: PricePanel | None) -> Evidence:
    """Both arms over the closing trades of a ledger, of any length.

    The scale of a trade is effective / base confidence under the arm's overlay where the ledger has a base confidence above 0,
    else the overlay's multiplier of its bucket; 1 with the overlay off. Sessions are those of `panel`, or weekdays without
    one, from the first trade to the last; a trade between sessions counts on the next.

    Raises:
        DataError: there is no closing trade, or a confidence is outside [0, 1].
    """
    policies = [spec.policy(arm) for arm in Arm]
    sums = market.ledger_sums(_multipliers(policies))
    if sums.day.size == 0:
        raise DataError("trades", "holds no closing trade: no row with realized_pnl that is not synthetic or diagnostic")
    baseline, candidate = (_series(spec, sums, panel, spec.arm(arm).name, policy) for arm, policy in zip(Arm, policies, strict=True))
    closed, known, named = (int(counts.sum()) for counts in (sums.closed, sums.known, sums.named))
    audited = named / closed if named else None
    stored = _newest(market, sums)
    return Evidence(
        kind="trade_history",
        source_key=_source_key(_oldest(market, sums)),
        baseline=baseline,
        candidate=candidate,
        breaches=None,
        audited_frac=(audited, audited),
        notes=_notes(spec, stored.trade_id.size, closed),
        tables={"trades": _trade_table(spec, stored), "ledger": _ledger_table(baseline, candidate)},
        counts={"closing_trades": closed, "scaled_by_confidence": known, "scaled_by_bucket": closed - known},
    )


def trial_returns(spec: Spec, market: Market, panel: PricePanel | None, policies: Sequence[PolicySpec]) -> Floats:
    """Returns (T, A) of those of K stored `policies` that read the ledger by the same SELECTs, in their order.

    All of them come from one pass over the ledger, more than 32 from one for each 32.
    """
    alike = [policy for policy in policies if dict(policy.selects) == dict(spec.source.views)]
    columns = []
    for first in range(0, len(alike), POLICIES_A_PASS):
        some = alike[first : first + POLICIES_A_PASS]
        sums = market.ledger_sums(_multipliers(some))
        columns += [_series(spec, sums, panel, "trial", policy).excess_returns() for policy in some]
    return np.stack(columns, axis=1) if columns else np.empty((0, 0))


def scales(arm: PolicySpec | ArmSpec, base: Floats, buckets: list[Bucket]) -> Floats:
    """Size of each trade under `arm` relative to the ledger's, (K,); by bucket alone, a ledger does not hold what the overlays read."""
    if not arm.sizing.enabled:
        return np.ones(base.size)
    known = base > 0.0
    by_bucket_alone = replace(arm.sizing, regimes={}, overlays={})
    sized = size(by_bucket_alone, np.where(known, base, 0.5), buckets=codes_of(buckets), regimes=[None] * base.size, features={})
    by_bucket = np.array([arm.sizing.multipliers[bucket] for bucket in buckets])
    return np.where(known, sized.effective / np.where(known, base, 1.0), by_bucket)


def scaled_sums(arm: PolicySpec | ArmSpec, sums: LedgerSums) -> LedgerSums:
    """`sums` as they are under `arm`: what `scales` makes of each trade, added up.

    A multiplier m scales a trade by m, or by 1 / base confidence where m takes the base confidence above 1; all trades of one class
    are the one or the other, so the sums are scaled instead.
    """
    if not arm.sizing.enabled:
        return sums
    by_trade = np.array([arm.sizing.multipliers[Bucket(bucket)] for bucket in sums.bucket.tolist()])
    rising = np.array(sums.multipliers)
    clips = (by_trade > 1.0) & (rising.size - np.searchsorted(rising, by_trade) <= sums.clipped)
    kept = by_trade > 0.0
    return replace(
        sums,
        won=np.where(kept, sums.won, 0),
        lost=np.where(kept, sums.lost, 0),
        profit=np.where(clips, sums.profit_over_base, by_trade * sums.profit),
        loss=np.where(clips, sums.loss_over_base, by_trade * sums.loss),
    )


def _multipliers(policies: Sequence[PolicySpec]) -> set[float]:
    return {multiplier for policy in policies if policy.sizing.enabled for multiplier in policy.sizing.multipliers.values()}


def _series(spec: Spec, sums: LedgerSums, panel: PricePanel | None, name: str, policy: PolicySpec) -> ArmSeries:
    """The ledger under `policy`."""
    sessions = _sessions(sums.day[0], sums.day[-1], panel)
    of = scaled_sums(policy, sums)
    bucket = codes_of(map(Bucket, of.bucket.tolist()))
    cell = np.searchsorted(sessions, of.day) * len(BUCKETS) + bucket
    shape = (sessions.size, len(BUCKETS))

    def added(values: NDArray[np.int64] | Floats) -> Floats:
        summed: Floats = np.bincount(cell, weights=values, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
        return summed

    trades = TradeSums(
        closed=added(of.closed).astype(np.int64),
        won=added(of.won).astype(np.int64),
        lost=added(of.lost).astype(np.int64),
        profit=added(of.profit),
        loss=added(of.loss),
    )
    return ArmSeries(
        name=name,
        sessions=sessions,
        nav=_nav(spec, sessions, trades),
        capital=spec.evidence.capital,
        rate=np.zeros(sessions.size),
        periods_per_year=WEEKDAYS_PER_YEAR if panel is None else float(panel.periods_per_year),
        trades=trades,
    )


def _nav(spec: Spec, sessions: NDArray[np.datetime64], trades: TradeSums) -> Floats:
    capital = spec.evidence.capital
    nav: Floats = np.add(capital, np.cumsum(trades.realized().sum(axis=1)), dtype=np.float64)
    if float(nav.min()) <= 0.0:
        lost = f"{capital:,.2f} is lost by {sessions[int(nav.argmin())]}"
        raise DataError("evidence.initial_capital", f"{lost}; the ledger needs more capital")
    return nav


def _oldest(market: Market, sums: LedgerSums) -> ClosingTrades:
    """The first trades of all, looked for on the first days only."""
    enough = int(np.searchsorted(np.cumsum(sums.closed), IDENTITY_TRADES))
    last = sums.day[min(enough, sums.day.size - 1)]
    return market.closing_trades(_date(sums.day[0]), _date(last), count=IDENTITY_TRADES)


def _newest(market: Market, sums: LedgerSums) -> ClosingTrades:
    """The last trades of all, looked for on the last days only."""
    enough = int(np.searchsorted(np.cumsum(sums.closed[::-1]), STORED_TRADES))
    first = sums.day[::-1][min(enough, sums.day.size - 1)]
    return market.closing_trades(_date(first), _date(sums.day[-1]), count=STORED_TRADES, newest=True)


def _notes(spec: Spec, stored: int, closed: int) -> tuple[str, ...]:
    by_bucket = (BY_BUCKET,) if spec.candidate.sizing.regimes or spec.candidate.sizing.overlays else ()
    part = f"trades.parquet holds the last {stored:,} of {closed:,} closing trades; ledger.parquet adds up all of them by session"
    return (*CANNOT_SHOW, *by_bucket, *((part,) if stored < closed else ()))


def _trade_table(spec: Spec, trades: ClosingTrades) -> Table:
    buckets = [Bucket(name) for name in trades.bucket.tolist()]
    return {
        "trade_id": list(trades.trade_id),
        "symbol": list(trades.symbol),
        "bucket": [bucket.value for bucket in buckets],
        "traded_at": trades.traded_at,
        **{f"{arm}_realized_pnl": trades.realized_pnl * scales(spec.policy(arm), trades.base_confidence, buckets) for arm in Arm},
    }


def _ledger_table(baseline: ArmSeries, candidate: ArmSeries) -> Table:
    """Every session: how many trades closed, and of each arm the NAV and the realised P&L by bucket."""
    columns: dict[str, object] = {
        "session": baseline.sessions.astype("datetime64[s]"),
        "closing_trades": baseline.trades.closed.sum(axis=1),
    }
    for arm, series in zip(Arm, (baseline, candidate), strict=True):
        realized = series.trades.realized()
        columns[f"{arm}_nav"] = series.nav
        columns |= {f"{arm}_{bucket}_realized_pnl": realized[:, i] for i, bucket in enumerate(BUCKETS)}
    return columns


def _source_key(first: ClosingTrades) -> str:
    """SHA-256 over the first trades: date, symbol and P&L."""
    days = first.traded_at.astype("datetime64[D]").astype(str).tolist()
    rows = zip(days, first.symbol.tolist(), first.realized_pnl.tolist(), strict=True)
    return hashlib.sha256("|".join(f"{day} {symbol} {pnl:.6g}" for day, symbol, pnl in rows).encode()).hexdigest()


def _sessions(first: np.datetime64, last: np.datetime64, panel: PricePanel | None) -> NDArray[np.datetime64]:
    """Sessions from the first trade to the first one on or after the last: the panel's, and weekdays (or every day) where it has none."""
    calendar = np.arange(first, last + np.timedelta64(7, "D"))
    if panel is None or panel.periods_per_year < DAYS_PER_YEAR:
        calendar = calendar[np.is_busday(calendar)]
    if panel is not None:
        priced = panel.sessions.astype("datetime64[D]")
        calendar = np.union1d(priced, calendar[(calendar < priced[0]) | (calendar > priced[-1])])
    inside = calendar[(calendar >= first) & (calendar < last)]
    return np.concatenate([inside, calendar[calendar >= last][:1]])


def _date(day: np.datetime64) -> date:
    value: date = day.astype("datetime64[D]").item()
    return value
