"""From evidence to a decision at a look: log the trial, find the look, replay its rivals, test, and decide.

The only place where the floors of `gate`, the test of `judge` and the budget of `looks` meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError, DataError
from policyengine.evidence.evidence import Evidence
from policyengine.evidence.gate import Decision, Facts, Look, decide, floor_criteria, verdict_of
from policyengine.evidence.likeness import WEEKS_MIN, Weekly, weekly
from policyengine.evidence.looks import (
    Budget,
    LookRecord,
    LookState,
    OriginRecord,
    budget_key,
    look_at,
    next_look_date,
    schedule_of,
    standing,
)
from policyengine.evidence.matrix import evidence_rows
from policyengine.evidence.metrics import ArmSeries, measure
from policyengine.evidence.statistics.judge import Judgement, judge
from policyengine.evidence.trial_log import Head, TrialLog, append_look, append_origin, append_trial, read_log
from policyengine.evidence.trials import Trial, TrialRecord, overlapping
from policyengine.records import Arm, Criterion, Stage, Window
from policyengine.spec.bind import bind, plain
from policyengine.spec.root import PolicySpec, Spec

Floats = NDArray[np.float64]
Returns = Callable[[Sequence[PolicySpec]], Floats]
"""Excess returns (T, A) on the sessions of the evidence, of those of K policies that can be replayed on it."""
SWEEP = "a job of a sweep takes no look; evaluate the chosen policy alone"
EARLIER = "window.as_of is before the last session; a look is taken on all data at hand, or the day of it could be chosen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """What a decision is taken with: whose run it is, where the log stands, and how rivals are replayed on the sample's sessions.

    `no_look` says why this run takes none; None where it may.
    """

    state_dir: Path
    run_id: str
    recorded_at: str
    stage: Stage
    windows: Sequence[Window]
    no_look: str | None
    declared_origin: date | None
    returns_of: Returns


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision and what it rests on.

    `evidence` is the part from the origin of the decision sample, `judgement` None without a look, `log_head` where the trial log stood.
    """

    evidence: Evidence
    facts: Facts
    decision: Decision
    log_head: Head
    judgement: Judgement | None = None


def decide_on(spec: Spec, evidence: Evidence, sitting: Sitting) -> Decided:
    """Log the candidate as a trial, and decide: with the test where a look falls, without it elsewhere.

    A job of a sweep logs its trial and takes no look: which policy to look at is chosen afterwards, against all that were tried.

    Raises:
        TrialLogBroken: the log was edited, shortened or deleted.
        ConfigError: looks, effect or origin differ from what the first look fixed.
    """
    key = budget_key(evidence.source_key, spec.policy_hash(Arm.BASELINE))
    moves = weekly(evidence.baseline.sessions, evidence.baseline.excess_returns())
    if sitting.declared_origin is not None:
        _declare(sitting, key, moves, sitting.declared_origin, _day(evidence.baseline.sessions[-1]))
    log = append_trial(sitting.state_dir, _trial(spec, evidence, sitting))
    budget = log.binding_budget(key, moves)
    evidence = _noted(_from_origin(evidence, budget.origin_date), budget, key)
    facts = facts_of_sample(spec, evidence, sitting)
    sessions = evidence.baseline.sessions
    first, last = _day(sessions[0]), _day(sessions[-1])
    found = sitting.no_look or _state(spec, budget, sessions, moves)
    if isinstance(found, str):
        facts = replace(facts, look=found)
        return Decided(evidence=evidence, facts=facts, decision=decide(facts, spec.gate), log_head=log.head)
    state, judged_sessions = found
    judged_last = _day(sessions[judged_sessions - 1])
    own = tuple(spec.policy_hash(arm) for arm in Arm)
    rivals = rivals_of(log, own, first, judged_last)
    judgement, floors = _judge(spec, evidence, sitting, rivals, facts, sessions=judged_sessions, alpha=state.alpha)
    judged = _added(judgement, floors)
    stands = append_look(
        sitting.state_dir,
        LookRecord(
            budget=budget.key,
            trial=spec.policy_hash(Arm.CANDIDATE),
            number=state.number,
            sessions=judged_sessions,
            origin_date=first if budget.origin_date is None else budget.origin_date,
            as_of=last,
            verdict=verdict_of(judged, judgement.harm),
            alpha=state.alpha,
            looks_max=state.looks_max,
            effect=spec.gate.test.effect.value,
            recorded_at=sitting.recorded_at,
            run_id=sitting.run_id,
            last_date=judged_last,
            baseline=moves,
        ),
    )
    look = Look(
        budget=budget.key,
        number=state.number,
        planned=state.looks_max,
        sessions=judged_sessions,
        alpha=judgement.alpha,
        trials=judgement.n_trials,
        trials_now=judgement.n_trials,
        first_date=first,
        last_date=judged_last,
        recorded=standing(stands.verdict, verdict_of((*floors, *judged), judgement.harm)),
        next_sessions=state.next_sessions,
        next_date=next_look_date(state, sessions.size, as_of=last, periods_per_year=evidence.baseline.periods_per_year),
    )
    facts = replace(facts, judged=judged, harm=judgement.harm, look=look)
    return Decided(evidence=evidence, facts=facts, decision=decide(facts, spec.gate), log_head=log.head, judgement=judgement)


def facts_of_sample(spec: Spec, evidence: Evidence, sitting: Sitting) -> Facts:
    """The facts of all sessions of `evidence`, with the windows that reach into them."""
    first, last = (_day(day) for day in evidence.baseline.sessions[[0, -1]])
    rows = evidence_rows(
        evidence.baseline,
        evidence.candidate,
        [w for w in sitting.windows if first <= w.end_date and w.start_date <= last],
        policy_hash=spec.policy_hash(Arm.CANDIDATE),
        baseline_hash=spec.policy_hash(Arm.BASELINE),
        confidence=spec.gate.test.interval_confidence,
    )
    return Facts(
        kind=evidence.kind,
        stage=sitting.stage,
        rows=rows,
        baseline=measure(evidence.baseline),
        candidate=measure(evidence.candidate),
        breaches=evidence.breaches,
        audited_frac=evidence.audited_frac,
    )


def reported(judgement: Judgement | None) -> Mapping[str, Any] | None:
    """What is stored of a judgement beside its criteria: the test and all that is reported and never decides."""
    if judgement is None:
        return None
    return {
        "headline": judgement.headline,
        "sessions": judgement.n_sessions,
        "trials": judgement.n_trials,
        "seed": judgement.seed,
        "test": plain(judgement.test),
        "drawdown_guard": plain(judgement.guard),
        "reported": plain(judgement.reported),
    }


def _state(spec: Spec, budget: Budget, days: NDArray[np.datetime64], moves: Weekly | None) -> tuple[LookState, int] | str:
    """The look that a sample on `days` stands at and how many of them it judges, or why there is none."""
    least = spec.gate.test.least_sessions
    schedule = schedule_of(budget, days.size, looks_max=spec.gate.looks.max, effect=spec.gate.test.effect.value, least_sessions=least)
    if schedule is None:
        return f"{days.size} sessions; the first look needs {least}"
    weeks = 0 if moves is None else len(moves.returns)
    if not budget.looks and weeks < WEEKS_MIN:
        return f"the baseline moved in {weeks} weeks; the first look needs {WEEKS_MIN}, to tell it from others"
    state = look_at(schedule, days.size, taken=budget.taken)
    if state.judged_sessions is None:
        last = max(budget.taken, 1)
        return f"{days.size:,} sessions; look {last} of {schedule.looks_max} is at {schedule.sessions[last - 1]:,}"
    seen = budget.last_date(state.number)
    if seen is not None and seen < _day(days[state.judged_sessions - 1]):
        by_then = int((days <= np.datetime64(seen)).sum())
        wanted = f"look {state.number} of {schedule.looks_max} wants {state.judged_sessions:,}"
        return f"{by_then:,} sessions by {seen}, when it was taken; {wanted}, and more days are for the next"
    return state, state.judged_sessions


def _noted(evidence: Evidence, budget: Budget, key: str) -> Evidence:
    """`evidence`, with a note where another budget than its own `key` binds."""
    if budget.key == key:
        return evidence
    note = f"the baseline moves with that of budget b_{budget.key[:6]}, whose looks bind"
    return replace(evidence, notes=(*evidence.notes, note))


def _declare(sitting: Sitting, key: str, moves: Weekly | None, origin: date, last: date) -> None:
    """Note the origin of the decision sample, which must be declared before anybody evaluated a day of it.

    Raises:
        ConfigError: it is declared where no look is taken, or after an evaluation of its days.
    """
    if sitting.no_look is not None:
        raise ConfigError("task.origin_date", f"{origin}: {sitting.no_look}")
    log = read_log(sitting.state_dir)
    seen = overlapping(log.trials, origin, last)
    budget = log.binding_budget(key, moves)
    if seen and budget.declared != origin:
        raise ConfigError("task.origin_date", f"{origin} is declared too late: {len(seen)} trials were evaluated on days from it on")
    record = OriginRecord(budget=budget.key, origin_date=origin, recorded_at=sitting.recorded_at, run_id=sitting.run_id)
    append_origin(sitting.state_dir, record)


def _trial(spec: Spec, evidence: Evidence, sitting: Sitting) -> TrialRecord:
    sessions = evidence.baseline.sessions
    return TrialRecord(
        policy_hash=spec.policy_hash(Arm.CANDIDATE),
        policy=plain(spec.policy(Arm.CANDIDATE)),
        source_key=evidence.source_key,
        first_date=_day(sessions[0]),
        last_date=_day(sessions[-1]),
        recorded_at=sitting.recorded_at,
        run_id=sitting.run_id,
    )


def _from_origin(evidence: Evidence, origin: date | None) -> Evidence:
    """The part that begins at the origin of the decision sample; all of it without one."""
    sessions = evidence.baseline.sessions
    first = 0 if origin is None else int(np.searchsorted(sessions, np.datetime64(origin)))
    if first == sessions.size:
        raise DataError("origin_date", f"{origin} is after the last session, {_day(sessions[-1])}")
    last = sessions.size - 1
    return replace(evidence, baseline=evidence.baseline.between(first, last), candidate=evidence.candidate.between(first, last))


def rivals_of(log: TrialLog, own: Sequence[str], first_date: date, last_date: date) -> list[Trial]:
    """The trials that compete with the candidate for a decision on these days: all but the policies `own`, candidate and baseline."""
    return [trial for trial in overlapping(log.trials, first_date, last_date) if trial.policy_hash not in own]


def _judge(
    spec: Spec, evidence: Evidence, sitting: Sitting, rivals: Sequence[Trial], facts: Facts, *, sessions: int, alpha: float
) -> tuple[Judgement, tuple[Criterion, ...]]:
    """The test on the first `sessions`, those of the look, and the floors on the same; `facts` are those of all sessions."""
    series: list[ArmSeries] = [arm.between(0, sessions - 1) for arm in (evidence.baseline, evidence.candidate)]
    if sessions < evidence.baseline.nav.size:
        facts = facts_of_sample(spec, replace(evidence, baseline=series[0], candidate=series[1]), sitting)
    floors = floor_criteria(facts, spec.gate)
    others = sitting.returns_of(_known(rivals))[-evidence.baseline.nav.size :][:sessions] if rivals else np.empty((sessions, 0))
    judgement = judge(
        series[0].excess_returns(),
        series[1].excess_returns(),
        seed=spec.seed,
        alpha=alpha,
        gate=spec.gate.test,
        trials=others if others.shape[1] else None,
        total_trials=1 + len(rivals),
        floors=floors,
        n_trades=min(int(arm.trades.closed.sum()) for arm in series),
        periods_per_year=series[0].periods_per_year,
        sessions=series[0].sessions,
        report_superior=bool(rivals) and find_spec("arch") is not None,
    )
    return judgement, floors


def _known(rivals: Sequence[Trial]) -> list[PolicySpec]:
    """The policies of those trials that this version can still read; the others count, and cannot be aligned."""
    found = []
    for trial in rivals:
        with suppress(ConfigError):
            found.append(bind(PolicySpec, trial.policy, "trial"))
    return found


def _added(judgement: Judgement, floors: Sequence[Criterion]) -> tuple[Criterion, ...]:
    """The criteria that the test adds to the floors."""
    named = {floor.name for floor in floors}
    return tuple(c for c in judgement.criteria if c.name not in named)


def _day(session: np.datetime64) -> date:
    value: date = session.astype("datetime64[D]").item()
    return value
