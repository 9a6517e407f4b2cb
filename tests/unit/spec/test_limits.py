"""Limits that contradict each other, and numbers that are no limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from policyengine.errors import ConfigError, InfeasibleLimits
from policyengine.records import Bucket
from policyengine.spec.bind import bind
from policyengine.spec.limits import BucketLimitSpec, CashSweepSpec, LimitsSpec, MarketLimitSpec


def limits(buckets: Mapping[str, Mapping[str, float]] | None = None, **changes: Any) -> LimitsSpec:
    """Limits without a floor or a cap, but for the given ones."""
    given = buckets or {}
    specs = {b: BucketLimitSpec(**{"max_frac": 1.0, **given.get(b, {})}) for b in Bucket}
    return LimitsSpec(**{"enabled": True, "buckets": specs, **changes})


@pytest.mark.parametrize(
    ("buckets", "changes", "message"),
    [
        # The fewest floors that exceed NAV: the two largest of four.
        (
            {b: {"min_frac": f} for b, f in zip(Bucket, (0.75, 0.3, 0.1, 0.05), strict=True)},
            {},
            "buckets.safe.min_frac 0.75 + buckets.core.min_frac 0.3 = 1.05 > 1",
        ),
        ({"core": {"min_frac": 0.6}, "spec": {"min_frac": 0.5}}, {}, "buckets.core.min_frac 0.6 + buckets.spec.min_frac 0.5 = 1.1 > 1"),
        # One floor above a shared cap is a smaller set than three floors above NAV.
        (
            {"safe": {"min_frac": 0.6}, "core": {"min_frac": 0.3}, "spec": {"min_frac": 0.2}},
            {"risk_max_frac": 0.25},
            "buckets.core.min_frac 0.3 = 0.3 > risk_max_frac 0.25",
        ),
        ({"core": {"min_frac": 0.3}}, {"gross_max_frac": 0.2}, "buckets.core.min_frac 0.3 = 0.3 > gross_max_frac 0.2"),
        (
            {"core": {"min_frac": 0.3}, "spec": {"min_frac": 0.3}},
            {"gross_max_frac": 0.5, "risk_max_frac": 0.7},
            "buckets.core.min_frac 0.3 + buckets.spec.min_frac 0.3 = 0.6 > gross_max_frac 0.5",
        ),
        # A floor for a bucket in which no position may be held, before three floors above NAV.
        (
            {"safe": {"min_frac": 0.6}, "core": {"min_frac": 0.3}, "spec": {"min_frac": 0.2, "position_max_frac": 0.0}},
            {},
            "buckets.spec.min_frac 0.2 > 0 = buckets.spec.position_max_frac",
        ),
    ],
)
def test_contradictions_name_the_fewest_limits_that_conflict(
    buckets: dict[str, dict[str, float]], changes: dict[str, Any], message: str
) -> None:
    for enabled in (True, False):
        with pytest.raises(InfeasibleLimits) as caught:
            limits(buckets, enabled=enabled, **changes)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("buckets", "changes"),
    [
        # NAV and less than the tolerance more.
        ({"safe": {"min_frac": 0.7}, "core": {"min_frac": 0.2}, "spec": {"min_frac": 0.1 + 5e-10}}, {}),
        # Cash meets the floor of safe, whatever gross and the position cap are.
        ({"safe": {"min_frac": 0.9, "position_max_frac": 0.0}}, {"gross_max_frac": 0.1, "risk_max_frac": 0.0}),
        # A bucket can be filled from other markets.
        ({"core": {"min_frac": 0.3}}, {"markets": {"us": MarketLimitSpec(max_frac=0.0)}}),
        # Forbidding safe instruments leaves cash.
        ({"safe": {"max_frac": 0.0}}, {"risk_max_frac": 0.2}),
    ],
)
def test_limits_that_some_book_can_meet_are_not_refused(buckets: dict[str, dict[str, float]], changes: dict[str, Any]) -> None:
    limits(buckets, **changes)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf])
def test_a_cap_that_is_negative_or_no_number_is_refused(value: float) -> None:
    for name in ("max_frac", "position_max_frac"):
        with pytest.raises(ConfigError, match=rf"^{name}: "):
            BucketLimitSpec(**{"max_frac": 0.5, name: value})
    with pytest.raises(ConfigError, match=r"^min_frac: "):
        BucketLimitSpec(max_frac=0.5, min_frac=value)
    with pytest.raises(ConfigError, match=r"^max_frac: "):
        MarketLimitSpec(max_frac=value)
    for name in ("gross_max_frac", "risk_max_frac", "drift_band"):
        with pytest.raises(ConfigError, match=rf"^{name}: "):
            limits(**{name: value})


def test_a_floor_above_its_maximum_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^min_frac: 0.3 exceeds max_frac 0.2"):
        BucketLimitSpec(min_frac=0.3, max_frac=0.2)


def test_a_bucket_without_limits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^buckets.other: is required and not given"):
        LimitsSpec(enabled=True, buckets={b: BucketLimitSpec(max_frac=1.0) for b in Bucket if b is not Bucket.OTHER})


@pytest.mark.parametrize(("symbols", "rule"), [([], r"\[\] is empty"), (["A", "B", "A"], "'A' is named twice")])
def test_a_sweep_names_each_of_its_instruments_once(symbols: list[str], rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"^symbols: {rule}"):
        bind(CashSweepSpec, {"symbols": symbols})


def test_nothing_is_swept_where_limits_are_off_or_no_sweep_is_configured() -> None:
    sweep = CashSweepSpec(symbols=("TBILL", "BIL"))
    assert limits(cash_sweep=sweep).swept == ("TBILL", "BIL")
    assert limits(cash_sweep=sweep, enabled=False).swept == ()
    assert limits().swept == ()
