"""What the records of a paper account add up to. Nothing of it is stored: it is folded from the journal whenever that is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from policyengine.execution.journal import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Signed `quantity`, and its average `basis` per unit, costs of opening included; both 0 where nothing is held."""

    quantity: float
    basis: float


FLAT = Position(quantity=0.0, basis=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account at one moment; money in base currency.

    `cash` includes the interest accrued; `positions` are those that are not 0. `realized_pnl` is net of costs, `cost` and `interest`
    are totals since the opening with `capital`. `last_session` is the last one closed and `last_payload` what was closed with it;
    None before the first. Cash + sum of quantity x basis = capital + realised P&L + interest.
    """

    capital: float
    cash: float
    positions: Mapping[str, Position]
    realized_pnl: float
    cost: float
    interest: float
    last_session: date | None
    last_payload: Mapping[str, Any] | None


class Fold:
    """The account so far, one record after the other.

    What the fills of a session add up to is summed exactly, so that it does not depend on their order.
    """

    def __init__(self, capital: float) -> None:
        """Begin with `capital` in cash."""
        self._capital = self._cash = capital
        self._realized = self._cost = self._interest = 0.0
        self._notionals: list[float] = []
        self._costs: list[float] = []
        self._gains: list[float] = []
        self._positions: dict[str, Position] = {}
        self._payload: Mapping[str, Any] | None = None
        self.orders: dict[str, Record] = {}
        self.history: dict[date, Mapping[str, Any]] = {}
        self.accrued: dict[str, Record] = {}
        self.session: str | None = None
        """The session that is open: it has orders or interest, and is not closed."""
        self.last_session: str | None = None
        self.closed = self.now()

    def apply(self, record: Record) -> None:
        """Take `record` into account.

        Raises:
            KeyError, TypeError, ValueError: it is not a record of an account.
        """
        match record["kind"]:
            case "order":
                self._apply_order(record)
            case "interest":
                self._settle()
                self.session = record["session"]
                self.accrued[record["session"]] = record
                self._cash += record["amount"]
                self._interest += record["amount"]
            case "session":
                self._settle()
                self.session, self.last_session, self._payload = None, record["session"], record["payload"]
                self.history[date.fromisoformat(record["session"])] = record["payload"]
                self.closed = self.now()
            case "recovery":
                pass
            case kind:
                raise ValueError(f"{kind!r} is not a kind of record that may stand here")

    def position(self, symbol: str) -> Position:
        """What is held of `symbol`."""
        return self._positions.get(symbol, FLAT)

    def cash(self) -> float:
        """Cash after every fill so far."""
        return self._cash - math.fsum(self._notionals) - math.fsum(self._costs)

    def now(self) -> Account:
        """The account after every record so far."""
        return Account(
            capital=self._capital,
            cash=self.cash(),
            positions=dict(self._positions),
            realized_pnl=self._realized + math.fsum(self._gains),
            cost=self._cost + math.fsum(self._costs),
            interest=self._interest,
            last_session=None if self.last_session is None else date.fromisoformat(self.last_session),
            last_payload=self._payload,
        )

    def _apply_order(self, record: Record) -> None:
        order, fill = record["order"], record["fill"]
        self.orders[order["client_order_id"]] = record
        self.session = order["session"]
        moved = fill["quantity"]
        if moved == 0.0:
            return
        symbol = order["symbol"]
        after = self.position(symbol).quantity + moved
        if after == 0.0:
            del self._positions[symbol]
        else:
            self._positions[symbol] = Position(quantity=after, basis=fill["basis"])
        self._notionals.append(moved * fill["price"])
        self._costs.append(fill["cost"])
        self._gains.append(fill["realized"])

    def _settle(self) -> None:
        self._cash = self.cash()
        self._cost += math.fsum(self._costs)
        self._realized += math.fsum(self._gains)
        for session in (self._notionals, self._costs, self._gains):
            session.clear()
