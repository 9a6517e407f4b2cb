"""Future rows never change earlier decisions, and identical multipliers give identical arms."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.signals.ts_core import forecast
from policyengine.spec.signals import EwmaEngine

ENGINE = EwmaEngine(
    drift_halflife_sessions=8.0, vol_halflife_sessions=4.0, warmup_sessions=4, horizon_sessions=3, edge_min=0.05, confidence_min=0.51
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(5, 38))
def test_what_comes_after_a_session_does_not_change_its_forecast(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    close = 100.0 + rng.normal(size=(40, 3)).cumsum(axis=0)
    fresh = rng.random((40, 3)) < 0.9
    changed, other = close.copy(), fresh.copy()
    changed[cut + 1 :] = rng.normal(size=changed[cut + 1 :].shape) * 1e6
    other[cut + 1 :] = rng.random(other[cut + 1 :].shape) < 0.5
    one, two = forecast(ENGINE, close, fresh), forecast(ENGINE, changed, other)
    for name in ("expected_return", "predicted_volatility", "edge_score", "confidence", "direction"):
        assert getattr(one, name)[: cut + 1].tobytes() == getattr(two, name)[: cut + 1].tobytes(), name
