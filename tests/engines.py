"""Time-series engines with spans short enough for tests, and prices with everything that can be wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.forecasts import Floats, Forecasts
from policyengine.spec.thresholds import CalibrationSpec, RegimesSpec, ThresholdsSpec
from policyengine.spec.ts_core import EwmaEngine, GarchEngine, StatsforecastEngine

COMMON: dict[str, Any] = {
    "horizon_sessions": 4,
    "thresholds": ThresholdsSpec(edge_min=0.1, confidence_min=0.5),
    "calibration": CalibrationSpec(bins=5, prior_outcomes=10.0),
    "regimes": RegimesSpec(vol_sessions=5, memory_sessions=11, trend_sessions=6, trend_min=1.0, high_ratio=1.3, crisis_ratio=2.0),
}
FITTED: dict[str, Any] = {**COMMON, "train_sessions": 80, "refit_sessions": 15, "warmup_sessions": 60}
FIELDS = ("expected_return", "predicted_volatility", "edge_score", "confidence", "direction", "regime", "silence")


def ewma(**changes: Any) -> EwmaEngine:
    values = {**COMMON, "drift_halflife_sessions": 10.0, "vol_halflife_sessions": 5.0, "warmup_sessions": 5}
    return EwmaEngine(**{**values, **changes})


def garch(**changes: Any) -> GarchEngine:
    return GarchEngine(**{**FITTED, "dist": "normal", "drift_halflife_sessions": 20.0, **changes})


def statsforecast(**changes: Any) -> StatsforecastEngine:
    return StatsforecastEngine(**{**FITTED, "model": "Theta", "vol_halflife_sessions": 10.0, **changes})


def walk(seed: int, sessions: int, names: int) -> Floats:
    """Prices that wander, all above 0."""
    return 100.0 * np.exp(np.random.default_rng(seed).normal(0.001, 0.02, (sessions, names)).cumsum(axis=0))


def wild(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, NDArray[np.bool_]]:
    """Prices that no engine may stumble over, and when there are bars."""
    kinds = np.stack([rng.normal(size=shape) * 1e6, np.zeros(shape), np.full(shape, np.nan), np.full(shape, -3.0), np.full(shape, 1e300)])
    close = np.take_along_axis(kinds, rng.integers(0, len(kinds), (1, *shape)), axis=0)[0]
    return close, rng.random(shape) < 0.7


def sample(sessions: int) -> tuple[tuple[str, ...], Floats, NDArray[np.bool_]]:
    """One symbol for each thing that can be wrong with prices: names, closes (T, N) and when they are fresh."""
    rng = np.random.default_rng(5)
    symbols = ("fine", "constant", "negative", "zero", "gaps", "late", "ended", "short", "never")
    close = walk(11, sessions, len(symbols))
    fresh = np.ones(close.shape, dtype=np.bool_)
    close[:, 1] = 7.0
    close[:, 2] -= 200.0
    close[sessions - 10, 3] = 0.0
    fresh[:, 4] = rng.random(sessions) < 0.8
    fresh[: sessions // 4, 5] = False
    fresh[sessions - 20 :, 6] = False
    fresh[: sessions - 3, 7] = False
    fresh[:, 8] = False
    return symbols, close, fresh


def same(one: Forecasts, two: Forecasts, sessions: int) -> None:
    """Assert that two forecasts are equal to the bit up to that many sessions."""
    for name in FIELDS:
        assert getattr(one, name)[:sessions].tobytes() == getattr(two, name)[:sessions].tobytes(), name
