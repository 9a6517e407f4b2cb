"""Modes and states: which follows which, and what each step needs. Nothing here is kept: the state is what the audit log says last.

A step up goes one stage at a time and needs its guards; a step down is always allowed. Time alone never promotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

from policyengine.records import Mode


class State(StrEnum):
    """What the candidate's sizes do. Paused, expired and killed: the account goes on with the baseline's sizes."""

    OFF = "off"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    PAUSED = "paused"
    EXPIRED = "expired"
    KILLED = "killed"

    @property
    def acts(self) -> bool:
        """Whether the candidate's sizes reach an order."""
        return self in (State.CANARY, State.LIVE)

    @property
    def halted(self) -> bool:
        """Whether a stage was left without anybody asking for it."""
        return self in (State.PAUSED, State.EXPIRED, State.KILLED)


class Guard(StrEnum):
    """One condition of a step."""

    CONTRACTS = "contracts"  # configuration and data bind and check
    FRESH = "fresh"  # the last session is not too long ago
    PERMIT = "permit"  # evidence verifies for the stage, with its approvals
    SHADOWED = "shadowed"  # enough sessions, and enough trades in each material bucket, in shadow
    REPLAYED = "replayed"  # what shadow logged is what is decided again, to the bit
    SPANNED = "spanned"  # the evidence contains the canary's span
    UNCROSSED = "uncrossed"  # the mirror bound was not crossed, and every metric of the comparison is there
    UNBREACHED = "unbreached"  # no limit stands exceeded
    DRILLED = "drilled"  # a kill drill within the days configured
    RELEASED = "released"  # the latch is released by a signed reset


UP: Mapping[tuple[State, State], tuple[Guard, ...]] = {
    (State.OFF, State.SHADOW): (Guard.CONTRACTS,),
    (State.SHADOW, State.CANARY): (Guard.CONTRACTS, Guard.FRESH, Guard.PERMIT, Guard.SHADOWED, Guard.REPLAYED),
    (State.CANARY, State.LIVE): (Guard.CONTRACTS, Guard.PERMIT, Guard.SPANNED, Guard.UNCROSSED, Guard.UNBREACHED, Guard.DRILLED),
}
"""Steps that a person asks for and guards may refuse."""

_RANK = {State.OFF: 0, State.SHADOW: 1, State.CANARY: 2, State.LIVE: 3}


def guards_of(before: State, after: State) -> tuple[Guard, ...] | None:
    """What the step needs; empty where it is always allowed, None where there is no such step.

    Down, to a halted state, and staying are always allowed. Out of paused and expired the way up begins in shadow; out of killed
    only a reset leads, to off.
    """
    if before is after or (after is State.KILLED and before is not State.KILLED):
        return ()
    if before is State.KILLED:
        return (Guard.RELEASED,) if after is State.OFF else None
    if before.halted:
        return () if after in (State.OFF, State.SHADOW) else None
    if after.halted:
        return () if before.acts or before is State.SHADOW else None
    return () if _RANK[after] < _RANK[before] else UP.get((before, after))


def asked(mode: Mode) -> State:
    """The state that a mode asks for."""
    match mode:
        case Mode.OFF:
            return State.OFF
        case Mode.SHADOW:
            return State.SHADOW
        case Mode.CANARY:
            return State.CANARY
        case Mode.LIVE:
            return State.LIVE
        case _:
            assert_never(mode)
