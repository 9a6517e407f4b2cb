from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policyengine.allocation import cycle as module
from policyengine.allocation.cycle import Cycle, grid
from policyengine.allocation.scaler import empty_risk_state
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.market.panel import PricePanel
from policyengine.records import Arm, Bucket, Sleeve
from policyengine.signals.stream import Stream, engine_stream
from policyengine.spec.root import ArmSpec, Spec
from policyengine.spec.universe import InstrumentSpec
from tests.conftest import composed_spec
from tests.property.test_replay import market

PANEL = market(21, 300)


def made(*overrides: str) -> tuple[Spec, Stream]:
    spec = composed_spec(*overrides)
    return spec, engine_stream(spec.signals, PANEL)


def cycle_of(spec: Spec, stream: Stream, arms: list[ArmSpec], panel: PricePanel = PANEL) -> Cycle:
    asked = grid(stream, spec.universe)
    return Cycle(arms, stream, asked, spec.universe, allow_short=False, periods_per_year=panel.periods_per_year)


def test_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many decisions are worked out at once."""
    spec, stream = made("sleeves.enabled=false")
    arms = [spec.arm(arm) for arm in Arm]
    whole = cycle_of(spec, stream, arms)
    monkeypatch.setattr(module, "CHUNK", 70)
    parts = cycle_of(spec, stream, arms)
    for t in range(300):
        one, other = whole.decide(t), parts.decide(t)
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.allocated.tobytes() == other.allocated.tobytes()


def test_a_policy_decides_the_same_alone() -> None:
    spec, stream = made("sleeves.enabled=false")
    arms = [spec.arm(arm) for arm in Arm]
    both = cycle_of(spec, stream, arms)
    for p, arm in enumerate(arms):
        alone = cycle_of(spec, stream, [arm])
        for t in range(0, 300, 7):
            assert both.decide(t).weights[p].tobytes() == alone.decide(t).weights[0].tobytes()


def test_budgets_below_their_sum_are_scaled_back_to_gross_before_the_shell() -> None:
    spec, stream = made("limits.gross_max_frac=0.9")
    decision = cycle_of(spec, stream, [spec.candidate]).decide(250)
    assert decision.fracs.sum() == pytest.approx(0.9)
    assert decision.fracs[0, SLEEVES.index(Sleeve.SAFE)] == 0.75
    assert decision.fracs[0, SLEEVES.index(Sleeve.TAIL_HEDGE)] == pytest.approx(0.02)


def test_a_scaled_policy_needs_to_be_told_its_risk_and_spends_less_while_it_is_unknown() -> None:
    spec, stream = made("scaler=volatility")
    cycle = cycle_of(spec, stream, [spec.baseline, replace(spec.baseline, scaler=replace(spec.baseline.scaler, enabled=False))])
    with pytest.raises(BrokenInvariant, match="told"):
        cycle.decide(250)
    decision = cycle.decide(250, empty_risk_state(2))
    core = SLEEVES.index(Sleeve.TS_CORE)
    assert decision.fracs[:, core].tolist() == pytest.approx([0.015, 0.15])
    risky = [i for i, s in enumerate(PANEL.symbols) if spec.universe.bucket(s) is not Bucket.SAFE]
    np.testing.assert_allclose(decision.allocated[0, risky], 0.1 * decision.allocated[1, risky])
    assert decision.fracs[0, SLEEVES.index(Sleeve.SAFE)] == 0.75


def hedged(spec: Spec) -> Spec:
    instruments = {**spec.universe.instruments, "WTI": InstrumentSpec(bucket=Bucket.SPEC, sleeve=Sleeve.TAIL_HEDGE)}
    return replace(spec, universe=replace(spec.universe, instruments=instruments))


def test_a_hedge_spends_its_own_sleeve_outside_the_risk_cap() -> None:
    """With the caps on risk at nothing the hedge is all that is left."""
    spec = hedged(composed_spec("limits.risk_max_frac=0.0"))
    stream = engine_stream(spec.signals, PANEL)
    cycle = cycle_of(spec, stream, [spec.candidate])
    wti = PANEL.symbols.index("WTI")
    bought = [t for t in range(300) if cycle.decide(t).weights[0, wti] > 0.0]
    assert bought
    for t in bought:
        assert cycle.decide(t).weights[0, wti] == pytest.approx(0.02 * 0.8)
        others = [i for i, s in enumerate(PANEL.symbols) if s not in ("WTI", "TBILL")]
        assert not cycle.decide(t).weights[0, others].any()
    assert cycle.charged(bought[0])[wti] == SLEEVES.index(Sleeve.TAIL_HEDGE)


def test_policies_that_class_hedges_differently_are_not_decided_together() -> None:
    spec = hedged(composed_spec())
    stream = engine_stream(spec.signals, PANEL)
    without = replace(spec.baseline, sleeves=replace(spec.baseline.sleeves, enabled=False))
    with pytest.raises(ConfigError, match="tail_hedge"):
        cycle_of(spec, stream, [without, spec.candidate])


def test_sums_by_sleeve_leave_nothing_out() -> None:
    spec, stream = made()
    cycle = cycle_of(spec, stream, [spec.baseline, spec.candidate])
    values = np.arange(10.0).reshape(2, 5)
    sums = cycle.by_sleeve(200, values)
    np.testing.assert_allclose(sums.sum(axis=1), values.sum(axis=1))
    safe = PANEL.symbols.index("TBILL")
    np.testing.assert_allclose(sums[:, SLEEVES.index(Sleeve.SAFE)], values[:, safe])


def test_desired_weights_know_neither_overlay_nor_shell() -> None:
    spec, stream = made()
    cycle = cycle_of(spec, stream, [spec.baseline, spec.candidate])
    desired = cycle.desired()
    assert desired[0].tobytes() == desired[1].tobytes()
    safe = PANEL.symbols.index("TBILL")
    t = int(np.argmax(desired[0, :, safe] > 0.0))
    assert desired[0, t, safe] == pytest.approx(0.75)
    assert cycle.decide(t).weights[0, safe] == 0.5


def test_lots_come_from_the_universe() -> None:
    spec = composed_spec()
    instruments = {**spec.universe.instruments, "KO": InstrumentSpec(bucket=Bucket.CORE, lot_size=100.0)}
    spec = replace(spec, universe=replace(spec.universe, instruments=instruments))
    cycle = cycle_of(spec, engine_stream(spec.signals, PANEL), [spec.candidate])
    assert cycle.lots.tolist() == [0.0, 0.0, 100.0, 0.0, 0.0]
