"""When two baselines count as one, by hand and at the edges of each rule."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import ConfigError
from policyengine.evidence.likeness import SAME_ABOVE, WEEKS_MIN, Weekly, alike, weekly

MONDAY = date(2024, 1, 1)


def fingerprint(returns: object, weeks_later: int = 0) -> Weekly:
    values = tuple(float(value) for value in np.asarray(returns))
    return Weekly(first_week=MONDAY + timedelta(weeks=weeks_later), returns=values)


def noise(weeks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, weeks)


def correlated(rho: float, weeks: int = 40) -> tuple[Weekly, Weekly]:
    """Two fingerprints whose weeks, but for the first and the last, correlate at exactly `rho`."""
    x, y = (z - z.mean() for z in (noise(weeks - 2, 1), noise(weeks - 2, 2)))
    y -= x * (x @ y) / (x @ x)
    y = rho * x / math.sqrt(x @ x) + math.sqrt(1.0 - rho**2) * y / math.sqrt(y @ y)
    return fingerprint([0.0, *x, 0.0]), fingerprint([0.0, *y, 0.0])


def test_weeks_by_hand() -> None:
    days = np.array(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-24"], dtype="datetime64[s]")  # Thu, Fri, Mon, Wed
    found = weekly(days, np.array([0.01, 0.02, -0.0123456789, 0.5]))
    assert found == Weekly(first_week=MONDAY, returns=(0.03, -0.0123457, 0.0, 0.5))


@given(st.lists(st.dates(date(1900, 1, 1), date(2100, 12, 31)), min_size=1, max_size=30, unique=True).map(sorted))
def test_weeks_are_iso_weeks(days: list[date]) -> None:
    returns = np.arange(1.0, len(days) + 1.0)
    found = weekly(np.array(days, dtype="datetime64[D]"), returns)
    assert found is not None
    sums: dict[date, float] = {}
    for day, value in zip(days, returns.tolist(), strict=True):
        monday = date.fromisocalendar(*day.isocalendar()[:2], 1)
        sums[monday] = sums.get(monday, 0.0) + value
    assert found.first_week == min(sums)
    assert len(found.returns) == (max(sums) - min(sums)).days // 7 + 1
    assert {found.first_week + timedelta(weeks=i): x for i, x in enumerate(found.returns) if x} == sums


def test_a_fingerprint_begins_where_the_baseline_first_moved() -> None:
    days = np.arange("2024-01-01", "2024-01-29", dtype="datetime64[D]")
    returns = np.zeros(28)
    assert weekly(days, returns) is None
    assert weekly(days, np.full(28, 1e-10)) is None
    returns[15] = 0.25
    assert weekly(days, returns) == Weekly(first_week=date(2024, 1, 15), returns=(0.25, 0.0))


def test_a_week_that_begins_on_another_day_is_refused() -> None:
    with pytest.raises(ConfigError, match="first_week: 2024-01-02 is not a Monday"):
        Weekly(first_week=date(2024, 1, 2), returns=(0.1,))


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-0.01, 0.01))
def test_scale_and_drift_change_nothing_and_direction_does(scale: float, shift: float) -> None:
    returns = noise(30)
    assert alike(fingerprint(returns), fingerprint(scale * returns + shift))
    assert not alike(fingerprint(returns), fingerprint(-scale * returns + shift))


@pytest.mark.parametrize(("rho", "same"), [(1.0, True), (0.801, True), (0.799, False), (0.0, False), (-1.0, False)])
def test_the_correlation_that_separates(rho: float, same: bool) -> None:
    assert SAME_ABOVE == 0.80
    one, other = correlated(rho)
    assert alike(one, other) is alike(other, one) is same


@pytest.mark.parametrize(("shared", "same"), [(20, True), (19, False), (0, False), (-5, False)])
def test_half_of_the_shorter_must_be_shared(shared: int, same: bool) -> None:
    returns = noise(200)
    early, late = fingerprint(returns[:100]), fingerprint(returns[100 - shared :][:40], 100 - shared)
    assert alike(early, late) is alike(late, early) is same


def test_too_few_weeks_in_common_tell_nothing_apart() -> None:
    early, late = noise(16, 1), noise(16, 2)
    few = WEEKS_MIN - 1
    assert alike(fingerprint(early), fingerprint(late, 16 - few))
    assert not alike(fingerprint(early), fingerprint(late, 16 - WEEKS_MIN))


def test_weeks_that_may_be_cut_are_left_out() -> None:
    returns = noise(30)
    cut = returns[5:].copy()
    cut[[0, -1]] = 9.0, -9.0
    assert alike(fingerprint(returns), fingerprint(cut, 5))
    cut[1] = 9.0
    assert not alike(fingerprint(returns), fingerprint(cut, 5))


def test_baselines_that_stand_still_are_alike_and_unlike_one_that_moves() -> None:
    still = fingerprint([0.01, *[0.0] * 29])
    assert alike(still, replace(still, returns=(0.5, *still.returns[1:])))
    assert not alike(still, fingerprint(noise(30)))
    assert not alike(fingerprint(noise(30)), still)
