"""Returns of an instrument over its own sessions, those on which it has a bar, and what is common to engines that read them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policyengine.records import SPLIT_WITHIN, SPLITS
from policyengine.signals.forecasts import Floats, Silence

FLAT = 1e-12
"""A volatility at or below this is the rounding of constant prices."""

_LARGEST = 1e100
"""Beyond this a return has no square that a float can hold; no price moves so far."""


def returns(close: Floats, fresh: NDArray[np.bool_]) -> Floats:
    """(p - p') / |p'| of each bar p on the bar p' before it, (T, N), so that a price may be negative and up is always positive.

    NaN on a session without a bar, on the first bar, after a price of 0, where no float can hold it, and where the price looks split: of
    such a move nobody can say from prices alone whether it was made.
    """
    base = _before(close, fresh)
    usable = fresh & np.isfinite(base) & (base != 0.0) & ~looks_split(close, fresh)
    base = np.where(usable, base, 1.0)
    with np.errstate(over="ignore"):
        change = (np.where(usable, close, np.nan) - base) / np.abs(base)
    return np.where(np.abs(change) < _LARGEST, change, np.nan)


def looks_split(close: Floats, fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a bar stands to the bar before it as after a split, (T, N); both prices are above 0."""
    base = _before(close, fresh)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ratio = np.where(fresh & (close > 0.0) & (base > 0.0), close / base, 1.0)
        ratio = np.maximum(ratio, 1.0 / ratio)
    found = np.zeros(close.shape, dtype=np.bool_)
    far = ratio >= SPLITS[0] * (1.0 - SPLIT_WITHIN)
    if far.any():
        times = ratio[far]
        found[far] = np.any([np.abs(times / split - 1.0) <= SPLIT_WITHIN for split in SPLITS], axis=0)
    return found


def _before(close: Floats, fresh: NDArray[np.bool_]) -> Floats:
    """Price of the bar before each session, (T, N); NaN where there is none."""
    before = np.empty(close.shape)
    last = np.full(close.shape[1], np.nan)
    for t in range(close.shape[0]):
        before[t] = last
        last = np.where(fresh[t], close[t], last)
    return before


def weighted_mean(values: Floats, halflife: float) -> Floats:
    """Exponentially weighted mean of the rows of `values` (T, N) so far, carried over NaN; NaN before the first value.

    With a = 1 - 2^(-1/halflife), m_t = (1 - a) m_{t-1} + a x_t, over the mass of its weights, so that the first values count in full.
    """
    latest = weight(halflife)
    there = ~np.isnan(values)
    keep, add = np.where(there, 1.0 - latest, 1.0), np.where(there, latest * values, 0.0)
    rows = np.empty(values.shape)
    mean = np.zeros(values.shape[1])
    for t in range(values.shape[0]):
        mean = keep[t] * mean + add[t]
        rows[t] = mean
    count = there.cumsum(axis=0)
    mass = 1.0 - np.cumprod(np.append(1.0, np.full(values.shape[0], 1.0 - latest)))[count]
    means: Floats = np.divide(rows, mass, out=np.full(values.shape, np.nan), where=count > 0)
    return means


def surprises(change: Floats, drift: Floats) -> Floats:
    """Returns `change` (T, N) less the `drift` (T, N) known the session before, 0 before there is one; NaN where there is no return."""
    before = np.zeros(change.shape)
    before[1:] = np.where(np.isnan(drift[:-1]), 0.0, drift[:-1])
    return change - before


def weight(halflife: float) -> float:
    """The weight of the latest return, of a half-life in sessions."""
    return float(1.0 - 0.5 ** (1.0 / halflife))


def silences(close: Floats, fresh: NDArray[np.bool_], *, short: NDArray[np.bool_], flat: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Why an engine of returns is silent, (T, N): no bar, too few returns (`short`), no volatility (`flat`), or a price of no use.

    Of a price of 0 no return can be said, nor of one that looks split.
    """
    reasons = (Silence.NO_BAR, Silence.SHORT_HISTORY, Silence.CONSTANT, Silence.UNUSABLE_PRICE)
    useless = (close == 0.0) | looks_split(close, fresh)
    return np.select((~fresh, short, flat, useless), reasons, Silence.SPEAKS).astype(np.int8)
