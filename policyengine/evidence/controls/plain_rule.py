"""The plain rules that the gate's error rates are shown against: what a desk does without a test.

They exist for the negative controls alone. A harness that cannot show these failing is no evidence that the gate holds.
"""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from policyengine.evidence.statistics.longrun import long_run_variance
from policyengine.evidence.statistics.sequential import FIRST_LOOK
from policyengine.records import TOLERANCE

_Floats = NDArray[np.float64]
_Flags = NDArray[np.bool_]
WINDOWS = 3


def plain_promotions(baseline: _Floats, candidate: _Floats, carry: float = 0.0) -> _Flags:
    """Who passes "return or profit factor improves and drawdown does not worsen, in 3 of 3 windows"; shape (reps,).

    Args:
        baseline: P&L of every bucket and day, (reps, n, buckets), a trade each where it is not 0; windows are equal thirds.
        candidate: the same under the candidate.
        carry: interest on the account a day, which such a rule counts as return.
    """
    passed = np.ones(baseline.shape[0], dtype=np.bool_)
    edges = [round(i * baseline.shape[1] / WINDOWS) for i in range(WINDOWS + 1)]
    for start, stop in itertools.pairwise(edges):
        b, c = baseline[:, start:stop], candidate[:, start:stop]
        return_b, drawdown_b = _path(b.sum(axis=2) + carry)
        return_c, drawdown_c = _path(c.sum(axis=2) + carry)
        better = (return_c - return_b > TOLERANCE) | (_profit_factor(c) - _profit_factor(b) > TOLERANCE)
        passed &= better & (drawdown_c - drawdown_b <= TOLERANCE)
    return passed


def _path(returns: _Floats) -> tuple[_Floats, _Floats]:
    wealth = np.asarray(np.cumprod(1.0 + returns, axis=1), dtype=np.float64)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=1), 1.0)
    return wealth[:, -1] - 1.0, np.asarray(np.max(1.0 - wealth / peak, axis=1))


def _profit_factor(pnl: _Floats) -> _Floats:
    gains = np.sum(np.maximum(pnl, 0.0), axis=(1, 2))
    losses = -np.sum(np.minimum(pnl, 0.0), axis=(1, 2))
    return np.asarray(np.divide(gains, losses, out=np.full_like(gains, np.inf), where=losses > 0.0))


def daily_retests(baseline: _Floats, candidate: _Floats, first: int, alpha: float = 0.05) -> _Flags:
    """Who passes a one-sided Sharpe-difference z-test of level `alpha` on some day from `first` on; arms (n, reps), result (reps,)."""
    passed = np.zeros(baseline.shape[1], dtype=np.bool_)
    for n in range(first, baseline.shape[0] + 1):
        z_b, s_b = _standardised(baseline[:n])
        z_c, s_c = _standardised(candidate[:n])
        influence = (z_c - 0.5 * s_c * (z_c**2 - 1.0)) - (z_b - 0.5 * s_b * (z_b**2 - 1.0))
        passed |= s_c - s_b > NormalDist().inv_cdf(1.0 - alpha) * np.sqrt(long_run_variance(influence) / n)
    return passed


def _standardised(x: _Floats) -> tuple[_Floats, _Floats]:
    mean, sd = np.mean(x, axis=0), np.std(x, axis=0)
    return (x - mean) / sd, mean / sd


def daily_t_tests(differences: _Floats, alpha: float = 0.05) -> _Flags:
    """Who shows a one-sided t-test of level `alpha` that the mean is below 0 on some day from 20 on; (n, reps) -> (reps,)."""
    n = np.arange(1, differences.shape[0] + 1, dtype=np.float64)[:, None]
    mean = np.cumsum(differences, axis=0) / n
    variance = np.maximum(np.cumsum(differences**2, axis=0) / n - mean**2, 1e-300)
    t = mean / np.sqrt(variance / np.maximum(n - 1.0, 1.0))
    z = NormalDist().inv_cdf(1.0 - alpha)
    # Student's quantile to first order in 1/(n - 1), good to 0.01 from 20 days on (Cornish and Fisher 1938).
    critical = z + (z**3 + z) / (4.0 * np.maximum(n - 1.0, 1.0))
    return np.asarray(np.any((t < -critical)[FIRST_LOOK - 1 :], axis=0))
