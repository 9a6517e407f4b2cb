from __future__ import annotations

import numpy as np
import pytest

from policyengine.signals.calibration import calibrated
from policyengine.spec.thresholds import CalibrationSpec

NAN = np.nan


def reference(
    spec: CalibrationSpec, expected: np.ndarray, confidence: np.ndarray, horizon: int, close: np.ndarray, fresh: np.ndarray
) -> np.ndarray:
    """Each session by itself: it looks at the closes up to it, and at nothing else."""
    made = np.full(close.shape, NAN)
    for t, i in zip(*np.nonzero(np.isfinite(confidence)), strict=True):
        place = min(int((confidence[t, i] - 0.5) * 2 * spec.bins), spec.bins - 1)
        count = hits = 0
        for j in range(close.shape[1]):
            own = [s for s in range(t + 1) if fresh[s, j]]
            for s, end in zip(own, own[horizon:], strict=False):
                if not expected[s, j] or np.isnan(expected[s, j]):
                    continue
                if min(int((confidence[s, j] - 0.5) * 2 * spec.bins), spec.bins - 1) == place:
                    count += 1
                    hits += np.sign(close[end, j] - close[s, j]) == np.sign(expected[s, j])
        made[t, i] = (spec.prior_outcomes * confidence[t, i] + hits) / (spec.prior_outcomes + count)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_counts_what_was_known_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (40, 3)
    close = np.round(rng.normal(size=shape).cumsum(axis=0), 1)
    fresh = rng.random(shape) < 0.8
    there = fresh & (rng.random(shape) < 0.9)
    expected = np.where(there, np.round(rng.normal(size=shape), 1), NAN)
    confidence = np.where(there, rng.uniform(0.5, 1.0, shape), NAN)
    confidence[there & (rng.random(shape) < 0.1)] = 1.0
    spec = CalibrationSpec(bins=3, prior_outcomes=2.5)
    made = calibrated(spec, expected, confidence, horizon_sessions=3, close=close, fresh=fresh)
    np.testing.assert_allclose(made, reference(spec, expected, confidence, 3, close, fresh), rtol=1e-14)


def test_an_outcome_counts_from_the_session_on_which_it_is_known_for_every_instrument() -> None:
    """A alone moves. What it said on the first session came true on the third: (2 x 0.9 + 1) / 3 from there on, for B too."""
    close = np.array([[1.0, 5.0], [1.0, 5.0], [2.0, 5.0], [2.0, 5.0]])
    expected = np.array([[0.1, NAN], [NAN, NAN], [NAN, 0.1], [0.1, 0.1]])
    confidence = np.where(np.isfinite(expected), 0.9, NAN)
    spec = CalibrationSpec(bins=2, prior_outcomes=2.0)
    made = calibrated(spec, expected, confidence, horizon_sessions=2, close=close, fresh=np.ones((4, 2), dtype=bool))
    np.testing.assert_allclose(made, [[0.9, NAN], [NAN, NAN], [NAN, 2.8 / 3], [2.8 / 3, 2.8 / 3]])


def test_a_gap_puts_an_outcome_off_to_the_bar_that_shows_it() -> None:
    close = np.array([[1.0], [1.0], [1.0], [2.0], [2.0]])
    fresh = np.array([[True], [False], [False], [True], [True]])
    expected = np.where(fresh, 0.1, NAN)
    confidence = np.where(fresh, 0.8, NAN)
    made = calibrated(CalibrationSpec(bins=1, prior_outcomes=1.0), expected, confidence, horizon_sessions=1, close=close, fresh=fresh)
    assert made[[0, 3, 4], 0] == pytest.approx([0.8, 0.9, (0.8 + 1 + 0) / 3]), "unchanged is not up"


def test_of_many_outcomes_the_share_remains() -> None:
    """An engine that says 0.95 and is right six times in ten is worth 0.6."""
    rng = np.random.default_rng(2)
    close = rng.choice([1.0, -1.0], p=[0.6, 0.4], size=(4000, 5)).cumsum(axis=0)
    expected, confidence = np.ones(close.shape), np.full(close.shape, 0.95)
    spec = CalibrationSpec(bins=10, prior_outcomes=50.0)
    made = calibrated(spec, expected, confidence, horizon_sessions=1, close=close, fresh=np.ones(close.shape, dtype=bool))
    assert made[-1, 0] == pytest.approx(0.6, abs=0.01)
    assert made[0, 0] == 0.95
