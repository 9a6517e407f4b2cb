"""Ratios against the numbers of the papers that define them."""

import math

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence.statistics.ratios import (
    deflated_sharpe,
    expected_best_sharpe,
    m2,
    matched_information_ratio,
    min_track_record_length,
    probabilistic_sharpe,
    shape,
)


def test_recorded_probabilistic_sharpe() -> None:
    assert probabilistic_sharpe(0.458, 24) == pytest.approx(0.98167, abs=5e-6)
    assert probabilistic_sharpe(0.458, 24, skewness=-2.448, kurtosis=10.164) == pytest.approx(0.91336, abs=5e-6)


@pytest.mark.parametrize(("trials", "wanted"), [(100, 0.90040), (46, 0.95050)])
def test_recorded_deflated_sharpe(trials: int, wanted: float) -> None:
    found = deflated_sharpe(2.5 / math.sqrt(250), 1250, trials=trials, variance=0.5 / 250, skewness=-3.0, kurtosis=10.0)
    assert found == pytest.approx(wanted, abs=5e-6)


@pytest.mark.parametrize(("per_year", "years"), [(250, 2.731), (52, 2.829), (12, 3.240)])
def test_recorded_min_track_record_length(per_year: int, years: float) -> None:
    length = min_track_record_length(2 / math.sqrt(per_year), benchmark=1 / math.sqrt(per_year))
    assert length is not None
    assert length / per_year == pytest.approx(years, abs=5e-4)


def test_no_length_suffices_below_the_benchmark() -> None:
    assert min_track_record_length(0.05, benchmark=0.05) is None
    assert min_track_record_length(0.04, benchmark=0.05) is None


def test_one_trial_is_not_a_search() -> None:
    assert expected_best_sharpe(1, 0.3) == 0.0
    assert deflated_sharpe(0.1, 100, trials=1, variance=0.3) == probabilistic_sharpe(0.1, 100)
    assert expected_best_sharpe(10, 0.01) < expected_best_sharpe(100, 0.01)
    with pytest.raises(DataError, match="trials"):
        expected_best_sharpe(0, 0.1)


def test_moments_that_no_distribution_has() -> None:
    with pytest.raises(DataError, match="belong to no distribution"):
        probabilistic_sharpe(1.0, 24, skewness=5.0, kurtosis=1.0)
    with pytest.raises(DataError, match="n: 1"):
        probabilistic_sharpe(1.0, 1)


def test_two_points_have_no_dispersion_and_no_division_by_it() -> None:
    # Skewness g and kurtosis g^2 + 1: the dispersion is |1 - g S/2|, zero at S = 2/g.
    assert probabilistic_sharpe(1.0, 24, skewness=2.0, kurtosis=5.0) == 1.0
    assert probabilistic_sharpe(1.0, 24, benchmark=2.0, skewness=2.0, kurtosis=5.0) == 0.0
    assert probabilistic_sharpe(1.0, 24, benchmark=1.0, skewness=2.0, kurtosis=5.0) == 0.5


def test_shape_of_a_coin() -> None:
    assert shape(np.array([-1.0, 1.0])) == (0.0, 1.0)


def test_m2_and_effect_size() -> None:
    assert m2(0.5, 0.1) == pytest.approx(0.05)
    b = np.array([0.01, -0.01, 0.02, -0.02])
    assert matched_information_ratio(b, 0.5 * b, 252.0) is None
    assert matched_information_ratio(b, np.zeros(4), 252.0) is None
    c = np.array([0.02, -0.01, 0.01, -0.01])
    difference = b.std() / c.std() * c - b
    assert matched_information_ratio(b, c, 4.0) == pytest.approx(2 * difference.mean() / difference.std())
