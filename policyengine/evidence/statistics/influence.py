"""The two effects and their influence series: what one session adds to the effect.

An effect is a smooth function of the joint distribution of (baseline, candidate); to first order its error is the mean of
its influence series d_t (Hampel 1974), so its standard error is that of a mean of dependent numbers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.records import TOLERANCE

ES_TAIL = 0.10
"""Share of worst sessions that expected shortfall averages over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectEstimate:
    """An effect of the whole sample.

    `estimate` is per session; times `annual_factor` it is annualised in units of the baseline's volatility, so that both
    effects read as a Sharpe difference. `influence` has shape (n,) and mean 0. `signs` has shape (n,): its sum over a span
    has the sign of the effect there, for the effect that is additive; None where the effect is computed anew on each span.
    `problem` says why there is no effect; then the numbers are 0 and the arrays empty.
    """

    estimate: float = 0.0
    annual_factor: float = 1.0
    influence: NDArray[np.float64]
    signs: NDArray[np.float64] | None = None
    problem: str | None = None

    @property
    def annualised(self) -> float:
        """The effect per year, in units of the baseline's volatility."""
        return self.estimate * self.annual_factor


def no_effect(problem: str) -> EffectEstimate:
    """An effect that does not exist, and why."""
    return EffectEstimate(influence=np.empty(0), problem=problem)


def standardised(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """Z = (x - mean)/sd of shape (n,) and the session Sharpe mean/sd (population sd); None for a constant series."""
    if x.size < 2:
        return None
    mean = float(np.mean(x))
    centred = x - mean
    sd = math.sqrt(float(np.mean(centred * centred)))
    if sd <= TOLERANCE:
        return None
    return centred / sd, mean / sd


def sharpe_effect(baseline: NDArray[np.float64], candidate: NDArray[np.float64], *, periods_per_year: float = 252.0) -> EffectEstimate:
    """S_c - S_b with d_t = [z_c - S_c (z_c^2 - 1)/2] - [z_b - S_b (z_b^2 - 1)/2].

    Arrays of shape (n,), excess returns per session, finite. A pure scaling of one arm has d_t = 0 in every session.

    Source: Jobson and Korkie 1981, Ledoit and Wolf 2008 (delta method).
    """
    b, c = standardised(baseline), standardised(candidate)
    if b is None or c is None:
        return no_effect(f"the {'baseline' if b is None else 'candidate'}'s returns do not vary")
    (z_b, s_b), (z_c, s_c) = b, c
    influence = (z_c - 0.5 * s_c * (z_c * z_c - 1.0)) - (z_b - 0.5 * s_b * (z_b * z_b - 1.0))
    return EffectEstimate(estimate=s_c - s_b, annual_factor=math.sqrt(periods_per_year), influence=influence)


def growth_at_es_effect(
    baseline: NDArray[np.float64], candidate: NDArray[np.float64], *, periods_per_year: float = 252.0
) -> EffectEstimate:
    """G = mean ln(1 + k c) - mean ln(1 + b): log growth per session with the candidate scaled to the baseline's expected shortfall.

    k = e_b/e_c, e(x) = mean((q - x)+)/.1 - q, q the 10% quantile, I_e = (q - x)+/.1 - q - e, and
    d = ln(1 + kc) - ln(1 + b) - G + mean(c/(1 + kc)) (I_eb/e_c - e_b I_ec/e_c^2). Arrays of shape (n,), finite. The annual
    factor divides by the baseline's volatility, which makes the materiality threshold the one of the Sharpe effect.

    Source: influence of expected shortfall, Chen 2008; the rest is the delta method.
    """
    if standardised(baseline) is None or standardised(candidate) is None:
        return no_effect("an arm's returns do not vary")
    e_b, i_b = _shortfall(baseline)
    e_c, i_c = _shortfall(candidate)
    if e_b <= TOLERANCE or e_c <= TOLERANCE:
        return no_effect("an arm's expected shortfall is not a loss, so exposures cannot be matched on it")
    k = e_b / e_c
    wealth_b, wealth_c = 1.0 + baseline, 1.0 + k * candidate
    if float(np.min(wealth_b)) <= 0.0 or float(np.min(wealth_c)) <= 0.0:
        return no_effect(f"an arm is ruined at the matched exposure (candidate times {k:.3g})")
    growth = np.log(wealth_c) - np.log(wealth_b)
    estimate = float(np.mean(growth))
    slope = float(np.mean(candidate / wealth_c))
    influence = growth - estimate + slope * (i_b / e_c - e_b * i_c / e_c**2)
    factor = math.sqrt(periods_per_year) / float(np.std(baseline))
    return EffectEstimate(estimate=estimate, annual_factor=factor, influence=influence, signs=growth)


def _shortfall(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    q = float(np.quantile(x, ES_TAIL))
    beyond = np.maximum(q - x, 0.0) / ES_TAIL - q
    e = float(np.mean(beyond))
    return e, beyond - e


def agreeing_spans(baseline: NDArray[np.float64], candidate: NDArray[np.float64], effect: EffectEstimate, spans: int) -> tuple[int, int]:
    """In how many of `spans` equal contiguous spans the effect is (above, below) zero.

    A span in which the effect does not exist counts for neither. Arms (n,), n >= 2 spans.
    """
    edges = [round(i * baseline.size / spans) for i in range(spans + 1)]
    above = below = 0
    for start, stop in itertools.pairwise(edges):
        if effect.signs is not None:
            value = float(np.mean(effect.signs[start:stop]))
        else:
            local = sharpe_effect(baseline[start:stop], candidate[start:stop])
            value = local.estimate
        above += value > TOLERANCE
        below += value < -TOLERANCE
    return above, below
