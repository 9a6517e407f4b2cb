from __future__ import annotations

import numpy as np
import pytest

from policyengine.signals.finish import finish
from policyengine.signals.forecasts import Forecasts, Opinions, Silence
from policyengine.spec.thresholds import CalibrationSpec, ThresholdsSpec

THRESHOLDS = ThresholdsSpec(edge_min=0.25, confidence_min=0.6)
NAN = np.nan


def opinions(expected: list[float], volatility: float = 0.05, confidence: float = 0.7) -> Opinions:
    """One session, an instrument for each expected return; NaN has no bar."""
    e = np.array([expected])
    there = np.isfinite(e)
    return Opinions(
        expected_return=e,
        predicted_volatility=np.where(there, volatility, NAN),
        confidence=np.where(there, confidence, NAN),
        silence=np.where(there, Silence.SPEAKS, Silence.NO_BAR).astype(np.int8),
    )


def finished(said: Opinions, cost: float, thresholds: ThresholdsSpec = THRESHOLDS) -> Forecasts:
    shape = said.silence.shape
    regimes = np.arange(shape[1], dtype=np.int8)[None] - 1
    return finish(
        said,
        thresholds,
        None,
        regimes,
        horizon_sessions=2,
        close=np.ones(shape),
        fresh=np.ones(shape, dtype=bool),
        cost_frac=cost,
    )


def test_an_edge_is_net_of_the_round_trip_and_the_first_reason_counts() -> None:
    made = finished(opinions([0.02, -0.02, 0.015, 0.005, -0.004, 0.0, NAN]), 0.005)
    np.testing.assert_allclose(made.edge_score[0], [0.3, -0.3, 0.2, 0.0, 0.0, 0.0, NAN], rtol=1e-14)
    wanted = ["SPEAKS", "SPEAKS", "LOW_EDGE", "COST", "COST", "HOLD", "NO_BAR"]
    assert [Silence(s).name for s in made.silence[0]] == wanted
    assert made.direction.tolist() == [[1, -1, 0, 0, 0, 0, 0]]
    assert made.regime.tolist() == [[-1, 0, 1, 2, 3, 4, 5]]


def test_low_confidence_comes_last() -> None:
    made = finished(opinions([0.02, 0.011], confidence=0.59), 0.0)
    assert made.silence.tolist() == [[Silence.LOW_CONFIDENCE, Silence.LOW_EDGE]]
    assert finished(opinions([0.02], confidence=0.6), 0.0).silence.tolist() == [[Silence.SPEAKS]]


def test_what_is_not_a_number_never_passes() -> None:
    everything = ThresholdsSpec(edge_min=0.0, confidence_min=0.0)
    assert finished(opinions([0.02]), NAN, everything).direction.tolist() == [[0]]
    assert finished(opinions([0.02], volatility=NAN), 0.0, everything).silence.tolist() == [[Silence.LOW_EDGE]]
    assert finished(opinions([0.02], confidence=NAN), 0.0, everything).silence.tolist() == [[Silence.LOW_CONFIDENCE]]


def test_calibration_decides_who_is_confident() -> None:
    """Four sessions that expect a rise and see a fall: the last knows of two that were wrong, (1 x 0.7 + 0) / (1 + 2)."""
    shape = (4, 1)
    said = Opinions(
        expected_return=np.full(shape, 0.02),
        predicted_volatility=np.full(shape, 0.02),
        confidence=np.full(shape, 0.7),
        silence=np.zeros(shape, dtype=np.int8),
    )
    made = finish(
        said,
        THRESHOLDS,
        CalibrationSpec(bins=2, prior_outcomes=1.0),
        np.zeros(shape, dtype=np.int8),
        horizon_sessions=2,
        close=np.array([[4.0], [3.0], [2.0], [1.0]]),
        fresh=np.ones(shape, dtype=bool),
        cost_frac=0.0,
    )
    assert made.confidence[:, 0] == pytest.approx([0.7, 0.7, 0.35, 0.7 / 3])
    assert made.silence[:, 0].tolist() == [Silence.SPEAKS, Silence.SPEAKS, Silence.LOW_CONFIDENCE, Silence.LOW_CONFIDENCE]
