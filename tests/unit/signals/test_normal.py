from __future__ import annotations

import math

import numpy as np

from policyengine.signals.normal import normal_cdf


def test_agrees_with_the_error_function() -> None:
    z = np.concatenate([np.random.default_rng(1).exponential(2.0, 20_000), [0.0, 1 / 2048, 8.4999, 8.5, 40.0, math.inf]])
    exact = np.array([0.5 * (1.0 + math.erf(x / math.sqrt(2.0))) for x in z.tolist()])
    assert np.abs(normal_cdf(z) - exact).max() < 1e-14


def test_never_leaves_its_range_and_never_falls() -> None:
    values = normal_cdf(np.linspace(0.0, 10.0, 200_001))
    assert values[0] == 0.5
    assert values[-1] == 1.0
    assert np.diff(values).min() >= -2.3e-16, "one unit in the last place of 1"


def test_unknown_stays_unknown() -> None:
    assert np.isnan(normal_cdf(np.array([[np.nan, 1.0]]))).tolist() == [[True, False]]
