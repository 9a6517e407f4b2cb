"""What a book holds against the limits, as the shell counts it: hedges apart, shorts never safe, both arms' limits in a canary."""

from __future__ import annotations

from typing import Any

import pytest

from policyengine.allocation.nav import Valuation
from policyengine.rollout.modes import State
from policyengine.tasks.trade_record import _held
from tests.conftest import composed_spec

UNIVERSE = (
    "~universe.cash_rate_symbol",
    "+universe.instruments.PUT={bucket: spec, sleeve: tail_hedge}",
    "+universe.instruments.BOND={bucket: safe}",
)


def held(state: State = State.OFF, *overrides: str, **values: float) -> dict[str, Any]:
    """Of a book with these values, in cash for the rest of a NAV of 100."""
    cash = 100.0 - sum(values.values())
    found = _held(composed_spec(*UNIVERSE, *overrides), state, Valuation(nav=100.0, cash={"USD": cash}, values=values, flags=()))
    return {**found, **{line["bucket"]: line for line in found["buckets"]}}


def test_cash_is_safe_and_all_adds_up() -> None:
    found = held(TBILL=40.0, KO=12.0, AMD=4.0)
    assert found["safe"]["held_frac"] == pytest.approx(0.84)
    assert found["safe"]["headroom_frac"] == pytest.approx(0.09)
    assert found["core"] | {"headroom_frac": round(found["core"]["headroom_frac"], 9)} == {
        "bucket": "core",
        "held_frac": pytest.approx(0.12),
        "net_frac": pytest.approx(0.12),
        "min_frac": None,
        "max_frac": 0.2,
        "headroom_frac": 0.08,
    }
    assert found["risk"] == {"held_frac": pytest.approx(0.16), "max_frac": 0.25, "headroom_frac": pytest.approx(0.09)}
    assert found["cash_frac"] + sum(line["net_frac"] for line in found["buckets"]) == pytest.approx(1.0, abs=1e-12)


def test_a_hedge_counts_against_the_floor_and_not_against_risk_or_its_bucket() -> None:
    found = held(KO=12.0, AMD=4.0, PUT=2.0)
    assert found["safe"]["held_frac"] == pytest.approx(0.82)
    assert found["risk"]["held_frac"] == pytest.approx(0.16)
    assert found["spec"]["held_frac"] == pytest.approx(0.06)
    assert found["spec"]["headroom_frac"] == pytest.approx(0.06)


def test_what_is_sold_short_is_risk_whatever_it_is() -> None:
    found = held(BOND=-10.0, KO=-5.0)
    assert found["safe"]["held_frac"] == pytest.approx(0.85)
    assert found["risk"]["held_frac"] == pytest.approx(0.15)
    assert found["safe"]["net_frac"] == pytest.approx(-0.1)
    assert found["cash_frac"] == pytest.approx(1.15)


def test_a_canary_stays_within_the_limits_of_both_and_nothing_is_held_against_limits_that_are_off() -> None:
    tighter = "+evidence.arms.candidate.limits={buckets: {core: {max_frac: 0.15}, safe: {min_frac: 0.80}}, risk_max_frac: 0.2}"
    sleeves = "+evidence.arms.candidate.sleeves={enabled: false}"
    caps = {state: held(state, tighter, sleeves, KO=12.0) for state in (State.OFF, State.CANARY, State.LIVE, State.PAUSED)}
    assert {s: (f["core"]["max_frac"], f["safe"]["min_frac"], f["risk"]["max_frac"]) for s, f in caps.items()} == {
        State.OFF: (0.2, 0.75, 0.25),
        State.CANARY: (0.15, 0.8, 0.2),
        State.LIVE: (0.15, 0.8, 0.2),
        State.PAUSED: (0.2, 0.75, 0.25),
    }
    off = held(State.OFF, "limits=unlimited", KO=90.0)
    assert off["core"]["max_frac"] is off["core"]["headroom_frac"] is off["safe"]["min_frac"] is off["risk"]["max_frac"] is None
    assert off["safe"]["held_frac"] == pytest.approx(0.1)
