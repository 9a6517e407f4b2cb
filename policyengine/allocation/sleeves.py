"""From signals to requested weights: each signal is charged to a sleeve and takes its share of the sleeve's budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.records import Bucket, Sleeve
from policyengine.spec.sleeves import SleevesSpec

Floats = NDArray[np.float64]
SLEEVES = tuple(Sleeve)


def sleeve_of(source: str, bucket: Bucket, market: str) -> Sleeve:
    """Sleeve that a signal is charged to: a safe instrument to `safe`, then by the signal's source, then by market."""
    if bucket is Bucket.SAFE:
        return Sleeve.SAFE
    match source:
        case "ML":
            return Sleeve.ML_SECONDARY
        case "LLM":
            return Sleeve.LLM_FALLBACK
    match market:
        case "ngx":
            return Sleeve.NGX_RISK
        case "em":
            return Sleeve.EM_RISK
    return Sleeve.TS_CORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The signal in force for each session's decision and instrument, all arrays (T, N).

    `signal` is the row of the signal, -1 where none is in force or it says HOLD; `base` its base confidence, 0 there;
    `direction` -1, 0 or 1; `sleeve` an index into `SLEEVES`.
    """

    signal: NDArray[np.int32]
    base: Floats
    direction: NDArray[np.int8]
    sleeve: NDArray[np.int8]


def requested_weights(grid: Grid, effective: Floats, sleeves: SleevesSpec) -> Floats:
    """Signed fractions of NAV that the signals ask for, before the shell, (T, N).

    w_i = rel_i x frac x effective_i / base_i with rel_i = base_i / sum(base) over the sleeve. The share is taken on base
    confidence, so that a multiplier reduces the position and leaves cash instead of cancelling out.

    Args:
        grid: the signals in force.
        effective: (S,) effective confidence of each signal.
        sleeves: the budgets; switched off, all signals share one budget of the whole NAV.
    """
    active = grid.base > 0.0
    ratio = np.ones_like(grid.base)
    ratio[active] = effective[grid.signal[active]] / grid.base[active]
    weights = np.zeros_like(grid.base)
    if not sleeves.enabled:
        return _spend(weights, active, grid, ratio, 1.0)
    for index, sleeve in enumerate(SLEEVES):
        _spend(weights, active & (grid.sleeve == index), grid, ratio, sleeves.of(sleeve).base_nav_frac)
    return weights


def _spend(weights: Floats, members: NDArray[np.bool_], grid: Grid, ratio: Floats, budget_frac: float) -> Floats:
    base = np.where(members, grid.base, 0.0)
    total = base.sum(axis=1, keepdims=True)
    relative = np.divide(base, total, out=np.zeros_like(base), where=total > 0.0)
    np.copyto(weights, relative * budget_frac * ratio * grid.direction, where=members)
    return weights
