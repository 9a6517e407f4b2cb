"""A replay whose every figure is worked out by hand, in fractions."""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.cycle import FixedTargets
from policyengine.allocation.orders import GUARDRAILS, Reject
from policyengine.evidence.metrics import max_drawdown
from policyengine.execution.replay import Curves, replay
from policyengine.market.panel import PricePanel
from policyengine.spec.execution import ExecutionSpec

FREE = Constraints(upper=np.array([np.inf]), groups=np.ones((1, 1)), group_upper=np.array([np.inf]), names=("gross",))


def spec(**changes: float) -> ExecutionSpec:
    values = {
        "commission_bps": 50.0,
        "spread_bps": 60.0,
        "slippage_bps": 20.0,
        "min_trade_frac": 0.05,
        "allow_short": True,
        "borrow_bps": 0.0,
        "financing_spread_bps": 0.0,
    }
    return ExecutionSpec(**{**values, **changes})  # type: ignore[arg-type]


def panel(prices: list[float], fresh: list[bool] | None = None) -> PricePanel:
    days = np.datetime64("2020-01-06") + np.arange(len(prices)) * np.timedelta64(1, "D")
    close = np.array(prices)[:, None]
    return PricePanel(
        sessions=days,
        symbols=("A",),
        close=close,
        fresh=np.ones_like(close, dtype=bool) if fresh is None else np.array(fresh)[:, None],
        calendar_used="core",
        periods_per_year=252,
    )


def trade(
    panel: PricePanel, targets: np.ndarray, execution: ExecutionSpec, rate: list[float] | None = None, capital: float = 1000.0
) -> Curves:
    rates = np.zeros(panel.sessions.size) if rate is None else np.array(rate)
    return replay(panel, FixedTargets(targets, [FREE]), execution, rate=rates, capital=capital)


def test_a_fill_costs_commission_half_the_spread_and_slippage() -> None:
    assert spec().cost_frac == pytest.approx(0.01)


def test_every_figure_of_a_small_replay() -> None:
    """Capital 1,005 at 1% a fill.

    day 1, price 100, target 0.5: V + 1% x 0.5 V = 1005, so V = 1000: 5 bought for 500, cost 5, cash 500, basis 505/5 = 101.
    day 2, price 110, target 0.5: NAV 1050, held 550/1050 = 0.5238, a change of 0.0238 < 0.05: left alone, below minimum.
    day 3, price 120, target 0.2: NAV 1100, sell: V = 1100 - 1% (600 - 0.2 V), so V = 1094/0.998 = 547000/499;
        kept 0.2 V / 120 = 2735/1497 units; sold 5 - that; realised per unit 120 - 101 - 1.20 = 17.80.
    day 4, price 90, target 0: all sold; realised per unit 90 - 101 - 0.90 = -11.90.
    """
    curves = trade(panel([100.0, 100.0, 110.0, 120.0, 90.0]), np.array([0.5, 0.5, 0.2, 0.0, 0.0]).reshape(1, 5, 1), spec(), capital=1005.0)
    value = F(547000, 499)
    kept = value / 5 / 120
    sold = 5 - kept
    assert kept == F(2735, 1497) * F(4, 4)
    cash = value - kept * 120
    last = cash + kept * 90 - kept * F(9, 10)
    expected = [F(1005), F(1000), F(1050), value, last]
    np.testing.assert_allclose(curves.nav[0], [float(v) for v in expected], rtol=1e-13)
    fills = curves.fills
    np.testing.assert_array_equal(fills.session, [1, 3, 4])
    np.testing.assert_allclose(fills.quantity, [5.0, -float(sold), -float(kept)], rtol=1e-13)
    np.testing.assert_allclose(fills.cost, [5.0, float(sold * F(12, 10)), float(kept * F(9, 10))], rtol=1e-13)
    np.testing.assert_allclose(fills.closed, [0.0, float(sold), float(kept)], rtol=1e-13)
    np.testing.assert_allclose(fills.realized, [0.0, float(sold * F(178, 10)), -float(kept * F(119, 10))], rtol=1e-12)
    assert float(np.sum(fills.realized)) == pytest.approx(float(last) - 1005.0)
    assert curves.rejects[0, 2, Reject.BELOW_MINIMUM] == 1
    assert curves.rejects.sum() == 1
    peak = value
    assert max_drawdown(curves.nav[0], 1005.0) == pytest.approx(float(1 - last / peak), rel=1e-12)


def test_a_flip_closes_before_it_opens() -> None:
    """Long 5 at basis 101, then target -0.5 at 100: V = 1000 - 1% (500 + 0.5 V), V = 995/1.005; 5 closed at a loss of 2 each."""
    curves = trade(panel([100.0, 100.0, 100.0]), np.array([0.5, -0.5, 0.0]).reshape(1, 3, 1), spec(), capital=1005.0)
    value = F(995 * 1000, 1005)
    short = value / 2 / 100
    np.testing.assert_allclose(curves.fills.quantity[1], -float(5 + short), rtol=1e-13)
    assert curves.fills.closed[1] == pytest.approx(5.0)
    assert curves.fills.realized[1] == pytest.approx(-10.0)
    assert curves.nav[0, 2] == pytest.approx(float(value))


def test_a_short_pays_its_fee_and_its_proceeds_are_cash() -> None:
    free = spec(commission_bps=0.0, spread_bps=0.0, slippage_bps=0.0, borrow_bps=365.0, min_trade_frac=0.0)
    curves = trade(panel([100.0, 100.0, 100.0]), np.full((1, 3, 1), -0.5), free)
    assert curves.interest[0].tolist() == pytest.approx([0.0, 0.0, -0.05])  # 500 short, 3.65% a year, one day


def test_cash_earns_the_rate() -> None:
    curves = trade(panel([100.0, 100.0]), np.zeros((1, 2, 1)), spec(), rate=[0.0, 0.001])
    assert curves.nav[0].tolist() == pytest.approx([1000.0, 1001.0])


def test_a_negative_price_keeps_the_sense_of_long() -> None:
    """Long 0.5 at -50 is +10 contracts worth -500 with cash 1500; at -40 they gained 100."""
    free = spec(commission_bps=0.0, spread_bps=0.0, slippage_bps=0.0, min_trade_frac=0.4)
    curves = trade(panel([-50.0, -50.0, -40.0]), np.full((1, 3, 1), 0.5), free)
    assert curves.fills.quantity.tolist() == [10.0]
    assert curves.nav[0].tolist() == [1000.0, 1000.0, 1100.0]


def test_nothing_trades_on_a_stale_price() -> None:
    curves = trade(panel([100.0, 100.0, 100.0], [True, False, True]), np.full((1, 3, 1), 0.5), spec())
    assert curves.fills.session.tolist() == [2]
    assert curves.rejects[0, 1, Reject.STALE_PRICE] == 1


def test_an_instrument_without_a_price_yet_is_rejected_as_such() -> None:
    curves = trade(panel([np.nan, np.nan]), np.full((1, 2, 1), 0.5), spec())
    assert curves.rejects[0, 1, Reject.NO_PRICE] == 1
    assert curves.nav[0].tolist() == [1000.0, 1000.0]


def crowded() -> Curves:
    """Two policies over five names, of which one in ten bars lacks; turnover and gross are bounded, so that a name is held back twice."""
    rng, sessions, names = np.random.default_rng(3), 80, 5
    close = 100.0 * np.exp(rng.normal(0.0, 0.05, (sessions, names)).cumsum(axis=0))
    prices = PricePanel(
        sessions=np.datetime64("2020-01-06") + np.arange(sessions),
        symbols=tuple("ABCDE"),
        close=close,
        fresh=rng.random((sessions, names)) > 0.1,
        calendar_used="core",
        periods_per_year=252,
    )
    within = Constraints(upper=np.full(names, 0.3), groups=np.ones((1, names)), group_upper=np.array([0.6]), names=("gross",))
    targets = 0.6 * rng.dirichlet(np.ones(names), (2, sessions)).clip(0.0, 0.5)
    execution = spec(turnover_max_frac=0.5, min_trade_frac=0.02)
    return replay(prices, FixedTargets(targets, [within] * 2), execution, rate=np.zeros(sessions), capital=1000.0)


def test_requests_and_rejects_by_name_add_up_to_those_of_the_policy() -> None:
    curves = crowded()
    np.testing.assert_array_equal(curves.requested.sum(axis=2), curves.requests)
    np.testing.assert_array_equal(curves.refused.sum(axis=2), curves.rejects[..., list(GUARDRAILS)].sum(axis=2))
    for reason in (Reject.STALE_PRICE, Reject.BUYING_POWER, Reject.TURNOVER, Reject.BELOW_MINIMUM):
        assert curves.rejects[..., reason].any()
    assert curves.refused.max() == 2


def test_which_name_was_wanted_and_which_was_held_back() -> None:
    """B has no fresh bar on day 2, when both are to be changed."""
    prices = panel([100.0, 100.0, 100.0])
    both = PricePanel(
        sessions=prices.sessions,
        symbols=("A", "B"),
        close=np.full((3, 2), 100.0),
        fresh=np.array([[True, True], [True, True], [True, False]]),
        calendar_used="core",
        periods_per_year=252,
    )
    free = Constraints(upper=np.full(2, np.inf), groups=np.ones((1, 2)), group_upper=np.array([np.inf]), names=("gross",))
    targets = np.array([[[0.2, 0.0], [0.4, 0.4], [0.0, 0.0]]])
    curves = replay(both, FixedTargets(targets, [free]), spec(), rate=np.zeros(3), capital=1000.0)
    assert curves.requested[0].tolist() == [[False, False], [True, False], [True, True]]
    assert curves.refused[0].tolist() == [[0, 0], [0, 0], [0, 1]]
