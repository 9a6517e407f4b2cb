"""The drawdown guard by hand and in its corners."""

import numpy as np
import pytest

from policyengine.evidence.statistics.drawdown import drawdown_guard, max_drawdown, percentile_interval
from policyengine.evidence.statistics.influence import sharpe_effect
from policyengine.spec.significance import SignificanceSpec

GATE = SignificanceSpec()


def test_max_drawdown_by_hand() -> None:
    # 1 -> 1.1 -> 0.88 -> 0.968 -> 0.7744: from 1.1 to 0.7744.
    assert max_drawdown(np.array([0.1, -0.2, 0.1, -0.2])) == pytest.approx(1 - 0.7744 / 1.1)
    assert max_drawdown(np.array([-0.25])) == pytest.approx(0.25)
    assert max_drawdown(np.array([0.1, 0.2])) == 0.0
    assert max_drawdown(np.array([0.1, -1.2, 0.5])) == 1.0


def test_a_long_rally_does_not_overflow() -> None:
    assert max_drawdown(np.full(20_000, 0.5)) == 0.0


def test_percentile_interval_by_hand() -> None:
    assert percentile_interval(np.arange(101.0), 0.5) == (25.0, 75.0)
    assert percentile_interval(np.arange(10.0), 0.9) == (0.0, 9.0)


def test_guard_compares_the_upper_bound_with_a_quarter_of_the_baselines_drawdown() -> None:
    rng = np.random.default_rng(0)
    b = 0.01 * rng.standard_normal(250)
    c = 0.5 * b + 0.0001 * rng.standard_normal(250)
    guard = drawdown_guard(b, c, sharpe_effect(b, c).influence, gate=GATE, n_boot=499, seed=1)
    assert guard is not None
    assert guard.holds
    assert guard.baseline == max_drawdown(b)
    assert guard.limit == pytest.approx(0.25 * guard.baseline)
    assert guard.scale == pytest.approx(2.0, rel=0.01)
    assert guard.interval[0] <= guard.upper <= guard.interval[1]


def test_guard_stops_concentrated_losses_at_equal_volatility() -> None:
    rng = np.random.default_rng(1)
    b = 0.01 * rng.standard_normal(250)
    c = np.abs(b) * 0.1
    c[100:110] = -0.03
    guard = drawdown_guard(b, c, sharpe_effect(b, c).influence, gate=GATE, n_boot=499, seed=1)
    assert guard is not None
    assert not guard.holds


def test_no_volatility_no_guard() -> None:
    b = 0.01 * np.random.default_rng(2).standard_normal(100)
    assert drawdown_guard(b, np.zeros(100), b, gate=GATE, n_boot=99, seed=1) is None


def test_profit_factor_interval_is_null_where_losses_are_rare() -> None:
    rng = np.random.default_rng(3)
    b = np.abs(rng.standard_normal(100)) * 0.01
    b[3] = -0.001
    guard = drawdown_guard(b, 0.9 * b + 0.0001 * rng.random(100), b - b.mean(), gate=GATE, n_boot=199, seed=1)
    assert guard is not None
    assert guard.profit_factor_interval is None or np.isfinite(guard.profit_factor_interval).all()
