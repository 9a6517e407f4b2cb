from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.signals.ml_secondary.features import feature_hash, features, names


def one(prices: list[float], spans: tuple[int, ...], volatility: float = 0.1) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Features (T, F) of one instrument with a bar wherever there is a price."""
    close = np.array(prices)[:, None]
    return features(spans, close, ~np.isnan(close), np.full(close.shape, volatility))[:, 0]


def test_features_are_those_worked_by_hand() -> None:
    assert names((1, 2)) == ("return_1", "activity_1", "return_2", "activity_2", "from_mean_2", "from_high_2")
    last = one([100.0, 120.0, 90.0], (1, 2))[-1]
    unit = 0.1 * 90.0
    expected = [
        -30.0 / unit,
        0.25 / 0.1,
        -10.0 / (unit * math.sqrt(2)),
        math.sqrt((0.2**2 + 0.25**2) / 2) / 0.1,
        (90.0 - 105.0) / (unit * math.sqrt(2)),
        (90.0 - 120.0) / (unit * math.sqrt(2)),
    ]
    assert last == pytest.approx(expected, rel=1e-14)


def test_a_negative_price_counts_as_it_is() -> None:
    """From -50 to -40 is up by a fifth of 50."""
    made = one([-50.0, -40.0], (1,))
    assert made[-1] == pytest.approx([10.0 / (0.1 * 40.0), 0.2 / 0.1])


def test_what_is_not_known_is_nan() -> None:
    spans = (1, 3)
    assert np.isnan(one([1.0, 2.0], spans)[0]).tolist() == [True, True, True, True, True, True]
    assert np.isnan(one([1.0, 2.0, 3.0], spans)[2]).tolist() == [False, False, True, True, False, False]
    at_zero = one([1.0, 0.0, 3.0], spans)
    assert np.isnan(at_zero[1]).tolist() == [True, False, True, True, True, True], "a price of 0 has no unit"
    assert np.isnan(at_zero[2]).tolist() == [False, True, True, True, False, False], "nor has it a return after it"
    assert np.isnan(one([5.0, 5.0, 5.0, 5.0], spans, volatility=math.nan)).all()


def test_a_gap_is_not_a_bar() -> None:
    """Spans count the bars of the instrument; a session without one has no features and changes none."""
    with_gap = one([100.0, math.nan, 120.0, math.nan, math.nan, 90.0], (1, 2))
    assert np.isnan(with_gap[[1, 3, 4]]).all()
    assert with_gap[[0, 2, 5]].tobytes() == one([100.0, 120.0, 90.0], (1, 2)).tobytes()


def test_a_stale_close_is_not_a_bar_either() -> None:
    close = np.array([[100.0], [100.0], [120.0]])
    fresh = np.array([[True], [False], [True]])
    made = features((1,), close, fresh, np.full(close.shape, 0.1))
    assert made[2, 0, 0] == pytest.approx(20.0 / 12.0)
    assert np.isnan(made[1]).all()


@given(st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1))
def test_features_have_no_unit(factor: float, seed: int) -> None:
    """Prices in another currency, or at another volatility with it, look the same."""
    rng = np.random.default_rng(seed)
    close = 100.0 + rng.normal(size=(40, 2)).cumsum(axis=0)
    fresh = np.ones(close.shape, dtype=np.bool_)
    volatility = np.full(close.shape, 0.01)
    here, there = (features((1, 5, 13), scale * close, fresh, volatility) for scale in (1.0, factor))
    assert np.allclose(here, there, rtol=1e-6, atol=1e-8, equal_nan=True)


def test_one_huge_price_is_forgotten() -> None:
    """A running sum would keep what its rounding did to every later mean."""
    prices = (100.0 + np.arange(60.0)).tolist()
    spoiled = [1e300, *prices[1:]]
    assert one(spoiled, (1, 8))[-20:].tobytes() == one(prices, (1, 8))[-20:].tobytes()


def test_windows_are_what_they_say() -> None:
    rng = np.random.default_rng(5)
    prices = 100.0 + rng.normal(size=80).cumsum()
    for span in (2, 3, 7, 16, 21, 63):
        _, _, from_mean, from_high = one(prices.tolist(), (span,))[-1]
        unit = 0.1 * prices[-1] * math.sqrt(span)
        assert from_mean == pytest.approx((prices[-1] - prices[-span:].mean()) / unit)
        assert from_high == pytest.approx((prices[-1] - prices[-span:].max()) / unit)


def test_the_hash_knows_names_order_and_definition() -> None:
    assert feature_hash((1, 5)) == feature_hash((1, 5))
    assert len({feature_hash(spans) for spans in ((1, 5), (1, 6), (5,), (1, 5, 9))}) == 4


def test_the_hash_is_the_same_everywhere_and_on_every_run() -> None:
    """Stored models are refused when it moves; so it moves only with the definition of a feature."""
    assert feature_hash((1, 5, 10, 21, 63, 126, 252)) == "2ba6f13ea0b0c445e089459ce2d07ccf3a4b9c4b81a65b99dc6656f06c6c64b6"
