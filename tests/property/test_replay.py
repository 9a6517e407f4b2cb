"""Replay over random markets: the accounting identity, limits after costs, no look-ahead, order of input, and off is untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from policyengine.allocation.constraints import Constraints, constraints
from policyengine.allocation.cycle import Cycle, FixedTargets, grid
from policyengine.allocation.sizing import codes_of, size
from policyengine.allocation.sleeves import SLEEVES, relative, retained
from policyengine.cli import DATA
from policyengine.evidence.replay import replay_evidence
from policyengine.execution.replay import Curves, replay
from policyengine.market import PricePanel
from policyengine.records import Arm
from policyengine.signals.stream import engine_stream
from policyengine.spec.execution import ExecutionSpec
from policyengine.spec.root import Spec
from policyengine.spec.task import EvaluateTask
from policyengine.tasks.evaluate import evaluate
from policyengine.tasks.run import Run
from tests.conftest import composed_spec

SYMBOLS = ("AAPL", "BAC", "KO", "TBILL", "WTI")
SPEC = composed_spec()


def market(seed: int, sessions: int = 120, *, negative: bool = False) -> PricePanel:
    """Random walks; WTI may fall from its price to minus its price half-way; about one bar in fifteen is missing."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp((rng.normal(0.0004, 0.02, (sessions, 5))).cumsum(axis=0))
    if negative:
        close[sessions // 2 :, 4] *= -1.0
    fresh = rng.random((sessions, 5)) < 0.93
    fresh[0] = True
    row = np.maximum.accumulate(np.where(fresh, np.arange(sessions)[:, None], 0), axis=0)
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2040-01-01"))
    return PricePanel(
        sessions=days[np.is_busday(days)][:sessions],
        symbols=SYMBOLS,
        close=np.take_along_axis(close, row, axis=0),
        fresh=fresh,
        calendar_used="core",
        periods_per_year=252,
    )


def trade(panel: PricePanel, targets: np.ndarray, spec: Spec, **changes: object) -> Curves:
    limits = [constraints(spec.candidate.limits, spec.universe, panel.symbols)] * targets.shape[0]
    execution: ExecutionSpec = replace(spec.execution, **changes)  # type: ignore[arg-type]
    return replay(panel, FixedTargets(targets, limits), execution, rate=np.full(panel.sessions.size, 1e-4), capital=1e6)


def within(band: float) -> Spec:
    """The shipped limits, with another band for what prices may do."""
    return replace(SPEC, candidate=replace(SPEC.candidate, limits=replace(SPEC.candidate.limits, drift_band=band)))


def beyond(curves: Curves, band: float) -> np.ndarray:
    """Where (P, T) an exposure exceeds a limit by more than the band."""
    limits = constraints(SPEC.candidate.limits, SPEC.universe, SYMBOLS)
    held = np.abs(curves.exposure)
    group = held @ limits.groups.T
    return np.asarray((held > limits.upper + band + 1e-9).any(axis=2) | (group > limits.group_upper + band + 1e-9).any(axis=2))


def feasible(seed: int, sessions: int) -> np.ndarray:
    """Random targets inside the shipped limits, that change every few sessions."""
    rng = np.random.default_rng(seed + 1)
    targets = np.zeros((2, sessions, 5))
    for t in range(sessions):
        if t % 3 == 0:
            core = rng.dirichlet(np.ones(3))[:2] * 0.2 * (rng.random(2) < 0.8)
            spec = rng.dirichlet(np.ones(3))[:2] * 0.05 * (rng.random(2) < 0.8)
            drawn = np.array([spec[0], min(core[0], 0.1), min(core[1], 0.1), rng.uniform(0.0, 0.5), spec[1]])
        targets[:, t] = np.outer([1.0, 0.8], drawn)
    return targets


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), negative=st.booleans())
def test_nav_is_what_was_made_less_what_was_paid(seed: int, negative: bool) -> None:
    """NAV - capital = realised P&L + open P&L at average cost + interest, at every session, from the fills alone."""
    panel = market(seed, negative=negative)
    curves = trade(panel, feasible(seed, 120), SPEC)
    for p in range(2):
        quantity, basis, realized = np.zeros(5), np.zeros(5), 0.0
        rows = np.flatnonzero(curves.fills.policy == p)
        at = 0
        for t in range(120):
            while at < rows.size and curves.fills.session[rows[at]] == t:
                f = rows[at]
                i, q, price = curves.fills.instrument[f], curves.fills.quantity[f], curves.fills.price[f]
                realized += curves.fills.realized[f]
                if curves.fills.closed[f] == 0.0:
                    basis[i] = (basis[i] * quantity[i] + q * price + curves.fills.cost[f]) / (quantity[i] + q)
                quantity[i] += q
                at += 1
            value = np.where(np.isnan(panel.close[t]), 0.0, panel.close[t])
            made = realized + float((quantity * (value - basis)).sum()) + float(curves.interest[p, : t + 1].sum())
            assert curves.nav[p, t] - 1e6 == pytest.approx(made, abs=1e-9 * 1e6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cost=st.sampled_from([0.0, 20.0, 500.0]), minimum=st.sampled_from([0.0, 0.005, 0.05]))
def test_limits_hold_after_costs_at_fill_prices(seed: int, cost: float, minimum: float) -> None:
    """Where nothing may drift: at every session, but for what a held name that cannot trade exceeds."""
    panel = market(seed)
    curves = trade(panel, feasible(seed, 120), within(0.0), commission_bps=cost, min_trade_frac=minimum)
    over, stuck = beyond(curves, 0.0), (~panel.fresh & (curves.exposure != 0.0)).any(axis=2)
    assert not curves.breach.any()
    assert not (over & ~stuck).any()
    assert ((over & stuck) == curves.held_over).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), band=st.sampled_from([0.002, 0.02]))
def test_only_prices_carry_a_book_beyond_its_limits_and_never_beyond_the_band(seed: int, band: float) -> None:
    """After a rebalance every limit holds; in between a book that trades nothing is within the band."""
    panel = market(seed)
    curves = trade(panel, feasible(seed, 120), within(band), min_trade_frac=0.03)
    stuck = (~panel.fresh & (curves.exposure != 0.0)).any(axis=2)
    rebalanced = curves.traded > 0.0
    assert not (beyond(curves, 0.0) & rebalanced & ~stuck).any()
    assert not (beyond(curves, band) & ~stuck).any()
    assert not curves.breach.any()
    event(f"drifted: {bool((beyond(curves, 0.0) & ~rebalanced & ~stuck).any())}")


def test_a_book_drifts_within_the_band_without_an_order() -> None:
    """0.10 of A at its cap rises by a tenth: 0.11/1.01, left alone within 0.02 and cut back to 0.10 without a band."""
    close = np.array([[100.0], [100.0], [110.0]])
    days = np.array(["2020-01-06", "2020-01-07", "2020-01-08"], dtype="datetime64[D]")
    panel = PricePanel(
        sessions=days, symbols=("A",), close=close, fresh=np.ones_like(close, dtype=bool), calendar_used="core", periods_per_year=252
    )
    for band, held in ((0.02, 0.11 / 1.01), (0.0, 0.10)):
        cap = Constraints(upper=np.array([0.1]), groups=np.ones((1, 1)), group_upper=np.ones(1), names=("gross",), drift_band=band)
        free = replace(SPEC.execution, commission_bps=0.0, spread_bps=0.0, slippage_bps=0.0, min_trade_frac=0.05)
        curves = replay(panel, FixedTargets(np.full((1, 3, 1), 0.1), [cap]), free, rate=np.zeros(3), capital=1e6)
        assert curves.exposure[0, 2, 0] == pytest.approx(held)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most=st.sampled_from([0.0, 0.01, 0.1]))
def test_turnover_is_bounded_and_never_holds_back_a_reduction(seed: int, most: float) -> None:
    panel = market(seed)
    bounded = trade(panel, feasible(seed, 120), within(0.0), turnover_max_frac=most, commission_bps=0.0, spread_bps=0.0, slippage_bps=0.0)
    before = np.concatenate([np.zeros((2, 1, 5)), bounded.exposure[:, :-1]], axis=1)
    fills = bounded.fills
    grown = np.zeros(bounded.nav.shape)
    cuts = np.zeros(bounded.nav.shape)
    np.add.at(grown, (fills.policy, fills.session), (np.abs(fills.quantity) - fills.closed) * np.abs(fills.price))
    np.add.at(cuts, (fills.policy, fills.session), fills.closed * np.abs(fills.price))
    assert (grown / bounded.nav <= np.maximum(most - cuts / bounded.nav, 0.0) + 1e-9).all()
    assert not bounded.breach.any()
    assert before.shape == bounded.exposure.shape


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cost=st.sampled_from([0.0, 20.0, 500.0]))
def test_positions_are_whole_lots_and_limits_hold_all_the_same(seed: int, cost: float) -> None:
    panel = market(seed)
    lots = np.array([1.0, 0.0, 10.0, 100.0, 0.5])
    limits = [constraints(within(0.0).candidate.limits, SPEC.universe, SYMBOLS)] * 2
    execution = replace(SPEC.execution, commission_bps=cost)
    decider = FixedTargets(feasible(seed, 120), limits, lots)
    curves = replay(panel, decider, execution, rate=np.zeros(120), capital=1e5)
    quantity = np.zeros((2, 5))
    for f in range(curves.fills.policy.size):
        quantity[curves.fills.policy[f], curves.fills.instrument[f]] += curves.fills.quantity[f]
        held = quantity[curves.fills.policy[f]]
        whole = held[lots > 0] / lots[lots > 0]
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    stuck = (~panel.fresh & (curves.exposure != 0.0)).any(axis=2)
    assert not (beyond(curves, 0.0) & ~stuck).any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(10, 110))
def test_what_comes_after_a_session_does_not_change_what_was_done(seed: int, cut: int) -> None:
    panel = market(seed)
    rng = np.random.default_rng(seed)
    close = panel.close.copy()
    close[cut + 1 :] *= rng.uniform(0.5, 2.0, close[cut + 1 :].shape)
    one = replay_evidence(SPEC, panel, engine_stream(SPEC.signals, panel))
    two = replay_evidence(SPEC, replace(panel, close=close), engine_stream(SPEC.signals, replace(panel, close=close)))
    for a, b in ((one.baseline, two.baseline), (one.candidate, two.candidate)):
        assert a.nav[: cut + 1].tobytes() == b.nav[: cut + 1].tobytes()
        for name in ("closed", "won", "lost", "profit", "loss"):
            assert getattr(a.trades, name)[: cut + 1].tobytes() == getattr(b.trades, name)[: cut + 1].tobytes()


def test_multipliers_of_one_give_identical_arms_to_the_bit() -> None:
    spec = composed_spec(*(f"sizing.multipliers.{bucket}=1.0" for bucket in ("safe", "core", "spec", "other")))
    panel = market(5, 400)
    made = replay_evidence(spec, panel, engine_stream(spec.signals, panel))
    assert made.baseline.trades.closed.sum() > 50
    assert made.baseline.nav.tobytes() == made.candidate.nav.tobytes()
    assert made.baseline.trades.realized().tobytes() == made.candidate.trades.realized().tobytes()


def test_a_policy_does_not_depend_on_which_others_run_beside_it() -> None:
    panel = market(9)
    targets = feasible(9, 120)
    both = trade(panel, targets, SPEC)
    alone = trade(panel, targets[1:], SPEC)
    assert both.nav[1].tobytes() == alone.nav[0].tobytes()
    assert both.exposure[1].tobytes() == alone.exposure[0].tobytes()


def test_limits_off_are_untouched_to_the_bit() -> None:
    """With limits off the targets are the requests, and a replay under infinite limits is one without any."""
    off = composed_spec("limits=unlimited")
    panel = market(11, 300)
    stream = engine_stream(off.signals, panel)
    asked = grid(stream, off.universe)
    cycle = Cycle([off.arm(Arm.CANDIDATE)], stream, asked, off.universe, allow_short=True, periods_per_year=252)
    buckets = [off.universe.bucket(panel.symbols[code]) for code in stream.rows.code]
    sized = size(
        off.candidate.sizing,
        stream.rows.confidence,
        buckets=codes_of(buckets),
        regimes=[None] * len(buckets),
        features={},
    )
    shares = relative(asked, by_sleeve=True) * retained(asked, sized.effective)
    safe = np.array([off.universe.bucket(s) == "safe" for s in panel.symbols])
    requested = (
        np.where((shares < 0) & safe, 0.0, shares) * np.array([off.candidate.sleeves.of(s).base_nav_frac for s in SLEEVES])[asked.sleeve]
    )
    made = np.stack([cycle.decide(t).weights[0] for t in range(300)])
    assert made.tobytes() == requested.tobytes()


@pytest.mark.long
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_in_a_file_is_irrelevant(seed: int, run_in: Callable[..., Run], tmp_path: Path) -> None:
    frame = pd.read_parquet(DATA / "prices.parquet")
    frame = frame[frame["priced_at"] >= pd.Timestamp("2015-01-01", tz="UTC")]
    results = []
    attempt = len(list(tmp_path.glob("*.parquet")))
    for name, rows in (("sorted", frame), ("shuffled", frame.sample(frac=1.0, random_state=seed % 2**31))):
        path = tmp_path / f"{name}-{attempt}.parquet"
        rows.to_parquet(path)
        spec = composed_spec(f"source.path={path}", "window=365d", "+source.checks={bars_out_of_order: ignore}")
        assert isinstance(spec.task, EvaluateTask)
        run = run_in(f"{name}-{attempt}")
        evaluate(spec, spec.task, run)
        made = (run.folder / "evidence.json").read_text().replace(str(path), "PATH")
        lines = [line for line in made.splitlines() if '"config": "' not in line]
        results.append(("\n".join(lines), (run.folder / "trades.parquet").read_bytes(), (run.folder / "signals.parquet").read_bytes()))
    assert results[0] == results[1]
