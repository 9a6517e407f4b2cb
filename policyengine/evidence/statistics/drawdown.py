"""The drawdown guard: how much deeper the candidate's drawdown might be at equal volatility."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.evidence.statistics.arrays import generator
from policyengine.evidence.statistics.blocks import block_length
from policyengine.evidence.statistics.influence import standardised
from policyengine.evidence.statistics.paths import path_differences
from policyengine.records import TOLERANCE
from policyengine.spec.significance import SignificanceSpec

_Floats = NDArray[np.float64]
_GUARD_STREAM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawdownGuard:
    """Volatility-matched d max_drawdown of the sample and of its resamples. Drawdowns are positive fractions of the peak.

    `matched` is the sample's; `upper` the one-sided upper percentile that the guard compares with `limit`; `interval` is two-sided.
    The other intervals are those of the same resamples, reported: of d total return and, None where an arm has no losing session in too
    many resamples, of d profit factor of sessions.
    """

    baseline: float
    candidate: float
    matched: float
    scale: float
    upper: float
    limit: float
    interval: tuple[float, float]
    return_interval: tuple[float, float]
    profit_factor_interval: tuple[float, float] | None
    mean_block_sessions: int

    @property
    def holds(self) -> bool:
        """Whether the upper bound is within the limit."""
        return self.upper <= self.limit


def max_drawdown(returns: _Floats) -> float:
    """Largest fall of compounded wealth from a running peak, the start included, as a fraction of the peak; 1 after ruin.

    `returns` (n,) per session, finite.
    """
    # In logarithms, so that no history is long enough to overflow.
    path = np.concatenate([[0.0], np.cumsum(log_wealth(returns))])
    return float(-np.expm1(np.min(path - np.maximum.accumulate(path))))


def log_wealth(returns: _Floats) -> _Floats:
    """ln(1 + r) of each session (n,); -inf for ruin, r <= -1."""
    return np.asarray(np.log1p(returns, out=np.full_like(returns, -np.inf), where=returns > -1.0))


def drawdown_guard(
    baseline: _Floats, candidate: _Floats, influence: _Floats, *, gate: SignificanceSpec, n_boot: int, seed: int
) -> DrawdownGuard | None:
    """Percentile upper bound of d max_drawdown with the candidate scaled to the baseline's volatility anew in each resample.

    Args:
        baseline: excess returns (n,), checked.
        candidate: the same sessions, (n,).
        influence: of the effect, (n,); the blocks must keep the dependence of the difference.
        gate: confidence, the tolerated fraction of the baseline's drawdown, block rules.
        n_boot: resamples of the stationary bootstrap.
        seed: of the draws.

    Returns:
        None where an arm does not vary, so that there is no volatility to match.

    Percentile, not BCa: for a maximum over a path the acceleration is ill-estimated and BCa undercovers.
    """
    if standardised(baseline) is None or standardised(candidate) is None:
        return None
    mean_block = block_length(influence, gate, stationary=True)
    paths = path_differences(baseline, candidate, mean_block=mean_block, n_boot=n_boot, rng=generator(seed, _GUARD_STREAM))
    scale = float(np.std(baseline)) / float(np.std(candidate))
    deepest = max_drawdown(baseline)
    known = paths.profit_factor[~np.isnan(paths.profit_factor)]
    return DrawdownGuard(
        baseline=deepest,
        candidate=max_drawdown(candidate),
        matched=max_drawdown(scale * candidate) - deepest,
        scale=scale,
        upper=_quantile(paths.max_drawdown, gate.drawdown_confidence),
        limit=gate.drawdown_guard_frac * deepest + TOLERANCE,
        interval=percentile_interval(paths.max_drawdown, gate.interval_confidence),
        return_interval=percentile_interval(paths.total_return, gate.interval_confidence),
        profit_factor_interval=percentile_interval(known, gate.interval_confidence) if 2 * known.size > n_boot else None,
        mean_block_sessions=mean_block,
    )


def percentile_interval(values: _Floats, confidence: float) -> tuple[float, float]:
    """The central interval that holds `confidence` of `values` (B,), rounded outwards to values that occurred."""
    tail = 0.5 * (1.0 - confidence)
    ordered = np.partition(values, (math.floor(tail * (values.size - 1)), math.ceil((1.0 - tail) * (values.size - 1))))
    return float(ordered[math.floor(tail * (values.size - 1))]), float(ordered[math.ceil((1.0 - tail) * (values.size - 1))])


def _quantile(values: _Floats, level: float) -> float:
    at = math.ceil(level * (values.size - 1))
    return float(np.partition(values, at)[at])
