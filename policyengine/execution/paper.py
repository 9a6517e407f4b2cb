"""A paper account as the standing of one policy: from the journal to a session and back.

What a session needs of the one before it, the decision taken and how risky the sleeves have been, is in the payload that closed it.
A session that was cut short is run again from there: it comes to the same orders under the same ids, so nothing doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Decider, Decision
from policyengine.allocation.orders import Orders
from policyengine.allocation.scaler import RiskState
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant, DataError
from policyengine.execution.account import Account
from policyengine.execution.broker import Fill, Order, PaperBroker, client_order_id
from policyengine.execution.ledger import Book, Fills, fill
from policyengine.execution.session import Day, Done, Standing, opening
from policyengine.records import TOLERANCE
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Desk:
    """Submits one account's orders; `done` holds what became of those of the last session, in the order submitted.

    `announce` hears of a session's orders before the first is sent. While `stopped` says so nothing is opened any more, and of the names
    `barred` never: only what reduces a position is sent, and what was sent before the process began again is looked up.
    """

    broker: PaperBroker
    execution: ExecutionSpec
    account: str
    symbols: Sequence[str]
    sessions: Sequence[date]
    announce: Callable[[Orders, Day], None] = lambda *_: None
    stopped: Callable[[], bool] = lambda: False
    barred: frozenset[str] = frozenset()
    decision: str = ""
    done: tuple[Fill, ...] = ()

    def fill(self, book: Book, nav: Floats, orders: Orders, day: Day) -> tuple[Book, Fills]:
        """Submit the orders of a session: what frees cash first, then by symbol, so that buying power is there when it is needed."""
        self.announce(orders, day)
        quantity, held, price = orders.quantity[0], book.quantity[0], day.price
        names = sorted(
            np.flatnonzero(quantity).tolist(), key=lambda i: (quantity[i] * price[i] > 0.0, quantity[i] * held[i] >= 0.0, self.symbols[i])
        )
        self.done, filled = (), np.zeros_like(orders.quantity)
        for i in names:
            order = Order(
                client_order_id=client_order_id(self.account, self.sessions[day.index], self.symbols[i], self.decision),
                symbol=self.symbols[i],
                quantity=float(quantity[i]),
                reference_price=float(price[i]),
                session=self.sessions[day.index],
                reduces=bool(quantity[i] * held[i] < 0.0 and abs(quantity[i]) <= abs(held[i])),
            )
            held_back = not order.reduces and (order.symbol in self.barred or self.stopped())
            if held_back and not self.broker.knows(order.client_order_id):
                continue
            outcome = self.broker.submit(order, float(price[i]))
            self.done += (outcome,)
            filled[0, i] = outcome.quantity
        after, fills = fill(book, nav, filled, day.price, self.execution.cost_frac)
        self._check(after)
        return after, fills

    def _check(self, book: Book) -> None:
        """Refuse to go on where the account does not hold what the session believes."""
        account = self.broker.account()
        cash = float(book.cash[0])
        if abs(account.cash - cash) > TOLERANCE * max(1.0, abs(cash)):
            raise BrokenInvariant(f"account {self.account} has cash {account.cash}, and the session {cash}")
        for i, symbol in enumerate(self.symbols):
            position = account.positions.get(symbol)
            if (0.0 if position is None else position.quantity) != book.quantity[0, i]:
                raise BrokenInvariant(f"account {self.account} does not hold {book.quantity[0, i]} of {symbol}")


def standing_of(account: Account, cycle: Decider, symbols: Sequence[str]) -> Standing:
    """Where the account stands after its last closed session; an account without any has its cash.

    Raises:
        DataError: it holds what is no longer among `symbols`, or its payload is of another version.
    """
    start = opening(cycle, account.capital)
    if account.last_session is None or account.last_payload is None:
        return start
    for symbol in account.positions:
        if symbol not in symbols:
            rule = "is held and not among the instruments that have prices: an instrument that left the universe; list it, or sell it first"
            raise DataError(f"positions.{symbol}", rule)
    held = [account.positions.get(symbol) for symbol in symbols]
    book = Book(
        cash=np.array([account.cash]),
        quantity=np.array([[0.0 if p is None else p.quantity for p in held]]),
        basis=np.array([[0.0 if p is None else p.basis for p in held]]),
    )
    kept = account.last_payload
    try:
        return Standing(
            book=book,
            nav=np.array([kept["nav"]]),
            price=_row(kept["price"], symbols)[0],
            decision=Decision(
                allocated=_row(kept["allocated"], symbols), weights=_row(kept["weights"], symbols), fracs=_row(kept["fracs"], SLEEVES)
            ),
            held=None if kept["held"] is None else _row(kept["held"], SLEEVES),
            cost=None if kept["cost"] is None else _row(kept["cost"], symbols),
            risk=start.risk if kept["risk"] is None else risk_of(kept),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"account session {account.last_session}", f"is not one of this version: {type(error).__name__} {error}") from error


def risk_of(payload: Mapping[str, Any]) -> RiskState | None:
    """How risky the sleeves were after the session that was closed with `payload`; None where no policy scales its budgets."""
    kept = payload["risk"]
    return None if kept is None else RiskState(**{name: _row(part, SLEEVES) for name, part in kept.items()})


def payload_of(standing: Standing, done: Done, symbols: Sequence[str], policy_hash: str) -> dict[str, Any]:
    """What the next session must know of this one, as plain values; entries of 0 are left out."""
    decision, risk = standing.decision, standing.risk
    if decision is None:
        raise BrokenInvariant("a session ended without a decision")
    return {
        "policy": policy_hash,
        "nav": float(standing.nav[0]),
        "price": _named(standing.price[None], symbols),
        "allocated": _named(decision.allocated, symbols),
        "weights": _named(decision.weights, symbols),
        "fracs": _named(decision.fracs, SLEEVES),
        "held": None if standing.held is None else _named(standing.held, SLEEVES),
        "cost": None if standing.cost is None else _named(standing.cost, symbols),
        "risk": None if risk is None else {f.name: _named(getattr(risk, f.name), SLEEVES) for f in fields(risk)},
        "sleeve_pnl": None if done.sleeve_pnl is None else _named(done.sleeve_pnl, SLEEVES),
        "sleeve_budget": None if done.sleeve_budget is None else _named(done.sleeve_budget, SLEEVES),
    }


def _row(named: Mapping[str, float], names: Sequence[str]) -> Any:
    """(1, n) in the order of `names`; integers stay integers."""
    unknown = sorted(set(named) - set(names))
    if unknown:
        raise DataError(f"account.{unknown[0]}", "was decided on and is no longer among the instruments that have prices")
    values = [named.get(name, 0) for name in names]
    whole = all(isinstance(value, int) for value in values) and bool(named)
    return np.array([values], dtype=np.int64 if whole else np.float64)


def _named(row: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    return {str(name): value for name, value in zip(names, row[0].tolist(), strict=True) if value != 0}
