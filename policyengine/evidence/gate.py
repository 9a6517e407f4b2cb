"""The gate: named criteria over stored evidence, and the verdict they amount to.

It reads only what an artifact holds, so that the same evidence decides the same whether it was just made or read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from policyengine.errors import ConfigError
from policyengine.evidence.looks import standing
from policyengine.evidence.matrix import EvidenceRow, Measures, delta
from policyengine.evidence.statistics.criteria import verdict_of as criteria_verdict
from policyengine.evidence.windows import independent
from policyengine.records import TOLERANCE, Criterion, Stage, Status, Verdict
from policyengine.spec.gate import FloorsSpec, GateSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The look that the statistical test belongs to.

    `budget` is the key of its budget in the log. `number` of `planned`, judged on the first `sessions` of the sample, `first_date` to
    `last_date`, at level `alpha` against `trials` policies, the candidate included; `trials_now` is their number when it is decided on
    again. `recorded` is what the look came to: the test as the log first recorded it, with the floors on the same sessions.
    `next_sessions` and `next_date`, an estimate, say when the next one falls; None after the last.
    """

    budget: str
    number: int
    planned: int
    sessions: int
    alpha: float
    trials: int
    trials_now: int
    first_date: date
    last_date: date
    recorded: Verdict
    next_sessions: int | None
    next_date: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the criteria look at.

    `rows` are the evidence rows; `baseline` and `candidate` the measures pooled over the whole decision sample, gaps between
    windows included; `breaches` the number of sessions on which an arm's enforced limits were exceeded after its fills, None
    where the kind of evidence cannot know; `audited_frac` the share of fills that name their signal, by arm. `judged` are the
    criteria of the statistical test, `harm` those of its mirror image, both empty without a look; `look` says why there is none.
    """

    kind: str
    stage: Stage
    rows: Sequence[EvidenceRow]
    baseline: Measures
    candidate: Measures
    breaches: int | None
    audited_frac: tuple[float | None, float | None]
    judged: tuple[Criterion, ...] = ()
    harm: tuple[Criterion, ...] = ()
    look: Look | str = "no look was taken"

    @property
    def delta(self) -> dict[str, float | None]:
        """Pooled candidate less pooled baseline."""
        return delta(self.baseline, self.candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One check before it is known whether it is hard: PASS and FAIL compare `observed` with `threshold`; MISSING cannot."""

    status: Status
    observed: float | None
    operator: str
    threshold: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict and everything that it rests on."""

    verdict: Verdict
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may be promoted."""
        return self.verdict is Verdict.PROMOTE

    @property
    def open(self) -> tuple[Criterion, ...]:
        """Hard criteria that do not pass."""
        return tuple(c for c in self.criteria if c.hard and c.status is not Status.PASS)


def decide(facts: Facts, gate: GateSpec) -> Decision:
    """Judge every criterion. What was recorded at the look stands: what came later may demote it and never promote.

    Raises:
        ConfigError: `gate.soft` names something that is not a criterion, or one that is always hard.
    """
    for name in gate.soft:
        if name not in CRITERIA:
            raise ConfigError("gate.soft", f"unknown criterion '{name}'; known: {', '.join(CRITERIA)}")
        if name in ALWAYS_HARD:
            raise ConfigError("gate.soft", f"'{name}' is always hard")
    criteria = (*floor_criteria(facts, gate), *facts.judged)
    now = verdict_of(criteria, facts.harm)
    criteria = (*criteria, _look(facts, now))
    stands = verdict_of(criteria, facts.harm)
    return Decision(verdict=standing(facts.look.recorded, stands) if isinstance(facts.look, Look) else stands, criteria=criteria)


def floor_criteria(facts: Facts, gate: GateSpec) -> tuple[Criterion, ...]:
    """The plain criteria, which must hold besides the test."""
    return tuple(_criterion(name, check(facts, gate.floors), name not in gate.soft) for name, check in CRITERIA.items())


def verdict_of(criteria: Sequence[Criterion], harm: Sequence[Criterion] = ()) -> Verdict:
    """PROMOTE if there are hard criteria and each passes; REJECT on shown harm or a broken limit; else INCONCLUSIVE."""
    found = criteria_verdict(criteria, harm)
    broken = any(c.name == "limits_held" and c.hard and c.status is Status.FAIL for c in criteria)
    return Verdict.REJECT if found is Verdict.INCONCLUSIVE and broken else found


def meets_floors(row: EvidenceRow, floors: FloorsSpec) -> bool:
    """Whether both arms of a window have enough closing trades and enough losers, on more than one session."""
    if row.sessions < 2:
        return False
    for arm in (row.baseline, row.candidate):
        trades, losing = arm.get("total_trades"), arm.get("losing_trades")
        if trades is None or losing is None or trades < floors.trades_min or losing < floors.losing_trades_min:
            return False
    return True


def independent_rows(rows: Sequence[EvidenceRow], floors: FloorsSpec) -> tuple[str, ...]:
    """Labels of the windows that count as independent: they meet the floors and do not overlap, earliest end first."""
    return tuple(w.label for w in independent(row.window for row in rows if meets_floors(row, floors)))


def _look(facts: Facts, now: Verdict) -> Criterion:
    """Whether this is a moment at which the verdict may be reached: at a look, or after one that reached it."""
    look = facts.look
    if isinstance(look, str) or not facts.judged:
        why = look if isinstance(look, str) else "the evidence holds no test"
        return _criterion("look", _missing(">=", 1.0, f"{why}; without the test nothing is promoted"), True)
    trials = "1 trial" if look.trials == 1 else f"{look.trials} trials"
    reason = f"look {look.number} of {look.planned} on {look.sessions:,} sessions, level {look.alpha:g}, {trials}"
    ahead = now is Verdict.PROMOTE and look.recorded is not Verdict.PROMOTE
    outgrown = look.trials_now > look.trials
    if ahead:
        reason += f"; it said {look.recorded}, and nothing promotes before the next"
    if outgrown:
        reason += f"; there are {look.trials_now} now, so evaluate again"
    return _criterion("look", _outcome(not (ahead or outgrown), look.number, ">=", 1.0, reason), True)


def _criterion(name: str, outcome: Outcome, hard: bool) -> Criterion:
    return Criterion(
        name=name,
        status=outcome.status,
        hard=hard,
        observed=outcome.observed,
        operator=outcome.operator,
        threshold=outcome.threshold,
        reason=outcome.reason,
    )


def _outcome(passed: bool, observed: float, operator: str, threshold: float, reason: str) -> Outcome:
    status = Status.PASS if passed else Status.FAIL
    return Outcome(status=status, observed=observed, operator=operator, threshold=threshold, reason=reason)


def _missing(operator: str, threshold: float | None, reason: str) -> Outcome:
    return Outcome(status=Status.MISSING, observed=None, operator=operator, threshold=threshold, reason=reason)


def _independent_windows(facts: Facts, floors: FloorsSpec) -> Outcome:
    labels = independent_rows(facts.rows, floors)
    evaluated = independent(row.window for row in facts.rows)
    wanted = f"{floors.trades_min} trades and {floors.losing_trades_min} losers"
    reason = f"{len(labels)} of {len(facts.rows)} windows have {wanted} and do not overlap"
    if len(evaluated) < len(facts.rows):
        reason += f"; the windows given overlap and count as {len(evaluated)}"
    return _outcome(len(labels) >= floors.windows_min, len(labels), ">=", floors.windows_min, reason)


def _profit_factor_defined(facts: Facts, _: FloorsSpec) -> Outcome:
    known = [arm.get("profit_factor") is not None for arm in (facts.baseline, facts.candidate)]
    if all(known):
        return _outcome(True, 2.0, ">=", 2.0, "both arms have losing trades")
    return _missing(">=", 2.0, "profit factor is undefined without a losing trade; that is not infinity")


def _improvement(facts: Facts, _: FloorsSpec) -> Outcome:
    returned, factor = facts.delta.get("total_return_pct"), facts.delta.get("profit_factor")
    if returned is None:
        return _missing(">", TOLERANCE, "d total_return_pct is unknown")
    shown = f"d total_return_pct {returned:+.4g} pp, d profit_factor " + ("unknown" if factor is None else f"{factor:+.4g}")
    better = returned > TOLERANCE or (factor is not None and factor > TOLERANCE)
    return _outcome(better, returned, ">", TOLERANCE, shown)


def _drawdown(facts: Facts, _: FloorsSpec) -> Outcome:
    change = facts.delta.get("max_drawdown")
    if change is None:
        return _missing("<=", TOLERANCE, "d max_drawdown is unknown")
    reason = f"d max_drawdown {100 * change:+.4g} pp"
    ours, theirs = facts.candidate.get("annual_volatility"), facts.baseline.get("annual_volatility")
    if change > TOLERANCE and ours and theirs and ours > theirs:
        reason += f"; at more risk than the baseline: rescale by {theirs / ours:.4g}"
    return _outcome(change <= TOLERANCE, change, "<=", TOLERANCE, reason)


def _trade_count(facts: Facts, floors: FloorsSpec) -> Outcome:
    before, after = facts.baseline.get("total_trades"), facts.candidate.get("total_trades")
    if not before or after is None:
        return _missing(">", -floors.trade_drop_max, "the baseline has no closing trade")
    change = (after - before) / before
    return _outcome(
        change > -floors.trade_drop_max, change, ">", -floors.trade_drop_max, f"{after:,.0f} closing trades against {before:,.0f}"
    )


def _limits_held(facts: Facts, _: FloorsSpec) -> Outcome:
    if facts.breaches is None:
        return _missing("<=", 0.0, f"{facts.kind} evidence holds no positions, so limits cannot be checked")
    return _outcome(facts.breaches == 0, facts.breaches, "<=", 0.0, f"{facts.breaches} sessions ended above an enforced limit")


def _reject_rate(facts: Facts, floors: FloorsSpec) -> Outcome:
    change = facts.delta.get("reject_rate")
    if change is None:
        return _missing("<=", floors.reject_rate_rise_max, "an arm has no order requests, or they were not recorded")
    shown = f"{100 * (facts.candidate['reject_rate'] or 0.0):.2f}% of requests against {100 * (facts.baseline['reject_rate'] or 0.0):.2f}%"
    return _outcome(change <= floors.reject_rate_rise_max, change, "<=", floors.reject_rate_rise_max, shown)


def _audit(facts: Facts, _: FloorsSpec) -> Outcome:
    shares = [share for share in facts.audited_frac if share is not None]
    if len(shares) < len(facts.audited_frac):
        return _missing(">=", 1.0, "an arm has no fills, or they do not say which signal they follow")
    return _outcome(min(shares) >= 1.0, min(shares), ">=", 1.0, f"{100 * min(shares):.4g}% of fills name their signal")


def _not_all_positive(facts: Facts, _: FloorsSpec) -> Outcome:
    counts = [(arm.get("winning_trades"), arm.get("total_trades")) for arm in (facts.baseline, facts.candidate)]
    if any(not trades or winning is None for winning, trades in counts):
        return _missing("<", 1.0, "an arm has no closing trade")
    worst = max((winning or 0.0) / (trades or 1.0) for winning, trades in counts)
    return _outcome(worst < 1.0, worst, "<", 1.0, f"{100 * worst:.4g}% of closing trades won")


def _not_one_date(facts: Facts, _: FloorsSpec) -> Outcome:
    dates = [arm.get("trade_dates") for arm in (facts.baseline, facts.candidate)]
    if any(not d for d in dates):
        return _missing(">", 1.0, "an arm has no closing trade")
    fewest = min(d for d in dates if d is not None)
    return _outcome(fewest > 1.0, fewest, ">", 1.0, f"closing trades fall on {fewest:,.0f} dates")


def _kind(facts: Facts, _: FloorsSpec) -> Outcome:
    enough = facts.kind != "trade_history" or facts.stage is not Stage.LIVE
    reason = f"{facts.kind} evidence for stage {facts.stage}" + (
        "" if enough else "; a ledger scaled after the fact cannot by itself reach live"
    )
    return _outcome(enough, float(enough), ">=", 1.0, reason)


CRITERIA: Mapping[str, Callable[[Facts, FloorsSpec], Outcome]] = {
    "evidence_kind": _kind,
    "independent_windows": _independent_windows,
    "improvement": _improvement,
    "max_drawdown": _drawdown,
    "trade_count": _trade_count,
    "profit_factor_defined": _profit_factor_defined,
    "pnl_not_all_positive": _not_all_positive,
    "pnl_not_on_one_date": _not_one_date,
    "limits_held": _limits_held,
    "reject_rate": _reject_rate,
    "audit_completeness": _audit,
}
ALWAYS_HARD = frozenset(CRITERIA) - {"reject_rate", "trade_count"}
"""Only these two may be soft: they say how the candidate trades, not whether it is better or within its limits."""
