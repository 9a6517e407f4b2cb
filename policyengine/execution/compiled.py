"""The replay of one policy as machine code: the session of `session`, with the decision of `cycle`, one number at a time.

`session.session` says what a session is and stays the authority: it trades, makes every artifact, and takes over what is not done
here or does not come out here (`Status`). This is for policies that are many. Both agree but for the order in which numbers are
added up, to about 1e-12 of NAV. The shell is that of `projection`, on instruments that stand together by the groups that hold them.

One file, because Numba notices that its compiled copy is out of date by the file of the function that was called, and by no other.
Nothing here asks for reordered sums: the same policy has the same bits on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from policyengine.allocation.feasibility import FEASIBLE
from policyengine.allocation.projection_row import SHARP
from policyengine.allocation.scaler import LEAST_VOL, ROUNDING
from policyengine.allocation.shell import NO_CASH
from policyengine.allocation.sleeves import SLEEVES
from policyengine.execution.arrays import COUNT, Book, Bools, Floats, Ints, Kept, Policy, Shell, Stage, Terms
from policyengine.execution.session import DAYS_PER_YEAR
from policyengine.records import TOLERANCE, Sleeve

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Without counts of references: every array is the caller's for as long as the call, nothing here makes one, and counting costs more
than the work on a few names does."""
compiled = cast("Callable[[Function], Function]", njit(**OPTIONS))
cached = cast("Callable[[Function], Function]", njit(cache=True, **OPTIONS))
inlined = cast("Callable[[Function], Function]", njit(forceinline=True, **OPTIONS))
"""For what is called in every session: a call copies each array's shape, some hundred words."""

HEDGE = SLEEVES.index(Sleeve.TAIL_HEDGE)
FITS, STEPS, ROUNDS, SWEEPS = 64, 6, 8, 400
EPSILON = float(np.finfo(np.float64).eps)
LEAST_PIVOT = 1e-9
"""Relative pivot below which two groups count as dependent, as in `projection`."""


class Status(IntEnum):
    """How a replay ended. What is `UNSETTLED` here is for the reference: it settles it, or says what is wrong."""

    DONE = 0
    RUINED = 1
    UNSETTLED = 2


@cached
def replay_one(stage: Stage, terms: Terms, policy: Policy, book: Book, shell: Shell, kept: Kept) -> tuple[int, int, int]:
    """Replay one policy into `kept`; returns status, breaches and sessions held over."""
    cash, nav, breaches, held_over = terms.capital, terms.capital, 0, 0
    for t in range(stage.rate.size):
        price = stage.price[t]
        cash += _interest(cash, book.quantity, price, stage.rate[t], stage.elapsed[t], terms)
        if policy.scaled and t > 1:
            _measure(stage, terms, policy, book, t, nav)
        nav = cash + _dot(book.quantity, price)
        if t > 0:
            if not nav > 0.0:
                return (Status.RUINED if nav <= 0.0 else Status.UNSETTLED), breaches, held_over
            value, over, requests, rejects = _plan(stage, terms, policy, book, shell, t, nav)
            if not value > 0.0:
                return Status.UNSETTLED, breaches, held_over
            stuck = _is_stuck(stage.tradable[t], book.quantity)
            breaches += over and not stuck
            held_over += over and stuck
            kept.requests[t], kept.rejects[t] = requests, rejects
            cash -= _fill(stage, terms, book, t, value, kept)
            expected = nav - kept.cost[t]
            nav = cash + _dot(book.quantity, price)
            if not abs(nav - expected) <= TOLERANCE * max(1.0, abs(expected)):
                return Status.UNSETTLED, breaches, held_over
            _keep(stage, book, t, nav, kept)
            _copy(book.fracs, book.held)
        kept.nav[t] = nav
        if not _decide(stage, terms, policy, book, shell, t):
            return Status.UNSETTLED, breaches, held_over
    return Status.DONE, breaches, held_over


@inlined
def _dot(a: Floats, b: Floats) -> float:
    """Sum of products in four lanes, and then of the lanes: always in this order."""
    p = q = r = s = 0.0
    whole = a.size - (a.size & 3)
    for i in range(0, whole, 4):
        p += a[i] * b[i]
        q += a[i + 1] * b[i + 1]
        r += a[i + 2] * b[i + 2]
        s += a[i + 3] * b[i + 3]
    for i in range(whole, a.size):
        p += a[i] * b[i]
    return (p + q) + (r + s)


@inlined
def _copy(source: Floats, target: Floats) -> None:
    """Not by slices, which take seconds to compile."""
    for i in range(target.size):
        target[i] = source[i]


@inlined
def _total(a: Floats) -> float:
    """Sum, in the order of `_dot`."""
    p = q = r = s = 0.0
    whole = a.size - (a.size & 3)
    for i in range(0, whole, 4):
        p += a[i]
        q += a[i + 1]
        r += a[i + 2]
        s += a[i + 3]
    for i in range(whole, a.size):
        p += a[i]
    return (p + q) + (r + s)


@inlined
def _absolute(a: Floats) -> float:
    """Sum of absolute values, in the order of `_dot`."""
    p = q = r = s = 0.0
    whole = a.size - (a.size & 3)
    for i in range(0, whole, 4):
        p += abs(a[i])
        q += abs(a[i + 1])
        r += abs(a[i + 2])
        s += abs(a[i + 3])
    for i in range(whole, a.size):
        p += abs(a[i])
    return (p + q) + (r + s)


@inlined
def _interest(cash: float, quantity: Floats, price: Floats, rate: float, elapsed: float, terms: Terms) -> float:
    """`session.interest_on`."""
    spread, fee = terms.financing * elapsed / DAYS_PER_YEAR, terms.borrow * elapsed / DAYS_PER_YEAR
    shorts = 0
    for i in range(quantity.size):
        shorts += quantity[i] < 0.0
    short = 0.0
    if shorts > 0:
        for i in range(quantity.size):
            short += max(-quantity[i], 0.0) * abs(price[i])
    interest: float = cash * (rate + spread if cash < 0.0 else rate) - fee * short
    return interest


@inlined
def _is_stuck(tradable: Bools, quantity: Floats) -> bool:
    """Whether something is held that cannot trade."""
    stuck = 0
    for i in range(quantity.size):
        stuck += (not tradable[i]) & (quantity[i] != 0.0)
    return stuck > 0


@compiled
def _measure(stage: Stage, terms: Terms, policy: Policy, book: Book, t: int, nav: float) -> None:
    """`session._risk` and `scaler.updated`: what the sleeves made over this session, `nav` being that of the session before."""
    pnl, funded = book.pnl, book.funded
    for s in range(COUNT):
        pnl[s] = funded[s] = 0.0
    for i in range(book.quantity.size):
        sleeve, quantity = stage.charged[t - 2, i], book.quantity[i]
        pnl[sleeve] += quantity * (stage.price[t, i] - stage.price[t - 1, i]) - terms.cost_frac * abs(book.notional[i])
        funded[sleeve] += abs(quantity)
    for s in range(COUNT):
        budget = book.held[s] * nav
        if funded[s] > 0.0 and budget > TOLERANCE:
            earned = pnl[s] / budget
            book.risk[1, s] += 1.0
            gain = (1.0 - policy.decay) / (1.0 - policy.decay ** book.risk[1, s])
            book.risk[0, s] += gain * (earned * earned - book.risk[0, s])
            book.risk[2, s] = max(book.risk[2, s] * (1.0 + earned), 0.0)
            book.risk[3, s] = max(book.risk[3, s], book.risk[2, s])


@compiled
def _factor(policy: Policy, risk: Floats, s: int, periods_per_year: float) -> float:
    """`scaler.risk_factors` of one sleeve."""
    if not policy.listed[s]:
        return 1.0
    lost = 1.0 - risk[2, s] / risk[3, s]
    known = risk[1, s] >= policy.min_sessions and risk[0, s] > 0.0
    if not known or not 0.0 <= lost < policy.max_drawdown[s]:
        return policy.min_scale
    room = (1.0 - lost / policy.max_drawdown[s]) / (1.0 - lost)
    measured = max(np.sqrt(risk[0, s] * periods_per_year), LEAST_VOL)
    factor = (policy.target_vol[s] / measured) ** policy.vol_sensitivity * room**policy.dd_sensitivity
    within: float = min(max(factor, policy.min_scale), policy.max_scale)
    return within


@compiled
def _budget(policy: Policy, book: Book, periods_per_year: float) -> None:
    """`scaler.effective_fracs` of this session, into `book.fracs`."""
    total = 0.0
    for s in range(COUNT):
        factor = _factor(policy, book.risk, s, periods_per_year) if policy.scaled else 1.0
        book.fracs[s] = min(max(policy.base[s] * factor, policy.least[s]), policy.most[s])
        total += book.fracs[s]
    if total <= policy.gross + ROUNDING:
        return
    hedge, above = min(book.fracs[HEDGE], policy.room), 0.0
    for s in range(COUNT):
        above += book.fracs[s] - policy.least[s] if s != HEDGE else 0.0
    share = (policy.room - hedge) / above if above > ROUNDING else 0.0
    for s in range(COUNT):
        book.fracs[s] = min(policy.least[s] + (book.fracs[s] - policy.least[s]) * share, book.fracs[s])
    book.fracs[HEDGE] = hedge


@inlined
def _decide(stage: Stage, terms: Terms, policy: Policy, book: Book, shell: Shell, t: int) -> bool:
    """`Cycle.decide` into `book.weights` and `book.fracs`; False where a weight is no number or the shell did not settle."""
    if policy.scaled or t == 0:
        _budget(policy, book, terms.periods_per_year)
    weights, size = book.weights, book.size
    share, signal, sleeve = stage.share[t], stage.signal[t], stage.sleeve[t]
    for i in range(weights.size):
        weights[i] = share[i] * policy.retained[signal[i]] * book.fracs[sleeve[i]]
    if not _absolute(weights) < np.inf:
        return False
    if not policy.limited:
        return True
    for i in range(weights.size):
        size[i] = abs(weights[i])
    groups = policy.caps.size
    for k in range(groups):
        shell.cap[k] = policy.caps[k]
    if not _project(size, policy.upper, policy.euclidean, groups, stage, shell, book.within, book.boxed):
        return False
    for i in range(weights.size):
        weights[i] = np.copysign(size[i], weights[i])
    for i in policy.swept:
        _sweep_cash(i, weights, size, stage, policy, shell)
    return True


@compiled
def _sweep_cash(i: int, weights: Floats, size: Floats, stage: Stage, policy: Policy, shell: Shell) -> None:
    """`shell.sweep_idle_cash` for one member; `size` are the absolute `weights`."""
    gross, own = _class_totals(size, stage, shell), 0
    while stage.starts[own + 1] <= i:
        own += 1
    add = min(policy.upper[i] - size[i], 1.0 - gross)
    for g in range(policy.caps.size):
        if stage.member[g, own]:
            add = min(add, policy.caps[g] - _held(g, stage, shell))
    if add > NO_CASH and weights[i] >= 0.0:
        weights[i] += add
        size[i] = weights[i]


@inlined
def _plan(stage: Stage, terms: Terms, policy: Policy, book: Book, shell: Shell, t: int, nav: float) -> tuple[float, bool, int, int]:
    """`OrderSizer.size` but for the orders themselves: what trades, into `book.trades`, to which weights.

    Returns NAV after costs, whether a limit stays exceeded, requests, and guardrail rejects; 0 for NAV where it did not settle.
    """
    wanted, stale = _wanted(stage.price[t], stage.tradable[t], terms.min_trade_frac, book, 1.0 / nav)
    squeezed, cuts = False, 0
    while True:
        value = _value_after_costs(book, nav, terms.cost_frac)
        over = _exceeds(stage, policy, book, shell, 1.0 / value)
        if not over:
            break
        if _extended(stage.tradable[t], book, 1.0 / value) == 0:
            if squeezed:
                break
            squeezed = True
            cuts = _squeeze(stage, policy, book, shell, t)
            if cuts < 0:
                return 0.0, over, 0, 0
    waiting = 0
    for i in range(book.small.size):
        waiting += (book.small[i] != 0) & (book.trades[i] == 0)
    return value, over, wanted - waiting, stale + cuts


@inlined
def _wanted(price: Floats, tradable: Bools, least: float, book: Book, inverse: float) -> tuple[int, int]:
    """Changes that are wanted, and those of them that cannot trade; what does is `book.trades`, what is too small `book.small`."""
    wanted_count = stale = 0
    for i in range(price.size):
        book.exposure[i] = book.quantity[i] * abs(price[i])
        change = abs(book.weights[i] - book.exposure[i] * inverse)
        wanted = change > TOLERANCE
        closing = (book.weights[i] == 0.0) & (book.quantity[i] != 0.0)
        small = wanted & (change < least) & (not closing)
        book.small[i] = small
        book.trades[i] = wanted & (not small) & tradable[i]
        wanted_count += wanted
        stale += wanted & (not small) & (not tradable[i])
    return wanted_count, stale


@inlined
def _value_after_costs(book: Book, nav: float, cost_frac: float) -> float:
    """`orders.value_after_costs`."""
    _turned(book, nav)
    value = nav
    for _ in range(4):
        value = (nav + cost_frac * _dot(book.side, book.exposure)) / (1.0 + cost_frac * _dot(book.side, book.weights))
        if _turned(book, value) == 0:
            break
    return value


@inlined
def _turned(book: Book, value: float) -> int:
    """Sides of what trades at a NAV of `value`, into `book.side`; how many were others before."""
    turned = 0
    for i in range(book.side.size):
        gap = book.weights[i] * value - book.exposure[i]
        side = (1.0 if gap > 0.0 else (-1.0 if gap < 0.0 else 0.0)) if book.trades[i] != 0 else 0.0
        turned += side != book.side[i]
        book.side[i] = side
    return turned


@inlined
def _exceeds(stage: Stage, policy: Policy, book: Book, shell: Shell, inverse: float) -> bool:
    """`OrderSizer._over`: whether holdings exceed a limit or the capital; by more than the band, where nothing trades."""
    for i in range(book.size.size):
        book.size[i] = abs(book.weights[i]) if book.trades[i] != 0 else abs(book.exposure[i] * inverse)
    if not policy.limited:
        return _total(book.size) > 1.0 + TOLERANCE
    if _class_totals(book.size, stage, shell) > 1.0 + TOLERANCE:
        return True
    traded = over = 0
    for i in range(book.trades.size):
        traded += book.trades[i]
    band = TOLERANCE if traded > 0 else TOLERANCE + policy.band
    for i in range(book.size.size):
        over += book.size[i] > policy.upper[i] + band
    for g in range(policy.caps.size):
        over += _held(g, stage, shell) > policy.caps[g] + band
    return over > 0


@inlined
def _class_totals(size: Floats, stage: Stage, shell: Shell) -> float:
    """What each class holds, into `shell.total`, and all of them together."""
    gross = 0.0
    for k in range(shell.total.size):
        shell.total[k] = _total(size[stage.starts[k] : stage.starts[k + 1]])
        gross += shell.total[k]
    return gross


@inlined
def _held(g: int, stage: Stage, shell: Shell) -> float:
    """What the classes of group `g` hold together."""
    held = 0.0
    for k in range(shell.total.size):
        held += shell.total[k] if stage.member[g, k] else 0.0
    return held


@compiled
def _extended(tradable: Bools, book: Book, inverse: float) -> int:
    """Add every reduction to what trades; returns how many were added."""
    added = 0
    for i in range(book.trades.size):
        more = (book.trades[i] == 0) & tradable[i] & (abs(book.weights[i]) < abs(book.exposure[i] * inverse))
        added += more
        book.trades[i] = book.trades[i] | more
    return added


@compiled
def _squeeze(stage: Stage, policy: Policy, book: Book, shell: Shell, t: int) -> int:
    """`OrderSizer._squeeze`; returns how many names it cut, -1 where the shell did not settle. `book.size` is what would be held."""
    tradable, groups = stage.tradable[t], policy.caps.size
    for i in range(tradable.size):
        book.side[i] = book.size[i]
        book.size[i] = 0.0 if tradable[i] else book.size[i]
    _class_totals(book.size, stage, shell)
    for g in range(groups + 1):
        shell.cap[g] = max((policy.caps[g] if g < groups else 1.0) - _held(g, stage, shell), 0.0)
    for i in range(tradable.size):
        book.size[i] = abs(book.weights[i]) if tradable[i] else 0.0
    if not _project(book.size, policy.upper, policy.euclidean, groups + 1, stage, shell, book.within, book.boxed):
        return -1
    cuts = 0
    for i in range(tradable.size):
        if tradable[i]:
            cuts += abs(book.weights[i]) - book.size[i] > TOLERANCE
            book.weights[i] = np.copysign(book.size[i], book.weights[i])
            book.trades[i] = book.trades[i] or abs(book.weights[i]) < book.side[i]
    return cuts


@inlined
def _fill(stage: Stage, terms: Terms, book: Book, t: int, value: float, kept: Kept) -> float:
    """`ledger.fill` of what `book.trades` says; returns what it takes from cash. One pass, for each costs as much as its sums."""
    price = stage.price[t]
    for i in range(price.size):
        before, unit = book.quantity[i], abs(price[i])
        fee = terms.cost_frac * unit
        ordered = book.weights[i] * value / unit - before if book.trades[i] != 0 else 0.0
        size, held = abs(ordered), abs(before)
        closed = (size if size < held else held) if before * ordered < 0.0 else 0.0  # noqa: FURB136 - min is not made for four at once
        opened, left, after = size - closed, held - closed, before + ordered
        gain = (price[i] - book.basis[i]) * (1.0 if before > 0.0 else -1.0)
        entry = price[i] + (fee if ordered > 0.0 else -fee)
        blended = (left * book.basis[i] + opened * entry) / (left + opened if opened > 0.0 else 1.0)
        pnl = closed * (gain - fee)
        book.notional[i] = ordered * price[i]
        # Half of |x| + x is x or 0, exactly, and has no branch.
        book.profit[i] = 0.5 * (abs(pnl) + pnl)
        book.loss[i] = 0.5 * (abs(pnl) - pnl)
        book.closing[i] = closed > 0.0
        book.exposure[i] = abs(after * price[i])
        book.basis[i] = blended if opened > 0.0 else (0.0 if after == 0.0 else book.basis[i])
        book.quantity[i] = after
    kept.traded[t] = _absolute(book.notional)
    kept.cost[t] = terms.cost_frac * kept.traded[t]
    taken: float = _total(book.notional) + kept.cost[t]
    return taken


@inlined
def _keep(stage: Stage, book: Book, t: int, nav: float, kept: Kept) -> None:
    """What each group holds and closed."""
    for g in range(stage.group.size - 1):
        own = slice(stage.group[g], stage.group[g + 1])
        kept.exposure[t, g] = _total(book.exposure[own]) / nav
        closed, won, lost = _closings(book.closing[own], book.profit[own], book.loss[own])
        if closed > 0:
            kept.closed[t, g], kept.won[t, g], kept.lost[t, g] = closed, won, lost
            kept.profit[t, g] = _total(book.profit[own])
            kept.loss[t, g] = _total(book.loss[own])


@inlined
def _closings(closing: Ints, profit: Floats, loss: Floats) -> tuple[int, int, int]:
    """How many closed, won and lost."""
    closed = won = lost = 0
    for i in range(closing.size):
        closed += closing[i]
        won += profit[i] > 0.0
        lost += loss[i] > 0.0
    return closed, won, lost


@compiled
def _project(size: Floats, upper: Floats, euclidean: bool, groups: int, stage: Stage, shell: Shell, within: Floats, boxed: Floats) -> bool:
    """`shell.project` of `size` onto the caps `shell.cap` of the first `groups` groups, in place; False where it did not settle.

    The multipliers of the groups that the boxed request passes are fitted in turn, and then together by Newton's method.
    """
    starts, member = stage.starts, stage.member
    for k in range(shell.total.size):
        closed = False
        for g in range(groups):
            closed |= member[g, k] and shell.cap[g] == 0.0
        for i in range(starts[k], starts[k + 1]):
            within[i] = 0.0 if closed else upper[i]
            size[i] = 0.0 if closed else size[i]
            boxed[i] = min(size[i], within[i])
        shell.total[k] = _total(boxed[starts[k] : starts[k + 1]])
    count = _passed(groups, stage, shell)
    if count == 0:
        _copy(boxed, size)
        return True
    for j in range(count):
        shell.mu[j] = 0.0
    settled = False
    for k in range(ROUNDS + SWEEPS):
        _sweep(size, within, euclidean, count, stage, shell, k % 2 == 1)
        settled = _evaluate(size, within, euclidean, count, stage, shell) or (
            k < ROUNDS and _newton(size, within, euclidean, count, stage, shell)
        )
        if settled:
            break
    for k in range(shell.total.size):
        s = shell.taken[k]
        for i in range(starts[k], starts[k + 1]):
            z = size[i] - s if euclidean else size[i] * (1.0 - s)
            size[i] = min(max(z, 0.0), within[i])
    return settled


@compiled
def _passed(groups: int, stage: Stage, shell: Shell) -> int:
    """The groups that class sums `shell.total` pass, the tightest first, into `shell.over`; returns how many."""
    count = 0
    for g in range(groups):
        total = _held(g, stage, shell)
        if shell.cap[g] > 0.0 and total > shell.cap[g] * (1.0 + FEASIBLE):
            shell.room[g] = shell.cap[g] / total
            j = count
            while j > 0 and shell.room[shell.over[j - 1]] > shell.room[g]:
                shell.over[j] = shell.over[j - 1]
                j -= 1
            shell.over[j] = g
            count += 1
    return count


@compiled
def _taken(count: int, stage: Stage, shell: Shell) -> None:
    for k in range(shell.taken.size):
        shell.taken[k] = 0.0
        for j in range(count):
            if stage.member[shell.over[j], k]:
                shell.taken[k] += shell.mu[j]


@compiled
def _class_sum(size: Floats, within: Floats, euclidean: bool, s: float) -> tuple[float, float]:
    """Sum of what a class holds where `s` is taken off, and how fast it falls."""
    total = rate = 0.0
    for i in range(size.size):
        z = size[i] - s if euclidean else size[i] * (1.0 - s)
        if z >= within[i]:
            total += within[i]
        elif z > 0.0:
            total += z
            rate += 1.0 if euclidean else size[i]
    return total, rate


@compiled
def _evaluate(size: Floats, within: Floats, euclidean: bool, count: int, stage: Stage, shell: Shell) -> bool:
    """Excess of each group at `shell.mu`, and whether every one is met: at its cap, or below it without a multiplier."""
    _taken(count, stage, shell)
    for k in range(shell.total.size):
        own = slice(stage.starts[k], stage.starts[k + 1])
        shell.total[k], shell.rate[k] = _class_sum(size[own], within[own], euclidean, shell.taken[k])
    met = True
    for j in range(count):
        g, total, rate = shell.over[j], 0.0, 0.0
        for k in range(shell.total.size):
            if stage.member[g, k]:
                total += shell.total[k]
                rate += shell.rate[k]
        shell.excess[j] = total - shell.cap[g]
        slack = SHARP * shell.cap[g] + 2.0 * EPSILON * rate
        met &= shell.excess[j] <= slack and (shell.mu[j] <= 0.0 or shell.excess[j] >= -slack)
    return met


@compiled
def _sweep(size: Floats, within: Floats, euclidean: bool, count: int, stage: Stage, shell: Shell, backwards: bool) -> None:
    """Fit each multiplier with the others held."""
    _taken(count, stage, shell)
    for at in range(count):
        j = count - 1 - at if backwards else at
        g, own = shell.over[j], shell.mu[j]
        for k in range(shell.taken.size):
            if stage.member[g, k]:
                shell.taken[k] -= own
        shell.mu[j] = _fit(g, size, within, euclidean, stage, shell)
        for k in range(shell.taken.size):
            if stage.member[g, k]:
                shell.taken[k] += shell.mu[j]


@compiled
def _fit(g: int, size: Floats, within: Floats, euclidean: bool, stage: Stage, shell: Shell) -> float:
    """The multiplier of group `g` at which its sum meets its cap, 0 where it does without: Newton's method, kept inside a bracket."""
    cap, left, right, t = shell.cap[g], 0.0, _highest(g, size, euclidean, stage, shell), 0.0
    for n in range(FITS):
        total, rate = _group_sum(g, size, within, euclidean, stage, shell, t)
        gap = total - cap
        if (n == 0 and gap <= SHARP * cap) or abs(gap) * 4.0 <= SHARP * cap:
            return t
        if gap > 0.0:
            left = t
        else:
            right = t
        t = t + gap / rate if rate > 0.0 else right
        if not left < t < right:
            t = (left + right) / 2.0
    return t


@compiled
def _highest(g: int, size: Floats, euclidean: bool, stage: Stage, shell: Shell) -> float:
    """The multiplier at which group `g` holds nothing."""
    most = 0.0
    for k in range(shell.taken.size):
        if stage.member[g, k]:
            for i in range(stage.starts[k], stage.starts[k + 1]):
                most = max(most, (size[i] if euclidean else 1.0) - shell.taken[k]) if size[i] > 0.0 else most
    return most


@compiled
def _group_sum(g: int, size: Floats, within: Floats, euclidean: bool, stage: Stage, shell: Shell, t: float) -> tuple[float, float]:
    """What group `g` holds where `t` is taken off besides the others, and how fast it falls."""
    total = rate = 0.0
    for k in range(shell.taken.size):
        if stage.member[g, k]:
            own = slice(stage.starts[k], stage.starts[k + 1])
            one, falls = _class_sum(size[own], within[own], euclidean, shell.taken[k] + t)
            total += one
            rate += falls
    return total, rate


@compiled
def _newton(size: Floats, within: Floats, euclidean: bool, count: int, stage: Stage, shell: Shell) -> bool:
    """Newton steps on the multipliers together from an evaluated point; True once it is met. The best point stays in `shell.mu`."""
    mu, before, best = shell.mu, shell.before, shell.best
    _copy(mu, best)
    for _ in range(STEPS):
        _copy(mu, before)
        rise = _step(count, stage, shell)
        if _evaluate(size, within, euclidean, count, stage, shell):
            return True
        fall = _slope(count, shell)
        if fall < 0.0 < rise:
            part = max(rise / (rise - fall), 0.25)
            for j in range(count):
                mu[j] = before[j] + part * (mu[j] - before[j])
            if _evaluate(size, within, euclidean, count, stage, shell):
                return True
            fall = _slope(count, shell)
        # Concave along the step and still rising at its end: the end is higher than the start.
        if fall >= 0.0:
            _copy(mu, best)
    _copy(best, mu)
    return False


@compiled
def _slope(count: int, shell: Shell) -> float:
    """Slope of the dual at `shell.mu` along the step from `shell.before`."""
    slope = 0.0
    for j in range(count):
        slope += shell.excess[j] * (shell.mu[j] - shell.before[j])
    return slope


@compiled
def _step(count: int, stage: Stage, shell: Shell) -> float:
    """Put `shell.mu` at the top of the quadratic piece; multipliers that turn negative are dropped, and it is solved again.

    Returns the slope of the dual at the start, along the step.
    """
    mu, step, playing = shell.mu, shell.step, shell.playing
    for j in range(count):
        playing[j] = mu[j] > 0.0 or shell.excess[j] > SHARP * shell.cap[shell.over[j]]
    dropped = True
    while dropped:
        _system(count, stage, shell)
        _eliminate(count, shell.hessian, step, shell.room)
        dropped = False
        for j in range(count):
            if playing[j] and mu[j] + step[j] < 0.0:
                playing[j] = False
                dropped = True
    rise = 0.0
    for j in range(count):
        after = mu[j] + step[j] if playing[j] else 0.0
        rise += shell.excess[j] * (after - mu[j])
        mu[j] = after
    return rise


@compiled
def _system(count: int, stage: Stage, shell: Shell) -> None:
    """Second order and right side for the multipliers in play, those of the others taken to 0; 0 in rows out of play."""
    for j in range(count):
        shell.step[j] = shell.excess[j] if shell.playing[j] else 0.0
        for c in range(count):
            shared = 0.0
            for k in range(shell.rate.size):
                shared += shell.rate[k] if stage.member[shell.over[j], k] and stage.member[shell.over[c], k] else 0.0
            shell.hessian[j, c] = shared if shell.playing[j] and shell.playing[c] else 0.0
            shell.step[j] += shared * shell.mu[c] if shell.playing[j] and not shell.playing[c] else 0.0
        shell.room[j] = shell.hessian[j, j]


@compiled
def _eliminate(count: int, h: Floats, b: Floats, diagonal: Floats) -> None:
    """Solve h x = b into b; a row that depends on those before it is left out. Overwrites both; `diagonal` is that of h."""
    for j in range(count):
        if h[j, j] <= LEAST_PIVOT * diagonal[j]:
            b[j] = h[j, j] = 0.0
            continue
        for k in range(j + 1, count):
            factor = h[k, j] / h[j, j]
            b[k] -= factor * b[j]
            for c in range(j, count):
                h[k, c] -= factor * h[j, c]
    for j in range(count - 1, -1, -1):
        for c in range(j + 1, count):
            b[j] -= h[j, c] * b[c] if h[j, j] > 0.0 else 0.0
        b[j] = b[j] / h[j, j] if h[j, j] > 0.0 else 0.0
