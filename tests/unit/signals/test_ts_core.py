from __future__ import annotations

import math

import numpy as np
import pytest

from policyengine.signals.ts_core import forecast
from policyengine.spec.signals import EwmaEngine


def engine(**changes: float) -> EwmaEngine:
    values = {
        "drift_halflife_sessions": 10.0,
        "vol_halflife_sessions": 5.0,
        "warmup_sessions": 5,
        "horizon_sessions": 4,
        "edge_min": 0.1,
        "confidence_min": 0.6,
    }
    return EwmaEngine(**{**values, **changes})  # type: ignore[arg-type]


def all_fresh(close: np.ndarray) -> np.ndarray:
    return np.ones(close.shape, dtype=bool)


def reference(spec: EwmaEngine, prices: list[float]) -> tuple[float, float, float]:
    """The formulas of the docstring as plain loops over explicit weights; edge, confidence and volatility of the last session."""
    returns = [(b - a) / abs(a) for a, b in zip(prices, prices[1:], strict=False)]
    a, b = 1 - 0.5 ** (1 / spec.drift_halflife_sessions), 1 - 0.5 ** (1 / spec.vol_halflife_sessions)

    def mean(values: list[float], weight: float) -> float:
        masses = [weight * (1 - weight) ** age for age in range(len(values) - 1, -1, -1)]
        return math.fsum(m * v for m, v in zip(masses, values, strict=True)) / math.fsum(masses)

    drift_before = [0.0] + [mean(returns[:k], a) for k in range(1, len(returns))]
    variance = mean([(r - m) ** 2 for r, m in zip(returns, drift_before, strict=True)], b)
    drift = mean(returns, a)
    h = spec.horizon_sessions
    t = abs(drift) / math.sqrt(variance / ((2 - a) / a))
    return h * drift / math.sqrt(h * variance), 0.5 * (1 + math.erf(t / math.sqrt(2))), math.sqrt(h * variance)


def test_follows_its_formulas() -> None:
    prices = [100.0, 101.0, 100.5, 102.0, 103.0, 102.5, 104.0, 106.0, 105.0]
    close = np.array(prices)[:, None]
    made = forecast(engine(), close, all_fresh(close))
    edge, confidence, volatility = reference(engine(), prices)
    assert made.edge_score[-1, 0] == pytest.approx(edge, rel=1e-12)
    assert made.confidence[-1, 0] == pytest.approx(confidence, rel=1e-12)
    assert made.predicted_volatility[-1, 0] == pytest.approx(volatility, rel=1e-12)
    assert made.direction[-1, 0] == 1


def test_prices_may_be_negative() -> None:
    close = np.array([-10.0, -11.0, -12.5, -12.0, -14.0, -15.5, -17.0, -18.0])[:, None]
    made = forecast(engine(), close, all_fresh(close))
    assert made.direction[-1, 0] == -1
    assert made.edge_score[-1, 0] == pytest.approx(reference(engine(), close[:, 0].tolist())[0], rel=1e-12)


def test_silent_before_warm_up_on_constant_prices_and_without_a_bar() -> None:
    close = np.column_stack([np.arange(1.0, 11.0), np.full(10, 5.0), np.arange(1.0, 11.0)])
    fresh = all_fresh(close)
    fresh[-1, 2] = False
    made = forecast(engine(), close, fresh)
    assert np.isnan(made.edge_score[:5]).all()
    assert np.isnan(made.edge_score[:, 1]).all()
    assert made.direction[-1].tolist() == [1, 0, 0]
    assert np.isnan(made.edge_score[-1, 2])


def test_a_price_of_zero_gives_no_return() -> None:
    close = np.array([1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])[:, None]
    made = forecast(engine(), close, all_fresh(close))
    assert np.isfinite(made.edge_score[-1, 0])


def test_below_a_threshold_is_hold() -> None:
    close = np.cumsum(np.array([100.0] + [1.0, -0.9] * 10))[:, None]
    assert forecast(engine(edge_min=5.0), close, all_fresh(close)).direction[-1, 0] == 0
    assert forecast(engine(confidence_min=0.999), close, all_fresh(close)).direction[-1, 0] == 0
