"""The paper broker: fills orders at the price it is given, and writes down every one before it answers.

What an account holds is what its journal says. An order is known by its client order id: submitted again, it returns what was done
the first time. After a crash the caller therefore starts from the account as of the last closed session, sizes the same orders as
before and submits them again; those that were recorded change nothing, the others are filled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from policyengine.errors import BrokenInvariant, DataError
from policyengine.execution.account import Account, Fold
from policyengine.execution.capacity import within_capacity
from policyengine.execution.journal import Journal, JournalBroken, Record
from policyengine.execution.ledger import Book, fill
from policyengine.records import TOLERANCE
from policyengine.spec.bind import plain
from policyengine.spec.execution import ExecutionSpec


class AccountConflict(DataError):
    """What is asked contradicts what the journal of the account holds. Nothing was written."""


class Refusal(StrEnum):
    """Why an order did not fill, or with `partial` not in full."""

    NO_PRICE = "no_price"
    NOT_REDUCING = "not_reducing"
    NO_SHORT = "no_short"
    ODD_LOT = "odd_lot"
    BUYING_POWER = "buying_power"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A day order at the session's price.

    `quantity` is signed, in units or contracts; `reference_price`, in base currency per unit, is what it was sized at. An order that
    `reduces` may lower |position| and nothing else.
    """

    client_order_id: str
    symbol: str
    quantity: float
    reference_price: float
    session: date
    reduces: bool
    signal_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no sizing may produce."""
        for name, value in (("quantity", self.quantity), ("reference_price", self.reference_price)):
            if not math.isfinite(value) or value == 0.0:
                raise BrokenInvariant(f"order {self.client_order_id}: {name} {value} is not finite and other than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What became of an order; money in base currency.

    `quantity` signed, 0 where nothing filled; `price` None where there was none; `cost` >= 0; `closed` the quantity by which
    |position| fell and `realized` the P&L of that part, net of costs; `basis` the average basis of the position afterwards.
    """

    order: Order
    quantity: float
    price: float | None
    cost: float
    closed: float
    realized: float
    basis: float
    refusal: Refusal | None


def client_order_id(account: str, session: date, symbol: str, decision: str) -> str:
    """The id of the order that `decision` leads to: the same inputs give the same id, in any process."""
    words = json.dumps([account, session.isoformat(), symbol, decision])
    return "o_" + hashlib.sha256(words.encode()).hexdigest()[:32]


class PaperBroker:
    """One paper account in `folder`, open for writing by this process alone. Close it, or use it in a `with`.

    Sessions are closed in order, and one is open at a time: from its first order or interest until `close_session`.
    """

    def __init__(
        self,
        folder: Path,
        execution: ExecutionSpec,
        *,
        account: str,
        base_currency: str,
        capital: float,
        lots: Mapping[str, float],
    ) -> None:
        """Open the account, or begin it with `capital` in cash. A symbol without an entry in `lots`, or 0, trades in any quantity.

        Raises:
            JournalLocked: another process has it; exit code 5.
            JournalBroken: its journal was changed.
            AccountConflict: it was begun under another name, currency or capital.
            OutputError: the folder cannot be read or written.
        """
        if not (math.isfinite(capital) and capital > 0.0):
            raise BrokenInvariant(f"capital {capital} is not finite and above 0")
        self._execution = execution
        self._lots = lots
        self._overdraft = -TOLERANCE * capital
        opening = {"kind": "open", "account": account, "base_currency": base_currency, "capital": capital}
        with ExitStack() as opened:
            self._journal = Journal(folder, opening)
            opened.callback(self._journal.close)
            first, *others = self._journal.found
            if {key: first.get(key) for key in opening} != opening:
                raise AccountConflict(
                    f"{self._journal.path}:1", f"the account was begun as {_words(first, opening)}, not {_words(opening)}"
                )
            self._fold = self._folded(capital, others)
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the account."""
        self._journal.close()

    def account(self, *, closed_only: bool = False) -> Account:
        """The account now, or as of the last closed session: without the orders and the interest of the one that is open."""
        return self._fold.closed if closed_only else self._fold.now()

    def knows(self, client_order_id: str) -> bool:
        """Whether an order of this id is recorded."""
        return client_order_id in self._fold.orders

    def open_session(self) -> date | None:
        """The session that has orders or interest and is not closed: one that was cut short, or that runs."""
        return None if self._fold.session is None else date.fromisoformat(self._fold.session)

    def history(self) -> Mapping[date, Mapping[str, Any]]:
        """What every closed session was closed with, in order."""
        return self._fold.history

    def traded(self) -> Iterator[tuple[date, str, float]]:
        """Session, symbol and signed filled quantity of every order that filled at all, in order."""
        for record in self._fold.orders.values():
            if record["fill"]["quantity"] != 0.0:
                yield date.fromisoformat(record["order"]["session"]), record["order"]["symbol"], record["fill"]["quantity"]

    def submit(self, order: Order, price: float | None) -> Fill:
        """Fill `order` at `price`, in base currency per unit, or refuse it; either is durable when this returns.

        An id that is known returns what was recorded, whatever `price` is now.

        Raises:
            AccountConflict: the id stands for another order, or the order's session is not the one that can be open.
            OutputError: it cannot be written; whether it was shows when the account is opened again.
        """
        asked = plain(order)
        known = self._fold.orders.get(order.client_order_id)
        if known is not None:
            if known["order"] != asked:
                raise AccountConflict(self._line(known), f"holds order {_words(known['order'])}, not {_words(asked)}")
            return _recorded(order, known["fill"])
        self._check_session(order.session.isoformat(), f"order {order.client_order_id}")
        done = self._decide(order, price)
        outcome = plain(done)
        del outcome["order"]
        self._record({"kind": "order", "order": asked, "fill": outcome})
        return done

    def accrue(self, session: date, amount: float) -> None:
        """Add interest, or take what borrowing costs, once for each session; the same again changes nothing.

        Raises:
            AccountConflict: the session has other interest, or is not the one that can be open.
            BrokenInvariant: the amount is not finite.
            OutputError: it cannot be written.
        """
        day = session.isoformat()
        known = self._fold.accrued.get(day)
        if known is not None:
            if known["amount"] != amount:
                raise AccountConflict(self._line(known), f"holds interest {known['amount']} for {day}, not {amount}")
            return
        self._check_session(day, "interest")
        self._record({"kind": "interest", "session": day, "amount": amount})

    def close_session(self, session: date, payload: Mapping[str, Any]) -> None:
        """Close `session`, and keep `payload`, what the next one must know: plain JSON values, floats exact.

        The last one closed, with the same payload again, changes nothing.

        Raises:
            AccountConflict: it was closed with another payload, or is not the one that can be open.
            BrokenInvariant: the payload is not plain JSON, or a number in it not finite.
            OutputError: it cannot be written.
        """
        day = session.isoformat()
        if day == self._fold.last_session:
            if self._fold.closed.last_payload != payload:
                raise AccountConflict(str(self._journal.path), f"session {day} is closed with another payload")
            return
        self._check_session(day, "closing")
        self._record({"kind": "session", "session": day, "payload": dict(payload)})
        self._journal.seal()

    def _decide(self, order: Order, price: float | None) -> Fill:
        if price is None or not math.isfinite(price) or price == 0.0:
            return self._refused(order, None, Refusal.NO_PRICE)
        held = self._fold.position(order.symbol).quantity
        reducing = held != 0.0 and (held > 0.0) != (order.quantity > 0.0) and abs(order.quantity) <= abs(held)
        refusal = self._refusal(order, held, reducing=reducing)
        if refusal is not None:
            return self._refused(order, price, refusal)
        done = self._executed(order, price)
        before = self._fold.cash()
        left = before - done.quantity * price - done.cost
        if not reducing and left < min(before, self._overdraft):
            return self._refused(order, price, Refusal.BUYING_POWER)
        return done

    def _refusal(self, order: Order, held: float, *, reducing: bool) -> Refusal | None:
        """What no price could mend; what reduces a position is never refused."""
        if reducing:
            return None
        if order.reduces:
            return Refusal.NOT_REDUCING
        after = held + order.quantity
        if after < 0.0 and not self._execution.allow_short:
            return Refusal.NO_SHORT
        lot = self._lots.get(order.symbol, 0.0)
        if lot > 0.0 and not _whole(order.quantity, lot) and not _whole(after, lot):
            return Refusal.ODD_LOT
        return None

    def _executed(self, order: Order, price: float) -> Fill:
        """The fill that capacity allows, by the same arithmetic as a replay's."""
        wanted, at, lots = np.array([[order.quantity]]), np.array([price]), np.array([self._lots.get(order.symbol, 0.0)])
        filled = within_capacity(wanted, at, lots, self._execution.max_fill_notional)
        position = self._fold.position(order.symbol)
        # A book of this position alone; its cash lets the ledger check its identity relative to what is traded.
        cash = np.array([abs(price) * (2.0 * abs(position.quantity) + abs(order.quantity))])
        book = Book(cash=cash, quantity=np.array([[position.quantity]]), basis=np.array([[position.basis]]))
        after, fills = fill(book, book.nav(at), filled, at, self._execution.cost_frac)
        return Fill(
            order=order,
            quantity=filled.item(),
            price=price,
            cost=fills.cost.item(),
            closed=fills.closed.item(),
            realized=fills.realized.item(),
            basis=after.basis.item(),
            refusal=None if filled.item() == order.quantity else Refusal.PARTIAL,
        )

    def _refused(self, order: Order, price: float | None, refusal: Refusal) -> Fill:
        basis = self._fold.position(order.symbol).basis
        return Fill(order=order, quantity=0.0, price=price, cost=0.0, closed=0.0, realized=0.0, basis=basis, refusal=refusal)

    def _check_session(self, session: str, what: str) -> None:
        opened, last = self._fold.session, self._fold.last_session
        if opened is not None and session != opened:
            raise AccountConflict(str(self._journal.path), f"{what} of session {session}, but session {opened} is open: close it first")
        if last is not None and session <= last:
            raise AccountConflict(str(self._journal.path), f"{what} of session {session}, but session {last} is closed")

    def _record(self, record: Record) -> None:
        self._fold.apply(self._journal.append(record))

    def _folded(self, capital: float, records: list[Record]) -> Fold:
        fold = Fold(capital)
        for record in records:
            try:
                fold.apply(record)
            except (KeyError, TypeError, ValueError) as error:
                raise JournalBroken(self._line(record), f"is not a record of an account: {type(error).__name__} {error}") from error
        return fold

    def _line(self, record: Record) -> str:
        return f"{self._journal.path}:{record['seq']}"


def _recorded(order: Order, outcome: Record) -> Fill:
    refusal = outcome["refusal"]
    return Fill(order=order, **{**outcome, "refusal": None if refusal is None else Refusal(refusal)})


def _whole(quantity: float, lot: float) -> bool:
    """Whether `quantity` is a whole number of lots, but for rounding."""
    count = quantity / lot
    return abs(count - round(count)) <= TOLERANCE + 1e-12 * abs(count)


def _words(record: Mapping[str, Any], keys: Mapping[str, Any] | None = None) -> str:
    return json.dumps({key: record.get(key) for key in keys or record if key != "kind"})
