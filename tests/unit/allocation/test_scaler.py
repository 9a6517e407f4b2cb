from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policyengine.allocation.scaler import (
    BucketRiskState,
    RiskState,
    annual_vol,
    budgets_of,
    compute_scaling_factor,
    drawdown,
    effective_fracs,
    empty_risk_state,
    risk_factors,
    scaling_of,
    updated,
)
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.records import Sleeve
from policyengine.spec.scaler import RiskScalerConfig, ScalerSpec, SleeveRiskSpec
from policyengine.spec.sleeves import SleeveSpec, SleevesSpec

NAN, INF = float("nan"), float("inf")
CONFIG = RiskScalerConfig(vol_sensitivity=1.0, dd_sensitivity=1.0, min_scale=0.1, max_scale=1.5)
S = len(SLEEVES)
SAFE, TS, ML, HEDGE = (SLEEVES.index(s) for s in (Sleeve.SAFE, Sleeve.TS_CORE, Sleeve.ML_SECONDARY, Sleeve.TAIL_HEDGE))


def state(vol: float | None, dd: float = 0.0) -> BucketRiskState:
    return BucketRiskState(realized_vol=vol, current_drawdown=dd, max_drawdown=0.2, target_vol=0.1)


def shape(**changes: float) -> RiskScalerConfig:
    return RiskScalerConfig(**{"vol_sensitivity": 1.0, "dd_sensitivity": 1.0, "min_scale": 0.1, "max_scale": 1.5, **changes})


def scaler(**changes: Any) -> ScalerSpec:
    risk = SleeveRiskSpec(target_vol=0.1, max_drawdown=0.2)
    fields: dict[str, Any] = {"vol_sensitivity": 1.0, "dd_sensitivity": 1.0, "min_scale": 0.1, "max_scale": 1.5, "min_sessions": 2}
    return ScalerSpec(enabled=True, **{**fields, "sleeves": {Sleeve.TS_CORE: risk, Sleeve.ML_SECONDARY: risk}, **changes})


def sleeves(*, enabled: bool = True, **budgets: tuple[float, float, float]) -> SleevesSpec:
    """(base, min, max) of the sleeves named; the others have nothing."""
    named = {s.value: budgets.get(s.value, (0.0, 0.0, 0.0)) for s in Sleeve}
    specs = {n: SleeveSpec(base_nav_frac=base, min_nav_frac=least, max_nav_frac=most) for n, (base, least, most) in named.items()}
    return SleevesSpec(enabled=enabled, **specs)


def after(returns: list[float], *, policies: int = 1, spec: ScalerSpec | None = None) -> RiskState:
    """The state after `returns` of every sleeve on a budget of 1000."""
    found, scaling = empty_risk_state(policies), scaling_of([spec or scaler()] * policies)
    every = np.ones((policies, S), dtype=np.bool_)
    for r in returns:
        found = updated(found, np.full((policies, S), 1000.0 * r), np.full((policies, S), 1000.0), scaling, funded=every)
    return found


@pytest.mark.parametrize(
    ("vol", "dd", "factor"),
    [
        (0.2, 0.0, 0.5),
        (0.05, 0.0, 1.5),
        (0.1, 0.1, 0.5555555556),
        (0.2, 0.1, 0.2777777778),
        (0.1, 0.2, 0.1),
        (0.1, 0.0, 1.0),
        (10.0, 0.0, 0.1),
        (0.1, 0.19999, 0.1),
        (0.001, 0.21, 0.1),
        (0.001, 1.0, 0.1),
    ],
)
def test_golden_factors(vol: float, dd: float, factor: float) -> None:
    for sleeve in set(Sleeve) - {Sleeve.TAIL_HEDGE}:
        assert compute_scaling_factor(sleeve, state(vol, dd), CONFIG) == pytest.approx(factor, abs=1e-10)


def test_sensitivities_are_exponents() -> None:
    """(0.1 / 0.4)^0.5 = 0.5; ((1 - 0.5) / 0.9)^2 = 25 / 81."""
    assert compute_scaling_factor(Sleeve.TS_CORE, state(0.4, 0.0), shape(vol_sensitivity=0.5)) == pytest.approx(0.5)
    assert compute_scaling_factor(Sleeve.TS_CORE, state(0.1, 0.1), shape(dd_sensitivity=2.0)) == pytest.approx(25 / 81)
    assert compute_scaling_factor(Sleeve.TS_CORE, state(7.0, 0.19), shape(vol_sensitivity=0.0, dd_sensitivity=0.0)) == 1.0


@pytest.mark.parametrize("vol", [None, NAN])
@pytest.mark.parametrize("sensitivity", [0.0, 1.0])
def test_unknown_volatility_gives_the_least_whatever_the_sensitivity(vol: float | None, sensitivity: float) -> None:
    assert compute_scaling_factor(Sleeve.EM_RISK, state(vol), shape(vol_sensitivity=sensitivity)) == 0.1


@pytest.mark.parametrize("sensitivity", [0.0, 1.0])
def test_the_tolerated_drawdown_gives_the_least_whatever_the_sensitivity(sensitivity: float) -> None:
    assert compute_scaling_factor(Sleeve.EM_RISK, state(0.01, 0.2), shape(dd_sensitivity=sensitivity)) == 0.1


def test_a_measured_volatility_of_nothing_is_below_any_target() -> None:
    assert compute_scaling_factor(Sleeve.TS_CORE, state(0.0), CONFIG) == 1.5
    assert compute_scaling_factor(Sleeve.TS_CORE, state(0.0), shape(vol_sensitivity=10.0, dd_sensitivity=10.0)) == 1.5
    assert compute_scaling_factor(Sleeve.TS_CORE, state(0.0), shape(vol_sensitivity=0.0)) == 1.0
    assert compute_scaling_factor(Sleeve.TS_CORE, state(0.0, 0.2), CONFIG) == 0.1


@pytest.mark.parametrize("found", [state(None), state(5.0, 0.5), state(0.01), state(0.1, 1.0)])
def test_a_hedge_is_not_scaled(found: BucketRiskState) -> None:
    assert compute_scaling_factor(Sleeve.TAIL_HEDGE, found, CONFIG) == 1.0
    assert compute_scaling_factor(Sleeve.TAIL_HEDGE, found, shape(max_scale=0.8)) == 0.8
    assert compute_scaling_factor(Sleeve.TAIL_HEDGE, found, shape(min_scale=1.2)) == 1.2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"realized_vol": -0.1}, BrokenInvariant),
        ({"realized_vol": INF}, BrokenInvariant),
        ({"current_drawdown": -0.1}, BrokenInvariant),
        ({"current_drawdown": NAN}, BrokenInvariant),
        ({"current_drawdown": 1.1}, BrokenInvariant),
        ({"max_drawdown": 0.0}, ConfigError),
        ({"target_vol": NAN}, ConfigError),
    ],
)
def test_a_state_that_cannot_be_is_refused(changes: dict[str, float], error: type[Exception]) -> None:
    with pytest.raises(error):
        BucketRiskState(**{"realized_vol": 0.1, "current_drawdown": 0.0, "max_drawdown": 0.2, "target_vol": 0.1, **changes})


def test_variance_weighs_squared_returns_by_age() -> None:
    """(0.94 x 0.02^2 + 0.01^2) / 1.94 = 0.000476 / 1.94; the first alone is its own square."""
    np.testing.assert_allclose(after([0.02]).variance, 0.0004, rtol=1e-14)
    np.testing.assert_allclose(after([0.02, -0.01]).variance, 0.000476 / 1.94, rtol=1e-14)


def test_variance_comes_to_the_recursion_of_riskmetrics() -> None:
    before = after([0.01, -0.02] * 300)
    scaling, budget = scaling_of([scaler()]), np.full((1, S), 1000.0)
    next_one = updated(before, 0.03 * budget, budget, scaling, funded=np.ones((1, S), dtype=np.bool_))
    np.testing.assert_allclose(next_one.variance, 0.94 * before.variance + 0.06 * 0.03**2, rtol=1e-12)


def test_volatility_is_annual_and_unknown_before_enough_sessions() -> None:
    scaling = scaling_of([scaler(min_sessions=3)])
    assert np.isnan(annual_vol(after([0.01, 0.01]), scaling, 252)).all()
    np.testing.assert_allclose(annual_vol(after([0.01, -0.01, 0.01]), scaling, 252), 0.01 * 252**0.5)


def test_a_sleeve_that_never_moved_was_not_measured() -> None:
    scaling = scaling_of([scaler()])
    assert np.isnan(annual_vol(after([0.0] * 50), scaling, 252)).all()
    assert risk_factors(after([0.0] * 50), scaling, 252)[0, TS] == 0.1


def test_drawdown_is_from_the_peak_of_the_index() -> None:
    """1.1, then 0.88: 20% below; at 0.99 10% below."""
    np.testing.assert_allclose(drawdown(after([0.1, -0.2])), 0.2)
    np.testing.assert_allclose(drawdown(after([0.1, -0.2, 0.125])), 0.1)
    assert drawdown(after([-0.05, 0.2])).max() == 0.0


@pytest.mark.parametrize("loss", [-1.0, -1.5])
def test_a_sleeve_that_lost_its_budget_stays_at_the_least(loss: float) -> None:
    spent = after([0.01, loss, 0.5, 3.0])
    assert (drawdown(spent) == 1.0).all()
    assert (spent.index == 0.0).all()
    assert risk_factors(spent, scaling_of([scaler()]), 252)[0, TS] == 0.1


def test_unfunded_sessions_change_no_bit() -> None:
    scaling, before = scaling_of([scaler()]), after([0.01, -0.03])
    budget = np.array([[0.0, -5.0, 1000.0, 0.0, 1000.0, 1000.0, -0.0]])
    funded = np.array([[True, True, False, False, False, False, True]])
    same = updated(before, np.full((1, S), -700.0), budget, scaling, funded=funded)
    for name in ("variance", "sessions", "index", "peak"):
        assert getattr(same, name).tobytes() == getattr(before, name).tobytes(), name


@pytest.mark.parametrize("bad", [NAN, INF])
def test_what_is_not_finite_stops_the_program(bad: float) -> None:
    scaling, fine = scaling_of([scaler()]), np.full((1, S), 1000.0)
    broken = fine.copy()
    broken[0, TS] = bad
    every = np.ones((1, S), dtype=np.bool_)
    for pnl, budget in ((broken, fine), (fine, broken)):
        with pytest.raises(BrokenInvariant, match="not finite"):
            updated(empty_risk_state(1), pnl, budget, scaling, funded=every)


def test_policies_have_each_their_scaler() -> None:
    """Volatility 0.2 against 0.1 at sensitivities 1 and 2; the third is switched off, the fourth has too few sessions."""
    calm = {"dd_sensitivity": 0.0}
    quarter = SleeveRiskSpec(target_vol=0.05, max_drawdown=0.2)
    specs = [
        scaler(**calm),
        scaler(**calm, vol_sensitivity=2.0, sleeves={Sleeve.TS_CORE: SleeveRiskSpec(target_vol=0.1, max_drawdown=0.2)}),
        ScalerSpec(enabled=False, vol_sensitivity=1.0, dd_sensitivity=1.0, min_scale=0.1, max_scale=1.5, sleeves={Sleeve.SAFE: quarter}),
        scaler(**calm, min_sessions=9),
    ]
    session = 0.2 / 252**0.5
    found = risk_factors(after([session, -session, session], policies=4), scaling_of(specs), 252)
    expected = np.ones((4, S))
    expected[0, [TS, ML]] = 0.5
    expected[1, TS] = 0.25
    expected[3, [TS, ML]] = 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found[2] == 1.0).all()


def test_arrays_and_records_give_the_same_factors() -> None:
    measured, scaling = after([0.01, -0.02, 0.005]), scaling_of([scaler()])
    alone = BucketRiskState(
        realized_vol=float(annual_vol(measured, scaling, 252)[0, TS]),
        current_drawdown=float(drawdown(measured)[0, TS]),
        max_drawdown=0.2,
        target_vol=0.1,
    )
    assert risk_factors(measured, scaling, 252)[0, TS] == compute_scaling_factor(Sleeve.TS_CORE, alone, scaler().config)


def test_a_scaled_sleeve_comes_to_its_target_volatility() -> None:
    """Instruments at 30% a year: on its base budget the sleeve's P&L comes to 10%, and stays at 30% without a scaler."""
    off = ScalerSpec(enabled=False, vol_sensitivity=1.0, dd_sensitivity=0.0, min_scale=0.1, max_scale=1.5)
    risk = SleeveRiskSpec(target_vol=0.1, max_drawdown=0.99)
    scaling = scaling_of([scaler(dd_sensitivity=0.0, min_sessions=20, sleeves={Sleeve.TS_CORE: risk}), off])
    budgets = budgets_of([sleeves(ts_core=(0.15, 0.0, 0.3))] * 2, [1.0, 1.0])
    returns = np.random.default_rng(7).normal(0.0, 0.3 / 252**0.5, 3000)
    found, funded = empty_risk_state(2), np.zeros((2, S), dtype=np.bool_)
    funded[:, TS] = True
    pnl, factors = np.zeros((3000, 2)), np.zeros((3000, 2))
    for t, r in enumerate(returns.tolist()):
        factors[t] = risk_factors(found, scaling, 252)[:, TS]
        budget = 1e6 * effective_fracs(risk_factors(found, scaling, 252), budgets)
        pnl[t] = (budget * r)[:, TS]
        found = updated(found, budget * r, budget, scaling, funded=funded)
    vols = pnl[50:].std(axis=0) / (0.15 * 1e6) * 252**0.5
    np.testing.assert_allclose(vols, [0.1, 0.3], rtol=0.06)
    assert (factors[:20, 0] == 0.1).all()
    assert abs(factors[50:, 0].mean() - 1 / 3) < 0.02


def fracs(factors: dict[int, float], budgets: SleevesSpec, gross: float = 1.0) -> dict[str, float]:
    row = np.ones((1, S))
    for sleeve, factor in factors.items():
        row[0, sleeve] = factor
    found = effective_fracs(row, budgets_of([budgets], [gross]))[0]
    return {s.value: float(f) for s, f in zip(SLEEVES, found, strict=True) if f > 0.0}


def test_a_factor_moves_a_budget_between_its_bounds() -> None:
    budgets = sleeves(ts_core=(0.1, 0.05, 0.2), ml_secondary=(0.1, 0.0, 0.12))
    assert fracs({TS: 1.5, ML: 0.5}, budgets) == pytest.approx({"ts_core": 0.15, "ml_secondary": 0.05})
    assert fracs({TS: 0.1, ML: 1.5}, budgets) == pytest.approx({"ts_core": 0.05, "ml_secondary": 0.12})


def test_a_sum_above_gross_shrinks_what_is_above_the_minima() -> None:
    """0.8 + 0.2 + 0.1 = 1.1; 0.2 and 0.1 above their minima must shrink by 0.1 together, by one factor 2/3."""
    budgets = sleeves(safe=(0.8, 0.8, 0.9), ts_core=(0.1, 0.0, 0.3), ml_secondary=(0.1, 0.0, 0.3))
    assert fracs({TS: 2.0}, budgets) == pytest.approx({"safe": 0.8, "ts_core": 0.2 * 2 / 3, "ml_secondary": 0.1 * 2 / 3})


def test_a_hedge_takes_its_part_and_is_spared() -> None:
    """0.75 + 0.25 + 0.03 = 1.03: the 0.03 come from ts_core alone."""
    budgets = sleeves(safe=(0.75, 0.75, 0.9), ts_core=(0.2, 0.0, 0.25), tail_hedge=(0.03, 0.0, 0.03))
    assert fracs({TS: 1.5}, budgets) == pytest.approx({"safe": 0.75, "ts_core": 0.22, "tail_hedge": 0.03})


def test_a_hedge_yields_only_to_minima() -> None:
    """Gross 0.8: the minima 0.7 and 0.08 leave 0.02 of its 0.05."""
    budgets = sleeves(safe=(0.75, 0.7, 0.9), ts_core=(0.2, 0.08, 0.25), tail_hedge=(0.05, 0.01, 0.05))
    assert fracs({}, budgets, 0.8) == pytest.approx({"safe": 0.7, "ts_core": 0.08, "tail_hedge": 0.02})
    only_minima = sleeves(safe=(0.7, 0.7, 0.7), ts_core=(0.1, 0.1, 0.1), tail_hedge=(0.05, 0.0, 0.05))
    assert fracs({}, only_minima, 0.82) == pytest.approx({"safe": 0.7, "ts_core": 0.1, "tail_hedge": 0.02})


def test_a_sum_that_fits_comes_back_bit_for_bit_beside_one_that_does_not() -> None:
    some = sleeves(safe=(0.75, 0.75, 0.95), ts_core=(0.15, 0.0, 0.2), ml_secondary=(0.1, 0.0, 0.2))
    budgets = budgets_of([some, some, sleeves(ts_core=(5e-13, 0.0, 0.2))], [1.0, 0.9, 1.0])
    ones = np.ones((3, S))
    found = effective_fracs(ones, budgets)
    assert found[[0, 2]].tobytes() == budgets.base[[0, 2]].tobytes()
    np.testing.assert_allclose(found[1, [SAFE, TS, ML]], [0.75, 0.09, 0.06])
    assert effective_fracs(ones[:1], budgets_of([sleeves(safe=(0.7, 0.0, 1.0), ts_core=(0.3, 0.0, 1.0))], [1.0]))[0, TS] == 0.3


def test_sleeves_that_are_switched_off_share_the_whole_nav() -> None:
    """Their numbers mean nothing: minima above gross are no mistake there, and no factor moves them."""
    off = sleeves(enabled=False, safe=(0.75, 0.75, 0.9), ts_core=(0.2, 0.0, 0.25))
    on = sleeves(safe=(0.5, 0.5, 0.5), ts_core=(0.2, 0.0, 0.4))
    found = effective_fracs(np.full((2, S), 1.5), budgets_of([off, on], [0.7, 0.7]))
    assert (found[0] == 1.0).all()
    np.testing.assert_allclose(found[1, [SAFE, TS]], [0.5, 0.2])


def test_minima_above_gross_and_unknown_factors_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sleeves.min_nav_frac: the minima sum to 0.85, above gross 0.8"):
        budgets_of([sleeves(safe=(0.75, 0.7, 0.9), ts_core=(0.2, 0.15, 0.25))], [0.8])
    factors = np.ones((1, S))
    factors[0, HEDGE] = NAN
    with pytest.raises(BrokenInvariant, match="NaN"):
        effective_fracs(factors, budgets_of([sleeves(safe=(0.75, 0.75, 0.9))], [1.0]))
