from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import ConfigError, DataError
from policyengine.evidence.windows import as_of, independent, overlapping, span, windows
from policyengine.records import Window
from policyengine.spec.window import DateRange, ExplicitWindows, RollingWindows, TrailingWindow, WindowSpec


def weekdays(first: str, last: str) -> np.ndarray:
    days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
    return days[np.is_busday(days)]


def found(spec: WindowSpec, sessions: np.ndarray) -> tuple[Window, ...]:
    return windows(spec, sessions, as_of(spec, sessions))


def window(start: str, end: str) -> Window:
    return Window(label=f"{start}:{end}", start_date=date.fromisoformat(start), end_date=date.fromisoformat(end))


def test_a_trailing_window_counts_calendar_days_and_includes_both_ends() -> None:
    sessions = weekdays("2018-01-01", "2018-11-30")
    (one,) = found(TrailingWindow(days=30), sessions)
    assert (one.start_date, one.end_date) == (date(2018, 11, 1), date(2018, 11, 30))
    assert span(one, sessions).size == 22


def test_quarters_are_whole_and_do_not_overlap() -> None:
    made = found(RollingWindows(period="quarter"), weekdays("2017-11-15", "2018-11-30"))
    assert [w.label for w in made] == ["2018-Q1", "2018-Q2", "2018-Q3"]
    assert not overlapping(made)


def test_a_month_whose_last_days_are_a_weekend_is_whole() -> None:
    assert [w.label for w in found(RollingWindows(period="month"), weekdays("2018-06-01", "2018-06-29"))] == ["2018-06"]
    with pytest.raises(DataError, match="no whole month lies between 2018-06-01 and 2018-06-28"):
        found(RollingWindows(period="month"), weekdays("2018-06-01", "2018-06-28"))


def test_december_is_followed_by_january() -> None:
    assert [w.label for w in found(RollingWindows(period="month"), weekdays("2017-12-01", "2018-01-31"))] == ["2017-12", "2018-01"]


def test_as_of_is_the_last_session_or_as_configured() -> None:
    sessions = weekdays("2018-01-01", "2018-11-30")
    assert as_of(TrailingWindow(days=5), sessions) == date(2018, 11, 30)
    assert as_of(TrailingWindow(days=5, as_of=date(2018, 6, 30)), sessions) == date(2018, 6, 30)
    with pytest.raises(ConfigError, match="window.as_of: 2019-01-01 is outside the source's sessions, 2018-01-01 to 2018-11-30"):
        as_of(TrailingWindow(days=5, as_of=date(2019, 1, 1)), sessions)


def test_a_window_without_sessions_is_named() -> None:
    ranges = (DateRange(label="before", start_date=date(1999, 1, 1), end_date=date(1999, 12, 31)),)
    with pytest.raises(DataError, match="window before: no session from 1999-01-01 to 1999-12-31; sessions run 2018-01-01 to 2018-11-30"):
        found(ExplicitWindows(ranges=ranges), weekdays("2018-01-01", "2018-11-30"))


def test_a_trailing_window_longer_than_the_source_is_refused() -> None:
    with pytest.raises(DataError, match="window 400d: starts 2017-10-27, before the first session 2018-01-01"):
        found(TrailingWindow(days=400), weekdays("2018-01-01", "2018-11-30"))


def test_windows_that_end_on_one_day_count_as_one() -> None:
    sessions = weekdays("2017-01-02", "2018-11-30")
    made = [found(TrailingWindow(days=d), sessions)[0] for d in (30, 90, 180, 365)]
    assert len(independent(made)) == 1


days = st.integers(0, 400).map(lambda n: date.fromordinal(737000 + n))


@given(st.lists(st.tuples(days, st.integers(0, 60)), max_size=9))
def test_the_independent_windows_are_the_largest_disjoint_set(spans: list[tuple[date, int]]) -> None:
    given_windows = [
        Window(label=str(i), start_date=start, end_date=date.fromordinal(start.toordinal() + length))
        for i, (start, length) in enumerate(spans)
    ]
    chosen = independent(given_windows)
    assert not any(a.overlaps(b) for i, a in enumerate(chosen) for b in chosen[i + 1 :])
    assert len(chosen) == _largest(given_windows)


def _largest(candidates: list[Window]) -> int:
    """By trying every choice."""
    if not candidates:
        return 0
    first, *rest = candidates
    return max(_largest(rest), 1 + _largest([w for w in rest if not w.overlaps(first)]))
