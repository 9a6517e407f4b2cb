"""Looks: the planned moments at which a verdict may be reached, and the budget they are taken from.

Look k judges exactly the first n_k sessions of the decision sample, n_k = ceil(1.5^(k-1) n_1), where n_1 is the number of sessions at
hand when the budget was begun. It may be run on any day from the n_k-th session on, with the same outcome: which data a look sees is
fixed by the schedule, never by the day on which somebody runs it. Judging all sessions then present would leave that day to choose,
after seeing prices, and would move the later looks with it, while the error rate was measured for looks at fixed sessions.

- Sessions after the n_k-th wait for the next look. Until then floors and guards on all sessions may demote, nothing promotes: `standing`.
- A look that passed before anybody ran it is gone once a later one is taken. That only lowers the error.
- A sample too short for the test takes no look: a budget begins with the first sample that can be decided.
- The number of looks, their level and the effect are fixed by the first look; so is the origin.
- When the last look is taken, the next origin must lie after the last day that any of its runs had before it.
- A budget is that of every baseline that moves as one of its own did, by whatever name: `binding_budget`.
- No policy is judged at a look on days after those that the look was first taken on: sessions left out at the start would let it slide.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

import numpy as np

from policyengine.errors import ConfigError, DataError
from policyengine.evidence.likeness import Weekly, alike
from policyengine.records import Verdict
from policyengine.spec.rules import at_least, in_range

ALPHAS = {1: 0.05, 2: 0.030, 4: 0.018}
"""Level of each look by the number of looks planned; 5.1-5.5% overall, measured for looks 1.5 times apart."""
WEEKDAYS_PER_YEAR = 261.0
MEANWHILE = "if another run took a look meanwhile, run again"
_SEVERITY = (Verdict.REJECT, Verdict.INCONCLUSIVE, Verdict.PROMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Looks at `first_sessions` and every 1.5 times as many, `looks_max` of them."""

    first_sessions: int
    looks_max: int

    def __post_init__(self) -> None:
        """Refuse a number of looks whose level nobody has measured."""
        alpha_of(self.looks_max)
        at_least("first_sessions", self.first_sessions, 1)

    @property
    def alpha(self) -> float:
        """Level of each look."""
        return alpha_of(self.looks_max)

    @property
    def sessions(self) -> tuple[int, ...]:
        """n_1, n_2, ...: ceil(1.5^k n_1) in whole numbers, so that no rounding can shift a look."""
        return tuple(-(-(3**k) * self.first_sessions // 2**k) for k in range(self.looks_max))


@dataclass(frozen=True, slots=True, kw_only=True)
class LookState:
    """Where a number of sessions stands in the schedule.

    `number` is the look it stands at or the last it passed, 0 before the first. `judged_sessions` of the sample, from its first, are what
    that look judges; None where no verdict may be reached: before the first look, or at one older than the last taken. `fresh` tells a
    look that was not taken before. `next_sessions` is the number of sessions of the next look, None after the last. `used_up`: the last
    look is taken, so only a new origin gives another.
    """

    number: int
    looks_max: int
    alpha: float
    judged_sessions: int | None
    fresh: bool
    next_sessions: int | None
    used_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRecord:
    """One candidate judged at one look.

    `budget` is the budget's key, `trial` the policy hash that was judged, `sessions` how many sessions of the sample that begins on
    `origin_date` were, `as_of` the last calendar day that the run had before it, `alpha` the planned level (before the test tightens it
    for a short sample), `effect` the kind of effect that was tested, `recorded_at` an instant in UTC, ISO 8601. `last_date` is the last
    day that was judged, `baseline` the fingerprint of the baseline on all days at hand; None in records written before there were any.
    """

    KIND: ClassVar[str] = "look"
    budget: str
    trial: str
    number: int
    sessions: int
    origin_date: date
    as_of: date
    verdict: Verdict
    alpha: float
    looks_max: int
    effect: str
    recorded_at: str
    run_id: str
    last_date: date | None = None
    baseline: Weekly | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginRecord:
    """A first day declared for the decision sample of a budget."""

    KIND: ClassVar[str] = "origin"
    budget: str
    origin_date: date
    recorded_at: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is left of the looks at one question. `looks` are those since the present origin, in the order they were recorded."""

    key: str
    declared: date | None
    looks: tuple[LookRecord, ...]

    @property
    def origin_date(self) -> date | None:
        """First day of the decision sample: fixed by the first look, before it as declared; None means the source's first session."""
        return self.looks[0].origin_date if self.looks else self.declared

    @property
    def schedule(self) -> Schedule | None:
        """The looks, once the first is taken."""
        return Schedule(first_sessions=self.looks[0].sessions, looks_max=self.looks[0].looks_max) if self.looks else None

    @property
    def taken(self) -> int:
        """Number of the last look taken; 0 before the first."""
        return max((look.number for look in self.looks), default=0)

    @property
    def used_up(self) -> bool:
        """Whether the last look is taken."""
        return bool(self.looks) and self.taken == self.looks[0].looks_max

    def at_look(self, trial: str, number: int) -> LookRecord | None:
        """What was recorded first for policy hash `trial` at look `number`."""
        return next((look for look in self.looks if (look.trial, look.number) == (trial, number)), None)

    def last_date(self, number: int) -> date | None:
        """The last day that look `number` was first taken on; None before it is, and where that was not recorded."""
        return next((look.last_date for look in self.looks if look.number == number), None)


def alpha_of(looks_max: int) -> float:
    """Level of each of `looks_max` looks.

    Raises:
        ConfigError: the level of that many looks was not measured.
    """
    if looks_max not in ALPHAS:
        allowed = ", ".join(f"{count} (alpha {alpha:g})" for count, alpha in ALPHAS.items())
        raise ConfigError("gate.looks.max", f"{looks_max} is not one of {allowed}")
    return ALPHAS[looks_max]


def look_at(schedule: Schedule, sessions: int, *, taken: int = 0) -> LookState:
    """Where `sessions` of the decision sample stand in `schedule`, when look `taken` is the last that was taken."""
    planned = schedule.sessions
    number = sum(sessions >= wanted for wanted in planned)
    return LookState(
        number=number,
        looks_max=schedule.looks_max,
        alpha=schedule.alpha,
        judged_sessions=planned[number - 1] if number >= max(taken, 1) else None,
        fresh=number > taken,
        next_sessions=planned[number] if number < len(planned) else None,
        used_up=taken == len(planned),
    )


def schedule_of(budget: Budget, sessions: int, *, looks_max: int, effect: str, least_sessions: int) -> Schedule | None:
    """The schedule that `budget` is bound to, or would be by a first look now.

    Args:
        budget: the budget, as the log has it.
        sessions: in the decision sample at hand.
        looks_max: configured number of looks.
        effect: configured kind of effect.
        least_sessions: below which the test decides nothing; a shorter sample begins no budget.

    Returns:
        None where there is no budget yet and the sample is too short to begin one.

    Raises:
        ConfigError: the configuration differs from what the first look fixed.
    """
    alpha_of(looks_max)
    if not budget.looks:
        return Schedule(first_sessions=sessions, looks_max=looks_max) if sessions >= least_sessions else None
    first = budget.looks[0]
    if looks_max != first.looks_max:
        raise ConfigError("gate.looks.max", f"{looks_max} differs from {first.looks_max}, which the look of {first.as_of} fixed")
    if effect != first.effect:
        raise ConfigError("gate.test.effect", f"'{effect}' differs from '{first.effect}', which the look of {first.as_of} fixed")
    return budget.schedule


def standing(at_look: Verdict | None, now: Verdict) -> Verdict:
    """The verdict that stands: what was recorded at the look, or less. `at_look` None means nothing was recorded before."""
    return now if at_look is None else min(at_look, now, key=_SEVERITY.index)


def next_look_date(state: LookState, sessions: int, *, as_of: date, periods_per_year: float = 252.0) -> date | None:
    """Estimate of the day on which the next look falls; None after the last.

    Up to 261 sessions a year fall on weekdays: the sessions that lack are stretched by 261/periods_per_year, for holidays, and counted in
    weekdays after `as_of`. More sessions than that fall on any day, and are stretched by 365.25/periods_per_year. The estimate knows no
    holiday by its date; the look itself is a count of sessions and does not depend on it.

    Args:
        state: where the sample stands.
        sessions: of the decision sample at `as_of`.
        as_of: last day at hand.
        periods_per_year: sessions a year, in [1, 366].

    Raises:
        ConfigError: `periods_per_year` is out of range.
    """
    in_range("periods_per_year", periods_per_year, 1.0, 366.0)
    if state.next_sessions is None:
        return None
    lacking = state.next_sessions - sessions
    if periods_per_year > WEEKDAYS_PER_YEAR:
        return as_of + timedelta(days=max(lacking, math.floor(lacking * 365.25 / periods_per_year)))
    weekdays = math.floor(lacking * WEEKDAYS_PER_YEAR / periods_per_year)
    found: date = np.busday_offset(np.datetime64(as_of, "D"), weekdays, roll="backward").astype(date)
    return found


def budget_key(source_key: str, baseline_hash: str) -> str:
    """Key of a new budget: SHA-256 of the source's identity, which new days do not change, and the baseline's policy hash."""
    return hashlib.sha256(f"{source_key}\0{baseline_hash}".encode()).hexdigest()


def budget_of(records: Iterable[LookRecord | OriginRecord], key: str) -> Budget:
    """The budget `key` as `records`, in the order of the log, leave it. An origin begins it anew."""
    budget = Budget(key=key, declared=None, looks=())
    for record in records:
        if record.budget != key:
            continue
        if isinstance(record, OriginRecord):
            budget = Budget(key=key, declared=record.origin_date, looks=())
        else:
            budget = Budget(key=key, declared=budget.declared, looks=(*budget.looks, record))
    return budget


def binding_budget(records: Iterable[LookRecord | OriginRecord], key: str, baseline: Weekly | None) -> Budget:
    """The budget whose looks bind a comparison with `baseline`, whose own key is `key`.

    Its own, once a look of it is taken. Before that the earliest in the log with a look at a baseline that is `alike`, origins since then
    included: another hash of the same question begins nothing. A baseline None, which never moved, is like no other.
    """
    records = tuple(records)
    taken = [record for record in records if isinstance(record, LookRecord)]
    keys = list(dict.fromkeys(look.budget for look in taken))
    same = {look.budget for look in taken if look.baseline is not None and baseline is not None and alike(look.baseline, baseline)}
    return budget_of(records, key if key in keys else next((other for other in keys if other in same), key))


def check_origin(budget: Budget, origin_date: date) -> None:
    """Whether a new origin may be declared: before the first look, or after the last for days that nobody has looked at.

    Raises:
        ConfigError: it may not.
    """
    if not budget.looks:
        return
    if not budget.used_up:
        first = budget.looks[0]
        left = f"look {budget.taken} of {first.looks_max} is taken"
        raise ConfigError("origin_date", f"{origin_date} comes after the first look, which fixed {first.origin_date}; {left}")
    seen = max(look.as_of for look in budget.looks)
    if origin_date <= seen:
        raise ConfigError("origin_date", f"{origin_date} is not after {seen}, the last day that was looked at")


def check_look(budget: Budget, look: LookRecord) -> None:
    """Whether `look` is one that `budget` allows. A look that another process took in the meantime may have changed that.

    Raises:
        ConfigError: `looks_max` is not one of those whose level was measured.
        DataError: it does not fit the schedule, the origin or the terms that the first look fixed.
    """
    schedule = budget.schedule or Schedule(first_sessions=look.sessions, looks_max=look.looks_max)
    state = look_at(schedule, look.sessions, taken=budget.taken)
    origin = budget.origin_date if budget.origin_date is not None else look.origin_date
    wanted: dict[str, object] = {
        "number": state.number,
        "sessions": state.judged_sessions,
        "origin_date": origin,
        "alpha": schedule.alpha,
        "looks_max": schedule.looks_max,
        "effect": budget.looks[0].effect if budget.looks else look.effect,
    }
    seen = budget.last_date(look.number)
    if seen is not None and (look.last_date is None or look.last_date > seen):
        wanted["last_date"] = seen
    for name, value in wanted.items():
        if getattr(look, name) != value:
            rule = f"{getattr(look, name)} does not fit the budget, which wants {'none' if value is None else value}"
            raise DataError(f"look {look.number}.{name}", f"{rule}; {MEANWHILE}")
