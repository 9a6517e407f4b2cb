"""From target weights to orders: what trades, how much, and why something does not. For P policies over N instruments at once.

All arrays are (P, N) unless said otherwise; weights are signed fractions of NAV. Sizes are on the absolute price, so that a negative
price keeps the sense of long and short. Reductions come first: whatever a limit needs trades, whatever its size and turnover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.reductions import across, every, some
from policyengine.allocation.shell import project
from policyengine.errors import BrokenInvariant, Ruined
from policyengine.records import TOLERANCE
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Reject(IntEnum):
    """Why a wanted change of weight did not trade, or not in full. The first four are guardrails; a small change waits by design."""

    STALE_PRICE = 0
    NO_PRICE = 1
    BUYING_POWER = 2
    TURNOVER = 3
    BELOW_MINIMUM = 4
    PARTIAL = 5


GUARDRAILS = (Reject.STALE_PRICE, Reject.NO_PRICE, Reject.BUYING_POWER, Reject.TURNOVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """One session's orders.

    `quantity` signed units, 0 where nothing trades; `requested` the names whose changes were wanted, `requests` (P,) how many;
    `rejected` the names that each reason held back; `breach` (P,): a limit stays exceeded although every name that is held can trade;
    `held_over` (P,): one stays exceeded by a name that cannot.
    """

    quantity: Floats
    requested: Bools
    requests: Counts
    rejected: Mapping[Reject, Bools]
    breach: Bools
    held_over: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Weights to trade to, the names that do, and NAV (P,) after costs once they have; `over` (P,) exceed a limit all the same."""

    weights: Floats
    traded: Bools
    value: Floats
    over: Bools
    cut: Bools


class OrderSizer:
    """Sizes the orders of P policies, each under its own limits; the groups of the limits are common to all.

    `lots` (N,) are lot sizes, 0 where any quantity trades. A position is rounded down to whole lots: that exceeds no limit.
    """

    def __init__(self, execution: ExecutionSpec, limits: Sequence[Constraints], lots: Floats) -> None:
        self._execution = execution
        self._upper = np.stack([c.upper for c in limits])
        self._group_upper = np.stack([c.group_upper for c in limits])
        self._groups = limits[0].groups
        self._metrics = [c.metric for c in limits]
        band = np.array([c.drift_band for c in limits])[:, None]
        self._exact = (self._upper + TOLERANCE, self._group_upper + TOLERANCE)
        self._drifted = (self._upper + band + TOLERANCE, self._group_upper + band + TOLERANCE) if band.any() else None
        self._lots = lots if lots.any() else None

    def size(self, quantity: Floats, nav: Floats, weights: Floats, price: Floats, tradable: Bools, priced: Bools) -> Orders:
        """Orders that bring holdings of `quantity`, worth `nav` (P,) with cash, to `weights`.

        Args:
            quantity: signed units held.
            nav: net asset value at `price`, before costs.
            weights: targets within the limits.
            price: (N,) fill prices; where a name has none, any number.
            tradable: (N,) whether a name has a fresh price other than 0.
            priced: (N,) whether it has any price.

        Raises:
            Ruined: a policy has no capital left.
            BrokenInvariant: an order on a name that cannot trade, or past the other side of its target.
        """
        if not every(nav > 0.0):
            raise Ruined(f"NAV fell to {nav.min():,.2f}; a policy without capital cannot trade")
        unit = np.abs(price)
        exposure = quantity * unit
        change = np.abs(weights - exposure / nav[:, None])
        wanted = change > TOLERANCE
        closing = (weights == 0.0) & (quantity != 0.0)
        small = wanted & (change < self._execution.min_trade_frac) & ~closing
        rejected: dict[Reject, Bools] = {}
        all_open = every(tradable)
        if not all_open:
            rejected[Reject.STALE_PRICE] = wanted & ~small & ~tradable & priced
            rejected[Reject.NO_PRICE] = wanted & ~small & ~priced
        weights, held_back = self._within_turnover(exposure / nav[:, None], weights)
        if held_back is not None:
            rejected[Reject.TURNOVER] = held_back & wanted & ~small & tradable
        plan = self._within_limits(nav, exposure, weights, wanted & ~small & tradable, tradable, unit)
        small &= ~plan.traded
        requested = wanted & ~small
        rejected |= {Reject.BUYING_POWER: plan.cut, Reject.BELOW_MINIMUM: small}
        target = np.divide(plan.weights * plan.value[:, None], unit, out=np.zeros(weights.shape), where=plan.traded)
        if self._lots is not None:
            target = _whole_lots(target, self._lots)
        ordered = np.where(plan.traded, target - quantity, 0.0)
        _check(ordered, quantity, weights, tradable)
        stuck = np.zeros(nav.size, dtype=np.bool_) if all_open else (~tradable & (quantity != 0.0)).any(axis=1)
        return Orders(
            quantity=ordered,
            requested=requested,
            requests=requested.sum(axis=1),
            rejected=rejected,
            breach=plan.over & ~stuck,
            held_over=plan.over & stuck,
        )

    def exceeded(self, quantity: Floats, nav: Floats, price: Floats) -> Bools:
        """Policies (P,) whose holdings of `quantity`, worth `nav` (P,) with cash, exceed a limit at `price` (N,)."""
        return self._over(np.abs(quantity * price) / nav[:, None], np.ones(quantity.shape, dtype=np.bool_))

    def _within_turnover(self, before: Floats, weights: Floats) -> tuple[Floats, Bools | None]:
        """Weights whose increases share what the reductions leave of the turnover allowed, and which names that held back."""
        most = self._execution.turnover_max_frac
        if most is None:
            return weights, None
        kept = np.where(before * weights > 0.0, np.sign(weights) * np.minimum(np.abs(before), np.abs(weights)), 0.0)
        grown = np.abs(weights - kept)
        wanted = grown.sum(axis=1)
        left = np.maximum(most - np.abs(before - kept).sum(axis=1), 0.0)
        share = np.minimum(np.divide(left, wanted, out=np.ones_like(left), where=wanted > 0.0), 1.0)[:, None]
        return np.where(share < 1.0, kept + share * (weights - kept), weights), (share < 1.0) & (grown > TOLERANCE)

    def _within_limits(self, nav: Floats, exposure: Floats, weights: Floats, traded: Bools, tradable: Bools, unit: Floats) -> _Plan:
        """Extend what trades until no limit is exceeded after costs.

        First by every reduction, whatever its size; then, where a name that cannot trade takes the room, by bringing the others
        into what it leaves. A policy that trades nothing is left alone while its limits are exceeded by less than the drift band.
        """
        cost_frac = self._execution.cost_frac
        rounding = cost_frac * float((self._lots * unit).sum()) if self._lots is not None else 0.0
        cut = np.zeros(weights.shape, dtype=np.bool_)
        squeezed = np.zeros(nav.size, dtype=np.bool_)
        while True:
            value = value_after_costs(nav, exposure, weights, traded, cost_frac) - rounding
            after = np.where(traded, weights, exposure / value[:, None])
            over = self._over(np.abs(after), traded)
            if not some(over):
                return _Plan(weights=weights, traded=traded, value=value, over=over, cut=cut)
            extended = traded | (over[:, None] & tradable & (np.abs(weights) < np.abs(after)))
            if not some(extended & ~traded):
                rows = np.flatnonzero(over & ~squeezed)
                if rows.size == 0:
                    return _Plan(weights=weights, traded=traded, value=value, over=over, cut=cut)
                weights = weights.copy()
                for p in rows.tolist():
                    weights[p], cut[p] = self._squeeze(p, weights[p], after[p], tradable)
                squeezed[rows] = True
                extended = traded | (squeezed[:, None] & tradable & (np.abs(weights) < np.abs(after)))
            traded = extended

    def _squeeze(self, p: int, weights: Floats, after: Floats, tradable: Bools) -> tuple[Floats, Bools]:
        """Weights (N,) of policy `p` whose tradable names fit beside the others as they stand, and the names (N,) that this cut."""
        fixed = np.where(tradable, 0.0, np.abs(after))
        room = np.maximum(self._group_upper[p] - (fixed * self._groups).sum(axis=1), 0.0)
        groups = np.vstack([self._groups, np.ones_like(fixed)])
        caps = np.append(room, max(1.0 - fixed.sum(), 0.0))
        size = project(np.where(tradable, np.abs(weights), 0.0), self._upper[p], groups, caps, metric=self._metrics[p])
        cut: Bools = tradable & (np.abs(weights) - size > TOLERANCE)
        return np.where(tradable, np.copysign(size, weights), weights), cut

    def _over(self, size: Floats, traded: Bools) -> Bools:
        """Policies (P,) whose absolute exposures exceed a limit or their capital; by more than the band, where nothing trades."""
        group = np.add.reduce(size[:, None, :] * self._groups, axis=2)
        over = _exceeds(size, group, self._exact)
        if self._drifted is not None and some(over):
            over = np.where(traded.any(axis=1), over, _exceeds(size, group, self._drifted))
        return np.asarray(over | (across(size) > 1.0 + TOLERANCE))


def _exceeds(size: Floats, group: Floats, caps: tuple[Floats, Floats]) -> Bools:
    return np.asarray(np.logical_or.reduce(size > caps[0], axis=1) | np.logical_or.reduce(group > caps[1], axis=1))


def value_after_costs(nav: Floats, exposure: Floats, weights: Floats, traded: Bools, cost_frac: float) -> Floats:
    """NAV (P,) once the `traded` names stand at `weights` of it and the costs of getting there are paid.

    Solves V = nav - c sum |w V - h| over the traded names with h the signed exposure before, so that weights hold after
    costs. The equation is linear once the sides of the trades are known; costs turn only the side of a trade as small as they
    are, so that two rounds settle it. Four that do not leave an error below the cost of the smallest trade.
    """
    value = nav
    side = np.sign(weights * value[:, None] - exposure)
    for _ in range(4):
        held = across(np.where(traded, side * exposure, 0.0))
        wanted = across(np.where(traded, side * weights, 0.0))
        value = (nav + cost_frac * held) / (1.0 + cost_frac * wanted)
        settled = np.sign(weights * value[:, None] - exposure)
        if every((settled == side) | ~traded):
            break
        side = settled
    return value


def _whole_lots(target: Floats, lots: Floats) -> Floats:
    """Positions rounded towards zero to whole lots; one a rounding error below a lot keeps it."""
    count = np.divide(np.abs(target), lots, out=np.zeros_like(target), where=lots > 0.0)
    return np.where(lots > 0.0, np.copysign(np.floor(count * (1.0 + 1e-12)) * lots, target), target)


def _check(ordered: Floats, quantity: Floats, weights: Floats, tradable: Bools) -> None:
    """Refuse, before any of them is sent, orders on names without a fresh price or that end on the other side of their target."""
    if not every(np.isfinite(ordered)):
        raise BrokenInvariant("an order is not a finite quantity")
    if not every(tradable) and bool(ordered[:, ~tradable].any()):
        raise BrokenInvariant("an order on a name without a fresh price")
    moved = ordered != 0.0
    after = np.where(moved, quantity + ordered, 0.0)
    if some(after * weights < 0.0):
        raise BrokenInvariant("an order would end on the other side of its target")
