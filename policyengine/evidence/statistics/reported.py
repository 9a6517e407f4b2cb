"""What is reported beside a verdict and never decides it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.evidence.statistics.case import Case
from policyengine.evidence.statistics.influence import standardised
from policyengine.evidence.statistics.missing import Missing, what_is_missing
from policyengine.evidence.statistics.ratios import (
    deflated_sharpe,
    m2,
    matched_information_ratio,
    min_track_record_length,
    probabilistic_sharpe,
    shape,
)
from policyengine.evidence.statistics.significance import EffectTest, mean_difference_interval

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Measures of one comparison; what does not exist is None, never NaN.

    Sharpe ratios are annual; `mean_difference` is the annual mean return difference with its studentised interval, `m2` the annual
    return that the Sharpe difference is worth at the baseline's volatility; `information_ratio` the effect size of the
    volatility-matched difference. `psr` and `min_trl_sessions` take the baseline's Sharpe ratio as benchmark, `dsr` the best that the
    logged trials would show by luck. `superior_predictive_ability` is Hansen's consistent p-value that any trial is better. `missing`
    is None without a test.
    """

    sharpe_baseline: float | None = None
    sharpe_candidate: float | None = None
    mean_difference: float | None = None
    mean_difference_interval: tuple[float, float] | None = None
    m2: float | None = None
    information_ratio: float | None = None
    psr: float | None = None
    dsr: float | None = None
    min_trl_sessions: float | None = None
    superior_predictive_ability: float | None = None
    missing: Missing | None = None


def report(case: Case, test: EffectTest, superior: float | None) -> Reported:
    """Everything that can be said of a case; little where there is no test. `superior` is passed through."""
    b, c = standardised(case.baseline), standardised(case.candidate)
    if b is None or c is None or test.variance is None:
        return Reported(superior_predictive_ability=superior)
    (_, sharpe_b), (z_c, sharpe_c) = b, c
    skewness, kurtosis = shape(z_c)
    n, year = case.baseline.size, math.sqrt(case.periods_per_year)
    variance = _trial_variance(case.trials, sharpe_c)
    deflated = None
    if variance is not None:
        deflated = deflated_sharpe(sharpe_c, n, trials=case.n_trials, variance=variance, skewness=skewness, kurtosis=kurtosis)
    return Reported(
        sharpe_baseline=sharpe_b * year,
        sharpe_candidate=sharpe_c * year,
        mean_difference=float(np.mean(case.candidate - case.baseline)) * case.periods_per_year,
        mean_difference_interval=mean_difference_interval(
            case.baseline,
            case.candidate,
            gate=case.gate,
            n_boot=case.n_boot,
            seed=case.seed,
            periods_per_year=case.periods_per_year,
            sessions=case.sessions,
        ),
        m2=m2((sharpe_c - sharpe_b) * year, float(np.std(case.baseline)) * year),
        information_ratio=matched_information_ratio(case.baseline, case.candidate, case.periods_per_year),
        psr=probabilistic_sharpe(sharpe_c, n, benchmark=sharpe_b, skewness=skewness, kurtosis=kurtosis),
        dsr=deflated,
        min_trl_sessions=min_track_record_length(sharpe_c, benchmark=sharpe_b, skewness=skewness, kurtosis=kurtosis),
        superior_predictive_ability=superior,
        missing=what_is_missing(test.variance, n, gate=case.gate, alpha=case.planned_alpha, n_trials=case.n_trials, n_trades=case.n_trades),
    )


def _trial_variance(trials: _Floats | None, candidate_sharpe: float) -> float | None:
    """Variance over trials, the candidate included, of the Sharpe ratio per session; None without at least two that vary."""
    if trials is None:
        return None
    found = [candidate_sharpe]
    for k in range(trials.shape[1]):
        trial = standardised(np.ascontiguousarray(trials[:, k]))
        if trial is not None:
            found.append(trial[1])
    return float(np.var(found, ddof=1)) if len(found) > 1 else None
