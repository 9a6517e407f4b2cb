"""Every engine: what comes after a session changes nothing at or before it, and the same inputs give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.signals.ts_core import forecast
from policyengine.spec.ts_core import TsCoreSpec
from tests import engines

THETA, ETS, ARIMA = (
    pytest.param(engines.statsforecast(model=model), marks=pytest.mark.statsforecast, id=model)
    for model in ("Theta", "AutoETS", "AutoARIMA")
)
FITTED = [pytest.param(engines.garch(), id="normal"), pytest.param(engines.garch(dist="t"), id="t"), THETA, ETS, ARIMA]
ALL: list[Any] = [pytest.param(engines.ewma(), id="ewma"), *FITTED]


def unmoved(engine: TsCoreSpec, seed: int, cut: int, sessions: int) -> None:
    rng = np.random.default_rng(seed)
    close = 100.0 + rng.normal(size=(sessions, 3)).cumsum(axis=0)
    close[:, 2] -= 100.0
    fresh = rng.random(close.shape) < 0.9
    changed, other = close.copy(), fresh.copy()
    changed[cut + 1 :], other[cut + 1 :] = engines.wild(rng, changed[cut + 1 :].shape)
    whole = forecast(engine, close, fresh, cost_frac=0.001)
    engines.same(whole, forecast(engine, changed, other, cost_frac=0.001), cut + 1)
    engines.same(whole, forecast(engine, close[: cut + 1], fresh[: cut + 1], cost_frac=0.001), cut + 1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 58))
def test_ewma_does_not_look_ahead(seed: int, cut: int) -> None:
    unmoved(engines.ewma(), seed, cut, 60)


@pytest.mark.parametrize("engine", FITTED)
@pytest.mark.parametrize(("seed", "cut"), [(1, 69), (2, 84), (3, 90), (4, 101), (5, 118)])
def test_an_engine_that_fits_does_not_look_ahead(engine: TsCoreSpec, seed: int, cut: int) -> None:
    unmoved(engine, seed, cut, 120)


@pytest.mark.parametrize("engine", ALL)
def test_the_same_inputs_give_the_same_bits(engine: TsCoreSpec) -> None:
    _, close, fresh = engines.sample(130)
    np.random.seed(1)  # noqa: NPY002 - the state that a library might draw from
    one = forecast(engine, close, fresh, cost_frac=0.001)
    np.random.seed(2)  # noqa: NPY002
    engines.same(one, forecast(engine, close, fresh, cost_frac=0.001), 130)


@pytest.mark.parametrize("engine", ALL)
def test_no_price_makes_an_engine_stumble_or_speak_without_numbers(engine: TsCoreSpec) -> None:
    close, fresh = engines.wild(np.random.default_rng(9), (130, 6))
    close[:, :3] = np.where(np.random.default_rng(1).random((130, 3)) < 0.9, engines.walk(1, 130, 3), close[:, :3])
    made = forecast(engine, close, fresh, cost_frac=0.001)
    speaks = made.direction != 0
    assert ((made.silence == 0) == speaks).all()
    for name in ("expected_return", "predicted_volatility", "edge_score", "confidence"):
        assert np.isfinite(getattr(made, name)[speaks]).all(), name
    assert (made.predicted_volatility[speaks] > 0.0).all()
