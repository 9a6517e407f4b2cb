"""The book of P policies over N instruments, and what one session of fills does to it. Average cost, costs included.

All arrays are (P, N) unless said otherwise; money in base currency; weights are signed fractions of NAV.
Sizes and exposures are on the absolute price, so that a negative price (WTI, 2020-04-20) keeps the sense of long and short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.reductions import across, every
from policyengine.errors import BrokenInvariant
from policyengine.records import TOLERANCE

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What is held: `cash` (P,), `quantity` and average `basis` per unit (P, N); basis is 0 where nothing is held."""

    cash: Floats
    quantity: Floats
    basis: Floats

    def nav(self, price: Floats) -> Floats:
        """Cash plus positions at `price` (N,), (P,)."""
        return self.cash + across(self.quantity * price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """One session's fills: signed `quantity`, `cost` >= 0, closed quantity >= 0, and realised P&L net of costs."""

    quantity: Floats
    cost: Floats
    closed: Floats
    realized: Floats


def empty_book(policies: int, instruments: int, capital: float) -> Book:
    """All cash."""
    return Book(
        cash=np.full(policies, capital),
        quantity=np.zeros((policies, instruments)),
        basis=np.zeros((policies, instruments)),
    )


def fill(book: Book, nav: Floats, quantity: Floats, price: Floats, cost_frac: float) -> tuple[Book, Fills]:
    """Trade signed `quantity` at `price` (N,) from a book worth `nav` (P,) at it: the book after it, and the fills.

    A trade against a position closes at average cost before it opens the other way; the cost of an opening goes into the
    basis, that of a closing comes off its realised P&L.

    Raises:
        BrokenInvariant: NAV does not fall by exactly the costs.
    """
    size, held = np.abs(quantity), np.abs(book.quantity)
    cost_per_unit = cost_frac * np.abs(price)
    cost = size * cost_per_unit
    opposite = book.quantity * quantity < 0.0
    closed = np.where(opposite, np.minimum(size, held), 0.0)
    opened = size - closed
    realized = closed * ((price - book.basis) * np.sign(book.quantity) - cost_per_unit)
    after = book.quantity + quantity
    entry = price + np.sign(quantity) * cost_per_unit
    kept = held - closed
    total = kept + opened
    blended = np.divide(kept * book.basis + opened * entry, total, out=np.zeros(total.shape), where=total > 0.0)
    basis = np.where(opened > 0.0, blended, np.where(after == 0.0, 0.0, book.basis))
    paid = across(cost)
    result = Book(cash=book.cash - across(quantity * price) - paid, quantity=after, basis=basis)
    _check_identity(nav - paid, result.nav(price))
    return result, Fills(quantity=quantity, cost=cost, closed=closed, realized=realized)


def _check_identity(expected: Floats, found: Floats) -> None:
    gap = np.abs(found - expected)
    if not every(gap <= TOLERANCE * np.maximum(1.0, np.abs(expected))):
        raise BrokenInvariant(f"cash + positions differs from NAV less costs by {gap.max():g} after fills")
