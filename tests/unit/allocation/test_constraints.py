"""The limits as arrays, where each is written, and which of them hold a book."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policyengine.allocation.constraints import Constraints, bound, constraints
from policyengine.errors import ConfigError
from policyengine.records import Bucket, Sleeve
from policyengine.spec.limits import BucketLimitSpec
from policyengine.spec.universe import InstrumentSpec, UniverseSpec
from tests.conftest import composed_spec

LIMITS = composed_spec().candidate.limits
UNIVERSE = UniverseSpec(
    instruments={
        "AAPL": InstrumentSpec(bucket=Bucket.SPEC),
        "BAC": InstrumentSpec(bucket=Bucket.CORE),
        "NEW": InstrumentSpec(bucket=Bucket.SPEC, market="crypto"),
        "TBILL": InstrumentSpec(bucket=Bucket.SAFE),
        "VIXY": InstrumentSpec(bucket=Bucket.SPEC, sleeve=Sleeve.TAIL_HEDGE),
    },
    unclassified="other",
)
SYMBOLS = ("TBILL", "BAC", "AAPL", "NEW")
HEDGED = ("TBILL", "BAC", "AAPL", "VIXY")


def caps(found: Constraints) -> dict[str, float]:
    return dict(zip(found.names, found.group_upper.tolist(), strict=True))


def members(found: Constraints, symbols: tuple[str, ...]) -> dict[str, set[str]]:
    return {name: {s for s, m in zip(symbols, row, strict=True) if m} for name, row in zip(found.names, found.groups, strict=True)}


def test_the_shipped_limits_as_arrays() -> None:
    found = constraints(LIMITS, UNIVERSE, SYMBOLS)
    assert caps(found) == {
        "gross": 1.0,
        "safe_min": 0.25,
        "bucket core": 0.2,
        "bucket other": 0.0,
        "bucket safe": 0.95,
        "bucket spec": 0.1,
        "market crypto": 0.1,
        "market us": np.inf,
    }
    of = members(found, SYMBOLS)
    assert of["gross"] == {"TBILL", "BAC", "AAPL", "NEW"}
    assert of["safe_min"] == {"BAC", "AAPL", "NEW"}
    assert of["bucket spec"] == {"AAPL", "NEW"}
    assert of["market crypto"] == {"NEW"}
    assert found.upper.tolist() == [0.5, 0.1, 0.05, 0.05]
    assert found.drift_band == 0.02


@pytest.mark.parametrize(
    ("safe_min", "risk_max", "name", "cap"),
    [(0.9, 0.25, "safe_min", 1.0 - 0.9), (0.75, 0.2, "risk_max", 0.2), (0.75, 0.25, "safe_min", 0.25), (0.75, None, "safe_min", 0.25)],
)
def test_one_row_caps_what_is_not_safe_under_the_name_of_the_smaller_cap(
    safe_min: float, risk_max: float | None, name: str, cap: float
) -> None:
    safe = BucketLimitSpec(min_frac=safe_min, max_frac=0.95)
    found = constraints(replace(LIMITS, risk_max_frac=risk_max, buckets={**LIMITS.buckets, Bucket.SAFE: safe}), UNIVERSE, SYMBOLS)
    assert {"safe_min", "risk_max"} & {*found.names} == {name}
    assert caps(found)[name] == cap


def test_a_symbol_that_nobody_classified_may_not_be_held() -> None:
    found = constraints(LIMITS, UNIVERSE, ("XYZ",))
    assert caps(found)["bucket other"] == 0.0
    assert members(found, ("XYZ",))["bucket other"] == {"XYZ"}


def test_off_every_bound_is_infinite_and_the_groups_are_the_same() -> None:
    one = constraints(LIMITS, UNIVERSE, SYMBOLS)
    two = constraints(replace(LIMITS, enabled=False), UNIVERSE, SYMBOLS)
    assert np.isinf(two.upper).all()
    assert np.isinf(two.group_upper).all()
    assert one.names == two.names
    assert one.groups.tobytes() == two.groups.tobytes()


def test_hedges_are_a_group_of_their_own_outside_risk_gross_and_bucket() -> None:
    found = constraints(LIMITS, UNIVERSE, HEDGED, hedge_max_frac=0.03)
    of = members(found, HEDGED)
    assert of["sleeve tail_hedge"] == {"VIXY"}
    assert {name for name, held in of.items() if "VIXY" in held} == {"sleeve tail_hedge", "safe_min", "market us"}
    assert of["gross"] == {"TBILL", "BAC", "AAPL"}
    assert of["risk_max"] == {"BAC", "AAPL"}
    assert of["safe_min"] == {"BAC", "AAPL", "VIXY"}
    assert {name: cap for name, cap in caps(found).items() if name in ("risk_max", "safe_min", "sleeve tail_hedge")} == {
        "risk_max": 0.25,
        "safe_min": 0.25,
        "sleeve tail_hedge": 0.03,
    }
    assert found.upper.tolist() == [0.5, 0.1, 0.05, 0.05]


def test_without_sleeves_a_hedge_counts_like_any_other_instrument() -> None:
    found = constraints(LIMITS, UNIVERSE, HEDGED)
    assert {name for name, held in members(found, HEDGED).items() if "VIXY" in held} == {"gross", "safe_min", "bucket spec", "market us"}


def test_a_cap_on_hedges_changes_nothing_where_there_are_none() -> None:
    one, two = constraints(LIMITS, UNIVERSE, SYMBOLS), constraints(LIMITS, UNIVERSE, SYMBOLS, hedge_max_frac=0.03)
    assert (one.names, one.origins) == (two.names, two.origins)
    assert one.groups.tobytes() == two.groups.tobytes()
    assert one.group_upper.tobytes() == two.group_upper.tobytes()


def test_groups_do_not_depend_on_numbers() -> None:
    """Policies with different limits are replayed over the same groups."""
    other = replace(LIMITS, risk_max_frac=None, gross_max_frac=0.5, markets={})
    for hedge_max_frac in (None, 0.03):
        one = constraints(LIMITS, UNIVERSE, HEDGED, hedge_max_frac=hedge_max_frac)
        two = constraints(other, UNIVERSE, HEDGED, hedge_max_frac=None if hedge_max_frac is None else 0.5)
        assert one.groups.tobytes() == two.groups.tobytes()


def test_a_hedge_in_the_safe_bucket_is_no_safety() -> None:
    universe = UniverseSpec(instruments={"TLT": InstrumentSpec(bucket=Bucket.SAFE, sleeve=Sleeve.TAIL_HEDGE)})
    of = members(constraints(LIMITS, universe, ("TLT",), hedge_max_frac=0.03), ("TLT",))
    assert {name for name, held in of.items() if held} == {"safe_min", "sleeve tail_hedge", "market us"}


def test_a_short_in_a_safe_instrument_is_risk_and_one_in_a_hedge_is_no_hedge() -> None:
    found = constraints(LIMITS, UNIVERSE, HEDGED, hedge_max_frac=0.03, short=[True, False, False, True])
    of = members(found, HEDGED)
    assert {name for name, held in of.items() if "TBILL" in held} == {"gross", "safe_min", "market us"}
    assert {name for name, held in of.items() if "VIXY" in held} == {"gross", "safe_min", "bucket spec", "market us"}
    assert found.upper.tolist() == [0.5, 0.1, 0.05, 0.05]


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_a_cap_on_hedges_that_is_no_fraction_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"^hedge_max_frac: .* is not in \[0, 1\]"):
        constraints(LIMITS, UNIVERSE, HEDGED, hedge_max_frac=value)


def test_every_limit_says_where_it_is_written() -> None:
    found = constraints(LIMITS, UNIVERSE, ("TBILL", "AAPL", "VIXY", "XYZ"), hedge_max_frac=0.03)
    assert [str(origin) for origin in found.origins] == [
        "limits.gross_max_frac 1",
        "limits.risk_max_frac 0.25",
        "limits.buckets.safe.min_frac 0.75",
        "sleeves.tail_hedge.max_nav_frac 0.03",
        "limits.buckets.core.max_frac 0.2",
        "limits.buckets.other.max_frac 0",
        "limits.buckets.safe.max_frac 0.95",
        "limits.buckets.spec.max_frac 0.1",
        "limits.markets.unknown.max_frac inf",
        "limits.markets.us.max_frac inf",
        "limits.buckets.safe.position_max_frac 0.5 (TBILL)",
        "limits.buckets.spec.position_max_frac 0.05 (AAPL)",
        "limits.buckets.spec.position_max_frac 0.05 (VIXY)",
        "limits.buckets.other.position_max_frac inf (XYZ)",
    ]


THREE = Constraints(
    upper=np.array([0.5, 0.1, np.inf]),
    groups=np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]),
    group_upper=np.array([1.0, 0.15, 0.0]),
    names=("all", "risk", "none"),
)


@pytest.mark.parametrize(
    ("requested", "projected", "expected"),
    [
        # Within every limit, and at a cap without having been cut.
        ([0.4, 0.05, 0.0], [0.4, 0.05, 0.0], []),
        ([0.5, 0.1, 0.0], [0.5, 0.1, 0.0], []),
        # An instrument cut to its own cap; its group is not full.
        ([0.6, 0.05, 0.0], [0.5, 0.05, 0.0], ["upper 0"]),
        # A group without room, and the only member that wanted some.
        ([0.4, 0.1, 0.2], [0.4, 0.1, 0.0], ["none"]),
        # Full to 1e-10 of the cap counts, to 1e-8 does not.
        ([0.4, 0.1, 0.1], [0.4, 0.1, 0.05 - 1e-11], ["risk"]),
        ([0.4, 0.1, 0.1], [0.4, 0.1, 0.05 - 1e-8], []),
        # Several at once.
        ([0.9, 0.3, 0.1], [0.5, 0.1, 0.05], ["risk", "upper 0", "upper 1"]),
    ],
)
def test_what_holds_a_book(requested: list[float], projected: list[float], expected: list[str]) -> None:
    limits = THREE if "none" in expected else replace(THREE, group_upper=np.array([1.0, 0.15, np.inf]))
    labels = [*limits.names, "upper 0", "upper 1", "upper 2"]
    rows = bound(np.array([requested, [0.0] * 3]), np.array([projected, [0.0] * 3]), limits)
    assert rows.shape == (2, 6)
    assert [label for label, held in zip(labels, rows[0], strict=True) if held] == expected
    assert not rows[1].any()


def test_nothing_holds_a_book_where_limits_are_off() -> None:
    off = constraints(replace(LIMITS, enabled=False), UNIVERSE, SYMBOLS)
    w = np.random.default_rng(1).random((20, 4)) * 3.0
    assert not bound(w, w, off).any()
