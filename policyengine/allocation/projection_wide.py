"""One request of many instruments: `projection` over arrays.

Instruments are sorted by membership, request and cap, so that those in the same groups stand together: every sum is one over each
such class, in that order, and then over the classes of a group. No matrix product is used where its rounding would show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.feasibility import FEASIBLE, Layout, passed_rows
from policyengine.allocation.projection import FIT_STEPS, Accuracy, Curvature, Point
from policyengine.allocation.projection_row import SHARP, ListTerms, Metric, Solved, accuracy_of, fit_between_kinks, minimise

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
add = np.add.reduce
"""The sum of an array, by pairs. Half the time of its method on few entries."""


@dataclass(frozen=True, slots=True)
class ArrayTerms:
    """`projection.Terms` on arrays."""

    y: Floats
    """(n,) q less the multipliers already taken off."""
    d: Floats
    """(n,) how fast an exposure gives way, > 0."""
    upper: Floats
    """(n,) > 0, may be infinite."""
    starts: Indices
    """(K,) where each class begins."""
    counts: Indices
    """(K,) how many instruments it has."""
    classes: Floats
    """(m, K) of 0 and 1: the classes of each group."""
    where: list[slice | Indices]
    """Per group, where its instruments are."""
    caps: list[float]
    low: list[float]
    accuracy: Accuracy[float]

    def evaluate(self, mu: list[float]) -> Point[float]:
        """See `Terms`."""
        x = self._clip(self.y - self._taken(mu), 0.0)
        return Point(mu, x, [total - cap for total, cap in zip(self._sums(x).tolist(), self.caps, strict=True)])

    def sweep(self, mu: list[float], *, backwards: bool) -> Point[float]:
        """See `Terms`."""
        mu = list(mu)
        a = self.y - self._taken(mu)
        for k in range(len(mu) - 1, -1, -1) if backwards else range(len(mu)):
            own = mu[k]
            mu[k] = self._fit(k, a + own)
            if mu[k] != own:
                a -= np.repeat(self.classes[k] * (mu[k] - own), self.counts)
        return self.evaluate(mu)

    def curvature(self, point: Point[float]) -> Curvature[float]:
        """See `Terms`."""
        d = np.where((point.x > 0) & (point.x < self.upper), self.d, 0.0)
        hessian = np.einsum("ik,jk->ij", self.classes * self._by_class(d), self.classes)
        slack = self.accuracy.sharp * np.array(self.caps) + self.accuracy.noise * self._sums(d * np.abs(self.y))
        return Curvature(hessian.tolist(), slack.tolist())

    def kinks(self, mu: list[float], step: list[float]) -> list[float]:
        """See `Terms`."""
        above, rate = self.y - self._taken(mu), self._taken(step)
        moving = rate != 0
        above, room, rate = above[moving], (self.upper / self.d)[moving], rate[moving]
        shares = np.unique(np.concatenate([above / rate, (above - room) / rate]))
        found: list[float] = shares[(shares > 0) & (shares < 1)].tolist()
        return found

    def rebased(self, base: list[float]) -> ArrayTerms:
        """See `FloatTerms`."""
        return replace(self, y=self.y - self._taken(base), low=[0.0 - b for b in base])

    def listed(self) -> ListTerms[float]:
        """See `FloatTerms`."""
        held = np.repeat(self.classes, self.counts, axis=1)
        members = tuple(np.flatnonzero(row).tolist() for row in held)
        return ListTerms(self.y.tolist(), self.d.tolist(), self.upper.tolist(), members, self.caps, self.low, self.accuracy, None)

    def no_more(self, x: Any) -> Any:
        """See `FloatTerms`."""
        return np.minimum(x, self._clip(self.y, 0.0))

    def _taken(self, mu: list[float]) -> Floats:
        """(n,) sums of the multipliers of the groups that hold each instrument."""
        return np.repeat(np.add.reduce(self.classes * np.array(mu)[:, None], axis=0), self.counts)

    def _clip(self, a: Floats, t: float) -> Floats:
        return np.minimum(np.maximum(self.d * (a - t), 0.0), self.upper)

    def _by_class(self, terms: Floats) -> Floats:
        return np.asarray(np.add.reduceat(terms, self.starts))

    def _sums(self, x: Floats) -> Floats:
        return np.asarray(np.add.reduce(self.classes * self._by_class(x), axis=1))

    def _fit(self, k: int, a: Floats) -> float:
        """The multiplier of group k at which its sum meets its cap (see `projection_row`), `a` what is left without its own."""
        own, cap, left = self.where[k], self.caps[k], self.low[k]
        a, d, upper = a[own], self.d[own], self.upper[own]
        sharp, noise = self.accuracy.sharp * cap, self.accuracy.noise
        if float(add(np.minimum(np.maximum(d * (a - left), 0.0), upper))) <= cap + sharp:
            return left
        right = float(np.maximum.reduce(a))
        t = (float(add(d * a)) - cap) / float(add(d))
        if not left < t < right:
            t = (left + right) / 2
        for _ in range(FIT_STEPS):
            z = d * (a - t)
            gap = float(add(np.minimum(np.maximum(z, 0.0), upper))) - cap
            rate = float(add(d[(z > 0) & (z < upper)]))
            if abs(gap) * 4 <= sharp + noise * (rate * abs(t)):
                return t if rate > 0 else self._least(d, a, upper, k, t)
            if gap > 0:
                left = t
            else:
                right = t
            t = t + gap / rate if rate > 0 else right
            if not left < t < right:
                t = (left + right) / 2
        fitted: float = fit_between_kinks(list(zip(d.tolist(), a.tolist(), upper.tolist(), strict=True)), cap, left, right)
        return fitted

    def _least(self, d: Floats, a: Floats, upper: Floats, k: int, t: float) -> float:
        """Where nobody moves: the next kink below t."""
        kinks = np.concatenate([a, a - upper / d])
        return max(self.low[k], float(kinks[kinks <= t].max(initial=-np.inf)))


def _canonical(w: Floats, upper: Floats, kind: Indices, live: Indices) -> Indices:
    """The instruments sorted by kind, request and cap."""
    order = live[np.argsort(w[live], kind="stable")]
    asked = w[order]
    if (asked[1:] == asked[:-1]).any():
        return live[np.lexsort((upper[live], w[live], kind[live]))]
    # Numbers of 16 bits are sorted by their digits.
    return order[np.argsort(kind[order].astype(np.int16) if kind.max() < 2**15 else kind[order], kind="stable")]


def _where(own: Floats, starts: Indices, counts: Indices) -> slice | Indices:
    """The instruments of the marked classes, as a slice if they stand together."""
    held = np.flatnonzero(own)
    first, last = held[0], held[-1]
    if last - first + 1 == held.size:
        return slice(int(starts[first]), int(starts[last] + counts[last]))
    return np.flatnonzero(np.repeat(own, counts))


def solve_wide(w: Floats, upper: Floats, caps: Floats, layout: Layout, x: Floats, over: Indices, metric: Metric) -> Solved[Floats]:
    """The nearest point (n,), where the groups `over` are passed by the boxed request `x`."""
    live = _canonical(w, upper, layout.kind, np.flatnonzero(x > 0))
    kind = layout.kind[live]
    starts = np.flatnonzero(np.concatenate([[True], kind[1:] != kind[:-1]]))
    counts = np.diff(np.append(starts, live.size))
    classes = layout.classes[over][:, kind[starts]]
    tightness = caps[over] / np.add.reduce(classes * np.add.reduceat(x[live], starts), axis=1)
    slots = np.argsort(tightness, kind="stable")
    asked, ones = w[live], np.ones(live.size)
    y, d = (ones, asked) if metric == "proportional" else (asked, ones)
    limits = caps[over[slots]].tolist()
    where = [_where(own, starts, counts) for own in classes[slots]]
    terms = ArrayTerms(y, d, upper[live], starts, counts, classes[slots], where, limits, [0.0] * len(limits), accuracy_of(w.size))
    found, mu = minimise(terms)
    result = x.copy()
    result[live] = found
    # Beyond some hundred instruments the sums above are not sure to be near enough to the exact ones, which decide.
    while w.size * np.spacing(1.0) > FEASIBLE - SHARP and passed_rows(result[None], caps[None], layout).any():
        result *= 1 - FEASIBLE
    return Solved(result, tuple(over[slots].tolist()), mu)
