"""What `compiled` reads and writes, as tuples of arrays: T sessions, N instruments, K classes of them, M groups of limits, S sleeves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.sleeves import SLEEVES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
COUNT = len(SLEEVES)


class Stage(NamedTuple):
    """What all policies share: T sessions, N instruments in the order of their groups and classes, K classes, M groups and that of all."""

    price: Floats
    """(T, N), 0 where there is none."""
    tradable: Bools
    """(T, N)."""
    rate: Floats
    elapsed: Floats
    """(T,) return of cash, calendar days."""
    share: Floats
    """(T, N) signed share of its budget that the signal in force asks for at base confidence; 0 for none."""
    signal: NDArray[np.int32]
    """(T, N) its row; any row where there is none."""
    sleeve: NDArray[np.int8]
    charged: NDArray[np.int8]
    """(T, N) sleeve of the signal in force, and of the last one."""
    starts: Ints
    """(K + 1,) where each class begins: instruments under the same limits that count alike."""
    member: Bools
    """(M + 1, K)."""
    group: Ints
    """(G + 1,) where each group begins in which exposure and trades are counted."""


class Terms(NamedTuple):
    """Numbers of the execution, and of the calendar."""

    cost_frac: float
    min_trade_frac: float
    financing: float
    borrow: float
    """A year."""
    periods_per_year: float
    capital: float


class Policy(NamedTuple):
    """One policy: effective over base confidence of each signal (S,), its limits, its budgets and its scaler by sleeve."""

    retained: Floats
    limited: bool
    upper: Floats
    caps: Floats
    band: float
    euclidean: bool
    swept: Ints
    base: Floats
    least: Floats
    most: Floats
    gross: float
    room: float
    scaled: bool
    listed: Bools
    target_vol: Floats
    max_drawdown: Floats
    vol_sensitivity: float
    dd_sensitivity: float
    min_scale: float
    max_scale: float
    decay: float
    min_sessions: int


class Kept(NamedTuple):
    """What is written: the arrays of `outcome.Outcome`, all 0 before."""

    nav: Floats
    cost: Floats
    traded: Floats
    requests: Ints
    rejects: Ints
    exposure: Floats
    closed: Ints
    won: Ints
    lost: Ints
    profit: Floats
    loss: Floats


class Book(NamedTuple):
    """What is held, decided and worked out between, (N,) each, and what was measured of the sleeves."""

    quantity: Floats
    basis: Floats
    weights: Floats
    exposure: Floats
    size: Floats
    side: Floats
    notional: Floats
    """Signed, of the last session's fills."""
    profit: Floats
    loss: Floats
    """Of what was closed; 0 where nothing was."""
    within: Floats
    boxed: Floats
    """What the shell lets each instrument hold, and what it asked for within that."""
    trades: Ints
    small: Ints
    closing: Ints
    """1 or 0: as wide as the numbers beside them, so that they are worked on alike."""
    fracs: Floats
    held: Floats
    """(S,) budgets of the decision, and of what is held."""
    pnl: Floats
    funded: Floats
    """(S,) what each made in a session, and the size of what it held."""
    risk: Floats
    """(4, S) variance, funded sessions, index, peak."""


class Shell(NamedTuple):
    """Scratch of the projection: by class (K,) sums, rates and multipliers; by group (M + 1,) the rest."""

    total: Floats
    rate: Floats
    taken: Floats
    cap: Floats
    over: Ints
    mu: Floats
    excess: Floats
    before: Floats
    best: Floats
    hessian: Floats
    step: Floats
    playing: Bools
    room: Floats


def book_of(instruments: int) -> Book:
    """An empty book, and nothing measured yet."""
    risk = np.repeat([[0.0], [0.0], [1.0], [1.0]], COUNT, axis=1)
    numbers = (np.zeros(instruments) for _ in range(11))
    flags = (np.zeros(instruments, dtype=np.int64) for _ in range(3))
    return Book(*numbers, *flags, *(np.zeros(COUNT) for _ in range(4)), risk)  # type: ignore[call-arg, arg-type]


def shell_of(classes: int, groups: int) -> Shell:
    """Scratch for so many classes and groups."""
    k, m = [np.zeros(classes) for _ in range(3)], [np.zeros(groups) for _ in range(7)]
    over, playing = np.zeros(groups, dtype=np.int64), np.zeros(groups, dtype=np.bool_)
    return Shell(k[0], k[1], k[2], m[0], over, m[1], m[2], m[3], m[4], np.zeros((groups, groups)), m[5], playing, m[6])


def kept_of(sessions: int, groups: int) -> Kept:
    """All 0."""

    def money(*shape: int) -> Floats:
        return np.zeros(shape)

    def counts(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return Kept(
        nav=money(sessions),
        cost=money(sessions),
        traded=money(sessions),
        requests=counts(sessions),
        rejects=counts(sessions),
        exposure=money(sessions, groups),
        closed=counts(sessions, groups),
        won=counts(sessions, groups),
        lost=counts(sessions, groups),
        profit=money(sessions, groups),
        loss=money(sessions, groups),
    )
