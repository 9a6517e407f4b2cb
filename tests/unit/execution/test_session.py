"""What the risk of a sleeve is measured on, session by session, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.cycle import Decision, FixedTargets
from policyengine.allocation.orders import Orders, OrderSizer, Reject
from policyengine.allocation.scaler import drawdown, scaling_of
from policyengine.allocation.sleeves import SLEEVES
from policyengine.execution.ledger import Book, Fills, fill
from policyengine.execution.replay import replay
from policyengine.execution.session import Day, Done, Standing, opening, session
from policyengine.market.panel import PricePanel
from policyengine.records import Sleeve
from tests.conftest import composed_spec
from tests.unit.allocation.test_orders import FREE

CORE = SLEEVES.index(Sleeve.TS_CORE)
FREELY = Constraints(upper=np.array([np.inf]), groups=np.ones((1, 1)), group_upper=np.array([np.inf]), names=("gross",))


class OneSleeve(FixedTargets):
    """Everything is charged to ts_core, whose budget is 0.5 on every session."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__(np.array(weights).reshape(1, -1, 1), [FREELY])
        self.scaling = scaling_of([composed_spec("scaler=volatility").candidate.scaler])

    def decide(self, t: int, *_: object) -> Decision:
        fracs = np.zeros((1, len(SLEEVES)))
        fracs[0, CORE] = 0.5
        return replace(super().decide(t), fracs=fracs)

    def by_sleeve(self, _: int, values: np.ndarray, /) -> np.ndarray:
        sums = np.zeros((1, len(SLEEVES)))
        sums[0, CORE] = values.sum()
        return sums


def run(prices: list[float], weights: list[float], cost_bps: float = 0.0) -> list[tuple[Standing, Done]]:
    execution = replace(FREE, commission_bps=cost_bps)
    cycle = OneSleeve(weights)
    sizer = OrderSizer(execution, cycle.limits, cycle.lots)

    def filled(book: Book, nav: np.ndarray, orders: Orders, day: Day) -> tuple[Book, Fills]:
        return fill(book, nav, orders.quantity, day.price, execution.cost_frac)

    standing, found = opening(cycle, 1_000.0), []
    for t, price in enumerate(prices):
        day = Day(index=t, price=np.array([price]), priced=np.array([True]), tradable=np.array([True]), rate=0.0, elapsed_days=1)
        standing, done = session(standing, day, cycle, sizer, execution, filled)
        found.append((standing, done))
    return found


def test_a_sleeve_earns_what_its_holdings_made_over_the_budget_they_were_bought_with() -> None:
    """0.4 of 1,000 is bought at 100 on day 1; +10% on day 2 is 40 over a budget of 0.5 x 1,000: 8%. Then -20% is -80 over 520.

    The day on which it is bought has no return: nothing was held over it.
    """
    days = run([100.0, 100.0, 110.0, 88.0], [0.4, 4.4 / 10.4, 4.4 / 10.4, 0.0])
    assert [done.sleeve_pnl is None for _, done in days] == [True, True, False, False]
    pnl = [float(done.sleeve_pnl[0, CORE]) for _, done in days[2:] if done.sleeve_pnl is not None]
    budget = [float(done.sleeve_budget[0, CORE]) for _, done in days[2:] if done.sleeve_budget is not None]
    assert pnl == pytest.approx([40.0, -88.0])
    assert budget == pytest.approx([500.0, 520.0])
    risk = days[-1][0].risk
    assert risk is not None
    assert risk.sessions[0, CORE] == 2
    assert risk.index[0, CORE] == pytest.approx(1.08 * (1.0 - 88.0 / 520.0))
    assert drawdown(risk)[0, CORE] == pytest.approx(88.0 / 520.0)


def test_what_filling_cost_is_charged_to_the_first_return() -> None:
    """1%: V = 1000 - 0.4 V / 100 = 996.016, 398.41 bought for 3.984; the price stands still."""
    days = run([100.0, 100.0, 100.0], [0.4, 0.4, 0.4], cost_bps=100.0)
    value = 1_000.0 / 1.004
    (done,) = [done for _, done in days[2:]]
    assert done.sleeve_pnl is not None
    assert done.sleeve_budget is not None
    assert done.sleeve_pnl[0, CORE] == pytest.approx(-0.004 * value)
    assert done.sleeve_budget[0, CORE] == pytest.approx(0.5 * value)


def test_a_sleeve_that_holds_nothing_has_no_return() -> None:
    days = run([100.0] * 6, [0.4, 0.0, 0.0, 0.0, 0.0, 0.0])
    risk = days[-1][0].risk
    assert risk is not None
    assert risk.sessions[0, CORE] == 1


def test_what_fills_in_part_is_told_and_leaves_its_limit_held_over() -> None:
    """300 of 1,000 wanted, at most 100 a fill. When the price doubles, 600 of 1,300 is held where 390 is allowed, and 100 goes."""
    close = np.array([[100.0], [100.0], [100.0], [100.0], [200.0]])
    panel = PricePanel(
        sessions=np.arange(np.datetime64("2020-01-06"), np.datetime64("2020-01-11")),
        symbols=("A",),
        close=close,
        fresh=np.ones_like(close, dtype=bool),
        calendar_used="core",
        periods_per_year=252,
    )
    execution = replace(FREE, max_fill_notional=100.0)
    cap = replace(FREELY, upper=np.array([0.3]))
    curves = replay(panel, FixedTargets(np.full((1, 5, 1), 0.3), [cap]), execution, rate=np.zeros(5), capital=1_000.0)
    np.testing.assert_allclose(curves.exposure[0, :, 0], [0.0, 0.1, 0.2, 0.3, 500.0 / 1_300.0])
    assert curves.rejects[0, :, Reject.PARTIAL].tolist() == [0, 1, 1, 0, 1]
    assert curves.held_over[0].tolist() == [False, False, False, False, True]
    assert not curves.breach.any()
