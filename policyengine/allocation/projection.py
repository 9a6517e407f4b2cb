"""Nearest point of a box with group caps: a Newton method on the multipliers of the groups.

With q = 1, d = w (proportional) or q = w, d = 1 (euclidean) the minimiser is x_i = clip(d_i (q_i - s_i), 0, u_i), where s_i sums
half the multipliers mu of the groups that hold i (Lagrange duality; Boyd and Vandenberghe, Convex Optimization, 5.5). The dual over
mu >= 0 is concave, with the excess of each group over its cap as its gradient; it is quadratic in pieces, one for each choice of who
is free between his bounds, and has only as many unknowns as groups can bind:

1. a sweep sets each mu_k so that its own group just fits, the others held (exact coordinate ascent: never lowers the dual);
2. Newton steps on the piece found, multipliers that turn negative dropped and solved for again;
3. the residual of the optimality conditions decides; if it stands, sweep in the other direction, from the best ascent so far;
4. after `ROUNDS` of that every step must ascend: a Newton step that overshoots becomes an exact search along its direction up to
   the first multiplier to meet its bound, and two sweeps that creep are followed along their common direction.

Termination: each step of 4 rises to the top of the dual along its direction, and a piece whose own top was reached is not met
again; there are finitely many. What rounding can spoil, `projection_row` repeats from a better base, and at last in decimals.

This module works on groups; instruments are behind `Terms`: lists of floats or decimals in `projection_row`, arrays in
`projection_wide`. `projection_batch` repeats 1 to 3 on many requests at once. NaN never gets here: `shell` refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

N = TypeVar("N", float, Decimal)

ROUNDS = 2
NEWTON_STEPS = 5
SAFE_ROUNDS = 60
SAFE_STEPS = 8
FIT_STEPS = 24
STRETCH = 1024
"""How many times its own length a direction is followed where no multiplier meets its bound on it."""


class Accuracy(NamedTuple, Generic[N]):
    """How near is near, in the arithmetic used."""

    zero: N
    sharp: N
    """Distance of a binding group from its cap, relative to the cap, that counts as met."""
    noise: N
    """Rounding of a sum relative to the sum of its absolute terms."""
    tiny: N
    """Relative pivot below which two groups count as dependent on the instruments that are free."""


class Point(NamedTuple, Generic[N]):
    """A choice of multipliers, and what follows from it."""

    mu: list[N]
    x: Any
    """(n,) exposures, as the terms hold them."""
    excess: list[N]
    """(m,) group sums less caps."""


class Curvature(NamedTuple, Generic[N]):
    """Second order at a point: minus the Hessian (`hessian[j][k]` for k >= j), and the part of an excess that rounding explains."""

    hessian: list[list[N]]
    slack: list[N]


class Terms(Protocol[N]):
    """One request reduced to what can bind: m groups, the tightest first, and n instruments, those of a group in canonical order."""

    @property
    def caps(self) -> Sequence[N]:
        """(m,) > 0 and finite."""

    @property
    def low(self) -> list[N]:
        """(m,) lower bound of each multiplier: 0, or less by what is already taken off."""

    @property
    def accuracy(self) -> Accuracy[N]:
        """Of the arithmetic."""

    def evaluate(self, mu: list[N]) -> Point[N]:
        """The point that belongs to the multipliers."""

    def sweep(self, mu: list[N], *, backwards: bool) -> Point[N]:
        """Fit every group in turn, the tightest first or last."""

    def curvature(self, point: Point[N]) -> Curvature[N]:
        """Second order of the dual at the point."""

    def kinks(self, mu: list[N], step: list[N]) -> list[N]:
        """Shares of `step` from `mu`, between 0 and 1 and ascending, at which an instrument meets or leaves a bound."""


Found = tuple[Point[N], bool]


def solve(p: Terms[N], mu: list[N]) -> Found[N] | None:
    """The minimiser of `p` from `mu` on, and whether it is sharp; None if neither the quick nor the safe rounds got there."""
    for k in range(ROUNDS):
        mu, found = _quick_round(p, mu, backwards=k % 2 == 1)
        if found is not None:
            return found
    trail = [mu]
    for k in range(SAFE_ROUNDS):
        mu, found = _safe_round(p, mu, backwards=(ROUNDS + k) % 2 == 1)
        if found is not None:
            return found
        if k % 2 == 1:
            mu = _ascend(p, p.evaluate(mu), [b - a for a, b in zip(trail[-2], mu, strict=True)]).mu
        trail.append(mu)
    return None


def _quick_round(p: Terms[N], mu: list[N], *, backwards: bool) -> tuple[list[N], Found[N] | None]:
    """A sweep and full Newton steps. Returns the best multipliers that are known to have ascended, and the solution if met."""
    point = p.sweep(mu, backwards=backwards)
    if is_sharp(p, point):
        return point.mu, (point, True)
    best = point.mu
    for _ in range(NEWTON_STEPS):
        curvature = p.curvature(point)
        if _is_met(p, point, curvature.slack):
            return best, (point, False)
        before = point
        point = p.evaluate(newton(p, point, curvature))
        if is_sharp(p, point):
            return best, (point, True)
        fall = _slope(p, point, before.mu, point.mu)
        rise = _slope(p, before, before.mu, point.mu)
        if fall < 0 < rise:
            point = p.evaluate(_shortened(p, before.mu, point.mu, rise, fall))
            if is_sharp(p, point):
                return best, (point, True)
            fall = _slope(p, point, before.mu, point.mu)
        # Concave along the segment and still rising at its end: the end is higher than the start.
        if fall >= 0:
            best = point.mu
    if _is_met(p, point, p.curvature(point).slack):
        return best, (point, False)
    return best, None


def _shortened(p: Terms[N], start: list[N], end: list[N], rise: N, fall: N) -> list[N]:
    """About where the slope, from `rise` at the start to `fall` at the end, is 0; at least a quarter of the way."""
    share = max(rise / (rise - fall), (p.accuracy.zero + 1) / 4)
    return [a + share * (b - a) for a, b in zip(start, end, strict=True)]


def _safe_round(p: Terms[N], mu: list[N], *, backwards: bool) -> tuple[list[N], Found[N] | None]:
    """A sweep and Newton steps that only ever ascend."""
    point = p.sweep(mu, backwards=backwards)
    for _ in range(SAFE_STEPS):
        if is_sharp(p, point):
            return point.mu, (point, True)
        curvature = p.curvature(point)
        if _is_met(p, point, curvature.slack):
            return point.mu, (point, False)
        after = p.evaluate(newton(p, point, curvature))
        slope = _slope(p, after, point.mu, after.mu)
        # Falling at the end: too far. Hardly less steep at the end: a long way still to go, along what no free instrument resists.
        if slope < 0 or slope * 2 > _slope(p, point, point.mu, after.mu):
            further = _ascend(p, point, _direction(p, point, curvature))
            if further is not point:
                after = further
            elif slope < 0:
                break
        point = after
    return point.mu, None


def is_sharp(p: Terms[N], point: Point[N]) -> bool:
    """Whether no cap is passed and every group with a multiplier is at its cap, to `sharp` of the cap."""
    sharp, caps, mu, low = p.accuracy.sharp, p.caps, point.mu, p.low
    for k, excess in enumerate(point.excess):
        most = sharp * caps[k]
        if not excess <= most or (excess < -most and mu[k] > low[k]):
            return False
    return True


def _is_met(p: Terms[N], point: Point[N], slack: list[N]) -> bool:
    for excess, most, mu, low in zip(point.excess, slack, point.mu, p.low, strict=True):
        if not excess <= most or (mu > low and excess < -most):
            return False
    return True


def _slope(p: Terms[N], at: Point[N], start: list[N], end: list[N]) -> N:
    """Directional derivative of the dual at `at`, from `start` towards `end`."""
    total = p.accuracy.zero
    for excess, a, b in zip(at.excess, start, end, strict=True):
        total += excess * (b - a)
    return total


def newton(p: Terms[N], point: Point[N], curvature: Curvature[N]) -> list[N]:
    """Maximiser of the quadratic piece at `point` over the multipliers in play; those that turn negative are dropped, and again."""
    mu, low, excess, h = point.mu, p.low, point.excess, curvature.hessian
    playing = _in_play(p, point, curvature)
    dropped: list[int] = []
    while True:
        right = []
        for j in playing:
            b = excess[j]
            for k in dropped:
                b += (h[j][k] if k > j else h[k][j]) * (mu[k] - low[k])
            right.append(b)
        step = _eliminate(p.accuracy, [[h[j][k] for k in playing] for j in playing], right, [curvature.slack[j] for j in playing])
        negative = [j for j, by in zip(playing, step, strict=True) if mu[j] + by < low[j]]
        if not negative:
            break
        dropped = sorted(dropped + negative)
        playing = [j for j in playing if j not in negative]
    after = list(low)
    for j, by in zip(playing, step, strict=True):
        after[j] = mu[j] + by
    return after


def _in_play(p: Terms[N], point: Point[N], curvature: Curvature[N]) -> list[int]:
    """Groups that are passed, or have a multiplier that could be lowered."""
    return [j for j, m in enumerate(point.mu) if m > p.low[j] or point.excess[j] > curvature.slack[j]]


def _eliminate(accuracy: Accuracy[N], h: list[list[N]], b: list[N], slack: list[N]) -> list[N]:
    """Solve h step = b for symmetric `h` (upper triangle; both are overwritten).

    A row that depends on those before it on the free instruments is left out where its excess is rounding; otherwise its pivot is
    raised to `tiny`, which makes the step long in the direction that no free instrument resists.
    """
    m = len(b)
    diagonal = [h[j][j] for j in range(m)]
    kept = []
    for j in range(m):
        row = h[j]
        floor = accuracy.tiny * diagonal[j]
        if row[j] <= floor:
            if diagonal[j] == 0 or abs(b[j]) <= slack[j]:
                continue
            row[j] = floor
        kept.append(j)
        for k in range(j + 1, m):
            factor = row[k] / row[j]
            b[k] -= factor * b[j]
            lower = h[k]
            for c in range(k, m):
                lower[c] -= factor * row[c]
    step = [accuracy.zero] * m
    for j in reversed(kept):
        total = b[j]
        for c in range(j + 1, m):
            total -= h[j][c] * step[c]
        step[j] = total / h[j][j]
    return step


def _direction(p: Terms[N], point: Point[N], curvature: Curvature[N]) -> list[N]:
    """The plain Newton step of the multipliers in play, bounds left aside."""
    h, playing = curvature.hessian, _in_play(p, point, curvature)
    right, slack = [point.excess[j] for j in playing], [curvature.slack[j] for j in playing]
    full = [p.accuracy.zero] * len(p.caps)
    for j, by in zip(playing, _eliminate(p.accuracy, [[h[j][k] for k in playing] for j in playing], right, slack), strict=True):
        full[j] = by
    return full


def _ascend(p: Terms[N], point: Point[N], step: list[N]) -> Point[N]:
    """As far along `step` as the dual rises and every multiplier stays at or above its bound; `point` itself if it does not rise."""
    step = [by if by > 0 or m > low else p.accuracy.zero for m, low, by in zip(point.mu, p.low, step, strict=True)]
    room = [(m - low) / -by for m, low, by in zip(point.mu, p.low, step, strict=True) if by < 0]
    share = min(room) if room else p.accuracy.zero + STRETCH
    end = [low if by < 0 and (m - low) <= share * -by else m + share * by for m, low, by in zip(point.mu, p.low, step, strict=True)]
    return _search(p, point, end) if _slope(p, point, point.mu, end) > 0 else point


def _search(p: Terms[N], start: Point[N], end: list[N]) -> Point[N]:
    """The top of the dual between `start` and `end`, exactly: the slope falls in straight pieces between the kinks on the way."""
    step = [b - a for a, b in zip(start.mu, end, strict=True)]
    point = p.evaluate(end)
    fall = _slope(p, point, start.mu, end)
    if fall >= 0:
        return point
    left, right, rise = p.accuracy.zero, p.accuracy.zero + 1, _slope(p, start, start.mu, end)
    kinks = p.kinks(start.mu, step)
    while kinks:
        middle = len(kinks) // 2
        share = kinks[middle]
        slope = _slope(p, p.evaluate(_along(p, start.mu, step, share)), start.mu, end)
        if slope >= 0:
            left, rise, kinks = share, slope, kinks[middle + 1 :]
        else:
            right, fall, kinks = share, slope, kinks[:middle]
    return p.evaluate(_along(p, start.mu, step, left + (right - left) * (rise / (rise - fall))))


def _along(p: Terms[N], mu: list[N], step: list[N], share: N) -> list[N]:
    return [max(low, m + share * by) for low, m, by in zip(p.low, mu, step, strict=True)]
