"""From signals to requested weights: each signal is charged to a sleeve and takes its share of the sleeve's budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.records import Bucket, Sleeve

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

    def between(self, start: int, stop: int) -> Grid:
        """Sessions [start, stop)."""
        rows = slice(start, stop)
        return Grid(signal=self.signal[rows], base=self.base[rows], direction=self.direction[rows], sleeve=self.sleeve[rows])


def relative(grid: Grid, *, by_sleeve: bool) -> Floats:
    """Signed share of its budget that each signal asks for at base confidence, (T, N): rel_i = base_i / sum(base) over the sleeve.

    Shares are taken on base confidence, so that a multiplier reduces the position and leaves cash instead of cancelling out.
    With `by_sleeve` false all signals share one budget.
    """
    found = np.zeros_like(grid.base)
    active = grid.base > 0.0
    sleeves = np.unique(grid.sleeve[active]).tolist() if by_sleeve else [None]
    for index in sleeves:
        members = active if index is None else active & (grid.sleeve == index)
        base = np.where(members, grid.base, 0.0)
        total = base.sum(axis=1, keepdims=True)
        share = np.divide(base, total, out=np.zeros_like(base), where=total > 0.0)
        np.copyto(found, share * grid.direction, where=members)
    return found


def retained(grid: Grid, effective: Floats) -> Floats:
    """effective_i / base_i of the signal in force, (T, N), from effective confidences (S,); 1 where there is none."""
    active = grid.base > 0.0
    ratio = np.ones_like(grid.base)
    ratio[active] = effective[grid.signal[active]] / grid.base[active]
    return ratio
