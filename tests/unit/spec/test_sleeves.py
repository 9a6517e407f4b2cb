from __future__ import annotations

from typing import Any

import pytest

from policyengine.errors import ConfigError
from policyengine.spec.bind import bind
from policyengine.spec.limits import LimitsSpec
from policyengine.spec.sleeves import SleevesSpec, check_budgets
from tests.conftest import composed


def bound(*overrides: str) -> tuple[SleevesSpec, LimitsSpec]:
    """Sleeves and limits as composed; limits first, to which the budgets refer."""
    config = composed(*overrides)
    limits = bind(LimitsSpec, config["limits"], "limits")
    return bind(SleevesSpec, config["sleeves"], "sleeves"), limits


def test_the_shipped_budgets_keep_the_shipped_limits() -> None:
    sleeves, limits = bound()
    check_budgets(sleeves, limits)
    assert (sleeves.safe.min_nav_frac, sleeves.safe.max_nav_frac) == (0.75, 0.95)


def test_a_limit_that_moves_takes_the_budget_along() -> None:
    sleeves, limits = bound("limits.buckets.safe.min_frac=0.7", "limits.buckets.safe.max_frac=0.9")
    check_budgets(sleeves, limits)
    assert (sleeves.safe.min_nav_frac, sleeves.safe.max_nav_frac) == (0.7, 0.9)


def test_a_floor_above_the_base_budget_is_refused_for_somebody_must_give_up_the_difference() -> None:
    with pytest.raises(ConfigError) as caught:
        bound("limits.buckets.safe.min_frac=0.8")
    assert str(caught.value) == "sleeves.safe.min_nav_frac: 0.8 exceeds base_nav_frac 0.75"
    check_budgets(*bound("limits.buckets.safe.min_frac=0.8", "sleeves.safe.base_nav_frac=0.8", "sleeves.ts_core.base_nav_frac=0.1"))


@pytest.mark.parametrize("overrides", [["limits=unlimited"], ["~limits.buckets.safe.min_frac"]])
def test_a_limit_that_is_not_given_is_the_default_of_both(overrides: list[str]) -> None:
    sleeves, limits = bound(*overrides)
    check_budgets(sleeves, limits)
    assert sleeves.safe.min_nav_frac == limits.buckets["safe"].min_frac == 0.0  # type: ignore[index]


def test_an_absent_maximum_is_asked_for_where_it_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        bound("~limits.buckets.safe.max_frac")
    assert str(caught.value) == "limits.buckets.safe.max_frac: is required and not given"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["sleeves.safe.min_nav_frac=0.7"],
            "sleeves.safe.min_nav_frac: 0.7 is not limits.buckets.safe.min_frac 0.75, which is the same promise; give both one number, "
            "as ${oc.select:limits.buckets.safe.min_frac} does",
        ),
        (["sleeves.safe.max_nav_frac=0.9"], "sleeves.safe.max_nav_frac: 0.9 is not limits.buckets.safe.max_frac 0.95"),
        (["sleeves.ngx_risk.max_nav_frac=0.06"], "sleeves.ngx_risk.max_nav_frac: 0.06 exceeds limits.markets.ngx.max_frac 0.05;"),
        (["limits.markets.em.max_frac=0.04"], "sleeves.em_risk.max_nav_frac: 0.05 exceeds limits.markets.em.max_frac 0.04;"),
        (
            ["limits.gross_max_frac=0.9", "sleeves.ts_core.min_nav_frac=0.15", "sleeves.tail_hedge.min_nav_frac=0.01"],
            "sleeves.min_nav_frac: safe 0.75 + ts_core 0.15 + tail_hedge 0.01 = 0.91 exceeds limits.gross_max_frac 0.9; "
            "lower a minimum or change the limit",
        ),
        (
            [
                "limits.risk_max_frac=0.18",
                "sleeves.ts_core={base_nav_frac: 0.15, min_nav_frac: 0.15, max_nav_frac: 0.15}",
                "sleeves.ml_secondary.min_nav_frac=0.04",
            ],
            "sleeves.min_nav_frac: ts_core 0.15 + ml_secondary 0.04 = 0.19 exceeds limits.risk_max_frac 0.18; "
            "lower a minimum or change the limit",
        ),
    ],
)
def test_budgets_that_promise_what_the_limits_do_not_name_both(overrides: list[str], message: str) -> None:
    sleeves, limits = bound(*overrides)
    with pytest.raises(ConfigError) as caught:
        check_budgets(sleeves, limits)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "overrides",
    [
        ["limits.risk_max_frac=0.1"],  # a maximum that the shell cuts short
        ["~limits.markets.ngx", "sleeves.ngx_risk.max_nav_frac=0.25"],  # a market without a limit
        ["limits.enabled=false", "sleeves.safe.min_nav_frac=0.1", "sleeves.ts_core.max_nav_frac=1.0"],
        ["sleeves.enabled=false", "sleeves.safe.min_nav_frac=0.1", "sleeves.ts_core.max_nav_frac=1.0"],
    ],
)
def test_what_need_not_agree(overrides: list[str]) -> None:
    check_budgets(*bound(*overrides))


def test_minima_above_nav_are_refused_without_any_limit() -> None:
    """They are never above the base budgets, whose sum is refused first."""
    config: dict[str, Any] = composed("limits=unlimited")["sleeves"]
    for name in ("ts_core", "ml_secondary"):
        config[name] = {"base_nav_frac": 0.2, "min_nav_frac": 0.2, "max_nav_frac": 0.2}
    config["safe"]["min_nav_frac"] = 0.75
    with pytest.raises(ConfigError, match=r"sleeves.base_nav_frac: safe 0.75 \+ ts_core 0.2 \+ ml_secondary 0.2 .* > 1"):
        bind(SleevesSpec, config, "sleeves")
