"""Replay: P policies trade their target weights over one panel of prices, session by session.

Weights decided on session t fill at the close of session t + 1, so nothing fills at a price that its signal has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.shell import project
from policyengine.errors import BrokenInvariant, Ruined
from policyengine.execution.ledger import Book, Fills, across, empty_book, fill, value_after_costs
from policyengine.market.panel import PricePanel
from policyengine.records import TOLERANCE
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DAYS_PER_YEAR = 365.0


class Reject(IntEnum):
    """Why a wanted change of weight did not trade. The first three are guardrails; a small change is left alone by design."""

    STALE_PRICE = 0
    NO_PRICE = 1
    BUYING_POWER = 2
    BELOW_MINIMUM = 3


GUARDRAILS = (Reject.STALE_PRICE, Reject.NO_PRICE, Reject.BUYING_POWER)


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
    the session's fills; `requests` (P, T) wanted changes; `rejects` (P, T, len(Reject)); `breach` (P, T): an enforced limit was
    exceeded after the fills although every name could trade; `held_over` (P, T): one was exceeded by a name that could not.
    """

    nav: Floats
    cost: Floats
    traded: Floats
    interest: Floats
    exposure: Floats
    requests: NDArray[np.int64]
    rejects: NDArray[np.int64]
    breach: Bools
    held_over: Bools
    fills: FillTable


def replay(
    panel: PricePanel,
    targets: Floats,
    limits: Sequence[Constraints],
    execution: ExecutionSpec,
    *,
    rate: Floats,
    capital: float,
    progress: Callable[[int, int], None] | None = None,
) -> Curves:
    """Trade `targets` (P, T, N), each policy under its own `limits`, from `capital` in cash.

    Args:
        panel: closes and freshness of T sessions and N instruments; a name trades only on a fresh bar.
        targets: signed fractions of NAV decided at each session, within the limits.
        limits: one set for each policy, over the same groups.
        execution: costs, minimum trade.
        rate: (T,) return of cash over the session that ends at each session.
        capital: opening cash, base currency.
        progress: told (done, total) sessions.

    Raises:
        BrokenInvariant: a weight that is not finite, or cash + positions that is not NAV.
        Ruined: a policy lost all its capital; shorts, or prices that turn negative, can do that.
    """
    if not np.isfinite(targets).all():
        raise BrokenInvariant("target weights are not finite")
    policies, sessions, instruments = targets.shape
    book = empty_book(policies, instruments, capital)
    record = _Record(policies, sessions, instruments)
    step = _Step(execution, limits)
    elapsed = np.diff(panel.sessions.astype("datetime64[D]").astype(np.int64), prepend=panel.sessions[:1].astype(np.int64))
    priced = ~np.isnan(panel.close)
    for t in range(sessions):
        price = np.where(priced[t], panel.close[t], 0.0)
        book, interest = _accrue(book, price, rate[t], elapsed[t], execution)
        if t > 0:
            book, done = step.trade(book, targets[:, t - 1], price, panel.fresh[t] & (price != 0.0), priced[t])
            record.fills(t, done, price)
        record.session(t, book, price, interest)
        if progress is not None and t % 64 == 0:
            progress(t, sessions)
    return record.curves()


def _accrue(book: Book, price: Floats, rate: float, days: int, execution: ExecutionSpec) -> tuple[Book, Floats]:
    """Interest since the session before: the cash rate on cash, plus the spread where it is borrowed, less the fee on shorts."""
    spread = execution.financing_spread_bps / 10_000.0 * days / DAYS_PER_YEAR
    fee = execution.borrow_bps / 10_000.0 * days / DAYS_PER_YEAR
    interest = book.cash * np.where(book.cash < 0.0, rate + spread, rate)
    short = book.quantity < 0.0
    if short.any():
        interest = interest - fee * across(np.where(short, -book.quantity * np.abs(price), 0.0))
    return Book(cash=book.cash + interest, quantity=book.quantity, basis=book.basis), interest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traded:
    fills: Fills
    requests: NDArray[np.int64]
    rejects: NDArray[np.int64]
    breach: Bools
    held_over: Bools


class _Step:
    """One session's orders for all policies."""

    def __init__(self, execution: ExecutionSpec, limits: Sequence[Constraints]) -> None:
        self._execution = execution
        self._upper = np.stack([c.upper for c in limits])
        self._group_upper = np.stack([c.group_upper for c in limits])
        self._over_upper, self._over_group = self._upper + TOLERANCE, self._group_upper + TOLERANCE
        self._groups = limits[0].groups

    def trade(self, book: Book, weights: Floats, price: Floats, tradable: Bools, priced: Bools) -> tuple[Book, _Traded]:
        """Bring the book to `weights` (P, N) at `price` (N,) where names are `tradable` (N,)."""
        nav = book.nav(price)
        if not bool((nav > 0.0).all()):
            raise Ruined(f"NAV fell to {nav.min():,.2f}; a policy without capital cannot be replayed further")
        exposure = book.quantity * np.abs(price)
        before = exposure / nav[:, None]
        change = np.abs(weights - before)
        wanted = change > TOLERANCE
        closing = (weights == 0.0) & (book.quantity != 0.0)
        small = wanted & (change < self._execution.min_trade_frac) & ~closing
        traded = wanted & ~small & tradable
        rejects = np.zeros((nav.size, len(Reject)), dtype=np.int64)
        if not tradable.all():
            rejects[:, Reject.STALE_PRICE] = (wanted & ~small & ~tradable & priced).sum(axis=1)
            rejects[:, Reject.NO_PRICE] = (wanted & ~small & ~priced).sum(axis=1)
        weights, traded, value, over, cut = self._within_limits(nav, exposure, weights, traded, tradable)
        rejects[:, Reject.BUYING_POWER] = cut
        rejects[:, Reject.BELOW_MINIMUM] = (small & ~traded).sum(axis=1)
        size = np.divide(weights * value[:, None], np.abs(price), out=np.zeros_like(weights), where=traded)
        quantity = np.where(traded, size - book.quantity, 0.0)
        result, fills = fill(book, nav, quantity, price, self._execution.cost_frac)
        stuck = bool((~tradable & (book.quantity != 0.0)).any())
        return result, _Traded(
            fills=fills,
            requests=(wanted & ~(small & ~traded)).sum(axis=1),
            rejects=rejects,
            breach=over & (not stuck),
            held_over=over & stuck,
        )

    def _within_limits(
        self, nav: Floats, exposure: Floats, weights: Floats, traded: Bools, tradable: Bools
    ) -> tuple[Floats, Bools, Floats, Bools, NDArray[np.int64]]:
        """Extend what trades until no limit is exceeded after costs.

        First by every reduction, whatever its size; then, where a name that cannot trade takes the room, by bringing the others
        into what it leaves. Returns weights, what trades, NAV after costs, the policies still over a limit, and the number of entries cut.
        """
        cost_frac = self._execution.cost_frac
        cut = np.zeros(nav.size, dtype=np.int64)
        squeezed = np.zeros(nav.size, dtype=np.bool_)
        while True:
            value = value_after_costs(nav, exposure, weights, traded, cost_frac)
            after = np.where(traded, weights, exposure / value[:, None])
            over = self._over(np.abs(after))
            if not over.any():
                return weights, traded, value, over, cut
            extended = traded | (over[:, None] & tradable & (np.abs(weights) < np.abs(after)))
            if not bool((extended & ~traded).any()):
                rows = np.flatnonzero(over & ~squeezed)
                if rows.size == 0:
                    return weights, traded, value, over, cut
                weights = weights.copy()
                for p in rows.tolist():
                    weights[p], cut[p] = self._squeeze(p, weights[p], after[p], tradable)
                squeezed[rows] = True
                extended = traded | (squeezed[:, None] & tradable & (np.abs(weights) < np.abs(after)))
            traded = extended

    def _squeeze(self, p: int, weights: Floats, after: Floats, tradable: Bools) -> tuple[Floats, int]:
        """Weights (N,) of policy `p` whose tradable names fit beside the others as they stand, and how many entries that cut."""
        fixed = np.where(tradable, 0.0, np.abs(after))
        room = np.maximum(self._group_upper[p] - (fixed * self._groups).sum(axis=1), 0.0)
        groups = np.vstack([self._groups, np.ones_like(fixed)])
        size = project(np.where(tradable, np.abs(weights), 0.0), self._upper[p], groups, np.append(room, max(1.0 - fixed.sum(), 0.0)))
        cut = int((np.abs(weights)[tradable] - size[tradable] > TOLERANCE).sum())
        return np.where(tradable, np.copysign(size, weights), weights), cut

    def _over(self, size: Floats) -> Bools:
        """Policies (P,) whose absolute exposures (P, N) exceed a limit or their capital."""
        group = (size[:, None, :] * self._groups).sum(axis=2)
        over: Bools = (size > self._over_upper).any(axis=1) | (group > self._over_group).any(axis=1) | (across(size) > 1.0 + TOLERANCE)
        return over


class _Record:
    """Collects curves while the replay runs."""

    def __init__(self, policies: int, sessions: int, instruments: int) -> None:
        shape = (policies, sessions)
        self._nav, self._cost, self._traded, self._interest = (np.zeros(shape) for _ in range(4))
        self._exposure = np.zeros((*shape, instruments))
        self._requests = np.zeros(shape, dtype=np.int64)
        self._rejects = np.zeros((*shape, len(Reject)), dtype=np.int64)
        self._breach, self._held_over = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        self._rows: list[tuple[NDArray[np.generic], ...]] = []

    def fills(self, t: int, done: _Traded, price: Floats) -> None:
        policy, instrument = np.nonzero(done.fills.quantity)
        at = (policy, instrument)
        self._cost[:, t] = across(done.fills.cost)
        self._traded[:, t] = across(np.abs(done.fills.quantity) * np.abs(price))
        self._requests[:, t] = done.requests
        self._rejects[:, t] = done.rejects
        self._breach[:, t], self._held_over[:, t] = done.breach, done.held_over
        if policy.size:
            session = np.full(policy.size, t, dtype=np.int64)
            moved = done.fills
            self._rows.append(
                (session, policy, instrument, moved.quantity[at], price[instrument], moved.cost[at], moved.closed[at], moved.realized[at])
            )

    def session(self, t: int, book: Book, price: Floats, interest: Floats) -> None:
        nav = book.nav(price)
        self._nav[:, t], self._interest[:, t] = nav, interest
        self._exposure[:, t] = book.quantity * np.abs(price) / nav[:, None]

    def curves(self) -> Curves:
        empty = (np.zeros(0, dtype=np.int64),) * 3 + (np.zeros(0),) * 5
        columns = [np.concatenate(c) for c in zip(*self._rows, strict=True)] if self._rows else list(empty)
        names = ("session", "policy", "instrument", "quantity", "price", "cost", "closed", "realized")
        return Curves(
            nav=self._nav,
            cost=self._cost,
            traded=self._traded,
            interest=self._interest,
            exposure=self._exposure,
            requests=self._requests,
            rejects=self._rejects,
            breach=self._breach,
            held_over=self._held_over,
            fills=FillTable(**dict(zip(names, columns, strict=True))),
        )
