from __future__ import annotations

import numpy as np
import pytest

from policyengine.signals.forecasts import Silence
from policyengine.signals.returns import looks_split, returns, silences, surprises, weighted_mean

NAN = np.nan


def test_a_return_is_on_the_bar_before_whatever_its_sign() -> None:
    close = np.array([[NAN, 4.0], [10.0, 3.0], [11.0, -1.0], [11.0, -3.0], [16.5, 0.0], [24.75, 5.0], [24.75, 1e200]])
    fresh = np.array([[False, True], [True, True], [True, True], [False, True], [True, True], [True, True], [True, True]])
    made = returns(close, fresh)
    np.testing.assert_array_equal(made[:, 0], [NAN, NAN, 0.1, NAN, 0.5, 0.5, 0.0])
    np.testing.assert_array_equal(made[:, 1], [NAN, -0.25, -4.0 / 3.0, -2.0, 1.0, NAN, NAN])


def test_a_price_known_before_the_first_bar_gives_no_return() -> None:
    """A close carried from before the panel is no bar of it."""
    assert np.isnan(returns(np.array([[10.0], [11.0]]), np.array([[False], [True]]))).all()


def test_a_mean_over_the_mass_of_its_weights() -> None:
    """Half-life 1: weights 1/2, 1/4, ... The means of 1, then 1 and 4, then 1, 4 and 7, a gap between them."""
    values = np.array([NAN, 1.0, 4.0, NAN, 7.0])[:, None]
    np.testing.assert_allclose(weighted_mean(values, 1.0)[:, 0], [NAN, 1.0, 3.0, 3.0, (7 + 2 + 0.25) / 1.75], rtol=1e-15)


def test_a_surprise_is_what_the_drift_before_did_not_expect() -> None:
    change, drift = np.array([[NAN], [0.2], [NAN], [0.5]]), np.array([[NAN], [0.2], [0.2], [0.4]])
    assert surprises(change, drift)[:, 0] == pytest.approx([NAN, 0.2, NAN, 0.3], nan_ok=True)


def test_a_price_that_looks_split_gives_no_return_and_no_opinion() -> None:
    close = np.array([[100.0, 100.0], [50.5, 55.0], [51.0, 56.0], [1020.0, -112.0], [1000.0, -224.0]])
    fresh = np.ones(close.shape, dtype=bool)
    change = returns(close, fresh)
    assert looks_split(close, fresh).T.tolist() == [[False, True, False, True, False], [False] * 5]
    assert np.isnan(change[[1, 3], 0]).all()
    assert change[[2, 4], 0].tolist() == [0.5 / 50.5, -20.0 / 1020.0]
    assert np.isfinite(change[1:, 1]).all()
    nothing = np.zeros(close.shape, dtype=bool)
    assert silences(close, fresh, short=nothing, flat=nothing)[:, 0].tolist() == [0, int(Silence.UNUSABLE_PRICE)] * 2 + [0]
