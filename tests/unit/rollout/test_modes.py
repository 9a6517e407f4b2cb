"""The whole transition matrix, written out."""

from __future__ import annotations

import pytest

from policyengine.records import Mode
from policyengine.rollout.modes import Guard, State, asked, guards_of

C, F, P, S, R = Guard.CONTRACTS, Guard.FRESH, Guard.PERMIT, Guard.SHADOWED, Guard.REPLAYED
CANARY = (C, F, P, S, R)
LIVE = (C, P, Guard.SPANNED, Guard.UNCROSSED, Guard.UNBREACHED, Guard.DRILLED)
NO = None
FREE: tuple[Guard, ...] = ()
MATRIX = {
    #          off                 shadow  canary  live  paused expired killed
    "off":     (FREE,              (C,),   NO,     NO,   NO,    NO,     FREE),
    "shadow":  (FREE,              FREE,   CANARY, NO,   FREE,  FREE,   FREE),
    "canary":  (FREE,              FREE,   FREE,   LIVE, FREE,  FREE,   FREE),
    "live":    (FREE,              FREE,   FREE,   FREE, FREE,  FREE,   FREE),
    "paused":  (FREE,              FREE,   NO,     NO,   FREE,  NO,     FREE),
    "expired": (FREE,              FREE,   NO,     NO,   NO,    FREE,   FREE),
    "killed":  ((Guard.RELEASED,), NO,     NO,     NO,   NO,    NO,     FREE),
}  # fmt: skip
CELLS = [(a, b, needs) for a, row in MATRIX.items() for b, needs in zip(State, row, strict=True)]


@pytest.mark.parametrize(("before", "after", "needs"), CELLS)
def test_a_step_needs_what_the_matrix_says(before: str, after: State, needs: tuple[Guard, ...] | None) -> None:
    assert guards_of(State(before), after) == needs


def test_nothing_acts_but_canary_and_live() -> None:
    assert [state for state in State if state.acts] == [State.CANARY, State.LIVE]
    assert [state for state in State if state.halted] == [State.PAUSED, State.EXPIRED, State.KILLED]


def test_no_way_leads_up_by_two_stages_or_without_evidence() -> None:
    for before in State:
        for after in (State.CANARY, State.LIVE):
            needs = guards_of(before, after)
            if before in (after, State.LIVE):
                continue
            assert needs is None or Guard.PERMIT in needs, (before, after)


def test_each_mode_asks_for_its_own_state() -> None:
    assert [asked(mode).value for mode in Mode] == [mode.value for mode in Mode]
