"""Effects by hand, and influence series against the derivative they claim to be."""

import math

import numpy as np
import pytest

from policyengine.evidence.statistics.influence import ES_TAIL, agreeing_spans, growth_at_es_effect, sharpe_effect


def _arms(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = 0.01 * rng.standard_t(4, n) + 0.0005
    return b, 0.6 * b + 0.004 * rng.standard_normal(n) + 0.0003


def test_sharpe_difference_by_hand() -> None:
    # Means 0.01 and 0.02, population sd 0.01 and 0.01: Sharpe 1 and 2 a session.
    effect = sharpe_effect(np.array([0.0, 0.02]), np.array([0.01, 0.03]), periods_per_year=4.0)
    assert effect.estimate == pytest.approx(1.0)
    assert effect.annualised == pytest.approx(2.0)


def test_influence_is_the_derivative_of_the_sharpe_difference() -> None:
    b, c = _arms()

    def sharpe(x: np.ndarray, w: np.ndarray) -> float:
        mean = float(np.sum(w * x))
        return mean / math.sqrt(float(np.sum(w * x * x)) - mean**2)

    effect = sharpe_effect(b, c)
    step = 1e-6
    for t in (0, 7, 79):
        w = np.full(b.size, (1 - step) / b.size)
        w[t] += step
        slope = (sharpe(c, w) - sharpe(b, w) - effect.estimate) / step
        assert slope == pytest.approx(effect.influence[t], rel=1e-3, abs=1e-4)
    assert float(np.mean(effect.influence)) == pytest.approx(0.0, abs=1e-12)


def test_influence_is_the_derivative_of_growth_at_equal_shortfall() -> None:
    b, c = _arms()
    # At the quantile the shortfall is stationary in q, so the derivative holds q fixed.
    q_b, q_c = (float(np.quantile(x, ES_TAIL)) for x in (b, c))

    def growth(w: np.ndarray) -> float:
        e_b = float(np.sum(w * np.maximum(q_b - b, 0))) / ES_TAIL - q_b
        e_c = float(np.sum(w * np.maximum(q_c - c, 0))) / ES_TAIL - q_c
        return float(np.sum(w * (np.log1p(e_b / e_c * c) - np.log1p(b))))

    effect = growth_at_es_effect(b, c)
    assert effect.estimate == pytest.approx(growth(np.full(b.size, 1 / b.size)))
    step = 1e-6
    for t in (int(np.argmin(b)), int(np.argmin(c)), 3):
        w = np.full(b.size, (1 - step) / b.size)
        w[t] += step
        assert (growth(w) - effect.estimate) / step == pytest.approx(effect.influence[t], rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("multiplier", [0.1, 0.8, 1.25, 3.0])
def test_pure_scaling_has_no_effect(multiplier: float) -> None:
    b, _ = _arms()
    for effect in (sharpe_effect(b, multiplier * b), growth_at_es_effect(b, multiplier * b)):
        assert effect.estimate == pytest.approx(0.0, abs=1e-12)
        assert float(np.max(np.abs(effect.influence))) < 1e-10


def test_growth_is_in_units_of_the_baselines_volatility() -> None:
    b, c = _arms(400)
    doubled = growth_at_es_effect(2 * b, 2 * c)
    assert growth_at_es_effect(b, c).annualised == pytest.approx(doubled.annualised, rel=0.1)


def test_no_effect_where_there_is_none() -> None:
    b, c = _arms()
    flat = np.full(b.size, 0.001)
    assert sharpe_effect(flat, c).problem == "the baseline's returns do not vary"
    assert sharpe_effect(b, flat).problem == "the candidate's returns do not vary"
    assert growth_at_es_effect(flat, c).problem is not None
    assert "expected shortfall" in (growth_at_es_effect(b, np.abs(c)).problem or "")
    ruin = c.copy()
    ruin[5] = -1.0
    assert "ruined" in (growth_at_es_effect(ruin, c).problem or "")
    assert sharpe_effect(np.array([0.1]), np.array([0.2])).problem is not None


def test_spans_count_signs_and_skip_flat_ones() -> None:
    up, down = np.array([0.0, 0.01, 0.02]), np.array([-0.02, -0.01, 0.0])
    flat = np.zeros(3)
    b = np.concatenate([down, up, down])
    c = np.concatenate([up, down, flat])
    assert agreeing_spans(b, c, sharpe_effect(b, c), 3) == (1, 1)
