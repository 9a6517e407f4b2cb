"""The test: whether the candidate is better by more than chance, dependence and fat tails explain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.evidence.statistics.arrays import check_resamples, generator, paired
from policyengine.evidence.statistics.blocks import block_length, calendar_edges
from policyengine.evidence.statistics.bootstrap import Blocks, mirrored, p_value, studentised_means, studentised_sharpe_differences
from policyengine.evidence.statistics.influence import EffectEstimate, growth_at_es_effect, sharpe_effect, standardised
from policyengine.evidence.statistics.longrun import long_run_variance
from policyengine.records import TOLERANCE
from policyengine.spec.significance import BootstrapScheme, EffectKind, SignificanceSpec

LEAST_SESSIONS = 20
"""Fewer sessions hold fewer than four blocks of five. The gate asks for many more."""
_TEST_STREAM = 1
_RETURN_STREAM = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectTest:
    """What the test found. Every number is None when `problem` says why there is no test.

    `effect`, `se` and `interval` are annualised, in units of the baseline's volatility; `t` = effect/se. `p_value` is
    one-sided for "the candidate is better", `p_worse` the same with the arms swapped. `interval` is studentised and two-sided.
    `variance` is the long-run variance of the annualised influence: se^2 = variance/n.
    """

    kind: EffectKind
    n_sessions: int
    n_boot: int
    effect: float | None = None
    se: float | None = None
    t: float | None = None
    p_value: float | None = None
    p_worse: float | None = None
    interval: tuple[float, float] | None = None
    block_sessions: int | None = None
    variance: float | None = None
    problem: str | None = None


SharpeTest = EffectTest


def sharpe_difference_test(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    n_boot: int = 9999,
    seed: int,
    periods_per_year: float = 252.0,
    gate: SignificanceSpec | None = None,
    sessions: NDArray[np.datetime64] | None = None,
) -> SharpeTest:
    """Studentised block-bootstrap test of S_candidate - S_baseline.

    Args:
        baseline: excess returns per session, shape (n,).
        candidate: the same sessions under the candidate, shape (n,).
        n_boot: resamples, at least 99.
        seed: non-negative; the same seed gives the same bits.
        periods_per_year: sessions a year, for annualising.
        gate: block rules and bootstrap scheme; None means the shipped ones.
        sessions: dates (n,), needed for calendar blocks only.

    Raises:
        DataError: arms that are not finite, one-dimensional and of one length, or a bad seed. Degenerate but well-formed arms
            (constant, identical, one a multiple of the other, fewer than 20 sessions) are no error: see `EffectTest.problem`.

    Source: Ledoit and Wolf 2008, "Robust performance hypothesis testing with the Sharpe ratio".
    """
    gate = gate if gate is not None else SignificanceSpec()
    b, c = paired(baseline, candidate)
    effect = sharpe_effect(b, c, periods_per_year=periods_per_year)
    return effect_test(EffectKind.SHARPE, b, c, effect, gate=gate, n_boot=n_boot, seed=seed, sessions=sessions)


def growth_at_es_test(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    n_boot: int = 9999,
    seed: int,
    periods_per_year: float = 252.0,
    gate: SignificanceSpec | None = None,
    sessions: NDArray[np.datetime64] | None = None,
) -> EffectTest:
    """The same for log growth at the baseline's expected shortfall, for convex policies. Arguments as `sharpe_difference_test`.

    The bootstrap studentises the mean of the influence series.

    Raises:
        DataError: as `sharpe_difference_test`.
    """
    gate = gate if gate is not None else SignificanceSpec()
    b, c = paired(baseline, candidate)
    effect = growth_at_es_effect(b, c, periods_per_year=periods_per_year)
    return effect_test(EffectKind.GROWTH_AT_ES, b, c, effect, gate=gate, n_boot=n_boot, seed=seed, sessions=sessions)


def effect_test(
    kind: EffectKind,
    baseline: NDArray[np.float64],
    candidate: NDArray[np.float64],
    effect: EffectEstimate,
    *,
    gate: SignificanceSpec,
    n_boot: int,
    seed: int,
    sessions: NDArray[np.datetime64] | None = None,
) -> EffectTest:
    """Test an effect that is already estimated on checked arms (n,)."""
    check_resamples(n_boot)
    n = baseline.size
    if effect.problem is not None or n < LEAST_SESSIONS:
        problem = effect.problem or f"{n} sessions; a test needs at least {LEAST_SESSIONS}"
        return EffectTest(kind=kind, n_sessions=n, n_boot=n_boot, problem=problem)
    variance = float(long_run_variance(effect.influence[:, None])[0])
    se = math.sqrt(variance / n)
    if se <= TOLERANCE:
        problem = "the arms do not differ beyond a scaling: the effect has no sampling error to judge it by"
        return EffectTest(kind=kind, n_sessions=n, n_boot=n_boot, problem=problem)
    blocks = blocks_for(effect.influence, gate, sessions)
    if blocks.per_sample < 4:
        problem = f"{blocks.per_sample} {blocks.scheme.value} blocks; a test needs at least 4"
        return EffectTest(kind=kind, n_sessions=n, n_boot=n_boot, problem=problem)
    t_star = _t_star(kind, baseline, candidate, effect, blocks, n_boot, seed)
    t = effect.estimate / se
    factor = effect.annual_factor
    return EffectTest(
        kind=kind,
        n_sessions=n,
        n_boot=n_boot,
        effect=effect.annualised,
        se=se * factor,
        t=t,
        p_value=p_value(t_star, t),
        p_worse=p_value(mirrored(t_star), -t),
        interval=studentised_interval(effect.annualised, se * factor, t_star, gate.interval_confidence),
        block_sessions=blocks.length,
        variance=variance * factor**2,
    )


def blocks_for(series: NDArray[np.float64], gate: SignificanceSpec, sessions: NDArray[np.datetime64] | None) -> Blocks:
    """The blocks that `gate` wants for influence series of shape (n,) or (n, K)."""
    n = series.shape[0]
    if gate.scheme in (BootstrapScheme.WEEK, BootstrapScheme.MONTH):
        edges = calendar_edges(sessions, gate.scheme, n)
        return Blocks(scheme=gate.scheme, n=n, length=max(1, round(n / (edges.size - 1))), edges=edges)
    stationary = gate.scheme is BootstrapScheme.STATIONARY
    return Blocks(scheme=gate.scheme, n=n, length=block_length(series, gate, stationary=stationary))


def _t_star(
    kind: EffectKind,
    baseline: NDArray[np.float64],
    candidate: NDArray[np.float64],
    effect: EffectEstimate,
    blocks: Blocks,
    n_boot: int,
    seed: int,
) -> NDArray[np.float64]:
    rng = generator(seed, _TEST_STREAM)
    b, c = standardised(baseline), standardised(candidate)
    if kind is EffectKind.SHARPE and b is not None and c is not None:
        return studentised_sharpe_differences(*b, *c, blocks, n_boot, rng)
    return studentised_means(effect.influence, blocks, n_boot, rng)


def mean_difference_interval(
    baseline: NDArray[np.float64],
    candidate: NDArray[np.float64],
    *,
    gate: SignificanceSpec,
    n_boot: int,
    seed: int,
    periods_per_year: float = 252.0,
    sessions: NDArray[np.datetime64] | None = None,
) -> tuple[float, float] | None:
    """Studentised block-bootstrap interval of the annual mean return difference, a fraction a year; None where it has no error.

    Arms (n,), checked, n >= 20. Its coverage at 95% is measured by bench/gate.py.
    """
    x = candidate - baseline
    se = math.sqrt(float(long_run_variance(x[:, None])[0]) / x.size)
    # An error this small is rounding: real differences between arms are larger than 1e-12 a session.
    blocks = blocks_for(x, gate, sessions)
    if se <= 1e-12 or blocks.per_sample < 4:
        return None
    t_star = studentised_means(x, blocks, n_boot, generator(seed, _RETURN_STREAM))
    interval = studentised_interval(float(np.mean(x)), se, t_star, gate.interval_confidence)
    return None if interval is None else (interval[0] * periods_per_year, interval[1] * periods_per_year)


def studentised_interval(estimate: float, se: float, t_star: NDArray[np.float64], confidence: float) -> tuple[float, float] | None:
    """[estimate - se q(upper), estimate - se q(lower)] with q the quantiles of t*; None where they are infinite."""
    tail = 0.5 * (1.0 - confidence)
    ordered = np.sort(t_star)
    last = t_star.size - 1
    low, high = ordered[math.floor(tail * last)], ordered[math.ceil((1.0 - tail) * last)]
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return float(estimate - se * high), float(estimate - se * low)
