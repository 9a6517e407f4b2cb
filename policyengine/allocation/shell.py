"""The barbell limits as a feasible set of absolute exposures, and the nearest point of it to a request: the last word on risk.

The set is {0 <= x <= upper, groups @ x <= group_upper}: zero is always in it and with x every smaller exposure, so that the
nearest point never holds more of anything than was asked. `projection` has the method; `projection_row`, `projection_wide` and
`projection_batch` bring one request, one of many instruments, and many requests into its form. Here are the entries and checks:
`project` and its kin over arrays, `project_to_feasible` over named instruments, whose words are in `barbell`.

Bits. Whether a request is feasible is decided on exactly rounded sums (`math.fsum`). An infeasible one is solved over its
instruments sorted by (request, cap, membership), with plain sums in that order; equal keys are equal instruments. So neither the
order of instruments nor that of other requests in a batch, nor a hash seed, can change a bit, and both entries give the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.allocation.barbell import BindingLimit, UnmetLimit, binding_limits, refuse_request, unmet_limits
from policyengine.allocation.constraints import Constraints, constraints
from policyengine.allocation.feasibility import Bounds, Layout, bounds_of, boxed, boxed_rows, layout_of, passed, passed_rows
from policyengine.allocation.projection_batch import SMALL, project_rows
from policyengine.allocation.projection_row import Metric, Solved, solve_row
from policyengine.allocation.projection_wide import solve_wide
from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.spec.limits import LimitsSpec, check_sweep
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]

LARGEST = 1e30
"""No exposure, in fractions of NAV or in any currency; beyond it sums and products overflow."""
NO_CASH = 1e-12
"""Cash or room up to this fraction of NAV is rounding: not swept, so that a book that is swept stays as it is."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A book inside the limits, and how it differs from what was asked for."""

    weights: dict[str, float]
    """Signed fractions of NAV under the keys of the request, in its order; swept instruments that are not among them follow."""
    l1_drift: float
    """Sum of |weights - request|: what the limits took and what the cash sweep added."""
    swept: dict[str, float]
    """What the cash sweep bought, the only growth there is; empty unless one is configured."""
    binding: tuple[BindingLimit, ...]
    """Limits that cut the request, before any sweep; in the order of `Constraints.origins`."""
    unmet: tuple[UnmetLimit, ...]
    """Limits that the book falls short of and that only buying could meet; no violation."""


def project_to_feasible(
    weights: Mapping[str, float], limits: LimitsSpec, universe: UniverseSpec, *, hedge_max_frac: float | None = None
) -> Projection:
    """Nearest book inside the limits to the one asked for; signs are kept, and no exposure grows but by a configured cash sweep.

    A feasible request comes back bit for bit, as does any request while limits are switched off. Neither the order of `weights`
    nor a hash seed changes a bit of what is returned.

    Args:
        weights: signed fractions of NAV. A long option counts its premium; a short one its stress loss, so its weight is
            -(contracts x `stress_loss`) / NAV. A short in a safe instrument is risk, one in a hedge no hedge.
        limits: the limits, the metric, the cash sweep.
        universe: what the symbols are.
        hedge_max_frac: maximum of the sleeve `tail_hedge`, whose instruments are then outside risk, gross and bucket caps and
            inside this one, the safe floor, their market's cap and their position's; None where no sleeves are in force.

    Raises:
        DataError: a symbol that is unknown or cannot be held, a short option without a stress loss.
        BrokenInvariant: a weight that is NaN, infinite or beyond 1e30.
        ConfigError: `hedge_max_frac` is not in [0, 1]; cash is to be swept into what is not a listed safe instrument.
    """
    refuse_request(weights, universe, largest=LARGEST)
    check_sweep(limits, universe)
    if not limits.enabled:
        return Projection(weights=dict(weights), l1_drift=0.0, swept={}, binding=(), unmet=())
    symbols = sorted({*weights, *limits.swept})
    asked = np.array([weights.get(symbol, 0.0) for symbol in symbols], dtype=np.float64)
    within = constraints(limits, universe, symbols, hedge_max_frac=hedge_max_frac, short=(asked < 0).tolist())
    size = np.abs(asked)
    found = project_with_multipliers(size, within.upper, within.groups, within.group_upper, metric=limits.metric)
    kept = np.where(found.x == size, asked, np.where(found.x == 0, 0.0, np.copysign(found.x, asked)))
    held = sweep_idle_cash(kept[None], within, [symbols.index(symbol) for symbol in limits.swept])[0]
    bought = {symbol: float(held[i] - kept[i]) for symbol in limits.swept if held[i := symbols.index(symbol)] > kept[i]}
    book = dict(zip(symbols, held.tolist(), strict=True))
    return Projection(
        weights={symbol: book[symbol] for symbol in (*weights, *(s for s in bought if s not in weights))},
        l1_drift=math.fsum(np.abs(held - asked).tolist()),
        swept=bought,
        binding=binding_limits(symbols, size, found.x, within, np.concatenate([found.group_multipliers, found.upper_multipliers])),
        unmet=tuple(unmet_limits(limits, within, size, np.abs(held))),
    )


def sweep_idle_cash(weights: Floats, limits: Constraints, members: Sequence[int]) -> Floats:
    """Put idle cash, 1 - sum |w| where that is above 0, into the instruments `members` in this order, as far as limits allow.

    Args:
        weights: (B, N) signed fractions of NAV inside `limits`.
        limits: their caps.
        members: columns of the instruments declared for this; one that is short in a row is left alone there.

    Returns:
        (B, N). Nothing is reduced, nothing else is changed, and a limit that held still does, to 1e-12.
    """
    swept = weights.copy()
    size = np.abs(swept)
    for i in members:
        add = np.minimum(limits.upper[i] - size[:, i], 1.0 - size.sum(axis=1))
        for k in np.flatnonzero(limits.groups[:, i]).tolist():
            # Not as one product of matrices, whose rounding would depend on how many rows there are.
            held = np.take(size, np.flatnonzero(limits.groups[k]), axis=1).sum(axis=1)
            add = np.minimum(add, limits.group_upper[k] - held)
        bought = (add > NO_CASH) & (swept[:, i] >= 0.0)
        swept[bought, i] += add[bought]
        size[:, i] = np.abs(swept[:, i])
    return swept


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
    (m, n), shape = matrix.shape, requests.shape
    if shape[-1] != n or limits.shape not in ((n,), shape) or caps.shape not in ((m,), (*shape[:-1], m)):
        raise ConfigError("", f"shapes w {shape}, upper {limits.shape}, group_upper {caps.shape} do not fit groups {matrix.shape}")
    layout = layout_of((m, n), matrix.dtype, matrix.tobytes())
    if requests.size > SMALL or dimensions > 1:
        _refuse_values(requests, limits, caps)
    return requests, limits, caps, layout


@lru_cache(maxsize=16)
def _bounds(layout: Layout, upper: bytes, caps: bytes) -> Bounds:
    """Caps given as bytes, so that those that come again with the next request are checked and listed once."""
    limits, most = np.frombuffer(upper), np.frombuffer(caps)
    bounds = limits.tolist(), most.tolist()
    # One by one: for few entries faster than by arrays. NaN fails every comparison.
    if not all(v >= 0 for values in bounds for v in values):
        _refuse_values(np.empty(0), limits, most)
    return bounds_of(layout, *bounds)


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
    bounds, w = _bounds(layout, limits.tobytes(), caps.tobytes()), request.tolist()
    # No entry is larger than the length of the whole; NaN fails every comparison.
    if not math.hypot(*w) <= LARGEST:
        _refuse_values(request, limits, caps)
    x = boxed(w, bounds)
    over = passed(x, bounds)
    if over:
        return solve_row(w, bounds, x, over, metric)
    return Solved(request.copy() if x == w else np.array(x), (), [])


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
