"""The decision on two arrays of returns: every criterion, then the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.evidence.statistics import criteria as check
from policyengine.evidence.statistics.case import Case, check_case
from policyengine.evidence.statistics.drawdown import DrawdownGuard, drawdown_guard
from policyengine.evidence.statistics.influence import EffectEstimate, agreeing_spans, growth_at_es_effect, sharpe_effect
from policyengine.evidence.statistics.reported import Reported, report
from policyengine.evidence.statistics.selection import StepM, stepm, superior_predictive_ability
from policyengine.evidence.statistics.significance import LEAST_SESSIONS, EffectTest, effect_test
from policyengine.records import Criterion, Verdict
from policyengine.spec.significance import EffectKind, SignificanceSpec

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict at one look and all that led to it.

    `criteria` are conjoined: PROMOTE needs every hard one to pass. `harm` are those of REJECT, the arms swapped. `alpha` is the level that
    was applied. `n_trials` counts the candidate.
    """

    verdict: Verdict
    headline: str
    criteria: tuple[Criterion, ...]
    harm: tuple[Criterion, ...]
    alpha: float
    n_sessions: int
    n_trials: int
    seed: int
    test: EffectTest
    guard: DrawdownGuard | None
    selection: StepM | None
    reported: Reported


def judge(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    seed: int,
    alpha: float | None = None,
    gate: SignificanceSpec | None = None,
    trials: ArrayLike | None = None,
    n_boot: int | None = None,
    total_trials: int | None = None,
    floors: tuple[Criterion, ...] = (),
    n_trades: int | None = None,
    periods_per_year: float = 252.0,
    sessions: NDArray[np.datetime64] | None = None,
    report_superior: bool = False,
) -> Judgement:
    """PROMOTE, INCONCLUSIVE or REJECT, as docs/gate.md defines them.

    Args:
        baseline: excess returns per session, (n_days,), over the whole decision sample.
        candidate: the same sessions, (n_days,).
        seed: non-negative; the same seed gives the same bits.
        alpha: planned level of this look; None means the gate's own (0.05 as shipped).
        gate: thresholds; None means the shipped ones.
        trials: the other policies that were tried, on the same sessions, (n_days, K), without the candidate.
        n_boot: resamples; None means the gate's own (9,999 as shipped).
        total_trials: trials ever made, the candidate included; None means 1 + K.
        floors: criteria that were measured elsewhere (trades, limits, data), conjoined. One named `criteria.PRIMARY` or
            `criteria.DRAWDOWN` replaces the criterion that would be computed here from the arrays.
        n_trades: trades in the sample, for "what is missing".
        periods_per_year: sessions a year, for annualising.
        sessions: dates (n_days,), increasing; needed for calendar blocks only.
        report_superior: also report superior predictive ability (imports `arch`, more than a second).

    Raises:
        DataError: arms or trials that are not finite numbers or not aligned, a bad seed, level or count. Well-formed arms that cannot be
            judged (constant, identical, scaled, too short) are INCONCLUSIVE, never an error and never a pass.
    """
    case = check_case(
        baseline,
        candidate,
        trials=trials,
        gate=gate,
        alpha=alpha,
        n_boot=n_boot,
        seed=seed,
        total_trials=total_trials,
        n_trades=n_trades,
        periods_per_year=periods_per_year,
        sessions=sessions,
    )
    effect = _effect(case, case.candidate)
    test = effect_test(
        case.gate.effect, case.baseline, case.candidate, effect, gate=case.gate, n_boot=case.n_boot, seed=seed, sessions=sessions
    )
    guard = None
    if test.problem is None:
        guard = drawdown_guard(case.baseline, case.candidate, effect.influence, gate=case.gate, n_boot=case.n_boot, seed=seed)
    selection = _select(case)
    superior = _superior(case, test) if report_superior and case.trials is not None else None
    found, harm = _criteria(case, effect, test, guard, selection, floors)
    verdict = check.verdict_of(found, harm)
    return Judgement(
        verdict=verdict,
        headline=check.headline(verdict, found, harm, test, case.baseline, case.candidate),
        criteria=found,
        harm=harm,
        alpha=case.alpha,
        n_sessions=case.baseline.size,
        n_trials=case.n_trials,
        seed=seed,
        test=test,
        guard=guard,
        selection=selection,
        reported=report(case, test, superior),
    )


def _effect(case: Case, strategy: _Floats) -> EffectEstimate:
    estimate = sharpe_effect if case.gate.effect is EffectKind.SHARPE else growth_at_es_effect
    return estimate(case.baseline, strategy, periods_per_year=case.periods_per_year)


def _criteria(
    case: Case,
    effect: EffectEstimate,
    test: EffectTest,
    guard: DrawdownGuard | None,
    selection: StepM | None,
    floors: tuple[Criterion, ...],
) -> tuple[tuple[Criterion, ...], tuple[Criterion, ...]]:
    """Those of promotion and those of harm."""
    gate, level, b, c = case.gate, case.alpha, case.baseline, case.candidate
    given = {f.name for f in floors}
    measured = tuple(f for f in check.array_floors(b, c, guard) if f.name not in given)
    improvement = next(f for f in (*floors, *measured) if f.name == check.PRIMARY)
    above, below = agreeing_spans(b, c, effect, gate.spans) if test.problem is None else (0, 0)
    found = (
        *check.effect_criteria(test, above, gate=gate, level=level),
        check.guard_criterion(guard, test, gate),
        *check.selection_criterion(selection, level, case.n_trials),
        *floors,
        *measured,
    )
    return found, check.harm_criteria(test, below, improvement, b, c, gate=gate, level=level)


def _select(case: Case) -> StepM | None:
    """Membership among the trials; None for a single trial and for samples too short to compare any."""
    if case.n_trials == 1 or case.baseline.size < LEAST_SESSIONS:
        return None
    return stepm(
        case.baseline,
        case.strategies,
        seed=case.seed,
        n_boot=case.n_boot,
        total_trials=case.n_trials,
        gate=case.gate,
        sessions=case.sessions,
    )


def _superior(case: Case, test: EffectTest) -> float | None:
    """Hansen's consistent p-value over all trials with an effect; None where there is no test."""
    if test.block_sessions is None:
        return None
    columns = [_effect(case, np.ascontiguousarray(x)) for x in case.strategies.T]
    gains = np.column_stack([e.estimate + e.influence for e in columns if e.problem is None])
    return superior_predictive_ability(gains, block_sessions=test.block_sessions, seed=case.seed)[1]
