"""What kind of market each instrument is in, from its own past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.forecasts import Floats, Regime
from policyengine.signals.returns import returns
from policyengine.spec.thresholds import RegimesSpec

_BLOCK = 16
"""Instruments looked at together: so few that their squares stay in the processor's cache."""

_INDEX = {regime: i for i, regime in enumerate(Regime)}


def regimes(spec: RegimesSpec, close: Floats, fresh: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Index into `Regime` of each session and instrument, (T, N), from closes that are `fresh` (T, N); -1 where it is unknown.

    Windows are counted in the instrument's own returns. The volatility is their root mean square and the drift's standard error
    follows from it, so that a trend of n returns r is |sum r| / sqrt(sum r^2), at most sqrt(n). A volatility is at least c times its
    median when at least half of the past are at most a c-th of it. Unknown before `memory_sessions` volatilities, on a session
    without a return, and where the volatility is 0.
    """
    change = returns(close, fresh)
    there = np.isfinite(change)
    own = np.argsort(~there, axis=0, kind="stable")
    label = np.empty(close.shape, dtype=np.int8)
    for start in range(0, close.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        packed = np.take_along_axis(change[:, block], own[:, block], axis=0)
        np.put_along_axis(label[:, block], own[:, block], _labels(spec, packed), axis=0)
    return np.where(there, label, -1).astype(np.int8)


def _labels(spec: RegimesSpec, change: Floats) -> NDArray[np.int8]:
    """Labels of returns (K, N) that follow each other, NaN after the last of each instrument."""
    square = change * change
    power = _window_sum(square, spec.vol_sessions)
    noise = _window_sum(square, spec.trend_sessions)
    drift = _window_sum(change, spec.trend_sessions)
    high, crisis = (_at_least_median(power, ratio * ratio, spec.memory_sessions) for ratio in (spec.high_ratio, spec.crisis_ratio))
    known = np.zeros(change.shape, dtype=np.bool_)
    first = spec.vol_sessions + spec.memory_sessions - 2
    known[first:] = (power[first:] > 0.0) & np.isfinite(noise[first:])
    trends = np.abs(drift) >= spec.trend_min * np.sqrt(noise)
    rules = (~known, crisis, high, trends)
    return np.select(
        rules,
        (-1, _INDEX[Regime.CRISIS], _INDEX[Regime.HIGH_VOL_TRENDING], _INDEX[Regime.MODERATE_TRENDING]),
        _INDEX[Regime.LIQUID_RANGEBOUND],
    ).astype(np.int8)


def _window_sum(values: Floats, size: int) -> Floats:
    """Sum of the last `size` rows, NaN before there are as many: of blocks of 1, 2, 4, ... rows, so that nothing old is left in it."""
    total = np.full(values.shape, np.nan)
    total[size - 1 :] = 0.0
    block, width, taken = values, 1, 0
    while width <= size:
        if size & width:
            total[size - 1 :] += block[size - 1 - taken : values.shape[0] - taken]
            taken += width
        longer = np.full(values.shape, np.nan)
        longer[width:] = block[width:] + block[:-width]
        block, width = longer, width * 2
    return total


def _at_least_median(values: Floats, factor: float, memory: int) -> NDArray[np.bool_]:
    """Whether each row is at least `factor` times at least half of the last `memory` rows, itself included."""
    count = np.zeros(values.shape, dtype=np.min_scalar_type(memory))  # the smallest that counts so far: what is read is what it costs
    scaled = values * factor
    for lag in range(min(memory, values.shape[0])):
        count[lag:] += values[lag:] >= scaled[: values.shape[0] - lag]
    return 2 * count.astype(np.int64) >= memory
