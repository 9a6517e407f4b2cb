"""Ratios that are reported and never gate. All Sharpe ratios here are per period unless a name says otherwise."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.records import TOLERANCE

_Floats = NDArray[np.float64]
_NORMAL = NormalDist()
_EULER = 0.5772156649015329


def probabilistic_sharpe(sharpe: float, n: int, *, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """PSR: probability that the true Sharpe ratio exceeds `benchmark`, from n returns with these moments (kurtosis 3 is normal).

    Raises:
        DataError: fewer than 2 returns, or moments that no distribution has.

    Source: Bailey and Lopez de Prado 2012, "The Sharpe ratio efficient frontier".
    """
    if n < 2:
        raise DataError("n", f"{n} returns; at least 2 are wanted")
    spread = _dispersion(sharpe, skewness, kurtosis)
    if spread == 0.0:
        return 0.5 * (1.0 + math.copysign(1.0, sharpe - benchmark)) if sharpe != benchmark else 0.5
    return _NORMAL.cdf((sharpe - benchmark) * math.sqrt(n - 1.0) / spread)


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Expected maximum Sharpe ratio among `trials` without skill whose Sharpe ratios have this variance; 0 for one trial.

    Raises:
        DataError: no trial, or a negative variance.

    Source: Bailey and Lopez de Prado 2014, "The deflated Sharpe ratio".
    """
    if trials < 1 or variance < 0.0:
        raise DataError("trials", f"{trials} trials with variance {variance} are not a search")
    if trials == 1:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER) * high + _EULER * higher)


def deflated_sharpe(sharpe: float, n: int, *, trials: int, variance: float, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """DSR: the PSR against the best that `trials` without skill would show.

    Raises:
        DataError: as `probabilistic_sharpe` and `expected_best_sharpe`.
    """
    benchmark = expected_best_sharpe(trials, variance)
    return probabilistic_sharpe(sharpe, n, benchmark=benchmark, skewness=skewness, kurtosis=kurtosis)


def min_track_record_length(
    sharpe: float, *, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float | None:
    """MinTRL: returns needed for PSR to reach `confidence`; None where no length suffices (sharpe <= benchmark).

    Source: Bailey and Lopez de Prado 2012.
    """
    if sharpe <= benchmark:
        return None
    return 1.0 + (_dispersion(sharpe, skewness, kurtosis) * _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def _dispersion(sharpe: float, skewness: float, kurtosis: float) -> float:
    square = 1.0 - skewness * sharpe + 0.25 * (kurtosis - 1.0) * sharpe * sharpe
    # Two-point distributions reach 0; rounding may reach a little below.
    if square < -TOLERANCE:
        raise DataError("kurtosis", f"skewness {skewness} and kurtosis {kurtosis} belong to no distribution")
    return math.sqrt(max(square, 0.0))


def shape(z: _Floats) -> tuple[float, float]:
    """(skewness, kurtosis) of standardised returns (n,); kurtosis 3 is normal. Population moments."""
    return float(np.mean(z**3)), float(np.mean(z**4))


def m2(annual_effect: float, baseline_annual_volatility: float) -> float:
    """Annual return that the Sharpe difference is worth at the baseline's volatility, a fraction.

    Source: Modigliani and Modigliani 1997.
    """
    return annual_effect * baseline_annual_volatility


def matched_information_ratio(baseline: _Floats, candidate: _Floats, periods_per_year: float) -> float | None:
    """Effect size: annual mean of k c - b over its standard deviation, k = sd_b/sd_c; None where the arms do not differ.

    Arrays (n,), finite. Cohen's d of the paired difference, annualised.
    """
    sd = float(np.std(candidate))
    if sd <= 0.0:
        return None
    difference = float(np.std(baseline)) / sd * candidate - baseline
    spread = float(np.std(difference))
    return float(np.mean(difference)) / spread * math.sqrt(periods_per_year) if spread > 1e-12 else None
