"""ts_core, kind `ewma`: exponentially weighted drift and volatility of session returns.

For each instrument, over the sessions on which it has a fresh bar, with r_t = (p_t - p_{t-1}) / |p_{t-1}|:

    m_t = (1 - a) m_{t-1} + a r_t              a from the drift half-life; a weighted mean, bias-corrected
    v_t = (1 - b) v_{t-1} + b (r_t - m_{t-1})^2    b from the volatility half-life, bias-corrected
    expected return = h m_t,  predicted volatility = sqrt(h v_t),  edge = expected / predicted
    confidence = Phi(|m_t| / sqrt(v_t / n_a)),  n_a = (2 - a) / a, the effective number of returns in m_t

so that confidence is the probability, under normal returns, that the drift has the sign it shows: 0.5 is a coin.
Only rows up to t enter row t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.spec.signals import EwmaEngine

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """Forecasts for T sessions and N instruments, (T, N). NaN where there is no fresh bar or too little history.

    `expected_return` and `predicted_volatility` are over the horizon; `direction` is 0 (HOLD) below the thresholds.
    """

    expected_return: Floats
    predicted_volatility: Floats
    edge_score: Floats
    confidence: Floats
    direction: NDArray[np.int8]


def forecast(engine: EwmaEngine, close: Floats, fresh: NDArray[np.bool_]) -> Forecasts:
    """Forecast from closes (T, N) on the sessions where they are `fresh` (T, N).

    A return from a price of 0 does not exist and is skipped, as is a forecast whose volatility is 0: constant prices are
    silent.
    """
    drift, variance, count = _moments(engine, close, fresh)
    ready = fresh & (count >= engine.warmup_sessions) & (variance > 0.0)
    mean = np.where(ready, drift, np.nan)
    volatility = np.sqrt(np.where(ready, variance, np.nan))
    expected = engine.horizon_sessions * mean
    predicted = math.sqrt(engine.horizon_sessions) * volatility
    edge = expected / predicted
    weight = _weight(engine.drift_halflife_sessions)
    confidence = _normal_cdf(np.abs(mean) / volatility * math.sqrt((2.0 - weight) / weight))
    acts = ready & (np.abs(edge) >= engine.edge_min) & (confidence >= engine.confidence_min)
    return Forecasts(
        expected_return=expected,
        predicted_volatility=predicted,
        edge_score=edge,
        confidence=confidence,
        direction=np.where(acts, np.sign(mean), 0).astype(np.int8),
    )


def _moments(engine: EwmaEngine, close: Floats, fresh: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Drift, variance and number of returns seen, (T, N), carried over sessions without a fresh bar."""
    a, b = _weight(engine.drift_halflife_sessions), _weight(engine.vol_halflife_sessions)
    names = close.shape[1]
    last = np.full(names, np.nan)
    mean, variance, mean_mass, variance_mass, seen = (np.zeros(names) for _ in range(5))
    drift_rows, variance_rows, count_rows = (np.zeros(close.shape) for _ in range(3))
    for t in range(close.shape[0]):
        usable = fresh[t] & np.isfinite(last) & (last != 0.0)
        base = np.where(usable, last, 1.0)
        change = np.where(usable, (close[t] - base) / np.abs(base), 0.0)
        before = np.divide(mean, mean_mass, out=np.zeros(names), where=mean_mass > 0.0)
        use_a, use_b = a * usable, b * usable
        variance = (1.0 - use_b) * variance + use_b * (change - before) ** 2
        variance_mass = (1.0 - use_b) * variance_mass + use_b
        mean = (1.0 - use_a) * mean + use_a * change
        mean_mass = (1.0 - use_a) * mean_mass + use_a
        seen = seen + usable
        last = np.where(fresh[t], close[t], last)
        drift_rows[t] = np.divide(mean, mean_mass, out=np.zeros(names), where=mean_mass > 0.0)
        variance_rows[t] = np.divide(variance, variance_mass, out=np.zeros(names), where=variance_mass > 0.0)
        count_rows[t] = seen
    return drift_rows, variance_rows, count_rows


def _weight(halflife: float) -> float:
    return 1.0 - math.pow(0.5, 1.0 / halflife)


def _normal_cdf(z: Floats) -> Floats:
    scaled = (z / math.sqrt(2.0)).ravel()
    values = np.array([math.erf(x) for x in scaled.tolist()], dtype=np.float64)
    return (0.5 * (1.0 + values)).reshape(z.shape)
