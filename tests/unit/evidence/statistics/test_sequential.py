"""Confidence sequences against the formula, and matching that is fixed beforehand."""

import math

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence import confidence_sequence, matched_differences, pause_at
from policyengine.evidence.statistics.longrun import long_run_variance


def test_bounds_equal_the_formula() -> None:
    x = np.random.default_rng(0).standard_normal(60)
    a = 0.05
    lower, upper = confidence_sequence(x, alpha=a)
    r2 = (-2 * math.log(2 * a) + math.log(-2 * math.log(2 * a)) + 1) / 100
    assert r2 == pytest.approx(0.0713, abs=5e-5)
    for t in (20, 33, 60):
        s2 = max(float(long_run_variance(x[:t, None])[0]), float(np.var(x[:t], ddof=1)))
        width = math.sqrt(s2 * 2 * (t * r2 + 1) / (t**2 * r2) * math.log(1 + math.sqrt(t * r2 + 1) / (2 * a)))
        assert lower[t - 1] == pytest.approx(x[:t].mean() - width)
        assert upper[t - 1] == pytest.approx(x[:t].mean() + width)


def test_nothing_is_said_before_day_20() -> None:
    lower, upper = confidence_sequence(np.random.default_rng(0).standard_normal(25))
    assert np.all(np.isneginf(lower[:19]))
    assert np.all(np.isposinf(upper[:19]))
    assert np.all(np.isfinite(lower[19:]))
    short = confidence_sequence(np.zeros(5))
    assert all(np.all(np.isinf(side)) for side in short)


def test_mirror_image_and_columns() -> None:
    x = np.random.default_rng(1).standard_normal((50, 3))
    lower, upper = confidence_sequence(x)
    flipped = confidence_sequence(-x)
    assert flipped[0] == pytest.approx(-upper)
    assert lower[:, 1] == pytest.approx(confidence_sequence(np.ascontiguousarray(x[:, 1]))[0])


def test_harm_pauses_and_its_absence_does_not() -> None:
    noise = 0.001 * np.random.default_rng(2).standard_normal(250)
    assert pause_at(noise) is None
    day = pause_at(noise - 0.001)
    assert day is not None
    assert 20 <= day <= 60
    assert pause_at(noise + 0.001) is None


def test_a_constant_difference_has_a_sequence_without_width() -> None:
    lower, upper = confidence_sequence(np.full(30, 0.01))
    assert lower[-1] == pytest.approx(0.01)
    assert upper[-1] == pytest.approx(0.01)


def test_matching_is_fixed_on_the_last_120_sessions_before() -> None:
    rng = np.random.default_rng(3)
    before = rng.standard_normal(150) * 0.01
    before[:30] *= 100
    scaled = before / 2
    scaled[:30] = 0
    b = np.array([0.01, -0.01])
    assert matched_differences(b, b / 2, baseline_before=before, candidate_before=scaled) == pytest.approx([0.0, 0.0], abs=1e-15)


@pytest.mark.parametrize(("count", "value"), [(119, 0.01), (120, 0.0)])
def test_matching_needs_sessions_that_vary(count: int, value: float) -> None:
    before = value * np.sin(np.arange(count))
    with pytest.raises(DataError, match="before"):
        matched_differences([0.1], [0.1], baseline_before=before, candidate_before=before)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.4, math.nan])
def test_levels_out_of_range(alpha: float) -> None:
    with pytest.raises(DataError, match="alpha"):
        confidence_sequence(np.zeros(30), alpha=alpha)
    with pytest.raises(DataError, match="differences"):
        confidence_sequence([0.1, math.nan])
