"""What a session fills of an order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from policyengine.execution.capacity import within_capacity

ANY = np.zeros(1)


def test_what_is_cut_is_cut_to_the_notional_and_down_to_whole_lots() -> None:
    """1,000 a fill: at 30 that is 33.33 units, three lots of 10; at -40 a sale of 25, two lots; a lot of 50 does not fit at all."""
    filled = within_capacity(
        np.array([[100.0, -100.0, 100.0, 20.0, -90.0]]),
        np.array([30.0, -40.0, 30.0, 30.0, 30.0]),
        np.array([10.0, 10.0, 0.0, 10.0, 50.0]),
        1_000.0,
    )
    np.testing.assert_array_equal(filled, [[30.0, -20.0, 1_000.0 / 30.0, 20.0, 0.0]])
    assert not np.signbit(filled[0, 4])


def test_without_a_limit_nothing_is_touched() -> None:
    quantity = np.array([[0.1 + 0.2, -7.0]])
    assert within_capacity(quantity, np.array([1e9, 1.0]), np.array([1.0, 0.0]), None) is quantity


def test_a_price_of_zero_cuts_nothing() -> None:
    np.testing.assert_array_equal(within_capacity(np.array([[0.0, 5.0]]), np.zeros(2), np.zeros(2), 1.0), [[0.0, 5.0]])


@given(
    quantity=st.floats(-1e9, 1e9),
    price=st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-6),
    lot=st.sampled_from([0.0, 0.1, 1.0, 100.0]),
    most=st.floats(1e-3, 1e9),
)
def test_never_more_than_ordered_nor_than_the_limit(quantity: float, price: float, lot: float, most: float) -> None:
    filled = within_capacity(np.array([[quantity]]), np.array([price]), np.array([lot]), most).item()
    assert abs(filled) <= abs(quantity)
    assert abs(filled * price) <= most * (1.0 + 1e-12)
    assert filled * quantity >= 0.0
    if filled != quantity:
        assert abs(quantity * price) > most * (1.0 - 1e-12)
        left = most / abs(price) - abs(filled)
        assert left <= lot * (1.0 + 1e-9) + 1e-12 * abs(filled)
        assert lot == 0.0 or abs(filled / lot - round(filled / lot)) < 1e-6
