"""From what an engine thinks to what may be traded: costs, calibration, thresholds. The same for every engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.calibration import calibrated
from policyengine.signals.forecasts import Floats, Forecasts, Opinions, Silence
from policyengine.spec.thresholds import CalibrationSpec, ThresholdsSpec


def finish(
    opinions: Opinions,
    thresholds: ThresholdsSpec,
    calibration: CalibrationSpec | None,
    regimes: NDArray[np.int8],
    *,
    horizon_sessions: int,
    close: Floats,
    fresh: NDArray[np.bool_],
    cost_frac: float,
) -> Forecasts:
    """Forecasts from `opinions` on closes (T, N) that are `fresh` (T, N), with the regimes (T, N) of their instruments.

    `cost_frac` is the round trip, as a fraction of what is traded. An expected return e is worth sign(e) (|e| - cost) net of it, and
    nothing where it does not pay it; over the predicted volatility that is the edge. Without `calibration` an engine is taken at its
    word. A cost that is not a number pays for nothing.
    """
    expected = opinions.expected_return
    size = np.abs(expected)
    edge = np.sign(expected) * np.where(size <= cost_frac, 0.0, size - cost_frac) / opinions.predicted_volatility
    confidence = opinions.confidence
    if calibration is not None:
        confidence = calibrated(calibration, expected, confidence, horizon_sessions=horizon_sessions, close=close, fresh=fresh)
    mute = opinions.silence != Silence.SPEAKS
    # each test is the negation of what must hold, so that NaN never passes
    rules = (
        mute,
        ~(size > 0.0),
        ~(size > cost_frac),
        ~(np.abs(edge) >= thresholds.edge_min),
        ~(confidence >= thresholds.confidence_min),
    )
    reasons = (opinions.silence, Silence.HOLD, Silence.COST, Silence.LOW_EDGE, Silence.LOW_CONFIDENCE)
    silence = np.select(rules, reasons, Silence.SPEAKS).astype(np.int8)
    return Forecasts(
        expected_return=expected,
        predicted_volatility=opinions.predicted_volatility,
        edge_score=edge,
        confidence=confidence,
        direction=np.where(silence == Silence.SPEAKS, np.sign(np.where(mute, 0.0, expected)), 0).astype(np.int8),
        regime=regimes,
        silence=silence,
    )
