"""What a trading run leaves: what was done, where the account stands and what it wants next, as plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints, constraints
from policyengine.allocation.cycle import Cycle
from policyengine.allocation.nav import Mark, PortfolioSnapshot, Valuation, panel_rates, value_portfolio
from policyengine.allocation.scaler import Scaling, annual_vol, drawdown, risk_factors
from policyengine.allocation.shell import project_to_feasible
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant
from policyengine.execution.account import Account
from policyengine.execution.paper import risk_of
from policyengine.execution.session import Day, Standing
from policyengine.market import PricePanel
from policyengine.records import Arm, Bucket, Sleeve
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


def traded_record(one: Traded, session: date, symbols: Sequence[str], followed: Callable[[int, str], str | None]) -> dict[str, Any]:
    """One session; `followed` tells which signal an instrument follows at a session, by their index and symbol."""
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
        "orders": [trading.order_row(fill, followed(one.day.index, fill.order.symbol)) for fill in one.fills],
    }


def account_record(
    spec: Spec, account: Account, cycle: Cycle, valuer: Valuer, t: int, state: State, *, scaling: Scaling | None, periods_per_year: float
) -> dict[str, Any]:
    """Where the account stands after session `t`, its last, and what it decided there; `scaling` is that of what acts."""
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
        **_held(spec, state, valued),
        "sleeves": _sleeves(arm, cycle, t, kept, _scales(kept, scaling, periods_per_year)),
        "targets": _targets(spec, cycle, t, kept, valued),
        **_limits(spec, arm, kept),
    }


def _held(spec: Spec, state: State, valued: Valuation) -> dict[str, Any]:
    """What each bucket holds against the limits in force, and all that is risk; safe is what is not risk, cash included."""
    symbols = sorted(valued.values)
    share = np.array([valued.values[symbol] / valued.nav for symbol in symbols])
    within = [_counted(spec, arm, symbols, share) for arm in _in_force(state)]
    rows = dict(zip(within[0].names, within[0].groups @ np.abs(share), strict=True))
    caps = {name: min(float(one.group_upper[i]) for one in within) for i, name in enumerate(within[0].names)}
    # Where both bound all that is not safe, only the tighter of floor and risk maximum has a row; its members are the same.
    not_safe, risk = float(rows.get("safe_min", rows.get("risk_max", 0.0))), float(rows.get("risk_max", rows.get("safe_min", 0.0)))
    limits = [spec.arm(arm).limits for arm in _in_force(state) if spec.arm(arm).limits.enabled]
    floor = max((one.buckets[Bucket.SAFE].min_frac for one in limits), default=None)
    most = min((one.risk_max_frac for one in limits if one.risk_max_frac is not None), default=None)
    lines = []
    for bucket in Bucket:
        of = [float(w) for s, w in zip(symbols, share, strict=True) if spec.universe.bucket(s) is bucket]
        safe = bucket is Bucket.SAFE
        cap = None if safe or not limits else caps[f"bucket {bucket}"]
        left = None if cap is None else cap - float(rows[f"bucket {bucket}"])
        lines.append(
            {
                "bucket": bucket.value,
                "held_frac": 1.0 - not_safe if safe else math.fsum(map(abs, of)),
                "net_frac": math.fsum(of),
                "min_frac": floor if safe else None,
                "max_frac": cap,
                "headroom_frac": 1.0 - not_safe - floor if safe and floor is not None else left,
            }
        )
    return {
        "buckets": lines,
        "risk": {"held_frac": risk, "max_frac": most, "headroom_frac": None if most is None else most - risk},
        "cash_frac": math.fsum(valued.cash.values()) / valued.nav,
    }


def _in_force(state: State) -> tuple[Arm, ...]:
    """Whose limits hold: a canary stays within those of both arms."""
    if state is State.CANARY:
        return tuple(Arm)
    return (Arm.CANDIDATE,) if state is State.LIVE else (Arm.BASELINE,)


def _counted(spec: Spec, arm: Arm, symbols: Sequence[str], share: NDArray[np.float64]) -> Constraints:
    """The limits of `arm` over what is held, as the shell counts: hedges apart, what is sold short never safe."""
    of = spec.arm(arm)
    hedge_max_frac = of.sleeves.tail_hedge.max_nav_frac if of.sleeves.enabled else None
    return constraints(of.limits, spec.universe, symbols, hedge_max_frac=hedge_max_frac, short=(share < 0.0).tolist())


def _sleeves(
    arm: ArmSpec, cycle: Cycle, t: int, kept: Mapping[str, Any], scales: Mapping[Sleeve, Mapping[str, float | None]]
) -> list[dict[str, Any]]:
    """Budget of each sleeve with its risk scale, and what it allocates; nothing without a signal."""
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
            **scales[sleeve],
        }
        for sleeve in SLEEVES
    ]


def _scales(kept: Mapping[str, Any], scaling: Scaling | None, periods_per_year: float) -> dict[Sleeve, dict[str, float | None]]:
    """The factor on each sleeve's budget and what it was made from; 1 and None where a sleeve is not scaled."""
    names = ("scale", "realised_vol", "target_vol", "drawdown", "max_drawdown")
    risk = None if scaling is None else risk_of(kept)
    if scaling is None or risk is None:
        return {sleeve: {**dict.fromkeys(names, None), "scale": 1.0} for sleeve in SLEEVES}
    parts = (
        risk_factors(risk, scaling, periods_per_year),
        annual_vol(risk, scaling, periods_per_year),
        scaling.target_vol,
        drawdown(risk),
        scaling.max_drawdown,
    )
    found: dict[Sleeve, dict[str, float | None]] = {}
    for i, sleeve in enumerate(SLEEVES):
        values = {name: float(part[0, i]) for name, part in zip(names, parts, strict=True)}
        listed = bool(scaling.listed[0, i])
        found[sleeve] = {n: v if np.isfinite(v) and (listed or n == "scale") else None for n, v in values.items()}
    return found


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
