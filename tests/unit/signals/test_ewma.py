from __future__ import annotations

import math

import numpy as np
import pytest

from policyengine.signals import ewma
from policyengine.signals.forecasts import Silence
from policyengine.spec.ts_core import EwmaEngine
from tests import engines


def column(*prices: float) -> np.ndarray:
    return np.array(prices)[:, None]


def all_fresh(close: np.ndarray) -> np.ndarray:
    return np.ones(close.shape, dtype=bool)


def reference(spec: EwmaEngine, prices: list[float]) -> tuple[float, float, float]:
    """The formulas of the docstring as plain loops over explicit weights: what is expected, how uncertain, how sure, at the last."""
    returns = [(b - a) / abs(a) for a, b in zip(prices, prices[1:], strict=False)]
    a, b = 1 - 0.5 ** (1 / spec.drift_halflife_sessions), 1 - 0.5 ** (1 / spec.vol_halflife_sessions)

    def mean(values: list[float], weight: float) -> float:
        masses = [weight * (1 - weight) ** age for age in range(len(values) - 1, -1, -1)]
        return math.fsum(m * v for m, v in zip(masses, values, strict=True)) / math.fsum(masses)

    drift_before = [0.0] + [mean(returns[:k], a) for k in range(1, len(returns))]
    variance = mean([(r - m) ** 2 for r, m in zip(returns, drift_before, strict=True)], b)
    drift = mean(returns, a)
    h = spec.horizon_sessions
    z = h * abs(drift) / math.sqrt(h * variance + h * h * variance / ((2 - a) / a))
    return h * drift, math.sqrt(h * variance), 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.mark.parametrize(
    "prices",
    [
        [100.0, 101.0, 100.5, 102.0, 103.0, 102.5, 104.0, 106.0, 105.0],
        [-10.0, -11.0, -12.5, -12.0, -14.0, -15.5, -17.0, -18.0],
        [1.4, 1.0, -1.0, -3.0, -37.63, 10.0, 12.0, 11.0],
    ],
)
def test_follows_its_formulas_for_prices_of_either_sign(prices: list[float]) -> None:
    close = column(*prices)
    made = ewma.opinions(engines.ewma(), close, all_fresh(close))
    expected, predicted, confidence = reference(engines.ewma(), prices)
    assert made.expected_return[-1, 0] == pytest.approx(expected, rel=1e-12)
    assert made.predicted_volatility[-1, 0] == pytest.approx(predicted, rel=1e-12)
    assert made.confidence[-1, 0] == pytest.approx(confidence, rel=1e-12)


def test_sessions_without_a_bar_are_as_if_they_were_not() -> None:
    close = engines.walk(1, 30, 1)
    fresh = all_fresh(close)
    fresh[[7, 8, 20], 0] = False
    with_gaps = ewma.opinions(engines.ewma(), close, fresh)
    without = ewma.opinions(engines.ewma(), close[fresh][:, None], np.ones((27, 1), dtype=bool))
    assert with_gaps.expected_return[fresh].tobytes() == without.expected_return[:, 0].tobytes()
    assert with_gaps.predicted_volatility[fresh].tobytes() == without.predicted_volatility[:, 0].tobytes()


def test_says_why_it_is_silent() -> None:
    rising = np.arange(1.0, 11.0)
    halted = np.append(rising[:-1], 0.0)
    close = np.column_stack([rising, np.full(10, 5.0), rising, halted])
    fresh = all_fresh(close)
    fresh[-1, 2] = False
    made = ewma.opinions(engines.ewma(), close, fresh)
    assert (made.silence[:5, 0] == Silence.SHORT_HISTORY).all()
    assert made.silence[-1].tolist() == [Silence.SPEAKS, Silence.CONSTANT, Silence.NO_BAR, Silence.UNUSABLE_PRICE]
    for array in (made.expected_return, made.predicted_volatility, made.confidence):
        assert (np.isnan(array) == (made.silence != Silence.SPEAKS)).all()


def test_a_price_of_zero_gives_no_return() -> None:
    """The return to 0 is -1, the one from it does not exist: as if the prices after it followed a new one."""
    close = column(1.0, 1.5, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    made = ewma.opinions(engines.ewma(), close, all_fresh(close))
    returns = [0.5, -1.0, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7]
    a = 1 - 0.5 ** (1 / 10.0)
    weights = [(1 - a) ** age for age in range(6, -1, -1)]
    assert made.expected_return[-1, 0] == pytest.approx(4 * np.average(returns, weights=weights), rel=1e-12)
