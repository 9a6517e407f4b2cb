"""One request of few instruments: what can bind, in canonical order, to `projection` and back, in plain Python.

Sums run over the instruments of a group in canonical order, one term after the other; `projection_batch` makes the same operations
in the same order, which is why both return the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.feasibility import Bounds
from policyengine.allocation.projection import FIT_STEPS, Accuracy, Curvature, N, Point, Terms, solve
from policyengine.errors import BrokenInvariant

Floats = NDArray[np.float64]
Metric = Literal["proportional", "euclidean"]

SHARP = 1e-13
"""Half of `feasibility.FEASIBLE`."""
DECIMALS = Accuracy(zero=Decimal(0), sharp=Decimal("1e-30"), noise=Decimal("1e-70"), tiny=Decimal("1e-40"))
DECIMAL_DIGITS = 90
REBASES = 3
GRID_BITS = 30


X = TypeVar("X")


class Solved(NamedTuple, Generic[X]):
    """Exposures, the groups that could bind, and half their multipliers."""

    x: X
    over: tuple[int, ...]
    mu: list[float]


@lru_cache(maxsize=64)
def accuracy_of(n: int) -> Accuracy[float]:
    """Float arithmetic over n instruments: a sum of n terms is off by at most about n units in the last place."""
    return Accuracy(zero=0.0, sharp=SHARP, noise=n * math.ulp(1.0), tiny=1e-9)


@dataclass(slots=True)  # Not frozen: that would take as long to make as a group to fit. Nothing writes to it.
class ListTerms(Generic[N]):
    """`projection.Terms` on lists."""

    y: list[N]
    """(n,) q less the multipliers already taken off."""
    d: list[N]
    """(n,) how fast an exposure gives way, > 0 in a group."""
    upper: list[N]
    """(n,) > 0 in a group, may be infinite."""
    members: tuple[list[int], ...]
    """Per group, the instruments with an exposure that it holds, in canonical order."""
    caps: Sequence[N]
    low: list[N]
    accuracy: Accuracy[N]
    start: list[N] | None
    """(n,) exposures where no multiplier is taken off, if they are known."""

    def evaluate(self, mu: list[N]) -> Point[N]:
        """See `Terms`."""
        x = self._exposures(self._taken(mu))
        return Point(mu, x, self._excess(x))

    def sweep(self, mu: list[N], *, backwards: bool) -> Point[N]:
        """See `Terms`."""
        y, d, upper, members, caps, lows, accuracy = self.y, self.d, self.upper, self.members, self.caps, self.low, self.accuracy
        zero, sharp = accuracy.zero, accuracy.sharp
        straight = not backwards and not any(mu)
        mu = list(mu)
        if straight:
            taken = [zero] * len(y)
            x = self._exposures(taken) if self.start is None else list(self.start)
        else:
            taken = self._taken(mu)
            x = self._exposures(taken)
        for k in range(len(mu) - 1, -1, -1) if backwards else range(len(mu)):
            group, cap, low, own = members[k], caps[k], lows[k], mu[k]
            total = zero
            if own == low:
                for i in group:
                    total += x[i]
            else:
                for i in group:
                    z = d[i] * (y[i] - taken[i] + own - low)
                    if z > 0:
                        total += min(z, upper[i])
            if total > cap + sharp * cap:
                mu[k] = _fit([(d[i], y[i] - taken[i] + own, upper[i]) for i in group], cap, low, accuracy)
            else:
                mu[k] = low
            step = mu[k] - own
            if step != 0:
                for i in group:
                    s = taken[i] = taken[i] + step
                    z = d[i] * (y[i] - s)
                    x[i] = zero if z <= 0 else z if z < upper[i] else upper[i]  # noqa: FURB136 - speed
        # From zero upwards the amounts taken are the sums that `evaluate` forms, to the bit.
        return Point(mu, x, self._excess(x)) if straight else self.evaluate(mu)

    def curvature(self, point: Point[N]) -> Curvature[N]:
        """See `Terms`."""
        x, y, d, upper, accuracy = point.x, self.y, self.d, self.upper, self.accuracy
        free = [[i for i in group if 0 < x[i] < upper[i]] for group in self.members]
        held = [frozenset(group) for group in free]
        hessian, slack = [], []
        for j, (group, cap) in enumerate(zip(free, self.caps, strict=True)):
            row = [accuracy.zero] * len(free)
            for k in range(j, len(free)):
                other, total = held[k], accuracy.zero
                for i in group:
                    if i in other:
                        total += d[i]
                row[k] = total
            size = accuracy.zero
            for i in group:
                size += d[i] * abs(y[i])
            hessian.append(row)
            slack.append(accuracy.sharp * cap + accuracy.noise * size)
        return Curvature(hessian, slack)

    def kinks(self, mu: list[N], step: list[N]) -> list[N]:
        """See `Terms`."""
        shares: set[N] = set()
        for y, d, u, taken, rate in zip(self.y, self.d, self.upper, self._taken(mu), self._taken(step), strict=True):
            if rate != 0:
                shares.update(((y - taken) / rate, (y - taken - u / d) / rate))
        return sorted(share for share in shares if 0 < share < 1)

    def rebased(self, base: list[N]) -> ListTerms[N]:
        """See `FloatTerms`."""
        y = [v - s for v, s in zip(self.y, self._taken(base), strict=True)]
        return replace(self, y=y, low=[self.accuracy.zero - b for b in base], start=None)

    def listed(self) -> ListTerms[N]:
        """See `FloatTerms`."""
        return self

    def no_more(self, x: list[N]) -> list[N]:
        """See `FloatTerms`."""
        return [min(v, most) for v, most in zip(x, self._exposures([self.accuracy.zero] * len(x)), strict=True)]

    def _taken(self, mu: list[N]) -> list[N]:
        """(n,) sums of the multipliers of the groups that hold each instrument, in the order of the groups."""
        taken = [self.accuracy.zero] * len(self.y)
        for group, m in zip(self.members, mu, strict=True):
            if m != 0:
                for i in group:
                    taken[i] += m
        return taken

    def _exposures(self, taken: list[N]) -> list[N]:
        zero = self.accuracy.zero
        x = []
        for y, d, u, s in zip(self.y, self.d, self.upper, taken, strict=True):
            z = d * (y - s)
            x.append(zero if z <= 0 else z if z < u else u)  # noqa: FURB136 - a call of min would double the time of the loop
        return x

    def _excess(self, x: list[N]) -> list[N]:
        excess, caps = [], self.caps
        for k, group in enumerate(self.members):
            total = self.accuracy.zero
            for i in group:
                total += x[i]
            excess.append(total - caps[k])
        return excess


def _fit(mine: list[tuple[N, N, N]], cap: N, low: N, accuracy: Accuracy[N]) -> N:
    """The t > low at which the sum of clip(d (a - t), 0, u) over (d, a, u) equals the cap that it passes at `low`.

    Newton's method on a falling piecewise linear function, kept inside a bracket by halving; if that takes too long, the kinks.
    """
    weighted = weight = zero = accuracy.zero
    left = right = low
    for d, a, _ in mine:
        weighted += d * a
        weight += d
        right = a if a > right else right  # noqa: FURB136 - speed
    sharp, noise = accuracy.sharp * cap, accuracy.noise
    t = (weighted - cap) / weight
    if not left < t < right:
        t = (left + right) / 2
    for _ in range(FIT_STEPS):
        total = rate = zero
        for d, a, u in mine:
            z = d * (a - t)
            if z >= u:
                total += u
            elif z > 0:
                total += z
                rate += d
        gap = total - cap
        if abs(gap) * 4 <= sharp + noise * (rate * abs(t)):
            return t if rate > 0 else _least(mine, low, t)
        if gap > 0:
            left = t
        else:
            right = t
        t = t + gap / rate if rate > 0 else right
        if not left < t < right:
            t = (left + right) / 2
    return fit_between_kinks(mine, cap, left, right)


def fit_between_kinks(mine: list[tuple[N, N, N]], cap: N, left: N, right: N) -> N:
    """The same where halving is too slow, because the sum falls in narrow steps: it is straight from kink to kink."""

    def total(t: N) -> N:
        return sum((min(z, u) for z, u in ((d * (a - t), u) for d, a, u in mine) if z > 0), start=cap - cap)

    high, low = total(left), total(right)
    kinks = sorted(v for d, a, u in mine for v in (a, a - u / d) if left < v < right)
    while kinks:
        middle = len(kinks) // 2
        here = total(kinks[middle])
        if here > cap:
            left, high, kinks = kinks[middle], here, kinks[middle + 1 :]
        else:
            right, low, kinks = kinks[middle], here, kinks[:middle]
    return left + (right - left) * ((high - cap) / (high - low)) if high > low else right


def _least(mine: list[tuple[N, N, N]], low: N, t: N) -> N:
    """Where nobody moves: the least multiplier that fits leaves the most room to the other groups."""
    return max(low, max((v for d, a, u in mine for v in (a, a - u / d) if v <= t), default=t))


class FloatTerms(Terms[float], Protocol):
    """Terms in floats that can be restated."""

    def rebased(self, base: list[float]) -> Self:
        """The same request with the multipliers `base` taken off, from where the rest is sought."""

    def listed(self) -> ListTerms[float]:
        """The same as lists."""

    def no_more(self, x: Any) -> Any:
        """Exposures x, none above what the request and the cap of its instrument leave: rounding may have put it there."""


def minimise(terms: FloatTerms) -> tuple[Any, list[float]]:
    """Exposures and multipliers in floats; where rounding blurs them, from multipliers taken off exactly; else in decimals.

    A request far above its caps leaves x = d (q - s) as a small difference of large numbers. So the bulk of the multipliers is
    put on a coarse binary grid, where its sums and q - s are exact, and the solve is repeated for the rest.
    """
    base = mu = [0.0] * len(terms.caps)
    now = terms
    for _ in range(REBASES):
        found = solve(now, mu)
        if found is None:
            break
        point, sharp = found
        if sharp and now is terms:
            return point.x, point.mu
        full = [b + t for b, t in zip(base, point.mu, strict=True)]
        if sharp:
            return terms.no_more(point.x), full
        base = _on_grid(full)
        mu = [t - b for t, b in zip(full, base, strict=True)]
        now = terms.rebased(base)
    return _minimise_in_decimals(terms.listed())


def _on_grid(mu: list[float]) -> list[float]:
    unit = math.ldexp(1.0, math.frexp(max(mu))[1] - GRID_BITS)
    return [round(v / unit) * unit for v in mu]


def _minimise_in_decimals(p: ListTerms[float]) -> tuple[list[float], list[float]]:
    with localcontext(Context(prec=DECIMAL_DIGITS)):
        y, d, upper, caps, low = ([Decimal(v) for v in values] for values in (p.y, p.d, p.upper, p.caps, p.low))
        found = solve(ListTerms(y, d, upper, p.members, caps, low, DECIMALS, None), list(low))
    if found is None:
        raise BrokenInvariant(f"no nearest point found for {len(p.d)} exposures up to {max(p.d)} under {len(p.caps)} group caps")
    point, _ = found
    return p.no_more([float(v) for v in point.x]), [float(v) for v in point.mu]


def solve_row(w: list[float], bounds: Bounds, x: list[float], over: list[int], metric: Metric) -> Solved[Floats]:
    """The nearest point, where the groups `over` are passed by the boxed request `x`; only they can bind, for nothing grows."""
    names = sorted(bounds.order, key=w.__getitem__)
    if not all(x):
        names = [i for i in names if x[i] > 0]
    slots = []
    for k in over:
        held, cap, total = bounds.layout.members[k], bounds.caps[k], 0.0
        group = [i for i in names if i in held]
        for i in group:
            total += x[i]
        slots.append((cap / total, k, cap, group))
    slots.sort()
    _, order, caps, groups = zip(*slots, strict=True)
    ones, low = [1.0] * len(w), [0.0] * len(order)
    y, d = (ones, w) if metric == "proportional" else (w, ones)
    found, mu = minimise(ListTerms(y, d, bounds.upper, groups, caps, low, accuracy_of(len(w)), x))
    return Solved(np.array(found), order, mu)
