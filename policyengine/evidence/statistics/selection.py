"""Selection over trials: the best of many looks good by chance, so the candidate must survive among all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.errors import DataError
from policyengine.evidence.statistics.arrays import check_resamples, finite, generator
from policyengine.evidence.statistics.bootstrap import Blocks, block_sums, studentised, total_sessions
from policyengine.evidence.statistics.influence import EffectEstimate, growth_at_es_effect, sharpe_effect
from policyengine.evidence.statistics.longrun import long_run_variance
from policyengine.evidence.statistics.significance import LEAST_SESSIONS, blocks_for
from policyengine.records import TOLERANCE
from policyengine.spec.significance import EffectKind, SignificanceSpec

_Floats = NDArray[np.float64]
_SELECTION_STREAM = 3
_SPA_STREAM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StepM:
    """Adjusted p-values of K strategies against one baseline, the candidate first; 1 for one that is never tested.

    `total` is the number of trials that were made, of which `aligned` = K could be replayed on these sessions. `effects` are annualised;
    `unadjusted` are the p-values that each would have alone, for comparison only.
    """

    p_values: tuple[float, ...]
    unadjusted: tuple[float, ...]
    effects: tuple[float, ...]
    aligned: int
    total: int

    @property
    def candidate_p(self) -> float:
        """min(1, p K_total/K_aligned): trials that cannot be aligned count as if they had been tried here (Bonferroni)."""
        return min(1.0, self.p_values[0] * self.total / self.aligned)


def stepm(
    baseline: ArrayLike,
    strategies: ArrayLike,
    *,
    seed: int,
    n_boot: int = 9999,
    total_trials: int | None = None,
    gate: SignificanceSpec | None = None,
    sessions: NDArray[np.datetime64] | None = None,
) -> StepM:
    """Studentised stepwise multiple test on influence series; who is in the rejection set at alpha has p <= alpha.

    Args:
        baseline: excess returns (n,).
        strategies: excess returns (n, K), the candidate in column 0. A column that does not vary, or only scales the baseline, is kept in
            the count and has p = 1.
        seed: of the resamples.
        n_boot: resamples, the same sessions for all columns.
        total_trials: trials ever made, the candidate included; None means K.
        gate: effect and block rules; the block length is the median over the columns, so the set does not depend on who asks.
        sessions: dates (n,), for calendar blocks only.

    Raises:
        DataError: arrays that are not finite or not aligned, fewer than 20 sessions, fewer trials in total than columns.

    Source: Romano and Wolf 2005, "Stepwise multiple testing as formalized data snooping"; adjusted p-values as in Romano and Wolf 2016.
    """
    gate = gate if gate is not None else SignificanceSpec()
    check_resamples(n_boot)
    b = finite(baseline, "baseline")
    matrix = finite(strategies, "trials", ndim=2)
    n, count = matrix.shape
    if n != b.size or n < LEAST_SESSIONS:
        raise DataError("trials", f"has {n} sessions, the baseline {b.size}; the same, at least {LEAST_SESSIONS}, are wanted")
    total = count if total_trials is None else total_trials
    if total < count or count == 0:
        raise DataError("total_trials", f"{total} trials in total cannot hold the {count} that are given")
    measured = [_effect(gate.effect, b, matrix[:, k]) for k in range(count)]
    p_values, unadjusted = np.ones(count), np.ones(count)
    known = [k for k in range(count) if measured[k].problem is None]
    if known:
        series = np.column_stack([measured[k].influence for k in known])
        se = np.sqrt(long_run_variance(series) / n)
        tested = se > TOLERANCE
        known = [k for k, varies in zip(known, tested, strict=True) if varies]
        t = np.array([measured[k].estimate for k in known]) / se[tested]
        if known:
            blocks = blocks_for(series[:, tested], gate, sessions)
            t_star = _joint_t_star(series[:, tested], blocks, n_boot, generator(seed, _SELECTION_STREAM))
            p_values[known] = adjusted_p_values(t, t_star)
            unadjusted[known] = (1.0 + np.count_nonzero(t_star >= t, axis=0)) / (n_boot + 1.0)
    return StepM(
        p_values=tuple(p_values.tolist()),
        unadjusted=tuple(unadjusted.tolist()),
        effects=tuple(e.annualised for e in measured),
        aligned=count,
        total=total,
    )


def _effect(kind: EffectKind, baseline: _Floats, strategy: _Floats) -> EffectEstimate:
    strategy = np.ascontiguousarray(strategy)
    return sharpe_effect(baseline, strategy) if kind is EffectKind.SHARPE else growth_at_es_effect(baseline, strategy)


def _joint_t_star(series: _Floats, blocks: Blocks, n_boot: int, rng: np.random.Generator) -> _Floats:
    """t* of each column's mean in each resample, (n_boot, K), all columns on the same blocks."""
    centred = series - np.mean(series, axis=0)
    columns = [np.ascontiguousarray(centred[:, k]) for k in range(series.shape[1])]
    parts = []
    for sums, lengths in block_sums(columns, blocks, n_boot, rng):
        total = total_sessions(lengths, sums[0].shape)
        part = np.empty((sums[0].shape[0], len(columns)))
        for k, block in enumerate(sums):
            part[:, k] = studentised(block, lengths, total)
        parts.append(part)
    return np.concatenate(parts)


def adjusted_p_values(t: _Floats, t_star: _Floats) -> _Floats:
    """Stepdown-adjusted one-sided p-values, shape (K,), from statistics (K,) and their resamples (B, K).

    The largest t is compared with the maximum over all columns, the next with the maximum over those that remain, and p never falls
    along the way.
    """
    order = np.argsort(-t, kind="stable")
    remaining = np.maximum.accumulate(t_star[:, order[::-1]], axis=1)[:, ::-1]
    exceeding = np.count_nonzero(remaining >= t[order], axis=0)
    stepped = np.maximum.accumulate((1.0 + exceeding) / (t_star.shape[0] + 1.0))
    result = np.empty(t.size)
    result[order] = stepped
    return result


def superior_predictive_ability(influence: ArrayLike, *, block_sessions: int, seed: int, n_boot: int = 1000) -> tuple[float, float, float]:
    """Hansen's p-values (lower, consistent, upper) that any of K trials is better. Reported, never gating.

    Args:
        influence: effect plus influence series of each trial, (n, K): the mean of a column is that trial's effect.
        block_sessions: mean block length of the stationary bootstrap.
        seed: of the resamples.
        n_boot: resamples.

    Raises:
        DataError: a malformed array, or `arch` is not installed.

    Source: Hansen 2005, computed by `arch.bootstrap.SPA`, imported here because the import takes longer than a cold run.
    """
    gains = finite(influence, "influence", ndim=2, largest=1e100)
    try:
        from arch.bootstrap import SPA  # noqa: PLC0415 - takes longer than a cold run
    except ModuleNotFoundError as error:
        raise DataError("arch", "is not installed; superior predictive ability cannot be reported") from error
    test = SPA(np.zeros(gains.shape[0]), -gains, block_size=block_sessions, reps=n_boot, seed=seed)
    test.compute()
    lower, consistent, upper = (float(p) for p in test.pvalues)
    return lower, consistent, upper
