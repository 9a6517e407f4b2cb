from __future__ import annotations

import numpy as np
import pytest

from policyengine.allocation.cycle import Cycle, grid
from policyengine.execution.replay import replay
from policyengine.records import Arm
from policyengine.rollout.acting import Acting, in_slice
from policyengine.rollout.modes import State
from policyengine.signals.stream import engine_stream
from policyengine.spec.rollout import SliceSpec
from tests.conftest import composed_spec
from tests.property.test_replay import SYMBOLS, market

PANEL = market(5, 400)
SPEC = composed_spec()


def cycle_of(*arms: Arm) -> Cycle:
    stream = engine_stream(SPEC.signals, PANEL)
    policies = [SPEC.arm(arm) for arm in arms]
    return Cycle(policies, stream, grid(stream, SPEC.universe), SPEC.universe, allow_short=False, periods_per_year=252)


def acting(state: State, **changes: float) -> Acting:
    slice_ = SliceSpec(**{"capital_frac": 0.1, "universe_frac": 1.0, "salt": "x", **changes})  # type: ignore[arg-type]
    made = Acting(cycle_of(*Arm), SYMBOLS, slice_)
    made.become(state)
    return made


@pytest.mark.parametrize("state", [State.OFF, State.SHADOW, State.PAUSED, State.EXPIRED, State.KILLED])
def test_where_the_candidate_does_not_act_the_baseline_does_to_the_bit(state: State) -> None:
    alone, made = cycle_of(Arm.BASELINE), acting(state)
    for t in range(0, 400, 3):
        assert made.decide(t).weights.tobytes() == alone.decide(t).weights.tobytes()
    assert made.limits[0].upper.tobytes() == alone.limits[0].upper.tobytes()


def test_live_is_the_candidate_to_the_bit() -> None:
    alone, made = cycle_of(Arm.CANDIDATE), acting(State.LIVE)
    for t in range(0, 400, 3):
        assert made.decide(t).weights.tobytes() == alone.decide(t).weights.tobytes()


def test_a_canary_goes_its_share_of_the_way_on_its_slice_and_nowhere_else() -> None:
    made = acting(State.CANARY, capital_frac=0.25, universe_frac=0.5)
    members = np.array([in_slice(s, SliceSpec(capital_frac=0.25, universe_frac=0.5, salt="x")) for s in SYMBOLS])
    assert 0 < members.sum() < len(SYMBOLS)
    moved = 0
    for t in range(400):
        pair, weights = made.pair(t, None), made.decide(t).weights[0]
        np.testing.assert_allclose(weights[members], (0.75 * pair.baseline + 0.25 * pair.candidate)[members], atol=1e-12)
        assert weights[~members].tobytes() == pair.baseline[~members].tobytes()
        moved += bool((pair.baseline != pair.candidate)[members].any())
    assert moved > 50


def test_the_draw_is_the_same_every_time_and_about_as_large_as_asked() -> None:
    spec = SliceSpec(capital_frac=1.0, universe_frac=0.3, salt="rollout-1")
    names = [f"S{i}" for i in range(5_000)]
    drawn = [name for name in names if in_slice(name, spec)]
    assert len(drawn) / 5_000 == pytest.approx(0.3, abs=0.03)
    assert drawn == [name for name in names if in_slice(name, spec)]
    other = SliceSpec(capital_frac=1.0, universe_frac=0.3, salt="rollout-2")
    assert drawn != [name for name in names if in_slice(name, other)]
    assert all(in_slice(name, SliceSpec(capital_frac=1.0, universe_frac=1.0, salt="")) for name in names)


def test_shadow_trades_what_off_trades_over_ten_thousand_decisions() -> None:
    """The same orders, fills and NAV, to the bit."""
    panel = market(6, 4_500)
    stream = engine_stream(SPEC.signals, panel)
    asked = grid(stream, SPEC.universe)
    assert int((stream.in_force >= 0).sum()) > 10_000
    made = []
    for arms in ((Arm.BASELINE,), tuple(Arm)):
        policies = [SPEC.arm(arm) for arm in arms]
        cycle = Cycle(policies, stream, asked, SPEC.universe, allow_short=False, periods_per_year=252)
        decider = cycle if len(arms) == 1 else Acting(cycle, SYMBOLS, SliceSpec(capital_frac=0.1, universe_frac=1.0, salt="x"))
        if isinstance(decider, Acting):
            decider.become(State.SHADOW)
        made.append(replay(panel, decider, SPEC.execution, rate=np.zeros(4_500), capital=1e6))
    for name in ("session", "instrument", "quantity", "price", "cost", "realized"):
        assert getattr(made[0].fills, name).tobytes() == getattr(made[1].fills, name).tobytes()
    assert made[0].nav.tobytes() == made[1].nav.tobytes()
