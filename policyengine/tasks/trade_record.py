"""What a trading run leaves: what was done, where the account stands and what it wants next, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from policyengine.allocation.cycle import Cycle
from policyengine.allocation.nav import Mark, PortfolioSnapshot, Valuation, panel_rates, value_portfolio
from policyengine.allocation.shell import project_to_feasible
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant
from policyengine.execution.account import Account
from policyengine.execution.session import Day, Standing
from policyengine.market import PricePanel
from policyengine.records import Arm, Bucket
from policyengine.reporting import trading
from policyengine.rollout.modes import State
from policyengine.rollout.trader import Traded
from policyengine.spec.bind import plain
from policyengine.spec.root import ArmSpec, Spec

NAV_AGREES = 1e-9


class Valuer:
    """Values what is held, from prices as they were quoted."""

    def __init__(self, spec: Spec, quoted: PricePanel, panel: PricePanel) -> None:
        self._universe, self._quoted, self._symbols = spec.universe, quoted, panel.symbols
        self._sessions: list[date] = panel.sessions.astype("datetime64[D]").tolist()
        self._rates = panel_rates(quoted, spec.universe)
        fresh = np.where(quoted.fresh, np.arange(len(self._sessions))[:, None], -1)
        self._seen = np.maximum.accumulate(fresh, axis=0)

    def value(self, t: int, cash: float, positions: Mapping[str, float]) -> Valuation:
        """Holdings at session `t`, at the last known prices.

        Raises:
            DataError: a holding cannot be valued, or only by a price that is too old.
        """
        marks = {}
        for symbol in sorted(set(positions) & set(self._quoted.symbols)):
            i = self._quoted.symbols.index(symbol)
            if self._seen[t, i] >= 0:
                marks[symbol] = Mark(price=float(self._quoted.close[t, i]), priced_at=_closing(self._sessions[int(self._seen[t, i])]))
        snapshot = PortfolioSnapshot(
            cash={self._universe.base_currency: cash},
            positions=positions,
            fx_rates={pair: float(rate[t]) for pair, rate in self._rates.items() if np.isfinite(rate[t])},
            as_of=_closing(self._sessions[t]),
            universe=self._universe,
        )
        return value_portfolio(snapshot, marks)

    def check(self, day: Day, standing: Standing) -> None:
        """Value what is held before anything trades.

        Raises:
            DataError: as `value`.
            BrokenInvariant: it is not worth what the book says.
        """
        quantity = standing.book.quantity[0]
        positions = {symbol: float(q) for symbol, q in zip(self._symbols, quantity, strict=True) if q != 0.0}
        valued = self.value(day.index, float(standing.book.cash[0]), positions)
        nav, worth = float(standing.book.nav(day.price)[0]), valued.nav + sum(flag.amount for flag in valued.flags)
        if abs(worth - nav) > NAV_AGREES * max(1.0, abs(nav)):
            raise BrokenInvariant(f"session {self._sessions[day.index]}: the book is worth {nav}, its holdings {worth}")


def traded_record(one: Traded, session: date, symbols: Sequence[str]) -> dict[str, Any]:
    """One session."""
    rejected = {} if one.done.orders is None else one.done.orders.rejected
    orders = one.done.orders
    return {
        "session": session.isoformat(),
        "state": one.state.value,
        "nav": float(one.standing.nav[0]),
        "interest": float(one.done.interest[0]),
        "traded": float(sum(abs(f.quantity * (f.price or 0.0)) for f in one.fills)),
        "cost": float(sum(f.cost for f in one.fills)),
        "waiting": {
            reason.name.lower(): [symbols[i] for i in np.flatnonzero(names[0]).tolist()]
            for reason, names in rejected.items()
            if names.any()
        },
        "limits_held": orders is None or not bool(orders.breach[0] or orders.held_over[0]),
        "orders": [trading.order_row(fill) for fill in one.fills],
    }


def account_record(spec: Spec, account: Account, cycle: Cycle, valuer: Valuer, t: int, state: State) -> dict[str, Any]:
    """Where the account stands after session `t`, its last, and what it decided there."""
    if account.last_session is None or account.last_payload is None:
        raise BrokenInvariant("no session was closed")
    kept = account.last_payload
    valued = valuer.value(t, account.cash, {symbol: p.quantity for symbol, p in account.positions.items()})
    arm = spec.arm(Arm.CANDIDATE if state is State.LIVE else Arm.BASELINE)
    return {
        "mode": spec.rollout.mode.value,
        "state": state.value,
        "policy": arm.name,
        "policy_hash": kept["policy"],
        "base_currency": spec.universe.base_currency,
        "as_of": account.last_session.isoformat(),
        "nav": valued.nav,
        "cash": account.cash,
        "capital": account.capital,
        "realized_pnl": account.realized_pnl,
        "cost": account.cost,
        "interest": account.interest,
        "haircuts": [plain(flag) for flag in valued.flags],
        "buckets": _buckets(spec, arm, valued),
        "sleeves": _sleeves(arm, cycle, t, kept),
        "targets": _targets(spec, cycle, t, kept, valued),
        **_limits(spec, arm, kept),
    }


def _buckets(spec: Spec, arm: ArmSpec, valued: Valuation) -> list[dict[str, Any]]:
    """What each bucket holds, as a fraction of NAV; safe is all that is not risk, cash included."""
    held = dict.fromkeys(Bucket, 0.0)
    for symbol, value in valued.values.items():
        held[spec.universe.bucket(symbol)] += abs(value) / valued.nav
    held[Bucket.SAFE] = 1.0 - sum(held[bucket] for bucket in Bucket if bucket is not Bucket.SAFE)
    limits = arm.limits
    return [
        {
            "bucket": bucket.value,
            "held_frac": held[bucket],
            "min_frac": limits.buckets[bucket].min_frac if limits.enabled and bucket is Bucket.SAFE else None,
            "max_frac": limits.buckets[bucket].max_frac if limits.enabled and bucket is not Bucket.SAFE else None,
        }
        for bucket in Bucket
    ]


def _sleeves(arm: ArmSpec, cycle: Cycle, t: int, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Budget of each sleeve, and what it allocates; nothing without a signal."""
    spends = {sleeve.value: 0.0 for sleeve in SLEEVES}
    for i, symbol in enumerate(cycle.symbols):
        spends[SLEEVES[int(cycle.charged(t)[i])].value] += abs(kept["allocated"].get(symbol, 0.0))
    budgets = arm.sleeves
    return [
        {
            "sleeve": sleeve.value,
            "base_frac": budgets.of(sleeve).base_nav_frac if budgets.enabled else None,
            "effective_frac": kept["fracs"].get(sleeve.value, 0.0) if budgets.enabled else None,
            "allocated_frac": spends[sleeve.value],
        }
        for sleeve in SLEEVES
    ]


def _targets(spec: Spec, cycle: Cycle, t: int, kept: Mapping[str, Any], valued: Valuation) -> list[dict[str, Any]]:
    """What is held and wanted of each name, as signed fractions of NAV; the desired ones at base confidence and budget."""
    desired = cycle.desired()[0, t]
    rows = []
    for i, symbol in enumerate(cycle.symbols):
        row = {
            "symbol": symbol,
            "bucket": spec.universe.bucket(symbol).value,
            "held_frac": valued.values.get(symbol, 0.0) / valued.nav,
            "desired_frac": float(desired[i]),
            "allocated_frac": kept["allocated"].get(symbol, 0.0),
            "target_frac": kept["weights"].get(symbol, 0.0),
        }
        if any(row[name] for name in ("held_frac", "desired_frac", "allocated_frac", "target_frac")):
            rows.append(row)
    return rows


def _limits(spec: Spec, arm: ArmSpec, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Which limits bind the decision, with their multipliers, and which minima it leaves unmet."""
    hedge_max_frac = arm.sleeves.tail_hedge.max_nav_frac if arm.sleeves.enabled else None
    made = project_to_feasible(kept["allocated"], arm.limits, spec.universe, hedge_max_frac=hedge_max_frac)
    return {
        "l1_drift_frac": made.l1_drift,
        "binding": [plain(limit) for limit in made.binding],
        "unmet": [plain(limit) for limit in made.unmet],
    }


def _closing(day: date) -> datetime:
    """The instant that stands for the close of a session."""
    return datetime.combine(day, time(23, 59), tzinfo=UTC)
