"""The compiled replay against the reference: every figure of a policy, over random markets, signals, limits and costs."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from policyengine.allocation.cycle import Cycle, grid
from policyengine.errors import Ruined
from policyengine.execution import many
from policyengine.execution.compiled import Status
from policyengine.execution.many import compiles, outcomes
from policyengine.execution.outcome import Outcome, outcome_of
from policyengine.execution.replay import replay
from policyengine.execution.staging import staging
from policyengine.market import PricePanel
from policyengine.market.rows import SignalRows
from policyengine.records import Arm, Bucket
from policyengine.signals.stream import Stream
from policyengine.spec.root import ArmSpec, Spec
from tests.conftest import composed_spec

SYMBOLS = ("AAPL", "BAC", "GLD", "KO", "SPY", "TBILL", "UNLISTED", "WTI", "XOM")
GROUPS = len(Bucket)
SPECS = {
    name: composed_spec(*overrides)
    for name, overrides in {
        "as shipped": (),
        "limits off": ("limits.enabled=false", "sleeves.enabled=false", "sizing.enabled=false"),
        "euclidean": ("limits.metric=euclidean",),
        "no band, one budget": ("limits.drift_band=0", "sleeves.enabled=false"),
        "tight": ("sleeves.enabled=false", "limits.gross_max_frac=0.6", "limits.risk_max_frac=0.1", "+limits.markets.us={max_frac: 0.3}"),
        "swept": ("limits=barbell_swept",),
        "scaled": ("scaler=volatility", "scaler.min_sessions=5", "limits.gross_max_frac=0.9"),
        "overlays": ("sizing=barbell_overlays",),
    }.items()
}


def market(seed: int, sessions: int = 90) -> PricePanel:
    """Random walks with jumps; one name turns negative, one begins late, one bar in ten is missing, some for weeks."""
    rng = np.random.default_rng(seed)
    n = len(SYMBOLS)
    move = rng.normal(0.0004, 0.03, (sessions, n)) + np.where(rng.random((sessions, n)) < 0.01, rng.normal(0.0, 0.3, (sessions, n)), 0.0)
    close = 100.0 * np.exp(move.cumsum(axis=0))
    if seed % 3 == 0:
        close[sessions // 2 :, 7] *= -1.0
    fresh = rng.random((sessions, n)) < 0.9
    gone = int(rng.integers(0, n))
    fresh[sessions // 3 : sessions // 2, gone] = False
    fresh[0] = True
    row = np.maximum.accumulate(np.where(fresh, np.arange(sessions)[:, None], 0), axis=0)
    close = np.take_along_axis(close, row, axis=0)
    close[:20, 4], fresh[:20, 4] = np.nan, False
    fresh[20, 4] = True
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2040-01-01"))
    sessions_ = days[np.is_busday(days)][:sessions]
    return PricePanel(sessions=sessions_, symbols=SYMBOLS, close=close, fresh=fresh, calendar_used="core", periods_per_year=252)


def signalled(panel: PricePanel, seed: int) -> Stream:
    """Buys and sells of three sources, about two names in three each session."""
    rng = np.random.default_rng(seed + 1)
    shape = panel.close.shape
    at = np.nonzero((rng.random(shape) < 0.7) & np.isfinite(panel.close))
    count = at[0].size
    unknown = np.full(count, np.nan)
    rows = SignalRows(
        symbols=SYMBOLS,
        code=at[1],
        signalled_at=panel.sessions[at[0]].astype("datetime64[us]"),
        direction=rng.choice(np.array([1, 1, 1, -1], dtype=np.int8), count),
        confidence=np.where(rng.random(count) < 0.02, 0.0, rng.uniform(0.05, 1.0, count)),
        strength=unknown,
        edge_score=unknown,
        horizon_days=unknown,
        expected_return=unknown,
        predicted_volatility=unknown,
        cost_bps=rng.uniform(0.0, 40.0, count),
        gap_frac=unknown,
        funding_bps=unknown,
        participation_frac=rng.uniform(0.0, 0.2, count),
        leverage=unknown,
        source=rng.choice(np.array(["TS", "ML", "LLM"], dtype=object), count),
        regime=rng.choice(np.array(["CRISIS", "NEVER HEARD OF", None], dtype=object), count),
        signal_id=np.array([f"s{i}" for i in range(count)], dtype=object),
    )
    in_force = np.full(shape, -1, dtype=np.int32)
    in_force[at] = np.arange(count)
    return Stream(rows=rows, in_force=in_force, considered=count, origin="test")


def settings_of(panel: PricePanel, spec: Spec, stream: Stream) -> dict[str, Any]:
    group = np.array([list(Bucket).index(spec.universe.bucket(symbol)) for symbol in SYMBOLS])
    rate = np.random.default_rng(5).uniform(-1e-4, 3e-4, panel.sessions.size)
    return {"rate": rate, "capital": 1e6, "group": group, "groups": GROUPS}


def by_reference(panel: PricePanel, arm: ArmSpec, stream: Stream, spec: Spec, given: dict[str, Any]) -> Outcome | None:
    short, execution = spec.execution.allow_short, spec.execution
    cycle = Cycle([arm], stream, grid(stream, spec.universe), spec.universe, allow_short=short, periods_per_year=panel.periods_per_year)
    try:
        curves = replay(panel, cycle, execution, rate=given["rate"], capital=given["capital"])
    except Ruined:
        return None
    return outcome_of(curves, 0, given["group"], given["groups"])


def assert_alike(found: Outcome | None, wanted: Outcome | None) -> None:
    assert (found is None) == (wanted is None)
    if found is None or wanted is None:
        return
    assert np.abs(found.nav / wanted.nav - 1.0).max() < 1e-10
    for field in fields(Outcome):
        one, other = np.asarray(getattr(found, field.name)), np.asarray(getattr(wanted, field.name))
        assert one.shape == other.shape, field.name
        assert one.dtype == other.dtype, field.name
        if one.dtype == np.int64:
            assert (one == other).all(), field.name
        else:
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-6, err_msg=field.name)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(sorted(SPECS)),
    arm=st.sampled_from(list(Arm)),
    minimum=st.sampled_from([0.0, 0.0005, 0.02]),
    cost=st.sampled_from([0.0, 2.0, 300.0]),
    short=st.booleans(),
)
def test_every_figure_is_that_of_the_reference(seed: int, name: str, arm: Arm, minimum: float, cost: float, short: bool) -> None:
    spec, panel = SPECS[name], market(seed)
    spec = replace(spec, execution=replace(spec.execution, min_trade_frac=minimum, commission_bps=cost, allow_short=short))
    stream = signalled(panel, seed)
    given_ = settings_of(panel, spec, stream)
    one = spec.arm(arm)
    found = next(outcomes(panel, [one], stream, grid(stream, spec.universe), spec.universe, spec.execution, **given_))
    wanted = by_reference(panel, one, stream, spec, given_)
    event("ruined" if wanted is None else f"held over: {wanted.held_over > 0}, breach: {wanted.breaches > 0}")
    assert_alike(found, wanted)


def test_the_compiled_replay_settles_and_is_not_the_reference_in_disguise(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 160 policies nothing is left to the reference."""
    monkeypatch.delattr(many, "replay")
    for seed in range(10):
        panel = market(seed)
        stream = signalled(panel, seed)
        for spec in SPECS.values():
            arms = [spec.arm(arm) for arm in Arm]
            given_ = settings_of(panel, spec, stream)
            found = list(outcomes(panel, arms, stream, grid(stream, spec.universe), spec.universe, spec.execution, **given_))
            assert all(outcome is not None for outcome in found)


def test_workers_change_neither_order_nor_bit() -> None:
    panel = market(7)
    stream = signalled(panel, 7)
    spec = SPECS["as shipped"]
    arms = [
        replace(spec.candidate, sizing=replace(spec.candidate.sizing, multipliers={**spec.candidate.sizing.multipliers, Bucket.SPEC: m}))
        for m in np.linspace(0.1, 1.0, 30).tolist()
    ]
    asked, given_ = grid(stream, spec.universe), settings_of(panel, spec, stream)
    runs = [
        [o.nav.tobytes() for o in outcomes(panel, arms, stream, asked, spec.universe, spec.execution, workers=w, **given_) if o is not None]
        for w in (1, 3)
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 30


@pytest.mark.parametrize("change", [{"turnover_max_frac": 0.05}, {"max_fill_notional": 20_000.0}])
def test_what_is_not_compiled_is_replayed_by_the_reference(change: dict[str, float]) -> None:
    panel = market(3)
    stream = signalled(panel, 3)
    spec = replace(SPECS["as shipped"], execution=replace(SPECS["as shipped"].execution, **change))  # type: ignore[arg-type]
    assert not compiles(spec.execution, spec.universe, stream)
    given_ = settings_of(panel, spec, stream)
    found = next(outcomes(panel, [spec.candidate], stream, grid(stream, spec.universe), spec.universe, spec.execution, **given_))
    wanted = by_reference(panel, spec.candidate, stream, spec, given_)
    assert found is not None and wanted is not None  # noqa: PT018
    assert found.nav.tobytes() == wanted.nav.tobytes()


def test_a_policy_that_loses_everything_is_none_and_the_others_go_on() -> None:
    """A price that falls through zero takes more than all of a book that owns nothing else."""
    panel = market(4)
    close = panel.close.copy()
    close[:, 3] = np.linspace(100.0, -300.0, 90)
    panel = replace(panel, close=close, fresh=np.ones_like(panel.fresh))
    stream = signalled(panel, 4)
    only = stream.rows.code == 3
    stream = replace(stream, in_force=np.where((stream.in_force >= 0) & only[np.maximum(stream.in_force, 0)], stream.in_force, -1))
    off, spec = SPECS["limits off"], SPECS["as shipped"]
    given_ = settings_of(panel, off, stream)
    arms = [off.candidate, spec.candidate]
    found = list(outcomes(panel, arms, stream, grid(stream, off.universe), off.universe, off.execution, **given_))
    assert found[0] is None
    assert found[1] is not None
    assert by_reference(panel, off.candidate, stream, off, given_) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["price", "share", "rate"])
@pytest.mark.parametrize("name", ["as shipped", "limits off", "euclidean"])
def test_what_is_no_number_is_never_a_result(name: str, field: str, value: float) -> None:
    """The reference says what is wrong with it."""
    panel, spec = market(1), SPECS[name]
    stream = signalled(panel, 1)
    given_ = settings_of(panel, spec, stream)
    staged = staging(spec.candidate, panel, stream, grid(stream, spec.universe), spec.universe, spec.execution, **given_)
    numbers = getattr(staged.stage, field).copy()
    numbers[50] = value
    spoilt = replace(staged, stage=staged.stage._replace(**{field: numbers}))
    assert staged.replay(spec.candidate)[0] is Status.DONE
    assert spoilt.replay(spec.candidate) == (Status.UNSETTLED, None)


def test_no_signal_at_all_is_cash() -> None:
    panel = market(2)
    stream = signalled(panel, 2)
    empty = replace(stream, in_force=np.full_like(stream.in_force, -1))
    spec = SPECS["as shipped"]
    given_ = settings_of(panel, spec, empty)
    found = next(outcomes(panel, [spec.candidate], empty, grid(empty, spec.universe), spec.universe, spec.execution, **given_))
    assert found is not None
    np.testing.assert_allclose(found.nav, 1e6 * np.cumprod(1.0 + given_["rate"]), rtol=1e-14)
