from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.orders import Orders, OrderSizer, Reject, _check, value_after_costs
from policyengine.errors import BrokenInvariant, Ruined
from policyengine.spec.execution import ExecutionSpec

FREE = ExecutionSpec(
    commission_bps=0.0,
    spread_bps=0.0,
    slippage_bps=0.0,
    min_trade_frac=0.0,
    allow_short=True,
    borrow_bps=0.0,
    financing_spread_bps=0.0,
)


def limits(n: int = 2, *, gross: float = np.inf, upper: float = np.inf, band: float = 0.0) -> Constraints:
    return Constraints(upper=np.full(n, upper), groups=np.ones((1, n)), group_upper=np.array([gross]), names=("gross",), drift_band=band)


def sized(
    held: list[float],
    cash: float,
    weights: list[float],
    *,
    price: list[float] | None = None,
    tradable: list[bool] | None = None,
    within: Constraints | None = None,
    lots: list[float] | None = None,
    **changes: float,
) -> Orders:
    """Orders of one policy at prices of 100 unless given."""
    n = len(held)
    at = np.full(n, 100.0) if price is None else np.array(price)
    quantity = np.array([held])
    nav = np.array([cash]) + (quantity * at).sum(axis=1)
    sizer = OrderSizer(replace(FREE, **changes), [within or limits(n)], np.zeros(n) if lots is None else np.array(lots))  # type: ignore[arg-type]
    can = np.ones(n, dtype=bool) if tradable is None else np.array(tradable)
    return sizer.size(quantity, nav, np.array([weights]), at, can, np.ones(n, dtype=bool))


def test_weights_become_quantities() -> None:
    orders = sized([0.0, 10.0], 9_000.0, [0.3, 0.2])
    assert orders.quantity.tolist() == [[30.0, 10.0]]
    assert orders.requests.tolist() == [2]
    assert orders.requested.tolist() == [[True, True]]
    assert not any(names.any() for names in orders.rejected.values())


def test_what_would_be_bought_leaves_room_for_its_cost() -> None:
    """1% a trade: V = 1010 - 1% V, so V = 1000, all of it bought."""
    orders = sized([0.0], 1_010.0, [1.0], commission_bps=100.0)
    assert orders.quantity[0, 0] == pytest.approx(10.0)


def test_reductions_leave_the_rest_of_the_turnover_to_increases() -> None:
    """Held 0.4 of A. To 0.2 of A and 0.6 of B with 0.5 allowed: 0.2 goes, 0.3 of the 0.6 comes."""
    orders = sized([40.0, 0.0], 6_000.0, [0.2, 0.6], turnover_max_frac=0.5)
    np.testing.assert_allclose(orders.quantity, [[-20.0, 30.0]])
    assert orders.rejected[Reject.TURNOVER].tolist() == [[False, True]]


def test_reductions_ignore_the_turnover_cap() -> None:
    orders = sized([40.0, 40.0], 2_000.0, [0.0, 0.5], turnover_max_frac=0.1)
    np.testing.assert_allclose(orders.quantity, [[-40.0, 0.0]])


def test_a_flip_closes_in_full_and_opens_what_is_left() -> None:
    """Long 0.4, to -0.4 with 0.6 allowed: 0.4 closes, 0.2 opens."""
    orders = sized([40.0], 6_000.0, [-0.4], turnover_max_frac=0.6)
    np.testing.assert_allclose(orders.quantity, [[-60.0]])


def test_turnover_that_is_not_reached_changes_no_bit() -> None:
    free, bound = (sized([40.0, 1.0], 6_000.0, [0.21, 0.33], turnover_max_frac=most) for most in (2.0, 0.6))
    assert free.quantity.tobytes() == bound.quantity.tobytes()


def test_positions_are_rounded_down_to_whole_lots() -> None:
    orders = sized([0.0, 0.0], 10_000.0, [0.337, 0.337], lots=[10.0, 0.0])
    np.testing.assert_allclose(orders.quantity, [[30.0, 33.7]])
    less = sized([40.0, 0.0], 6_000.0, [0.337, 0.0], lots=[10.0, 0.0])
    np.testing.assert_allclose(less.quantity, [[-10.0, 0.0]])
    short = sized([0.0, 0.0], 10_000.0, [-0.337, 0.0], lots=[10.0, 0.0])
    np.testing.assert_allclose(short.quantity, [[-30.0, 0.0]])


def test_a_whole_number_of_lots_is_kept_though_its_product_is_rounded() -> None:
    """0.3 of 10,000 at 100 is 30 lots of 1, though 0.1 x 3 is not 0.3 in floating point."""
    orders = sized([0.0], 10_000.0, [0.1 * 3], lots=[1.0])
    assert orders.quantity.tolist() == [[30.0]]


def test_a_small_change_waits_and_a_closing_one_does_not() -> None:
    orders = sized([40.0, 0.1], 5_990.0, [0.41, 0.0], min_trade_frac=0.05)
    assert orders.quantity.tolist() == [[0.0, -0.1]]
    assert orders.rejected[Reject.BELOW_MINIMUM].tolist() == [[True, False]]
    assert orders.requested.tolist() == [[False, True]]
    assert orders.requests.tolist() == [1]


def test_a_limit_that_prices_broke_is_kept_by_reductions_of_any_size() -> None:
    """0.52 where 0.5 is allowed: 0.02 goes though 0.05 is the least trade; within a band of 0.05 it may wait."""
    one = sized([52.0], 4_800.0, [0.5], within=limits(1, upper=0.5), min_trade_frac=0.05)
    np.testing.assert_allclose(one.quantity, [[-2.0]])
    assert sized([52.0], 4_800.0, [0.5], within=limits(1, upper=0.5, band=0.05), min_trade_frac=0.05).quantity.tolist() == [[0.0]]


def test_a_name_that_cannot_trade_takes_the_room_of_the_others() -> None:
    """A holds 0.5 and has no fresh price; of 0.6 in all 0.1 is left for B, which asked for 0.4."""
    orders = sized([50.0, 0.0], 5_000.0, [0.2, 0.4], tradable=[False, True], within=limits(2, gross=0.6))
    np.testing.assert_allclose(orders.quantity, [[0.0, 10.0]])
    assert orders.rejected[Reject.STALE_PRICE].tolist() == [[True, False]]
    assert orders.rejected[Reject.BUYING_POWER].tolist() == [[False, True]]
    assert not orders.breach.any()


def test_a_limit_exceeded_by_what_cannot_trade_is_held_over_for_that_policy_alone() -> None:
    sizer = OrderSizer(FREE, [limits(2, gross=0.4)] * 2, np.zeros(2))
    quantity = np.array([[50.0, 0.0], [0.0, 10.0]])
    nav = np.array([10_000.0, 10_000.0])
    orders = sizer.size(
        quantity, nav, np.array([[0.2, 0.0], [0.0, 0.1]]), np.full(2, 100.0), np.array([False, True]), np.ones(2, dtype=bool)
    )
    assert orders.held_over.tolist() == [True, False]
    assert orders.breach.tolist() == [False, False]


def test_without_capital_nothing_trades() -> None:
    with pytest.raises(Ruined, match="-100"):
        sized([1.0], -200.0, [0.1])


@pytest.mark.parametrize(
    ("ordered", "tradable", "message"),
    [
        ([[np.nan, 0.0]], [True, True], "finite"),
        ([[np.inf, 0.0]], [True, True], "finite"),
        ([[0.0, 5.0]], [True, False], "fresh price"),
        ([[-20.0, 0.0]], [True, True], "other side"),
    ],
)
def test_orders_that_must_not_be_are_refused(ordered: list[list[float]], tradable: list[bool], message: str) -> None:
    with pytest.raises(BrokenInvariant, match=message):
        _check(np.array(ordered), np.array([[10.0, 0.0]]), np.array([[0.1, 0.1]]), np.array(tradable))


def test_value_after_costs_solves_its_equation() -> None:
    rng = np.random.default_rng(0)
    nav, exposure, weights = np.full(50, 1_000.0), rng.normal(0.0, 200.0, (50, 6)), rng.normal(0.0, 0.2, (50, 6))
    traded = rng.random((50, 6)) < 0.7
    value = value_after_costs(nav, exposure, weights, traded, 0.01)
    paid = 0.01 * np.where(traded, np.abs(weights * value[:, None] - exposure), 0.0).sum(axis=1)
    np.testing.assert_allclose(value, nav - paid, rtol=1e-12)


def test_what_is_held_may_exceed_a_limit_after_a_partial_fill() -> None:
    sizer = OrderSizer(FREE, [limits(2, gross=0.4)] * 2, np.zeros(2))
    nav = np.array([10_000.0, 10_000.0])
    assert sizer.exceeded(np.array([[30.0, 11.0], [30.0, 10.0]]), nav, np.full(2, 100.0)).tolist() == [True, False]
