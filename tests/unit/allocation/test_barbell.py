"""The shell over named instruments, on books that can be worked by hand, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from policyengine.allocation.constraints import Constraints, constraints
from policyengine.allocation.shell import Projection, project_to_feasible, sweep_idle_cash
from policyengine.errors import BrokenInvariant, ConfigError, DataError
from policyengine.records import Bucket, Sleeve
from policyengine.spec.limits import BucketLimitSpec, CashSweepSpec, LimitsSpec
from policyengine.spec.universe import InstrumentSpec, OptionsSpec, UniverseSpec
from tests.conftest import composed_spec

LIMITS = composed_spec().candidate.limits
OPTION = InstrumentSpec(bucket=Bucket.SPEC, type="option", contract_multiplier=100.0)
UNIVERSE = UniverseSpec(
    instruments={
        "AAPL": InstrumentSpec(bucket=Bucket.SPEC),
        "BAC": InstrumentSpec(bucket=Bucket.CORE),
        "CALL": OPTION,
        "JNJ": InstrumentSpec(bucket=Bucket.CORE),
        "KO": InstrumentSpec(bucket=Bucket.CORE),
        "NGE": InstrumentSpec(bucket=Bucket.SPEC, market="ngx"),
        "NOTE": InstrumentSpec(bucket=Bucket.SAFE),
        "PUT": replace(OPTION, stress_loss=5_000.0),
        "TBILL": InstrumentSpec(bucket=Bucket.SAFE),
        "VIXY": InstrumentSpec(bucket=Bucket.SPEC, sleeve=Sleeve.TAIL_HEDGE),
    },
    options=OptionsSpec(enabled=True),
)


def limits(*, floors: Mapping[str, float] | None = None, **changes: object) -> LimitsSpec:
    """The shipped limits, with floors for some buckets."""
    buckets = {b: replace(spec, min_frac=(floors or {}).get(b, spec.min_frac)) for b, spec in LIMITS.buckets.items()}
    return replace(LIMITS, **{"buckets": buckets, **changes})  # type: ignore[arg-type]


def bits(projection: Projection) -> list[tuple[str, str]]:
    return [(symbol, weight.hex()) for symbol, weight in projection.weights.items()]


def said(projection: Projection) -> list[str]:
    return [str(limit.origin) for limit in projection.binding]


def test_one_binding_cap_shrinks_its_members_by_one_factor_and_says_so() -> None:
    asked = {"TBILL": 0.5, "KO": 0.1, "BAC": -0.08, "JNJ": 0.1, "AAPL": 0.02}
    got = project_to_feasible(asked, LIMITS, UNIVERSE)
    factor = 0.2 / 0.28
    assert list(got.weights) == list(asked)
    assert got.weights == pytest.approx({"TBILL": 0.5, "KO": 0.1 * factor, "BAC": -0.08 * factor, "JNJ": 0.1 * factor, "AAPL": 0.02})
    assert got.l1_drift == pytest.approx(0.08)
    (held,) = got.binding
    assert str(held.origin) == "limits.buckets.core.max_frac 0.2"
    assert (held.cap, held.members, held.shrunk_to_zero) == (0.2, ("BAC", "JNJ", "KO"), ())
    assert held.exposure == pytest.approx(0.2)
    # The objective is S (1 - c/S)^2 with S = 0.28 asked for and c = 0.2 the cap: it falls by 2 (1 - c/S) per unit of c.
    assert held.multiplier == pytest.approx(2 * (1 - factor))
    assert got.unmet == ()


def test_a_position_cap_names_its_instrument() -> None:
    got = project_to_feasible({"AAPL": -0.3, "TBILL": 0.7}, LIMITS, UNIVERSE)
    assert got.weights == {"AAPL": -0.05, "TBILL": 0.5}
    assert said(got) == ["limits.buckets.spec.position_max_frac 0.05 (AAPL)", "limits.buckets.safe.position_max_frac 0.5 (TBILL)"]


def test_a_feasible_request_comes_back_bit_for_bit() -> None:
    asked = {"TBILL": 0.45, "KO": 0.1, "AAPL": -0.0, "BAC": 0.1, "NGE": -0.05, "JNJ": 0.0}
    got = project_to_feasible(asked, LIMITS, UNIVERSE)
    assert bits(got) == [(symbol, weight.hex()) for symbol, weight in asked.items()]
    assert (got.l1_drift, got.binding, got.unmet, got.swept) == (0.0, (), (), {})


def test_switched_off_any_request_comes_back_as_it_is() -> None:
    asked = {"AAPL": 7.1, "NGE": -3.3, "TBILL": -0.0}
    off = replace(LIMITS, enabled=False, cash_sweep=CashSweepSpec(symbols=("TBILL",)))
    got = project_to_feasible(asked, off, UNIVERSE, hedge_max_frac=0.03)
    assert bits(got) == [(symbol, weight.hex()) for symbol, weight in asked.items()]
    assert got.weights is not asked
    assert (got.l1_drift, got.binding, got.unmet, got.swept) == (0.0, (), (), {})


def test_what_the_limits_shrink_to_zero_is_listed_and_is_no_negative_zero() -> None:
    got = project_to_feasible({"KO": -0.08, "BAC": 0.1, "JNJ": 0.1, "XYZ": -0.1}, replace(LIMITS, metric="euclidean"), OTHERS)
    # 0.28 in core is 0.08 too much, a third of it from each; nothing is left of what may not be held.
    assert got.weights == pytest.approx({"KO": -0.08 + 0.08 / 3, "BAC": 0.1 - 0.08 / 3, "JNJ": 0.1 - 0.08 / 3, "XYZ": 0.0})
    assert math.copysign(1.0, got.weights["XYZ"]) == 1.0
    assert {str(limit.origin): limit.shrunk_to_zero for limit in got.binding} == {
        "limits.buckets.core.max_frac 0.2": (),
        "limits.buckets.other.max_frac 0": ("XYZ",),
    }
    small = project_to_feasible({"KO": 0.01, "BAC": 0.1, "JNJ": 0.1}, limits(metric="euclidean", risk_max_frac=0.1), UNIVERSE)
    assert small.weights == {"KO": 0.0, "BAC": pytest.approx(0.05), "JNJ": pytest.approx(0.05)}
    assert [limit.shrunk_to_zero for limit in small.binding] == [("KO",)]


OTHERS = replace(UNIVERSE, unclassified="other")


def test_an_unknown_symbol_is_refused_by_name_or_falls_to_other() -> None:
    with pytest.raises(DataError, match=r"^weights: 'ABC' is not in universe.instruments"):
        project_to_feasible({"XYZ": 0.0, "ABC": 0.1}, LIMITS, UNIVERSE)
    some = replace(LIMITS, buckets={**LIMITS.buckets, Bucket.OTHER: BucketLimitSpec(max_frac=0.02)})
    assert project_to_feasible({"XYZ": 0.0, "ABC": 0.1}, some, OTHERS).weights == {"XYZ": 0.0, "ABC": pytest.approx(0.02)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e31])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_weight_that_is_no_number_is_refused_by_name(value: float, enabled: bool) -> None:
    with pytest.raises(BrokenInvariant, match=r"requested weight .* of 'KO' is not a finite number up to 1e\+30"):
        project_to_feasible({"TBILL": 0.5, "KO": value}, replace(LIMITS, enabled=enabled), UNIVERSE)


def test_options_count_a_premium_when_long_and_a_stress_loss_when_short() -> None:
    got = project_to_feasible({"CALL": 0.2, "PUT": -0.2}, LIMITS, UNIVERSE)
    assert got.weights == {"CALL": 0.05, "PUT": -0.05}
    with pytest.raises(DataError, match=r"'CALL' -0.01 is a short option, and universe.instruments.CALL.stress_loss is not given"):
        project_to_feasible({"CALL": -0.01}, LIMITS, UNIVERSE)


def test_what_is_not_traded_cannot_be_held() -> None:
    inert = replace(UNIVERSE, options=OptionsSpec(enabled=False))
    assert project_to_feasible({"CALL": 0.0}, LIMITS, inert).weights == {"CALL": 0.0}
    with pytest.raises(DataError, match="'CALL' 0.01 cannot be held: it is an option, and universe.options.enabled is false"):
        project_to_feasible({"CALL": 0.01}, LIMITS, inert)
    quoted = replace(OTHERS, fx={"EURUSD": "EUR/USD"})
    with pytest.raises(DataError, match="'EURUSD' 0.01 cannot be held: it is a rate"):
        project_to_feasible({"EURUSD": 0.01}, LIMITS, quoted)


def test_hedges_stand_outside_risk_and_bucket_and_inside_their_own_cap_and_the_safe_floor() -> None:
    tight = limits(risk_max_frac=0.1)
    asked = {"KO": 0.05, "AAPL": 0.05, "VIXY": 0.05}
    got = project_to_feasible(asked, tight, UNIVERSE, hedge_max_frac=0.03)
    assert got.weights == {"KO": 0.05, "AAPL": 0.05, "VIXY": pytest.approx(0.03)}
    assert said(got) == ["sleeves.tail_hedge.max_nav_frac 0.03"]
    # Without sleeves in force it shares the risk cap with the others.
    assert project_to_feasible(asked, tight, UNIVERSE).weights == pytest.approx(dict.fromkeys(asked, 0.1 / 3))
    # The safe floor leaves 0.1 for everything that is not safe.
    floor = limits(floors={"safe": 0.9})
    assert project_to_feasible(asked, floor, UNIVERSE, hedge_max_frac=0.05).weights == pytest.approx(dict.fromkeys(asked, 0.1 / 3))


def test_a_short_in_a_safe_instrument_is_risk() -> None:
    got = project_to_feasible({"TBILL": -0.4, "NOTE": 0.5}, LIMITS, UNIVERSE)
    assert got.weights == {"TBILL": pytest.approx(-0.25), "NOTE": 0.5}
    assert said(got) == ["limits.buckets.safe.min_frac 0.75"]
    assert project_to_feasible({"TBILL": 0.4, "NOTE": 0.5}, LIMITS, UNIVERSE).weights == {"TBILL": 0.4, "NOTE": 0.5}


def test_a_short_in_a_hedge_is_no_hedge() -> None:
    got = project_to_feasible({"VIXY": -0.04, "KO": 0.06}, limits(risk_max_frac=0.05), UNIVERSE, hedge_max_frac=0.01)
    assert got.weights == pytest.approx({"VIXY": -0.02, "KO": 0.03})


def test_floors_are_reported_with_the_reason_and_never_met_by_buying() -> None:
    wanted = limits(floors={"core": 0.1, "spec": 0.08})
    got = project_to_feasible({"KO": 0.05, "NGE": 0.09, "TBILL": 0.5}, wanted, UNIVERSE)
    assert got.weights == {"KO": 0.05, "NGE": 0.05, "TBILL": 0.5}
    core, spec = got.unmet
    assert (str(core.origin), core.exposure) == ("limits.buckets.core.min_frac 0.1", 0.05)
    assert core.reason == "0.05 of core was asked for where 0.1 is wanted, and nothing is bought that nobody asked for"
    assert (str(spec.origin), spec.exposure) == ("limits.buckets.spec.min_frac 0.08", 0.05)
    assert spec.reason == "0.09 of spec was asked for where 0.08 is wanted, and other limits leave 0.05"


def test_an_idle_book_is_above_the_safe_maximum_and_stays_so() -> None:
    got = project_to_feasible({"TBILL": 0.3, "KO": 0.02}, LIMITS, UNIVERSE)
    assert got.weights == {"TBILL": 0.3, "KO": 0.02}
    (unmet,) = got.unmet
    assert str(unmet.origin) == "limits.buckets.safe.max_frac 0.95"
    assert unmet.exposure == pytest.approx(0.98)
    assert unmet.reason == "0.02 of risk was asked for where 0.05 is wanted, and nothing is bought that nobody asked for"
    assert project_to_feasible({}, LIMITS, UNIVERSE).weights == {}


def test_cash_meets_the_safe_floor() -> None:
    assert project_to_feasible({"KO": 0.1, "BAC": 0.1, "AAPL": 0.05}, LIMITS, UNIVERSE).unmet == ()


SWEPT = replace(LIMITS, cash_sweep=CashSweepSpec(symbols=("TBILL", "NOTE")))


def test_a_sweep_puts_idle_cash_into_its_instruments_in_order_within_their_caps() -> None:
    got = project_to_feasible({"KO": 0.08, "TBILL": 0.1, "AAPL": 0.2}, SWEPT, UNIVERSE)
    # TBILL up to its 0.5; then 1 - 0.08 - 0.05 - 0.5 = 0.37 is left for NOTE.
    assert got.weights == pytest.approx({"KO": 0.08, "TBILL": 0.5, "AAPL": 0.05, "NOTE": 0.37})
    assert list(got.weights) == ["KO", "TBILL", "AAPL", "NOTE"]
    assert got.swept == pytest.approx({"TBILL": 0.4, "NOTE": 0.37})
    assert got.l1_drift == pytest.approx(0.15 + 0.4 + 0.37)
    assert said(got) == ["limits.buckets.spec.position_max_frac 0.05 (AAPL)"]
    again = project_to_feasible(got.weights, SWEPT, UNIVERSE)
    assert (bits(again), again.swept) == (bits(got), {})


def test_a_sweep_stops_at_the_safe_maximum_and_at_gross() -> None:
    full = project_to_feasible({"KO": 0.01}, SWEPT, UNIVERSE)
    assert full.weights == pytest.approx({"KO": 0.01, "TBILL": 0.5, "NOTE": 0.45})
    assert [str(unmet.origin) for unmet in full.unmet] == ["limits.buckets.safe.max_frac 0.95"]
    lean = project_to_feasible({"KO": 0.01}, replace(SWEPT, gross_max_frac=0.3), UNIVERSE)
    assert lean.weights == pytest.approx({"KO": 0.01, "TBILL": 0.29})


def test_a_sweep_spends_no_more_cash_than_there_is_and_leaves_shorts_alone() -> None:
    hedged = project_to_feasible({"VIXY": 0.03, "TBILL": 0.5, "NOTE": 0.3, "KO": 0.1}, SWEPT, UNIVERSE, hedge_max_frac=0.03)
    assert sum(hedged.weights.values()) == pytest.approx(1.0)  # Hedges are outside gross, not outside NAV.
    short = project_to_feasible({"TBILL": -0.2, "NOTE": 0.1}, SWEPT, UNIVERSE)
    assert short.weights == pytest.approx({"TBILL": -0.2, "NOTE": 0.5})


@pytest.mark.parametrize(
    ("symbol", "rule"),
    [
        ("BIL", "'BIL' is not in universe.instruments"),
        ("KO", "'KO' is not a safe instrument but spot in bucket core, sleeve of its signal"),
        ("TLT", "'TLT' is not a safe instrument but spot in bucket safe, sleeve tail_hedge"),
        ("BOX", "'BOX' is not a safe instrument but option in bucket safe, sleeve of its signal"),
    ],
)
@pytest.mark.parametrize("enabled", [True, False])
def test_cash_is_swept_into_listed_safe_instruments_alone(symbol: str, rule: str, enabled: bool) -> None:
    more = {"TLT": InstrumentSpec(bucket=Bucket.SAFE, sleeve=Sleeve.TAIL_HEDGE), "BOX": replace(OPTION, bucket=Bucket.SAFE)}
    universe = replace(OTHERS, instruments={**UNIVERSE.instruments, **more})
    swept = replace(LIMITS, enabled=enabled, cash_sweep=CashSweepSpec(symbols=("TBILL", symbol)))
    with pytest.raises(ConfigError) as caught:
        project_to_feasible({"KO": 0.1}, swept, universe)
    assert str(caught.value) == f"limits.cash_sweep.symbols: {rule}"


def test_sweeping_many_books_at_once() -> None:
    symbols = ("KO", "NOTE", "TBILL")
    within: Constraints = constraints(LIMITS, UNIVERSE, symbols)
    weights = np.array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.2], [0.1, 0.4, 0.5], [0.0, -0.1, -0.1], [0.0, 0.0, 0.0]])
    before = weights.tobytes()
    swept = sweep_idle_cash(weights, within, [2, 1])
    np.testing.assert_allclose(swept, [[0.1, 0.4, 0.5], [-0.1, 0.4, 0.5], [0.1, 0.4, 0.5], [0.0, -0.1, -0.1], [0.0, 0.45, 0.5]])
    assert swept[2:4].tobytes() == weights[2:4].tobytes()
    assert weights.tobytes() == before
    assert sweep_idle_cash(weights, within, []).tobytes() == before
