"""The scaler over random measurements, paths and budgets: bounds, monotony, and what must not change it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from policyengine.allocation.scaler import (
    BucketRiskState,
    Budgets,
    RiskState,
    compute_scaling_factor,
    effective_fracs,
    empty_risk_state,
    risk_factors,
    scaling_of,
    updated,
)
from policyengine.allocation.sleeves import SLEEVES
from policyengine.records import TOLERANCE, Sleeve
from policyengine.spec.scaler import RiskScalerConfig, ScalerSpec, SleeveRiskSpec

Floats = NDArray[np.float64]
S = len(SLEEVES)
HEDGE = SLEEVES.index(Sleeve.TAIL_HEDGE)
QUICK = settings(max_examples=150, deadline=None)
SPEC = ScalerSpec(
    enabled=True,
    vol_sensitivity=1.0,
    dd_sensitivity=1.0,
    min_scale=0.1,
    max_scale=1.5,
    min_sessions=3,
    sleeves={s: SleeveRiskSpec(target_vol=0.15, max_drawdown=0.3) for s in Sleeve if s is not Sleeve.TAIL_HEDGE},
)

VOLS = st.floats(0.0, 1e6)
DRAWDOWNS = st.floats(0.0, 1.0)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def configs(draw: st.DrawFn) -> RiskScalerConfig:
    low, high = sorted((draw(st.floats(1e-6, 10.0)), draw(st.floats(1e-6, 10.0))))
    a, b = draw(st.floats(0.0, 10.0)), draw(st.floats(0.0, 10.0))
    return RiskScalerConfig(vol_sensitivity=a, dd_sensitivity=b, min_scale=low, max_scale=high)


@st.composite
def risks(draw: st.DrawFn) -> SleeveRiskSpec:
    return SleeveRiskSpec(target_vol=draw(st.floats(1e-9, 10.0)), max_drawdown=draw(st.floats(1e-9, 1.0, exclude_max=True)))


def factor(vol: float | None, dd: float, risk: SleeveRiskSpec, config: RiskScalerConfig) -> float:
    state = BucketRiskState(realized_vol=vol, current_drawdown=dd, max_drawdown=risk.max_drawdown, target_vol=risk.target_vol)
    return compute_scaling_factor(Sleeve.TS_CORE, state, config)


@QUICK
@given(st.none() | VOLS, DRAWDOWNS, risks(), configs())
def test_a_factor_is_within_its_bounds_and_least_at_the_limit(
    vol: float | None, dd: float, risk: SleeveRiskSpec, config: RiskScalerConfig
) -> None:
    found = factor(vol, dd, risk, config)
    assert config.min_scale <= found <= config.max_scale
    if vol is None or dd >= risk.max_drawdown:
        assert found == config.min_scale


@QUICK
@given(st.lists(VOLS, min_size=2, max_size=2), st.lists(DRAWDOWNS, min_size=2, max_size=2), risks(), configs())
def test_more_volatility_or_drawdown_never_enlarges(
    vols: list[float], dds: list[float], risk: SleeveRiskSpec, config: RiskScalerConfig
) -> None:
    (calm, wild), (near, far) = sorted(vols), sorted(dds)
    slack = 1.0 + 1e-12
    assert factor(wild, near, risk, config) <= factor(calm, near, risk, config) * slack
    assert factor(calm, far, risk, config) <= factor(calm, near, risk, config) * slack
    assert factor(None, near, risk, config) <= factor(wild, near, risk, config)


def path(seed: int, sessions: int, *, scale: Floats | float = 1.0) -> list[RiskState]:
    """States along random P&L, of two policies, with both P&L and budget times `scale`, (T, 1, 1) or a number."""
    rng = np.random.default_rng(seed)
    budget = rng.uniform(1e3, 1e6, (sessions, 2, S))
    pnl = budget * rng.normal(0.0, 0.02, (sessions, 2, S))
    budget, pnl, scaling = budget * scale, pnl * scale, scaling_of([SPEC, SPEC])
    states, every = [empty_risk_state(2)], np.ones((2, S), dtype=np.bool_)
    for t in range(sessions):
        states.append(updated(states[-1], pnl[t], budget[t], scaling, funded=every))
    return states


@QUICK
@given(SEEDS)
def test_the_scaler_does_not_chase_itself(seed: int) -> None:
    """Whatever a factor made of budget and P&L, together, in any session, the factors that follow are the same."""
    scale = np.random.default_rng(seed).uniform(0.1, 1.5, (40, 1, 1))
    scaling = scaling_of([SPEC, SPEC])
    for one, other in zip(path(seed, 40), path(seed, 40, scale=scale), strict=True):
        np.testing.assert_allclose(risk_factors(one, scaling, 252), risk_factors(other, scaling, 252), rtol=1e-9)


@QUICK
@given(SEEDS, arrays(np.bool_, (2, S)), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_sessions_without_funds_change_no_bit(seed: int, funded: NDArray[np.bool_], pnl: float, budget: float) -> None:
    before = path(seed, 5)[-1]
    after = updated(before, np.full((2, S), pnl), np.full((2, S), budget), scaling_of([SPEC, SPEC]), funded=funded)
    idle = ~funded | (budget <= TOLERANCE)
    for name in ("variance", "sessions", "index", "peak"):
        assert getattr(after, name)[idle].tobytes() == getattr(before, name)[idle].tobytes(), name
    assert (after.sessions[~idle] == before.sessions[~idle] + 1).all()


@QUICK
@given(SEEDS)
def test_a_policy_is_not_moved_by_its_neighbour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    other = ScalerSpec(enabled=False, vol_sensitivity=0.0, dd_sensitivity=0.0, min_scale=1.0, max_scale=1.0, ewma_lambda=0.5)
    alone, both = scaling_of([SPEC]), scaling_of([other, SPEC])
    one, two = empty_risk_state(1), empty_risk_state(2)
    for _ in range(10):
        pnl, budget, funded = rng.normal(0, 30, (2, S)), rng.uniform(-100, 1e3, (2, S)), rng.random((2, S)) < 0.8
        one = updated(one, pnl[1:], budget[1:], alone, funded=funded[1:])
        two = updated(two, pnl, budget, both, funded=funded)
    assert risk_factors(one, alone, 252).tobytes() == risk_factors(two, both, 252)[1:].tobytes()


def some_budgets(rng: np.random.Generator, policies: int) -> Budgets:
    """Bases, and so minima, that sum to at most one; maxima above them; a gross at or above the minima."""
    base = rng.dirichlet(np.full(S, rng.choice([0.3, 1.0])), policies) * rng.choice([0.5, 1.0])
    least = base * rng.choice([0.0, 0.5, 1.0], (policies, S))
    most = np.minimum(base * rng.choice([1.0, 1.2, 3.0], (policies, S)), 1.0)
    total = least.sum(axis=1)
    gross = total + (1.0 - total) * rng.choice([0.0, 0.5, 1.0], policies)
    return Budgets(base=base, least=least, most=most, gross=gross, room=gross - (total - least[:, HEDGE]))


@QUICK
@given(SEEDS)
def test_budgets_keep_their_bounds_and_their_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    budgets = some_budgets(rng, 6)
    factors = rng.choice([0.1, 0.7, 1.0, 1.5, 8.0], (6, S))
    found = effective_fracs(factors, budgets)
    assert (found <= budgets.most).all()
    assert (found >= budgets.least - 1e-12).all()
    assert (found.sum(axis=1) <= budgets.gross + 1e-12).all()
    asked = np.clip(budgets.base * factors, budgets.least, budgets.most)
    over = asked.sum(axis=1) > budgets.gross + 1e-12
    assert found[~over].tobytes() == asked[~over].tobytes()
    np.testing.assert_allclose(found[over].sum(axis=1), budgets.gross[over], atol=2e-12)
    _check_scaled_back(asked[over], found[over], budgets.least[over])


def _check_scaled_back(asked: Floats, found: Floats, least: Floats) -> None:
    """All but the hedge keep one share of what they are above their minima; the hedge yields only where that share is none."""
    others = np.arange(S) != HEDGE
    for wanted, given_, floor in zip(asked, found, least, strict=True):
        spare = (wanted - floor)[others]
        kept = (given_ - floor)[others]
        shares = kept[spare > 1e-6] / spare[spare > 1e-6]
        if shares.size:
            assert np.ptp(shares) < 1e-8
        if given_[HEDGE] < wanted[HEDGE]:
            assert np.abs(kept).max() < 1e-12


@QUICK
@given(SEEDS)
def test_the_order_of_sleeves_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    budgets, factors = some_budgets(rng, 4), rng.choice([0.1, 1.0, 1.5, 8.0], (4, S))
    order = np.insert(rng.permutation([i for i in range(S) if i != HEDGE]), HEDGE, HEDGE)
    turned = Budgets(
        base=budgets.base[:, order], least=budgets.least[:, order], most=budgets.most[:, order], gross=budgets.gross, room=budgets.room
    )
    np.testing.assert_allclose(effective_fracs(factors[:, order], turned), effective_fracs(factors, budgets)[:, order], atol=2e-12)
