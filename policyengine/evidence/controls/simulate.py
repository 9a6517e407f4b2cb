"""The data-generating process of the negative controls: three buckets with fat tails, clustering and dependence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

PERIODS_PER_YEAR = 252.0
SCALES = np.array([0.0015, 0.0040, 0.0060])
"""Daily standard deviation of a bucket's P&L on a day that it trades, as a fraction of capital."""
TRADING = 0.6
_AUTOREGRESSION = 0.15
_FACTOR_SHARE = 0.3
_OMEGA, _ALPHA, _BETA = 0.02, 0.08, 0.90
_BURN_IN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`reps` samples of n days. P&L per bucket (reps, n, 3) of each arm, 0 on days without a trade; arms are sums over buckets."""

    baseline: _Floats
    candidate: _Floats


def shocks(rng: np.random.Generator, reps: int, n: int) -> tuple[_Floats, NDArray[np.bool_]]:
    """(x, trades), each (reps, n, 3): unit-variance AR(1) shocks under one GARCH(1,1) volatility, and who trades when.

    The variance is driven by the factor's shock and scales the factor and the buckets' own shocks alike.
    """
    length = n + _BURN_IN
    t4 = rng.standard_t(4.0, size=(length, reps, 4)) / math.sqrt(2.0)
    variance = np.ones((reps, 1))
    x = np.zeros((reps, 3))
    kept = np.empty((n, reps, 3))
    innovation = math.sqrt(1.0 - _AUTOREGRESSION**2)
    mixed = math.sqrt(_FACTOR_SHARE) * t4[:, :, :1] + math.sqrt(1.0 - _FACTOR_SHARE) * t4[:, :, 1:]
    for day in range(length):
        x = _AUTOREGRESSION * x + innovation * np.sqrt(variance) * mixed[day]
        variance = _OMEGA + variance * (_ALPHA * t4[day, :, :1] ** 2 + _BETA)
        if day >= _BURN_IN:
            kept[day - _BURN_IN] = x
    return kept.transpose(1, 0, 2), rng.random((reps, n, 3)) < TRADING


def book_moments(drifts: _Floats, multipliers: _Floats) -> tuple[float, float]:
    """Exact (mean, standard deviation) per day of sum_k m_k I_k (mu_k + s_k x_k)."""
    covariance = TRADING**2 * _FACTOR_SHARE * np.outer(SCALES, SCALES)
    np.fill_diagonal(covariance, TRADING * (drifts**2 + SCALES**2) - (TRADING * drifts) ** 2)
    return float(TRADING * np.sum(multipliers * drifts)), math.sqrt(float(multipliers @ covariance @ multipliers))


def solve_drifts(books: tuple[_Floats, ...], sharpes: tuple[float, ...]) -> _Floats:
    """Drifts (3,) that give each book of multipliers its annual Sharpe exactly, of least norm in units of the buckets' scales.

    Books are multipliers (3,), at most three and linearly independent. A book's variance depends a little on the drifts, hence
    the iteration.
    """
    drifts = np.zeros(3)
    system = np.stack([TRADING * book * SCALES for book in books])
    for _ in range(50):
        means = [s / math.sqrt(PERIODS_PER_YEAR) * book_moments(drifts, book)[1] for s, book in zip(sharpes, books, strict=True)]
        drifts = SCALES * np.linalg.lstsq(system, np.array(means), rcond=None)[0]
    return np.asarray(drifts)


def bucket_drifts(sharpes: tuple[float, float, float]) -> _Floats:
    """Drifts (3,) that give each bucket alone its annual Sharpe."""
    daily = np.array(sharpes) / math.sqrt(PERIODS_PER_YEAR)
    # S = p mu / sqrt(p (mu^2 + s^2) - p^2 mu^2), solved for mu.
    return np.asarray(daily * SCALES / np.sqrt(TRADING - daily**2 * (1.0 - TRADING)))


def tilted(rng: np.random.Generator, reps: int, n: int, drifts: _Floats, multipliers: _Floats, noise: float = 0.0) -> Sample:
    """Samples whose candidate multiplies bucket k by `multipliers[k]`, times mean-1 lognormal noise of log-sd `noise` each day."""
    x, trades = shocks(rng, reps, n)
    baseline = np.where(trades, drifts + SCALES * x, 0.0)
    factor = np.exp(noise * rng.standard_normal(x.shape) - 0.5 * noise**2) if noise > 0.0 else 1.0
    return Sample(baseline=baseline, candidate=baseline * multipliers * factor)


GAIN_SIGMAS, GAIN_FREQUENCY, CONVEX_EXPOSURE = 8.0, 0.01, 0.6
CONVEX_NULL_SHARPE = 0.828
"""Annual Sharpe at which the convex candidate's growth at equal expected shortfall is the baseline's of Sharpe 1: solved by bisection
on 4 million sessions of `convex`, to 0.002."""


def convex(rng: np.random.Generator, reps: int, n: int, candidate_sharpe: float) -> tuple[_Floats, _Floats]:
    """(baseline, candidate), each (reps, n): Sharpe 1, and 0.6 times the same plus a gain of 8 sd on one day in 100, at a daily premium.

    The premium makes the candidate's annual Sharpe exact.
    """
    ones = np.ones(3)
    drifts = solve_drifts((ones,), (1.0,))
    mean, sd = book_moments(drifts, ones)
    x, trades = shocks(rng, reps, n)
    baseline = np.where(trades, drifts + SCALES * x, 0.0).sum(axis=2)
    gain = GAIN_SIGMAS * sd
    spread = math.sqrt(sd**2 + gain**2 * GAIN_FREQUENCY * (1.0 - GAIN_FREQUENCY))
    premium = mean + gain * GAIN_FREQUENCY - candidate_sharpe / math.sqrt(PERIODS_PER_YEAR) * spread
    return baseline, CONVEX_EXPOSURE * (baseline + gain * (rng.random((reps, n)) < GAIN_FREQUENCY) - premium)
