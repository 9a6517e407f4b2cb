"""The quick rounds of `projection` on many requests at once: the same operations in the same order, one column per request.

A group sum adds the rows of a C-ordered array one after the other, with 0.0 for those that are not members, so that every column
holds the very bits that `projection.solve` gives for it alone. Columns that the quick rounds do not finish are left to that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.feasibility import Layout, bounds_of, boxed_rows, passed_rows
from policyengine.allocation.projection import FIT_STEPS, NEWTON_STEPS, ROUNDS, Accuracy
from policyengine.allocation.projection_row import Metric, accuracy_of, solve_row
from policyengine.allocation.projection_wide import solve_wide

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHUNK = 2048
"""Requests solved at a time: their arrays stay small, and their calls few. No effect on the result."""
SMALL = 48
"""Up to so many instruments a single request is solved in plain Python and many at once: beyond, NumPy's calls cost less than that."""
FEW = 24
"""So many unfinished columns are left to `projection` one by one, which is quicker. No effect on the result."""
NO_CAP = 1e300
"""Stands in for the cap of a slot that a request does not use: finite, so that 0 times it is 0."""


class Columns(NamedTuple):
    """R requests over n instruments, each column in its own canonical order, with at most m groups that can bind.

    Columns are sorted by the number of their groups, most first; column r uses the slots below that number.
    """

    y: Floats
    """(n, R)."""
    d: Floats
    """(n, R), 0 for instruments that hold nothing."""
    upper: Floats
    """(n, R)."""
    member: Floats
    """(m, n, R) of 0 and 1; 0 in unused slots."""
    caps: Floats
    """(m, R); `NO_CAP` in unused slots."""
    used: NDArray[np.intp]
    """(m,) how many columns, from the first, use each slot."""

    def keep(self, columns: Bools) -> Columns:
        """Those of the columns that are marked."""
        used = np.array([np.count_nonzero(columns[:c]) for c in self.used], dtype=np.intp)
        m = np.count_nonzero(used)
        y, d, upper, member, caps = (_keep(a, columns) for a in (self.y, self.d, self.upper, self.member[:m], self.caps[:m]))
        return Columns(y, d, upper, member, caps, used[:m])


def _keep(a: Floats, columns: Bools) -> Floats:
    """Marked columns, in C order: `a[..., columns]` would come transposed in memory, and be summed in another order."""
    return a.compress(columns, axis=-1)


class Points(NamedTuple):
    """`projection.Point` by columns."""

    mu: Floats
    x: Floats
    excess: Floats
    free: Bools


def project_rows(w: Floats, upper: Floats, caps: Floats, layout: Layout, metric: Metric) -> Floats:
    """Nearest points (R, n) of checked requests (R, n); `upper` (n,) or (R, n), `caps` (m,) or (R, m)."""
    out = np.empty_like(w)
    for first in range(0, len(w), CHUNK):
        rows = slice(first, first + CHUNK)
        u, g = (a[rows] if a.ndim == 2 else np.broadcast_to(a, (len(w[rows]), a.size)) for a in (upper, caps))
        out[rows] = _project_chunk(w[rows], u, g, layout, metric)
    return out


def _project_chunk(w: Floats, upper: Floats, caps: Floats, layout: Layout, metric: Metric) -> Floats:
    x = boxed_rows(w, upper, caps, layout)
    over = passed_rows(x, caps, layout)
    inside = (x == w).all(axis=1)
    at = np.flatnonzero(over.any(axis=1))
    out = np.where(inside[:, None], w, x)
    if not at.size:
        return out
    if w.shape[1] > SMALL:
        for r in at:
            out[r] = solve_wide(w[r], upper[r], caps[r], layout, x[r], np.flatnonzero(over[r]), metric).x
        return out
    columns, order, rows = _columns(w[at], upper[at], caps[at], x[at], over[at], layout, metric)
    found, sharp = solve_columns(columns, accuracy_of(w.shape[1]))
    solved = np.empty((at.size, w.shape[1]))
    np.put_along_axis(solved, order, found.T, axis=1)
    at = at[rows]
    out[at] = solved
    for r in at[~sharp]:
        bounds = bounds_of(layout, upper[r].tolist(), caps[r].tolist())
        out[r] = solve_row(w[r].tolist(), bounds, x[r].tolist(), np.flatnonzero(over[r]).tolist(), metric).x
    return out


def _columns(
    w: Floats, upper: Floats, caps: Floats, x: Floats, over: Bools, layout: Layout, metric: Metric
) -> tuple[Columns, NDArray[np.intp], NDArray[np.intp]]:
    """Requests as columns in canonical order: with the order (R, n) of instruments in each, and the row that each came from."""
    counts = over.sum(axis=1)
    rows = np.argsort(-counts, kind="stable")
    w, upper, caps, x = (a[rows] for a in (w, upper, caps, x))
    over, counts = over[rows], counts[rows]
    order = np.lexsort((np.broadcast_to(np.array(layout.rank), w.shape), upper, w), axis=-1)
    w, upper, x = (np.ascontiguousarray(np.take_along_axis(a, order, axis=1).T) for a in (w, upper, x))
    member = layout.incidence.take(np.ascontiguousarray(order.T), axis=1)
    with np.errstate(all="ignore"):
        tightness = np.where(over.T, caps.T / total_each(member, x), np.inf)
    slots = np.argsort(tightness, axis=0, kind="stable")[: counts[0]]
    used = (np.arange(len(slots))[:, None] < counts).sum(axis=1)
    live = x > 0
    held = np.where(live, w, 0.0)
    y, d = (np.ones_like(w), held) if metric == "proportional" else (held, live.astype(np.float64))
    off = np.arange(len(slots))[:, None] >= counts
    member = np.take_along_axis(member, slots[:, None], axis=0) * (live & ~off[:, None])
    caps = np.where(off, NO_CAP, np.take_along_axis(caps.T, slots, axis=0))
    return Columns(y, d, upper, member, caps, used), order, rows


def solve_columns(c: Columns, accuracy: Accuracy[float]) -> tuple[Floats, Bools]:
    """Minimisers (n, R), and which of them are sharp; where they are not, the column is unfinished."""
    x, sharp = np.zeros_like(c.y), np.zeros(c.y.shape[1], dtype=np.bool_)
    at = np.arange(c.y.shape[1])
    mu = np.zeros_like(c.caps)
    with np.errstate(all="ignore"):
        for k in range(ROUNDS):
            c, at, mu = _quick_round(c, at, mu, accuracy, x, sharp, backwards=k % 2 == 1)
            if at.size <= FEW:
                break
    return x, sharp


def _quick_round(
    c: Columns, at: NDArray[np.intp], mu: Floats, accuracy: Accuracy[float], x: Floats, sharp: Bools, *, backwards: bool
) -> tuple[Columns, NDArray[np.intp], Floats]:
    """`projection._quick_round`; writes what it finishes to `x` and `sharp`, returns what is left."""

    def settle(points: Points, done: Bools) -> None:
        x[:, at[done]] = points.x[:, done]
        sharp[at[done]] = True

    points = _evaluate(c, _sweep(c, mu, accuracy, backwards=backwards))
    done = _is_met(points, accuracy.sharp * c.caps)
    left = ~done & np.isfinite(points.mu).all(axis=0)
    settle(points, done)
    best = points.mu
    for step in range(NEWTON_STEPS + 1):
        if not left.any():
            break
        if np.count_nonzero(left) <= 0.8 * left.size:
            c, at = c.keep(left), at[left]
            m = len(c.caps)
            mu, excess, best = (_keep(a[:m], left) for a in (points.mu, points.excess, best))
            points = Points(mu, _keep(points.x, left), excess, points.free.compress(left, axis=1))
            left = np.ones(at.size, dtype=np.bool_)
        hessian, slack = _curvature(c, points, accuracy)
        # Met but not sharp: rounding is in the way, and the column needs another base. Not here.
        left &= ~_is_met(points, slack)
        if step == NEWTON_STEPS:
            break
        before, points = points, _evaluate(c, _newton(points, hessian, slack, accuracy))
        done = left & _is_met(points, accuracy.sharp * c.caps)
        settle(points, done)
        left &= ~done
        fall, rise = _slope(points, before.mu, points.mu), _slope(before, before.mu, points.mu)
        far = left & (fall < 0) & (rise > 0)
        if far.any():
            share = np.maximum(rise / (rise - fall), 0.25)
            points = _evaluate(c, np.where(far, before.mu + share * (points.mu - before.mu), points.mu))
            done = far & _is_met(points, accuracy.sharp * c.caps)
            settle(points, done)
            left &= ~done
            fall = _slope(points, before.mu, points.mu)
        best = np.where(fall >= 0, points.mu, best)
    c = c.keep(left)
    return c, at[left], _keep(best[: len(c.caps)], left)


def total(terms: Floats) -> Floats:
    """Sum over the first axis, strictly one row after the other (NumPy would sum a single column in pairs)."""
    terms = np.ascontiguousarray(terms)
    if terms.shape[1] > 1:
        return np.asarray(np.add.reduce(terms, axis=0))
    return np.asarray(np.add.accumulate(terms, axis=0)[-1])


def total_each(member: Floats, x: Floats) -> Floats:
    """(m, R) sums over the members of each group."""
    return np.array([total(x * own) for own in member])


def _evaluate(c: Columns, mu: Floats) -> Points:
    taken = mu[0] * c.member[0]
    for j in range(1, len(mu)):
        taken[:, : c.used[j]] += mu[j, : c.used[j]] * c.member[j, :, : c.used[j]]
    z = c.d * (c.y - taken)
    free = (z > 0) & (z < c.upper)
    x = np.minimum(np.maximum(z, 0.0), c.upper)
    excess = -c.caps
    for j, used in enumerate(c.used):
        excess[j, :used] = total(x[:, :used] * c.member[j, :, :used]) - c.caps[j, :used]
    return Points(mu, x, excess, free)


def _is_met(points: Points, slack: Floats) -> Bools:
    return np.asarray(((points.excess <= slack) & ((points.mu <= 0) | (points.excess >= -slack))).all(axis=0))


def _slope(at: Points, start: Floats, end: Floats) -> Floats:
    slope = np.zeros(at.x.shape[1])
    for j in range(len(start)):
        slope += at.excess[j] * (end[j] - start[j])
    return slope


def _sweep(c: Columns, mu: Floats, accuracy: Accuracy[float], *, backwards: bool) -> Floats:
    mu = mu.copy()
    taken = mu[0] * c.member[0]
    for j in range(1, len(mu)):
        taken += mu[j] * c.member[j]
    m = len(mu)
    for k in range(m - 1, -1, -1) if backwards else range(m):
        used = c.used[k]
        own = mu[k, :used].copy()
        d = c.d[:, :used] * c.member[k, :, :used]
        mu[k, :used] = _fit(d, (c.y[:, :used] - taken[:, :used]) + own, c.upper[:, :used], c.caps[k, :used], accuracy)
        taken[:, :used] += (mu[k, :used] - own) * c.member[k, :, :used]
    return mu


def _fit(d: Floats, a: Floats, upper: Floats, cap: Floats, accuracy: Accuracy[float]) -> Floats:
    """`projection._fit` for one slot; `d` is 0 outside the group."""
    fitted = np.zeros(cap.size)
    at = np.flatnonzero(total(np.minimum(np.maximum(d * a, 0.0), upper)) > cap + accuracy.sharp * cap)
    d, a, upper, cap = (v.take(at, axis=-1) for v in (d, a, upper, cap))
    t = (total(d * a) - cap) / total(d)
    left, right = np.zeros(at.size), np.where(d > 0, a, 0.0).max(axis=0, initial=0.0)
    t = np.where((left < t) & (t < right), t, (left + right) / 2)
    sharp, noise = accuracy.sharp * cap, accuracy.noise
    for _ in range(FIT_STEPS):
        if not at.size:
            break
        z = d * (a - t)
        rate = total(d * ((z > 0) & (z < upper)))
        gap = total(np.minimum(np.maximum(z, 0.0), upper)) - cap
        met = np.abs(gap) * 4 <= sharp + noise * (rate * t)
        still = met & (rate == 0)
        if still.any():
            t = np.where(still, _least(d, a, upper, t), t)
        fitted[at] = t
        high = gap > 0
        left, right = np.where(high, t, left), np.where(high, right, t)
        t = np.where(rate > 0, t + gap / rate, right)
        t = np.where((left < t) & (t < right), t, (left + right) / 2)
        if met.any():
            go = ~met
            d, a, upper = (_keep(v, go) for v in (d, a, upper))
            at, cap, t, left, right, sharp = at[go], cap[go], t[go], left[go], right[go], sharp[go]
    # What is not there yet goes by the kinks in `projection_row`: NaN marks the column as unfinished.
    fitted[at] = np.nan
    return fitted


def _least(d: Floats, a: Floats, upper: Floats, t: Floats) -> Floats:
    """The next kink at or below t, where nobody moves between; t without one."""
    kinks = np.where(d > 0, np.where(a <= t, a, a - upper / d), -np.inf)
    kink = np.where(kinks <= t, kinks, -np.inf).max(axis=0, initial=-np.inf)
    return np.maximum(np.where(kink == -np.inf, t, kink), 0.0)


def _curvature(c: Columns, points: Points, accuracy: Accuracy[float]) -> tuple[Floats, Floats]:
    m, columns = points.mu.shape
    hessian, slack = np.zeros((m, m, columns)), accuracy.sharp * c.caps
    d = np.where(points.free, c.d, 0.0)
    size = d * np.abs(c.y)
    for j, used in enumerate(c.used):
        own = d[:, :used] * c.member[j, :, :used]
        hessian[j, j, :used] = total(own)
        slack[j, :used] += accuracy.noise * total(size[:, :used] * c.member[j, :, :used])
        for k in range(j + 1, m):
            shared = c.used[k]
            hessian[j, k, :shared] = hessian[k, j, :shared] = total(own[:, :shared] * c.member[k, :, :shared])
    return hessian, slack


def _newton(points: Points, hessian: Floats, slack: Floats, accuracy: Accuracy[float]) -> Floats:
    mu, excess = points.mu, points.excess
    playing = (mu > 0) | (excess > slack)
    dropped = np.zeros_like(playing)
    while True:
        right = excess.copy()
        for k in range(len(mu)):
            right += np.where(dropped[k], hessian[:, k] * mu[k], 0.0)
        step = _eliminate(np.where(playing[:, None] & playing[None], hessian, 0.0), right, slack, accuracy)
        negative = playing & (mu + step < 0)
        if not negative.any():
            return np.where(playing, mu + step, 0.0)
        dropped |= negative
        playing &= ~negative


def _eliminate(h: Floats, b: Floats, slack: Floats, accuracy: Accuracy[float]) -> Floats:
    """`projection._eliminate`; rows and columns out of play are 0 in `h`. Overwrites both."""
    m = len(b)
    diagonal = np.array([h[j, j] for j in range(m)])
    skipped = []
    for j in range(m):
        floor = accuracy.tiny * diagonal[j]
        weak = h[j, j] <= floor
        skip = weak & ((diagonal[j] == 0) | (np.abs(b[j]) <= slack[j]))
        skipped.append(skip)
        h[j, j] = np.where(weak, floor, h[j, j])
        if j + 1 < m:
            factor = np.where(skip, 0.0, h[j, j + 1 :] / h[j, j])
            b[j + 1 :] -= factor * b[j]
            h[j + 1 :, j + 1 :] -= factor[:, None] * h[j, j + 1 :]
    step = np.zeros_like(b)
    for j in range(m - 1, -1, -1):
        sums = b[j].copy()
        for k in range(j + 1, m):
            sums -= h[j, k] * step[k]
        step[j] = np.where(skipped[j], 0.0, sums / h[j, j])
    return step
