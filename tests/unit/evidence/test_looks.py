from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import ConfigError, DataError
from policyengine.evidence.likeness import Weekly
from policyengine.evidence.looks import (
    ALPHAS,
    Budget,
    LookRecord,
    OriginRecord,
    Schedule,
    binding_budget,
    budget_key,
    budget_of,
    check_look,
    check_origin,
    look_at,
    next_look_date,
    schedule_of,
    standing,
)
from policyengine.records import Verdict

FOUR = Schedule(first_sessions=60, looks_max=4)
EMPTY = Budget(key="k", declared=None, looks=())
LOOK = LookRecord(
    budget="k",
    trial="p",
    number=1,
    sessions=60,
    origin_date=date(2020, 1, 1),
    as_of=date(2020, 3, 31),
    verdict=Verdict.INCONCLUSIVE,
    alpha=0.018,
    looks_max=4,
    effect="sharpe",
    recorded_at="2026-01-01T00:00:00+00:00",
    run_id="r",
)
verdicts = st.sampled_from(Verdict)


def later(number: int, **changes: object) -> LookRecord:
    sessions = FOUR.sessions[number - 1]
    return replace(LOOK, number=number, sessions=sessions, as_of=date(2020, 3, 31) + timedelta(days=90 * number), **changes)


def budget(*records: LookRecord | OriginRecord) -> Budget:
    return budget_of(records, "k")


def origin(day: date) -> OriginRecord:
    return OriginRecord(budget="k", origin_date=day, recorded_at="2026-01-01T00:00:00+00:00", run_id="r")


ALL_TAKEN = budget(*(later(k) for k in (1, 2, 3, 4)))


def test_the_looks_of_sixty_sessions_are_those_that_were_measured() -> None:
    assert FOUR.sessions == (60, 90, 135, 203)
    assert FOUR.alpha == 0.018
    assert [Schedule(first_sessions=100, looks_max=count).sessions for count in (1, 2)] == [(100,), (100, 150)]
    assert [Schedule(first_sessions=100, looks_max=count).alpha for count in (1, 2)] == [0.05, 0.030]


@pytest.mark.parametrize("count", [-1, 0, 3, 5])
def test_a_number_of_looks_that_was_not_measured_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=rf"gate.looks.max: {count} is not one of 1 \(alpha 0.05\), 2 \(alpha 0.03\), 4 \(alpha 0.018\)"):
        Schedule(first_sessions=60, looks_max=count)
    with pytest.raises(ConfigError, match="gate.looks.max"):
        schedule_of(EMPTY, 10, looks_max=count, effect="sharpe", least_sessions=60)


def test_a_schedule_without_sessions_is_refused() -> None:
    with pytest.raises(ConfigError, match="first_sessions: 0 is below 1"):
        Schedule(first_sessions=0, looks_max=1)


@pytest.mark.parametrize(
    ("sessions", "taken", "number", "judged", "following", "fresh"),
    [
        (59, 0, 0, None, 60, False),
        (60, 0, 1, 60, 90, True),
        (60, 1, 1, 60, 90, False),
        (89, 1, 1, 60, 90, False),
        (90, 1, 2, 90, 135, True),
        (150, 1, 3, 135, 203, True),
        (100, 3, 2, None, 135, False),
        (203, 3, 4, 203, None, True),
        (5000, 4, 4, 203, None, False),
    ],
)
def test_where_a_number_of_sessions_stands(sessions: int, taken: int, number: int, judged: int | None, following: int, fresh: bool) -> None:
    state = look_at(FOUR, sessions, taken=taken)
    assert (state.number, state.judged_sessions, state.next_sessions, state.fresh) == (number, judged, following, fresh)
    assert state.used_up is (taken == 4)


@given(first=st.integers(1, 10**7), count=st.sampled_from(sorted(ALPHAS)), sessions=st.integers(0, 10**8))
def test_looks_are_exact_and_the_day_of_a_run_changes_nothing(first: int, count: int, sessions: int) -> None:
    schedule = Schedule(first_sessions=first, looks_max=count)
    assert schedule.sessions == tuple(ceil(Fraction(3, 2) ** k * first) for k in range(count))
    assert list(schedule.sessions) == sorted(set(schedule.sessions))
    state = look_at(schedule, sessions)
    if state.judged_sessions is not None:
        assert look_at(schedule, state.judged_sessions) == state  # a run on the day of the look and one later judge the same sessions
        assert state.judged_sessions <= sessions
    if state.next_sessions is not None:
        assert sessions < state.next_sessions
        assert look_at(schedule, state.next_sessions).number == state.number + 1


@given(first=st.integers(60, 300), count=st.sampled_from(sorted(ALPHAS)), days=st.lists(st.integers(60, 1200), max_size=40))
def test_however_often_one_evaluates_no_more_looks_decide_than_were_planned(first: int, count: int, days: list[int]) -> None:
    schedule, taken, judged = Schedule(first_sessions=first, looks_max=count), 0, []
    for sessions in days:
        state = look_at(schedule, sessions, taken=taken)
        if state.judged_sessions is not None:
            taken = state.number
            judged.append(state.judged_sessions)
    assert judged == sorted(judged)
    assert len(set(judged)) <= count


def test_a_budget_begins_with_the_first_sample_that_can_be_decided() -> None:
    terms = {"looks_max": 4, "effect": "sharpe", "least_sessions": 60}
    assert schedule_of(EMPTY, 59, **terms) is None
    assert schedule_of(EMPTY, 75, **terms) == Schedule(first_sessions=75, looks_max=4)
    assert schedule_of(budget(LOOK), 500, **terms) == FOUR
    assert schedule_of(budget(LOOK), 40, **terms) == FOUR


def test_the_first_look_fixes_the_terms() -> None:
    with pytest.raises(ConfigError, match="gate.looks.max: 1 differs from 4, which the look of 2020-03-31 fixed"):
        schedule_of(budget(LOOK), 90, looks_max=1, effect="sharpe", least_sessions=60)
    with pytest.raises(ConfigError, match="gate.test.effect: 'growth_at_es' differs from 'sharpe'"):
        schedule_of(budget(LOOK), 90, looks_max=4, effect="growth_at_es", least_sessions=60)


@given(verdicts, verdicts)
def test_between_looks_nothing_promotes(recorded: Verdict, now: Verdict) -> None:
    stands = standing(recorded, now)
    assert stands in (recorded, now)
    assert (stands is Verdict.PROMOTE) is (recorded is now is Verdict.PROMOTE)
    assert (stands is Verdict.REJECT) is (Verdict.REJECT in (recorded, now))
    assert standing(None, now) is now


@pytest.mark.parametrize(
    ("sessions", "as_of", "per_year", "day"),
    [
        (89, date(2024, 3, 1), 252.0, date(2024, 3, 4)),  # Friday; the next session is a Monday
        (89, date(2024, 3, 2), 252.0, date(2024, 3, 4)),  # Saturday counts from its Friday
        (80, date(2024, 3, 1), 252.0, date(2024, 3, 15)),
        (62, date(2024, 3, 1), 252.0, date(2024, 4, 11)),  # 28 sessions: one holiday is to be expected
        (80, date(2024, 3, 1), 365.0, date(2024, 3, 11)),
        (80, date(2024, 3, 1), 52.0, date(2024, 5, 10)),
        (203, date(2024, 3, 1), 252.0, None),
    ],
)
def test_the_day_of_the_next_look(sessions: int, as_of: date, per_year: float, day: date | None) -> None:
    assert next_look_date(look_at(FOUR, sessions), sessions, as_of=as_of, periods_per_year=per_year) == day


def test_a_year_of_sessions_is_a_year_of_days() -> None:
    schedule = Schedule(first_sessions=504, looks_max=2)
    found = next_look_date(look_at(schedule, 504), 504, as_of=date(2024, 3, 1))
    assert found is not None
    assert abs((found - date(2025, 3, 1)).days) <= 2


@pytest.mark.parametrize("per_year", [0.0, -252.0, 367.0, float("nan")])
def test_a_year_of_impossible_length_is_refused(per_year: float) -> None:
    with pytest.raises(ConfigError, match="periods_per_year"):
        next_look_date(look_at(FOUR, 60), 60, as_of=date(2024, 3, 1), periods_per_year=per_year)


@given(
    first=st.integers(1, 2000),
    past=st.integers(0, 3000),
    per_year=st.floats(1.0, 366.0),
    as_of=st.dates(date(1990, 1, 1), date(2050, 1, 1)),
)
def test_the_next_look_is_never_in_the_past(first: int, past: int, per_year: float, as_of: date) -> None:
    state = look_at(Schedule(first_sessions=first, looks_max=4), first + past)
    found = next_look_date(state, first + past, as_of=as_of, periods_per_year=per_year)
    assert (found is None) is (state.next_sessions is None)
    assert found is None or found > as_of


def test_a_budget_is_keyed_by_source_and_baseline() -> None:
    assert budget_key("ab", "c") == hashlib.sha256(b"ab\x00c").hexdigest()
    assert len({budget_key("ab", "c"), budget_key("a", "bc"), budget_key("ab", "d")}) == 3


def test_a_budget_folds_its_own_records_only() -> None:
    mine, other = later(2, trial="q"), replace(LOOK, budget="else", number=4)
    found = budget(LOOK, other, mine)
    assert (found.looks, found.taken, found.used_up) == ((LOOK, mine), 2, False)
    assert found.schedule == FOUR
    assert found.origin_date == date(2020, 1, 1)
    assert found.at_look("q", 2) == mine
    assert found.at_look("q", 1) is None
    assert (EMPTY.taken, EMPTY.used_up, EMPTY.schedule, EMPTY.origin_date) == (0, False, None, None)


def test_what_was_recorded_first_at_a_look_counts() -> None:
    assert budget(LOOK, replace(LOOK, verdict=Verdict.PROMOTE)).at_look("p", 1) == LOOK


def test_an_origin_is_free_before_the_first_look_and_fixed_by_it() -> None:
    check_origin(EMPTY, date(2019, 1, 1))
    declared = budget(origin(date(2019, 1, 1)), origin(date(2019, 6, 3)))
    assert declared.origin_date == date(2019, 6, 3)
    check_origin(declared, date(2018, 1, 1))
    with pytest.raises(ConfigError, match="comes after the first look, which fixed 2020-01-01; look 1 of 4 is taken"):
        check_origin(budget(LOOK), date(2030, 1, 1))


def test_after_the_last_look_only_days_after_it_form_a_new_origin() -> None:
    assert ALL_TAKEN.used_up
    last = max(look.as_of for look in ALL_TAKEN.looks)
    with pytest.raises(ConfigError, match=f"{last} is not after {last}, the last day that was looked at"):
        check_origin(ALL_TAKEN, last)
    fresh = last + timedelta(days=1)
    check_origin(ALL_TAKEN, fresh)
    anew = budget(*ALL_TAKEN.looks, origin(fresh))
    assert (anew.taken, anew.origin_date, anew.schedule) == (0, fresh, None)


@pytest.mark.parametrize(
    ("found", "look", "place"),
    [
        (EMPTY, later(2), "look 2.number"),
        (EMPTY, replace(LOOK, alpha=0.05), "look 1.alpha"),
        (budget(origin(date(2020, 2, 1))), LOOK, "look 1.origin_date"),
        (budget(LOOK), replace(LOOK, origin_date=date(2020, 1, 2)), "look 1.origin_date"),
        (budget(LOOK), replace(later(2), sessions=91), "look 2.sessions"),
        (budget(LOOK), replace(LOOK, sessions=61), "look 1.sessions"),
        (budget(LOOK), replace(later(2), looks_max=2), "look 2.looks_max"),
        (budget(LOOK), replace(later(2), effect="growth_at_es"), "look 2.effect"),
        (budget(LOOK, later(3)), later(2), "look 2.sessions"),
        (budget(replace(LOOK, last_date=date(2020, 3, 27))), replace(LOOK, last_date=date(2020, 3, 28)), "look 1.last_date"),
        (budget(replace(LOOK, last_date=date(2020, 3, 27))), LOOK, "look 1.last_date"),
    ],
)
def test_a_look_that_does_not_fit_the_budget_is_refused(found: Budget, look: LookRecord, place: str) -> None:
    with pytest.raises(DataError, match=f"^{place}: .* does not fit the budget"):
        check_look(found, look)


def test_looks_that_fit() -> None:
    check_look(EMPTY, LOOK)
    check_look(budget(origin(date(2020, 1, 1))), LOOK)
    check_look(budget(LOOK), replace(LOOK, trial="q"))
    check_look(budget(LOOK), later(3))
    pinned = budget(replace(LOOK, last_date=date(2020, 3, 27)))
    check_look(pinned, replace(LOOK, last_date=date(2020, 3, 26)))
    check_look(pinned, later(2, last_date=date(2020, 5, 8)))


def moving(seed: int) -> Weekly:
    returns = np.random.default_rng(seed).normal(0.0, 0.01, 30)
    return Weekly(first_week=date(2020, 1, 6), returns=tuple(returns.tolist()))


def test_a_budget_is_that_of_every_baseline_that_moves_alike() -> None:
    ours, nudged = moving(1), replace(moving(1), returns=tuple(1.001 * r for r in moving(1).returns))
    log = [replace(LOOK, budget="a", baseline=moving(9)), replace(LOOK, baseline=ours)]
    assert binding_budget(log, "new", nudged) == budget(*log)
    assert binding_budget(log, "new", moving(2)) == Budget(key="new", declared=None, looks=())
    assert binding_budget(log, "new", None) == Budget(key="new", declared=None, looks=())
    assert binding_budget([LOOK], "new", ours).key == "new"  # a record from before there were fingerprints: by its key alone
    assert binding_budget([], "new", ours).key == "new"


def test_the_own_key_binds_once_it_has_looks_and_else_the_earliest_budget() -> None:
    ours = moving(1)
    one, two = (replace(LOOK, budget=key, baseline=ours) for key in ("a", "b"))
    assert binding_budget([one, two], "b", ours).key == "b"
    assert binding_budget([two, one], "c", ours).key == "b"
    declared = OriginRecord(budget="c", origin_date=date(2019, 1, 1), recorded_at="2026-01-01T00:00:00+00:00", run_id="r")
    assert binding_budget([declared, one], "c", ours).key == "a"  # an origin declared beforehand keeps no budget in reserve
    assert binding_budget([declared, one], "c", moving(2)).declared == date(2019, 1, 1)


def test_the_earliest_budget_wins_though_a_later_look_of_it_is_the_one_alike() -> None:
    ours = moving(1)
    log = [replace(LOOK, baseline=moving(3)), replace(LOOK, budget="b", baseline=ours), later(2, baseline=ours)]
    assert binding_budget(log, "new", ours).key == "k"


def test_a_new_origin_keeps_the_fingerprints_from_before_it() -> None:
    ours = moving(1)
    looks = [later(k, baseline=ours) for k in (1, 2, 3, 4)]
    renewed = binding_budget([*looks, origin(date(2022, 1, 3))], "new", ours)
    assert (renewed.key, renewed.declared, renewed.looks) == ("k", date(2022, 1, 3), ())
