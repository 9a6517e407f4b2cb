"""One session of P policies: what was decided becomes orders, fills and a book, and then the next decision.

Replay and trading run this same function and differ only in who fills the orders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Decider, Decision
from policyengine.allocation.orders import Orders, OrderSizer, Reject
from policyengine.allocation.reductions import across, some
from policyengine.allocation.scaler import RiskState, empty_risk_state, updated
from policyengine.execution.ledger import Book, Fills, empty_book
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DAYS_PER_YEAR = 365.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a session brings.

    Its `index` in the panel; `price` (N,) in base currency, 0 where there is none yet; which names (N,) are `priced` at all and which
    are `tradable` on a fresh price; the return `rate` of cash since the session before, and the calendar days since then.
    """

    index: int
    price: Floats
    priced: Bools
    tradable: Bools
    rate: float
    elapsed_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where P policies stand after a session: the `book`, its `nav` (P,) at `price` (N,), and what was decided for the next.

    `held` are the budgets (P, S) that the holdings were bought with and `cost` (P, N) what buying them cost, both None before the
    first fills; `risk` is None where no policy scales its budgets.
    """

    book: Book
    nav: Floats
    price: Floats
    decision: Decision | None = None
    held: Floats | None = None
    cost: Floats | None = None
    risk: RiskState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What one session did. `interest` (P,); no orders on the first, when nothing was decided before.

    `sleeve_pnl`, `sleeve_budget` (P, S) are what the risk of the sleeves was measured on, None where it was not.
    """

    interest: Floats
    orders: Orders | None = None
    fills: Fills | None = None
    sleeve_pnl: Floats | None = None
    sleeve_budget: Floats | None = None


Fill = Callable[[Book, Floats, Orders, Day], tuple[Book, Fills]]
"""Fills orders from a book that is worth (P,) at the day's prices."""


def opening(cycle: Decider, capital: float) -> Standing:
    """All in cash, nothing decided."""
    policies, instruments = len(cycle.limits), cycle.lots.size
    return Standing(
        book=empty_book(policies, instruments, capital),
        nav=np.full(policies, capital),
        price=np.zeros(instruments),
        risk=None if cycle.scaling is None else empty_risk_state(policies),
    )


def session(standing: Standing, day: Day, cycle: Decider, sizer: OrderSizer, execution: ExecutionSpec, fill: Fill) -> tuple[Standing, Done]:
    """Accrue interest, trade what was decided at the session before at this session's prices, and decide again.

    Raises:
        BrokenInvariant: orders or decision that must not be; raised before anything is filled on them.
        Ruined: a policy has no capital left.
    """
    interest = interest_on(standing.book, day, execution)
    book = Book(cash=standing.book.cash + interest, quantity=standing.book.quantity, basis=standing.book.basis)
    risk, measured = _risk(standing, day, cycle)
    orders = fills = None
    if standing.decision is not None:
        nav = book.nav(day.price)
        orders = sizer.size(book.quantity, nav, standing.decision.weights, day.price, day.tradable, day.priced)
        book, fills = fill(book, nav, orders, day)
        if execution.max_fill_notional is not None:
            orders = _in_part(orders, fills, sizer.exceeded(book.quantity, book.nav(day.price), day.price))
    after = Standing(
        book=book,
        nav=book.nav(day.price),
        price=day.price,
        decision=cycle.decide(day.index, risk),
        held=None if standing.decision is None else standing.decision.fracs,
        cost=None if fills is None else fills.cost,
        risk=risk,
    )
    pnl, budget = measured if measured is not None else (None, None)
    return after, Done(interest=interest, orders=orders, fills=fills, sleeve_pnl=pnl, sleeve_budget=budget)


def _in_part(orders: Orders, fills: Fills, exceeded: Bools) -> Orders:
    """The orders with what did not fill in full, and with the limits (P,) that this left exceeded."""
    partial = fills.quantity != orders.quantity
    return replace(
        orders, rejected={**orders.rejected, Reject.PARTIAL: partial}, held_over=orders.held_over | (exceeded & partial.any(axis=1))
    )


def interest_on(book: Book, day: Day, execution: ExecutionSpec) -> Floats:
    """Interest since the session before, (P,): the cash rate on cash, plus the spread where it is borrowed, less the fee on shorts."""
    spread = execution.financing_spread_bps / 10_000.0 * day.elapsed_days / DAYS_PER_YEAR
    fee = execution.borrow_bps / 10_000.0 * day.elapsed_days / DAYS_PER_YEAR
    interest: Floats = book.cash * np.where(book.cash < 0.0, day.rate + spread, day.rate)
    short = book.quantity < 0.0
    if some(short):
        interest = interest - fee * across(np.where(short, -book.quantity * np.abs(day.price), 0.0))
    return interest


def _risk(standing: Standing, day: Day, cycle: Decider) -> tuple[RiskState | None, tuple[Floats, Floats] | None]:
    """How risky the sleeves have been, this session's return on what they hold included, and the P&L and budget (P, S) behind that.

    A sleeve's return is what its holdings made since they were filled, less what filling them cost, over the budget they were bought
    with. A sleeve that held nothing has none: a budget of 0.
    """
    if cycle.scaling is None or standing.risk is None:
        return standing.risk, None
    if standing.held is None or standing.cost is None:
        return standing.risk, None
    quantity = standing.book.quantity
    made = quantity * (day.price - standing.price) - standing.cost
    decided = day.index - 2
    pnl = cycle.by_sleeve(decided, made)
    funded = cycle.by_sleeve(decided, np.abs(quantity)) > 0.0
    budget = np.where(funded, standing.held * standing.nav[:, None], 0.0)
    return updated(standing.risk, pnl, budget, cycle.scaling, funded=funded), (pnl, budget)
