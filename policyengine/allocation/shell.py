"""The barbell limits as a feasible set of absolute exposures, and the nearest point of it to a request.

The set is {0 <= x <= upper, groups @ x <= group_upper}: zero is always in it and with x every smaller exposure, so that the
nearest point never holds more of anything than was asked. `projection` has the method; `projection_row`, `projection_wide` and
`projection_batch` bring one request, one of many instruments, and many requests into its form. Here are the entries and checks.

Bits. Whether a request is feasible is decided on exactly rounded sums (`math.fsum`). An infeasible one is solved over its
instruments sorted by (request, cap, membership), with plain sums in that order; equal keys are equal instruments. So neither the
order of instruments nor that of other requests in a batch, nor a hash seed, can change a bit, and both entries give the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.allocation.feasibility import Layout, Row, boxed, boxed_rows, layout_of, passed, passed_rows
from policyengine.allocation.projection_batch import SMALL, project_rows
from policyengine.allocation.projection_row import Metric, Solved, solve_row
from policyengine.allocation.projection_wide import solve_wide
from policyengine.errors import BrokenInvariant, ConfigError

Floats = NDArray[np.float64]

LARGEST = 1e30
"""No exposure, in fractions of NAV or in any currency; beyond it sums and products overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionResult:
    """The nearest point and the Lagrange multipliers of the limits that hold it there.

    Gradient of the objective at x, plus `upper_multipliers`, plus `groups.T @ group_multipliers` is 0 where x > 0 (at least 0
    where x = 0). A multiplier is the fall of the objective per unit of its limit; 0 for a limit that does not bind.
    """

    x: Floats
    """(n,)."""
    upper_multipliers: Floats
    """(n,), >= 0."""
    group_multipliers: Floats
    """(m,), >= 0. Of limits that bind together on the same instruments, one choice of several."""


def project(w: ArrayLike, upper: ArrayLike, groups: ArrayLike, group_upper: ArrayLike, *, metric: Metric = "proportional") -> Floats:
    """Nearest feasible exposures to a request.

    Args:
        w: (n,) requested absolute exposures, in the unit of the caps (fractions of NAV). An entry <= 0 gives 0.
        upper: (n,) cap of each instrument, >= 0; infinite for none.
        groups: (m, n) of 0 and 1; row k marks the members of group k.
        group_upper: (m,) cap of each group's sum, >= 0; infinite for none.
        metric: "proportional" minimises sum (x_i - w_i)^2 / w_i, under which one binding cap shrinks its members by one factor;
            "euclidean" minimises sum (x_i - w_i)^2.

    Returns:
        (n,) the minimiser over {0 <= x <= upper, groups @ x <= group_upper}, never above `w`; a feasible request bit for bit. A
        group sum is within 2e-13 of its cap, relatively; instrument caps hold exactly.

    Raises:
        BrokenInvariant: an entry of `w` is NaN, infinite or beyond 1e30.
        ConfigError: a shape does not fit; a cap is NaN or negative; an entry of `groups` is not 0 or 1; the metric is unknown.

    Source: Lagrange duality, Boyd and Vandenberghe, Convex Optimization, 5.5; see `projection`.
    """
    request, limits, caps, layout = _read(w, upper, groups, group_upper, metric, dimensions=1)
    return _nearest(request, limits, caps, layout, metric).x


def project_with_multipliers(
    w: ArrayLike, upper: ArrayLike, groups: ArrayLike, group_upper: ArrayLike, *, metric: Metric = "proportional"
) -> ProjectionResult:
    """`project`, and the multipliers of the limits that bind. Same arguments, same errors, same bits in x."""
    request, limits, caps, layout = _read(w, upper, groups, group_upper, metric, dimensions=1)
    return _explain(_nearest(request, limits, caps, layout, metric), request, limits, caps, layout, metric)


def project_batch(w: ArrayLike, upper: ArrayLike, groups: ArrayLike, group_upper: ArrayLike, *, metric: Metric = "proportional") -> Floats:
    """`project` for many requests over the same instruments and groups; every row has the bits that `project` gives for it.

    Args:
        w: (batch, n) requests.
        upper: (n,) or (batch, n).
        groups: (m, n), shared.
        group_upper: (m,) or (batch, m).
        metric: as in `project`.

    Returns:
        (batch, n). Feasible rows are copied, only the others are solved.

    Raises:
        BrokenInvariant, ConfigError: as in `project`; no row is projected if one is refused.
    """
    requests, limits, caps, layout = _read(w, upper, groups, group_upper, metric, dimensions=2)
    return project_rows(requests, limits, caps, layout, metric)


def _read(
    w: ArrayLike, upper: ArrayLike, groups: ArrayLike, group_upper: ArrayLike, metric: str, *, dimensions: int
) -> tuple[Floats, Floats, Floats, Layout]:
    requests, limits, caps = np.asarray(w, np.float64), np.asarray(upper, np.float64), np.asarray(group_upper, np.float64)
    matrix = np.asarray(groups)
    if metric not in ("proportional", "euclidean"):
        raise ConfigError("metric", f"{metric!r} is neither 'proportional' nor 'euclidean'")
    if requests.ndim != dimensions or matrix.ndim != 2:
        raise ConfigError("", f"w has {requests.ndim} dimensions where {dimensions} are expected, groups {matrix.ndim} where 2 are")
    (m, n), batch = matrix.shape, requests.shape[:-1]
    if requests.shape[-1] != n or limits.shape not in ((n,), (*batch, n)) or caps.shape not in ((m,), (*batch, m)):
        raise ConfigError("", f"shapes w {requests.shape}, upper {limits.shape}, group_upper {caps.shape} do not fit groups {matrix.shape}")
    layout = layout_of(matrix.shape, matrix.dtype.str, matrix.tobytes())
    if requests.size > SMALL or dimensions > 1:
        _refuse_values(requests, limits, caps)
    return requests, limits, caps, layout


def _row(request: Floats, limits: Floats, caps: Floats) -> Row:
    """The arrays as lists, checked entry by entry: for few entries faster than by arrays."""
    row = Row(request.tolist(), limits.tolist(), caps.tolist())
    # NaN fails every comparison.
    for v in row.w:
        if not -LARGEST <= v <= LARGEST:
            _refuse_values(request, limits, caps)
    for bounds in (row.upper, row.caps):
        for v in bounds:
            if not v >= 0:
                _refuse_values(request, limits, caps)
    return row


def _refuse_values(requests: Floats, limits: Floats, caps: Floats) -> None:
    for name, bounds in (("upper", limits), ("group_upper", caps)):
        if not (good := bounds >= 0).all():
            at = np.argwhere(~good)[0]
            raise ConfigError(name, f"{bounds[tuple(at)]} at {at.tolist()} must be a number >= 0")
    if not (good := np.abs(requests) <= LARGEST).all():
        at = np.argwhere(~good)[0]
        raise BrokenInvariant(f"requested exposure {requests[tuple(at)]} at {at.tolist()} is not a finite number up to {LARGEST:g}")


def _nearest(request: Floats, limits: Floats, caps: Floats, layout: Layout, metric: Metric) -> Solved[Floats]:
    if request.size > SMALL:
        return _nearest_wide(request, limits, caps, layout, metric)
    row = _row(request, limits, caps)
    x = boxed(row, layout)
    over = passed(x, row.caps, layout)
    if over:
        solved = solve_row(row, layout, x, over, metric)
        return Solved(np.array(solved.x), solved.over, solved.mu)
    return Solved(request.copy() if x == row.w else np.array(x), (), [])


def _nearest_wide(request: Floats, limits: Floats, caps: Floats, layout: Layout, metric: Metric) -> Solved[Floats]:
    x = boxed_rows(request[None], limits[None], caps[None], layout)
    over = np.flatnonzero(passed_rows(x, caps[None], layout)[0])
    if over.size:
        return solve_wide(request, limits, caps, layout, x[0], over, metric)
    return Solved(request.copy() if (x[0] == request).all() else x[0], (), [])


def _explain(solved: Solved[Floats], w: Floats, upper: Floats, caps: Floats, layout: Layout, metric: Metric) -> ProjectionResult:
    """Multipliers in the unit of the objective: twice those of `projection`, which leaves the factor 2 of the squares out."""
    x, asked = solved.x, w > 0
    q, d = (np.ones_like(w), w) if metric == "proportional" else (w, np.ones_like(w))
    mu = np.zeros(len(caps))
    mu[list(solved.over)] = solved.mu
    for k in np.flatnonzero(caps == 0).tolist():
        # A group without room needs what takes its most wanted member to 0; what others take off already counts.
        held = layout.matrix[k] & asked
        mu[k] = max(0.0, (q - mu @ layout.incidence)[held].max(initial=0.0))
    rest = q - mu @ layout.incidence
    at_cap = asked & (x == upper)
    nu = np.zeros_like(w)
    nu[at_cap] = np.maximum(rest[at_cap] - upper[at_cap] / d[at_cap], 0.0)
    return ProjectionResult(x=x, upper_multipliers=2 * nu, group_multipliers=2 * mu)
