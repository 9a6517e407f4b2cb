"""One request of few instruments: what can bind, in canonical order, to `projection` and back, in plain Python.

Sums run over the instruments of a group in canonical order, one term after the other; `projection_batch` makes the same operations
in the same order, which is why both return the same bits.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.projection import FIT_STEPS, Accuracy, Curvature, N, Point, Terms, solve
from policyengine.errors import BrokenInvariant, ConfigError

Metric = Literal["proportional", "euclidean"]

FEASIBLE = 2e-13
"""A group sum up to this fraction above its cap is feasible: twice what a result may use, so that a result is feasible again."""
SHARP = 1e-13
DECIMALS = Accuracy(zero=Decimal(0), sharp=Decimal("1e-30"), noise=Decimal("1e-70"), tiny=Decimal("1e-40"))
DECIMAL_DIGITS = 90
REBASES = 3
GRID_BITS = 30


class Layout(NamedTuple):
    """What follows from the membership matrix alone."""

    matrix: NDArray[np.bool_]
    """(m, n)."""
    rows: tuple[tuple[bool, ...], ...]
    """The matrix again."""
    picks: tuple[Any, ...]
    """Per group, a callable that takes the members out of a list (`operator.itemgetter`)."""
    rank: tuple[int, ...]
    """(n,) instruments in the same groups have the same rank; independent of the order of instruments."""


@lru_cache(maxsize=16)
def layout_of(shape: tuple[int, int], dtype: str, content: bytes) -> Layout:
    """The layout of a membership matrix given as bytes, so that the same matrix is read once, whoever holds it."""
    groups = np.frombuffer(content, dtype=np.dtype(dtype)).reshape(shape)
    matrix = groups == 1
    if not np.array_equal(matrix, groups):
        raise ConfigError("groups", "every entry must be 0 or 1")
    picks = []
    for row in matrix:
        at = [int(i) for i in np.flatnonzero(row)]
        # itemgetter of one index would give the bare item, of none an error: a slice gives a list.
        picks.append(itemgetter(*at) if len(at) > 1 else itemgetter(slice(at[0], at[0] + 1) if at else slice(0, 0)))
    rank = np.unique(matrix.T, axis=0, return_inverse=True)[1] if matrix.size else np.zeros(shape[1], dtype=np.intp)
    return Layout(matrix, tuple(tuple(row.tolist()) for row in matrix), tuple(picks), tuple(rank.ravel().tolist()))


class Row(NamedTuple):
    """A request with its limits."""

    w: list[float]
    upper: list[float]
    caps: list[float]


class Solved(NamedTuple):
    """Exposures, and half the multiplier of each group that could bind."""

    x: list[float]
    mu: dict[int, float]


@lru_cache(maxsize=64)
def accuracy_of(n: int) -> Accuracy[float]:
    """Float arithmetic over n instruments: a sum of n terms is off by at most about n units in the last place."""
    return Accuracy(zero=0.0, sharp=SHARP, noise=n * math.ulp(1.0), tiny=1e-9)


class ListTerms(NamedTuple, Generic[N]):
    """`projection.Terms` on lists."""

    y: list[N]
    """(n,) q less the multipliers already taken off."""
    d: list[N]
    """(n,) how fast an exposure gives way, > 0."""
    upper: list[N]
    """(n,) > 0, may be infinite."""
    members: list[list[int]]
    """Per group, the instruments it holds, ascending."""
    caps: list[N]
    low: list[N]
    accuracy: Accuracy[N]

    def evaluate(self, mu: list[N]) -> Point[N]:
        """See `Terms`."""
        x = self._exposures(self._taken(mu))
        return Point(mu, x, self._excess(x))

    def sweep(self, mu: list[N], *, backwards: bool) -> Point[N]:
        """See `Terms`."""
        zero, sharp = self.accuracy.zero, self.accuracy.sharp
        straight = not backwards and not any(mu)
        mu = list(mu)
        taken = self._taken(mu)
        x = self._exposures(taken)
        for k in range(len(mu) - 1, -1, -1) if backwards else range(len(mu)):
            group, cap, own, fitted = self.members[k], self.caps[k], mu[k], self.low[k]
            total = zero
            if own == fitted:
                for i in group:
                    total += x[i]
            else:
                for i in group:
                    total += self._clip(i, self.y[i] - taken[i] + own - fitted)
            if total > cap + sharp * cap:
                fitted = self._fit(k, own, taken)
            if fitted != own:
                mu[k] = fitted
                for i in group:
                    taken[i] += fitted - own
                    x[i] = self._clip(i, self.y[i] - taken[i])
        # From zero upwards the amounts taken are the sums that `evaluate` forms, to the bit.
        return Point(mu, x, self._excess(x)) if straight else self.evaluate(mu)

    def curvature(self, point: Point[N]) -> Curvature[N]:
        """See `Terms`."""
        m, accuracy = len(self.caps), self.accuracy
        owners: list[list[int]] = [[] for _ in self.y]
        for k, group in enumerate(self.members):
            for i in group:
                owners[i].append(k)
        hessian = [[accuracy.zero] * m for _ in range(m)]
        scale = [accuracy.zero] * m
        for x, y, d, u, owned in zip(point.x, self.y, self.d, self.upper, owners, strict=True):
            if 0 < x < u:
                size = d * abs(y)
                for at, j in enumerate(owned):
                    scale[j] += size
                    row = hessian[j]
                    for k in owned[at:]:
                        row[k] += d
        slack = [accuracy.sharp * cap + accuracy.noise * size for cap, size in zip(self.caps, scale, strict=True)]
        return Curvature(hessian, slack)

    def kinks(self, mu: list[N], step: list[N]) -> list[N]:
        """See `Terms`."""
        shares: set[N] = set()
        for y, d, u, taken, rate in zip(self.y, self.d, self.upper, self._taken(mu), self._taken(step), strict=True):
            if rate != 0:
                shares.update(((y - taken) / rate, (y - taken - u / d) / rate))
        return sorted(share for share in shares if 0 < share < 1)

    def _taken(self, mu: list[N]) -> list[N]:
        """(n,) sums of the multipliers of the groups that hold each instrument, in the order of the groups."""
        taken = [self.accuracy.zero] * len(self.y)
        for group, m in zip(self.members, mu, strict=True):
            if m != 0:
                for i in group:
                    taken[i] += m
        return taken

    def _clip(self, i: int, a: N) -> N:
        z = self.d[i] * a
        return self.accuracy.zero if z <= 0 else min(z, self.upper[i])

    def _exposures(self, taken: list[N]) -> list[N]:
        zero = self.accuracy.zero
        x = []
        for y, d, u, s in zip(self.y, self.d, self.upper, taken, strict=True):
            z = d * (y - s)
            x.append(zero if z <= 0 else z if z < u else u)  # noqa: FURB136 - a call of min would double the time of the loop
        return x

    def _excess(self, x: list[N]) -> list[N]:
        excess = []
        for group, cap in zip(self.members, self.caps, strict=True):
            total = self.accuracy.zero
            for i in group:
                total += x[i]
            excess.append(total - cap)
        return excess

    def _fit(self, k: int, own: N, taken: list[N]) -> N:
        """The multiplier of group k at which its sum equals its cap, the others held, where its lower bound does not suffice.

        Newton's method on a falling piecewise linear function, kept inside a bracket by halving.
        """
        cap, zero, accuracy = self.caps[k], self.accuracy.zero, self.accuracy
        mine = [(self.d[i], self.y[i] - taken[i] + own, self.upper[i]) for i in self.members[k]]
        weighted = weight = zero
        left = self.low[k]
        right = left
        for d, a, _ in mine:
            weighted += d * a
            weight += d
            if a > right:
                right = a
        t = (weighted - cap) / weight
        if not left < t < right:
            t = (left + right) / 2
        for _ in range(FIT_STEPS):
            total = rate = scale = zero
            for d, a, u in mine:
                z = d * (a - t)
                if z >= u:
                    total += u
                elif z > 0:
                    total += z
                    rate += d
                    scale += d * abs(a)
            gap = total - cap
            if abs(gap) <= (accuracy.sharp * cap + accuracy.noise * scale) / 4:
                return self._least(k, mine, t) if rate == 0 else t
            if gap > 0:
                left = t
            else:
                right = t
            t = t + gap / rate if rate > 0 else right
            if not left < t < right:
                t = (left + right) / 2
        return t

    def _least(self, k: int, mine: list[tuple[N, N, N]], t: N) -> N:
        """Where nobody moves: the least multiplier that fits leaves the most room to the other groups."""
        return max(self.low[k], max((v for d, a, u in mine for v in (a, a - u / d) if v <= t), default=t))


def boxed(row: Row, layout: Layout) -> list[float]:
    """The request within instrument caps, 0 where a group has none to give."""
    x = [0.0 if v <= 0 else v if v <= u else u for v, u in zip(row.w, row.upper, strict=True)]  # noqa: FURB136 - speed
    if 0 in row.caps:
        for members, cap in zip(layout.rows, row.caps, strict=True):
            if cap == 0:
                x = [0.0 if held else v for v, held in zip(x, members, strict=True)]
    return x


def passed(x: list[float], caps: list[float], layout: Layout) -> list[int]:
    """The groups whose exactly rounded sum of x is above its cap."""
    limit = 1 + FEASIBLE
    return [k for k, (pick, cap) in enumerate(zip(layout.picks, caps, strict=True)) if math.fsum(pick(x)) > cap * limit]


def solve_row(row: Row, layout: Layout, x: list[float], over: list[int], metric: Metric) -> Solved:
    """The nearest point, where the groups `over` are passed by the boxed request `x`; only they can bind, for nothing grows."""
    w, upper, rank = row.w, row.upper, layout.rank
    names = sorted([i for i, v in enumerate(x) if v > 0], key=w.__getitem__)
    asked = [w[i] for i in names]
    if len(set(asked)) < len(asked):
        names.sort(key=lambda i: (w[i], upper[i], rank[i]))
    members, tightness = {}, {}
    for k in over:
        held = layout.rows[k]
        members[k] = group = [p for p, i in enumerate(names) if held[i]]
        total = 0.0
        for p in group:
            total += x[names[p]]
        tightness[k] = row.caps[k] / total
    slots = sorted(over, key=tightness.__getitem__)
    ones, none = [1.0] * len(asked), [0.0] * len(slots)
    q, d = (ones, asked) if metric == "proportional" else (asked, ones)
    terms = ListTerms(q, d, [upper[i] for i in names], [members[k] for k in slots], [row.caps[k] for k in slots], none, accuracy_of(len(x)))
    found, mu = minimise(terms, terms)
    x = list(x)
    for i, v in zip(names, found, strict=True):
        if v < x[i]:
            x[i] = v
    return Solved(x, dict(zip(slots, mu, strict=True)))
