"""Replay: P policies trade one stream of signals over one panel of prices, session by session.

Weights decided on session t fill at the close of session t + 1, so nothing fills at a price that its signal has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Decider
from policyengine.allocation.orders import GUARDRAILS, Orders, OrderSizer, Reject
from policyengine.allocation.sleeves import SLEEVES
from policyengine.execution.capacity import within_capacity
from policyengine.execution.ledger import Book, Fills, fill
from policyengine.execution.session import Day, Done, Standing, opening, session
from policyengine.market.panel import PricePanel
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_BITS = tuple(np.uint8(1 << reason) for reason in Reject)
"""A name may be held back for several reasons at once: a bit for each."""
_CELLS = 1 << 11
"""So many policies x instruments x sessions wait to be written together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillTable:
    """Every fill, F rows in the order traded: session index, policy index, instrument index; money in base currency.

    `closed` is the quantity by which |position| fell; `realized` the net P&L of that part, 0 where nothing closed.
    """

    session: NDArray[np.int64]
    policy: NDArray[np.int64]
    instrument: NDArray[np.int64]
    quantity: Floats
    price: Floats
    cost: Floats
    closed: Floats
    realized: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What a replay leaves, P policies by T sessions.

    `nav`, `cost`, `traded` (notional), `interest` (P, T) in base currency; `exposure` (P, T, N) signed fractions of NAV after
    the session's fills; `allocated`, `weights` (P, T, N) what each session decided before and after the shell, `fracs` (P, T, S) the
    budgets behind it; `requests` (P, T) wanted changes; `rejects` (P, T, len(Reject)); `requested`, `refused` (P, T, N) which names'
    changes were wanted, and how many guardrails held each back; `breach` (P, T): an enforced limit was
    exceeded after the fills although every name held could trade; `held_over` (P, T): one was exceeded by a name that could not.
    """

    nav: Floats
    cost: Floats
    traded: Floats
    interest: Floats
    exposure: Floats
    allocated: Floats
    weights: Floats
    fracs: Floats
    requests: NDArray[np.int64]
    rejects: NDArray[np.int64]
    requested: Bools
    refused: NDArray[np.uint8]
    breach: Bools
    held_over: Bools
    fills: FillTable


def replay(
    panel: PricePanel,
    cycle: Decider,
    execution: ExecutionSpec,
    *,
    rate: Floats,
    capital: float,
    progress: Callable[[int, int], None] | None = None,
) -> Curves:
    """Trade what the P policies of `cycle` decide, from `capital` in cash, and keep everything that was done.

    Args:
        panel: closes in base currency and freshness of T sessions and N instruments; a name trades only on a fresh bar.
        cycle: the policies, over the same sessions and instruments.
        execution: costs, minimum trade, turnover.
        rate: (T,) return of cash over the session that ends at each session.
        capital: opening cash, base currency.
        progress: told (done, total) sessions.

    Raises:
        BrokenInvariant: a decision or an order that must not be, or cash + positions that is not NAV.
        Ruined: a policy lost all its capital; shorts, or prices that turn negative, can do that.
    """
    policies, (sessions, instruments) = len(cycle.limits), panel.close.shape
    record = _Record(policies, sessions, instruments)
    for day, standing, done in _sessions(panel, cycle, execution, rate, capital):
        record.session(day, standing, done)
        if progress is not None and day.index % 64 == 0:
            progress(day.index, sessions)
    return record.curves()


def replayed_nav(panel: PricePanel, cycle: Decider, execution: ExecutionSpec, *, rate: Floats, capital: float) -> Floats:
    """NAV (P, T) of `replay`, and nothing else: for policies that are many."""
    nav = np.empty((len(cycle.limits), panel.sessions.size))
    for day, standing, _ in _sessions(panel, cycle, execution, rate, capital):
        nav[:, day.index] = standing.nav
    return nav


def _sessions(
    panel: PricePanel, cycle: Decider, execution: ExecutionSpec, rate: Floats, capital: float
) -> Iterator[tuple[Day, Standing, Done]]:
    sizer = OrderSizer(execution, cycle.limits, cycle.lots)

    def filled(book: Book, nav: Floats, orders: Orders, day: Day) -> tuple[Book, Fills]:
        quantity = within_capacity(orders.quantity, day.price, cycle.lots, execution.max_fill_notional)
        return fill(book, nav, quantity, day.price, execution.cost_frac)

    standing = opening(cycle, capital)
    for day in days(panel, rate):
        standing, done = session(standing, day, cycle, sizer, execution, filled)
        yield day, standing, done


def days(panel: PricePanel, rate: Floats) -> Iterator[Day]:
    """The sessions of `panel` in turn, `rate` (T,) being the return of cash over each."""
    elapsed = np.diff(panel.sessions.astype("datetime64[D]").astype(np.int64), prepend=panel.sessions[:1].astype(np.int64)).tolist()
    known = ~np.isnan(panel.close)
    close = np.where(known, panel.close, 0.0)
    tradable = panel.fresh & (close != 0.0)
    for t, (one, days_since) in enumerate(zip(rate.tolist(), elapsed, strict=True)):
        yield Day(index=t, price=close[t], priced=known[t], tradable=tradable[t], rate=one, elapsed_days=days_since)


class _Record:
    """Collects curves while the replay runs; many sessions at once, for a call of NumPy costs more than the numbers of one."""

    def __init__(self, policies: int, sessions: int, instruments: int) -> None:
        shape = (policies, sessions)
        self._nav, self._cost, self._traded, self._interest = (np.zeros(shape) for _ in range(4))
        self._exposure, self._allocated, self._weights = (np.zeros((*shape, instruments)) for _ in range(3))
        self._fracs = np.zeros((*shape, len(SLEEVES)))
        self._requests = np.zeros(shape, dtype=np.int64)
        self._requested = np.zeros((*shape, instruments), dtype=np.bool_)
        self._rejected = np.zeros((*shape, instruments), dtype=np.uint8)
        self._breach, self._held_over = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        self._rows: list[tuple[NDArray[np.generic], ...]] = []
        self._waiting: list[tuple[Day, Standing, Done]] = []
        self._most = max(1, _CELLS // max(1, policies * instruments))

    def session(self, day: Day, standing: Standing, done: Done) -> None:
        self._waiting.append((day, standing, done))
        if len(self._waiting) == self._most:
            self._keep()

    def _keep(self) -> None:
        days, standings = [day for day, _, _ in self._waiting], [standing for _, standing, _ in self._waiting]
        at = slice(days[0].index, days[-1].index + 1)
        nav = self._nav[:, at] = _together([standing.nav for standing in standings])
        self._interest[:, at] = _together([done.interest for _, _, done in self._waiting])
        price = np.abs(_stacked([day.price for day in days]))
        self._exposure[:, at] = _together([standing.book.quantity for standing in standings]) * price / nav[:, :, None]
        decisions = [standing.decision for standing in standings if standing.decision is not None]
        self._allocated[:, at] = _together([decision.allocated for decision in decisions])
        self._weights[:, at] = _together([decision.weights for decision in decisions])
        self._fracs[:, at] = _together([decision.fracs for decision in decisions])
        traded = [(day, done.orders, done.fills) for day, _, done in self._waiting if done.orders is not None and done.fills is not None]
        if traded:
            when, orders, fills = zip(*traded, strict=True)
            self._orders(slice(when[0].index, when[-1].index + 1), orders)
            self._fills(when, fills)
        self._waiting = []

    def _orders(self, at: slice, orders: Sequence[Orders]) -> None:
        self._requests[:, at] = _together([one.requests for one in orders])
        self._requested[:, at] = _together([one.requested for one in orders])
        self._breach[:, at] = _together([one.breach for one in orders])
        self._held_over[:, at] = _together([one.held_over for one in orders])
        for reason, bit in zip(Reject, _BITS, strict=True):
            found = [(t, one.rejected[reason]) for t, one in enumerate(orders, at.start) if reason in one.rejected]
            if found:
                self._rejected[:, [t for t, _ in found]] |= _together([names for _, names in found]) * bit

    def _fills(self, days: Sequence[Day], fills: Sequence[Fills]) -> None:
        first = days[0].index
        quantity, cost, closed, realized = (
            _stacked([getattr(one, name) for one in fills]) for name in ("quantity", "cost", "closed", "realized")
        )
        price = _stacked([day.price for day in days])
        self._cost[:, first : first + len(days)] = np.add.reduce(cost, axis=2).T
        self._traded[:, first : first + len(days)] = np.add.reduce(np.abs(quantity) * np.abs(price)[:, None, :], axis=2).T
        row, policy, instrument = at = np.nonzero(quantity)
        self._rows.append((row + first, policy, instrument, quantity[at], price[row, instrument], cost[at], closed[at], realized[at]))

    def curves(self) -> Curves:
        if self._waiting:
            self._keep()
        empty = (np.zeros(0, dtype=np.int64),) * 3 + (np.zeros(0),) * 5
        columns = [np.concatenate(c) for c in zip(*self._rows, strict=True)] if self._rows else list(empty)
        names = ("session", "policy", "instrument", "quantity", "price", "cost", "closed", "realized")
        return Curves(
            nav=self._nav,
            cost=self._cost,
            traded=self._traded,
            interest=self._interest,
            exposure=self._exposure,
            allocated=self._allocated,
            weights=self._weights,
            fracs=self._fracs,
            requests=self._requests,
            rejects=np.stack([np.count_nonzero(self._rejected & bit, axis=2) for bit in _BITS], axis=2),
            requested=self._requested,
            refused=np.bitwise_count(self._rejected & np.uint8(sum(1 << reason for reason in GUARDRAILS))),
            breach=self._breach,
            held_over=self._held_over,
            fills=FillTable(**dict(zip(names, columns, strict=True))),
        )


def _together(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays (P, ..) of sessions that follow one another, (P, T, ..)."""
    return _stacked(arrays).swapaxes(0, 1)


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """`np.stack`, four times as fast for arrays as small as these."""
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)
