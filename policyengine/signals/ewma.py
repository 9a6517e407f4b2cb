"""ts_core, kind `ewma`: exponentially weighted drift and volatility of session returns.

With returns r_t over an instrument's own sessions, and over a horizon of h of them:

    m_t = (1 - a) m_{t-1} + a r_t                    a from the drift half-life; a weighted mean, bias-corrected
    v_t = (1 - b) v_{t-1} + b (r_t - m_{t-1})^2      b from the volatility half-life, bias-corrected
    expected return = h m_t,    predicted volatility = sqrt(h v_t)
    confidence = Phi(|h m_t| / sqrt(h v_t + h^2 v_t / n_a)),    n_a = (2 - a) / a, the effective number of returns in m_t

so that confidence is the probability, under normal returns, that the price moves over the horizon as expected: what the returns to come
will scatter, and what m_t may be off by. 0.5 is a coin.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.forecasts import Floats, Opinions, Silence
from policyengine.signals.normal import normal_cdf
from policyengine.signals.returns import FLAT, returns, silences, surprises, weight, weighted_mean
from policyengine.spec.ts_core import EwmaEngine


def opinions(engine: EwmaEngine, close: Floats, fresh: NDArray[np.bool_]) -> Opinions:
    """What the engine thinks of closes (T, N) on the sessions where they are `fresh` (T, N)."""
    change = returns(close, fresh)
    drift = weighted_mean(change, engine.drift_halflife_sessions)
    volatility = np.sqrt(weighted_mean(surprises(change, drift) ** 2, engine.vol_halflife_sessions))
    count = np.isfinite(change).cumsum(axis=0)
    silence = silences(close, fresh, short=count < engine.warmup_sessions, flat=volatility <= FLAT)
    speaks = silence == Silence.SPEAKS
    expected = engine.horizon_sessions * np.where(speaks, drift, np.nan)
    predicted = math.sqrt(engine.horizon_sessions) * np.where(speaks, volatility, np.nan)
    return Opinions(
        expected_return=expected,
        predicted_volatility=predicted,
        confidence=drift_confidence(expected, predicted, engine.drift_halflife_sessions, engine.horizon_sessions),
        silence=silence,
    )


def drift_confidence(expected: Floats, predicted: Floats, halflife: float, horizon: int) -> Floats:
    """The probability of the sign of `expected`, a drift of this half-life over the horizon, beside a volatility of `predicted`."""
    latest = weight(halflife)
    return normal_cdf(np.abs(expected) / (predicted * math.sqrt(1.0 + horizon * latest / (2.0 - latest))))
