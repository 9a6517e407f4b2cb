"""How much of an order one session fills. Replay and broker ask the same function, so that both fill alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def within_capacity(quantity: Floats, price: Floats, lots: Floats, max_notional: float | None) -> Floats:
    """The part of each signed `quantity` that fills when no fill may exceed `max_notional`; the rest of the order is cancelled.

    Shapes broadcast; `price` in base currency per unit, not NaN; `lots` 0 where any quantity trades. What is cut is rounded down to
    whole lots, down to nothing; what is not cut comes back as it was, bit for bit. A price of 0 cuts nothing.
    """
    if max_notional is None:
        return quantity
    unit = np.abs(price)
    most = np.divide(max_notional, unit, out=np.full(unit.shape, np.inf), where=unit > 0.0)
    count = np.floor(np.divide(most, lots, out=np.zeros(np.broadcast_shapes(most.shape, lots.shape)), where=lots > 0.0))
    cut = np.where(lots > 0.0, count * lots, most)
    return np.where(np.abs(quantity) <= most, quantity, np.copysign(cut, quantity) + 0.0)  # no -0.0 where nothing fills
