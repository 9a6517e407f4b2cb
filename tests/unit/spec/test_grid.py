"""A grid: what it names, in which order, what it refuses and by which name; and that it composes as it is documented."""

from __future__ import annotations

from typing import Any

import pytest

from policyengine.errors import ConfigError
from policyengine.records import Arm
from policyengine.spec.grid import MAX_POLICIES, bind_grid, nested, words
from policyengine.spec.root import ARM_SECTIONS, PolicyGrid, bind_spec
from tests.conftest import composed, composed_spec


def grid_of(*overrides: str) -> PolicyGrid:
    grid = composed_spec("experiment=grid", *overrides).grid
    assert grid is not None
    return grid


def asked(**grid: Any) -> list[dict[str, Any]]:
    return [dict(point.changes) for point in bind_grid(grid, ARM_SECTIONS).points()]


def test_the_product_has_the_last_axis_fastest_and_the_list_after_it() -> None:
    axes = {"sizing.multipliers.spec": [0.5, 0.6], "limits.risk_max_frac": [0.2, 0.25]}
    assert asked(axes=axes, policies=[{"limits": {"enabled": False}, "name": "FREE"}]) == [
        {"sizing.multipliers.spec": 0.5, "limits.risk_max_frac": 0.2},
        {"sizing.multipliers.spec": 0.5, "limits.risk_max_frac": 0.25},
        {"sizing.multipliers.spec": 0.6, "limits.risk_max_frac": 0.2},
        {"sizing.multipliers.spec": 0.6, "limits.risk_max_frac": 0.25},
        {"limits.enabled": False, "name": "FREE"},
    ]


def test_axes_may_be_nested_as_the_sections_are() -> None:
    assert asked(axes={"sizing": {"multipliers": {"spec": [0.5], "core": {"start": 0, "stop": 1, "num": 2}}}}) == [
        {"sizing.multipliers.spec": 0.5, "sizing.multipliers.core": 0},
        {"sizing.multipliers.spec": 0.5, "sizing.multipliers.core": 1},
    ]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"start": 0.1, "stop": 0.5, "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"start": 0.0, "stop": 1.0, "num": 3}, [0.0, 0.5, 1.0]),
        ({"start": 0.4, "stop": 1.0, "step": 0.25}, [0.4, 0.65, 0.9]),
        ({"start": 10, "stop": 30, "step": 10}, [10, 20, 30]),
        ({"start": 1, "stop": 2, "num": 3}, [1.0, 1.5, 2.0]),
        ({"start": 0.7, "stop": 0.7, "step": 0.1}, [0.7]),
    ],
)
def test_a_range_holds_both_ends_in_twelve_digits(given: dict[str, float], values: list[float]) -> None:
    found = [changes["sizing.multipliers.spec"] for changes in asked(axes={"sizing.multipliers.spec": given})]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_changes_are_written_as_the_command_line_takes_them() -> None:
    changes = {"limits.metric": "euclidean", "limits.cash_sweep.symbols": ["TBILL", "^X"], "limits.enabled": True, "name": "null"}
    assert words(changes) == ["limits.metric=euclidean", 'limits.cash_sweep.symbols=[TBILL,"^X"]', "limits.enabled=true", 'name="null"']
    assert nested(changes) == {
        "limits": {"metric": "euclidean", "cash_sweep": {"symbols": ["TBILL", "^X"]}, "enabled": True},
        "name": "null",
    }


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "grid: names no policy; give grid.axes="),
        ({"axes": {}, "policies": []}, "grid: names no policy"),
        ({"axis": {}}, "grid.axis: unknown key 'axis'; did you mean 'axes'?"),
        ([], "grid: [] is not a mapping"),
        ({"axes": [1]}, "grid.axes: [1] is not a mapping"),
        ({"policies": {}}, "grid.policies: {} is not a list of policies"),
        ({"policies": [3]}, "grid.policies[0]: 3 is not a mapping"),
        ({"axes": {"sizing.multipliers.spec": 0.5}}, "grid.axes.sizing.multipliers.spec: 0.5 is neither a list of values nor a range"),
        ({"axes": {"sizing.multipliers.spec": []}}, "grid.axes.sizing.multipliers.spec: [] holds no value"),
        ({"axes": {"signals.ts_core.span": [1]}}, "grid.axes.signals.ts_core.span: 'signals' is not of an arm's own sections"),
        ({"axes": {"execution": {"spread_bps": [1]}}}, "grid.axes.execution.spread_bps: 'execution' is not of an arm's own sections"),
        ({"policies": [{"universe": {"cash_rate_symbol": None}}]}, "grid.policies[0].universe.cash_rate_symbol: 'universe' is not of"),
        ({"axes": {"scaler": [{"enabled": True}]}}, "grid.axes.scaler: is a whole section"),
        ({"policies": [{"scaler": {}}]}, "grid.policies[0].scaler: is a whole section"),
        (
            {"axes": {"sizing.multipliers": [{}], "sizing.multipliers.spec": [1]}},
            "grid.axes.sizing.multipliers.spec: and sizing.multipliers are both axes",
        ),
        ({"axes": {"sizing.multipliers.spec": [1], "sizing": {"multipliers": {"spec": [1]}}}}, "grid.axes.sizing.multipliers.spec: and"),
        (
            {"policies": [{"sizing.enabled": True, "sizing": {"enabled": False}}]},
            "grid.policies[0].sizing.enabled: stands twice, dotted and nested",
        ),
        ({"policies": [{}], "part": 0}, "grid.part: 0 is not in [1, 1]"),
        ({"policies": [{}], "part": 3, "parts": 2}, "grid.part: 3 is not in [1, 2]"),
        ({"policies": [{}], "parts": 0}, "grid.parts: 0 is below 1"),
        ({"policies": [{}], "part": True}, "grid.part: true is not a whole number"),
    ],
)
def test_what_is_no_grid_is_refused(grid: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_grid(grid, ARM_SECTIONS)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"start": 0.0, "stop": 1.0}, "0 to 1 wants either step or num"),
        ({"start": 0.0, "stop": 1.0, "step": 0.1, "num": 3}, "0 to 1 wants either step or num"),
        ({"start": 1.0, "stop": 0.0, "step": 0.1}, ".stop: 0 is below start 1"),
        ({"start": 0.0, "stop": 1.0, "step": 0.0}, ".step: 0 is not above 0"),
        ({"start": 0.0, "stop": 1.0, "step": -0.1}, ".step: -0.1 is not above 0"),
        ({"start": 0.0, "stop": 1.0, "num": 1}, ".num: 1 is below 2"),
        ({"start": 0.0, "stop": 1.0, "num": 2.5}, ".num: 2.5 is not a whole number"),
        ({"start": 0.0, "stop": 1.0, "step": 1e-9}, "0 to 1 is more than 10,000 values"),
        ({"start": 0.0, "stop": 1e300, "step": 1e-300}, "0 to 1e+300 is more than 10,000 values"),
        ({"start": 0.0, "stop": 1.0, "num": MAX_POLICIES + 1}, "0 to 1 is more than 10,000 values"),
        ({"start": 0.0, "stop": float("inf"), "num": 3}, ".stop: inf is not finite"),
        ({"start": 0.0, "num": 3}, ".stop: is required and not given"),
    ],
)
def test_what_is_no_range_is_refused(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_grid({"axes": {"sizing.multipliers.spec": given}}, ARM_SECTIONS)
    assert str(caught.value).removeprefix("grid.axes.sizing.multipliers.spec").removeprefix(": ") == rule


def test_more_policies_than_can_be_compared_are_refused_before_any_is_bound() -> None:
    axes = {f"sizing.multipliers.{bucket}": {"start": 0.0, "stop": 1.0, "num": 101} for bucket in ("safe", "core", "spec", "other")}
    with pytest.raises(ConfigError, match=r"grid: names 104,060,401 policies; 10,000 is the most"):
        bind_grid({"axes": axes}, ARM_SECTIONS)


def test_a_policy_of_a_grid_is_the_candidate_with_its_changes() -> None:
    grid = grid_of("grid.axes={sizing.multipliers.spec:[0.5,0.6]}", "grid.policies=[{limits:{risk_max_frac:0.2},name:CALM}]")
    alone = composed_spec("++evidence.arms.candidate.sizing.multipliers.spec=0.6")
    assert grid.policies[1].arm == alone.candidate
    assert grid.policies[1].policy_hash == alone.policy_hash(Arm.CANDIDATE)
    assert (grid.policies[2].arm.name, grid.policies[2].arm.limits.risk_max_frac) == ("CALM", 0.2)


def test_what_the_candidate_changes_already_stays_changed() -> None:
    grid = grid_of("+evidence.arms.candidate.limits.risk_max_frac=0.2", "grid.axes={sizing.multipliers.spec:[0.5]}")
    assert grid.policies[0].arm.limits.risk_max_frac == 0.2
    assert grid.policies[0].arm.sizing.multipliers == {"safe": 1.0, "core": 0.9, "spec": 0.5, "other": 0.85}


def test_equal_policies_are_one_trial_whatever_their_name() -> None:
    grid = grid_of("grid.axes={sizing.multipliers.spec:[0.5,0.50,0.6]}", "grid.policies=[{name:X,sizing:{multipliers:{spec:0.6}}}]")
    assert [policy.changes for policy in grid.policies] == [{"sizing.multipliers.spec": 0.5}, {"sizing.multipliers.spec": 0.6}]
    assert grid.asked == 4


def test_what_axes_do_not_change_is_shared_and_not_copied() -> None:
    spec = composed_spec("experiment=grid")
    assert spec.grid is not None
    assert all(policy.arm.limits is spec.candidate.limits for policy in spec.grid.policies)


def test_parts_follow_each_other_and_leave_nothing_out() -> None:
    for parts in (1, 2, 5, 12):
        found = [grid_of(f"grid.part={part}", f"grid.parts={parts}").own for part in range(1, parts + 1)]
        assert [number for own in found for number in own] == list(range(12))
        assert max(map(len, found)) - min(map(len, found)) <= 1


def test_the_thousand_of_the_shipped_grid() -> None:
    grid = composed_spec("experiment=grid_1000").grid
    assert grid is not None
    assert len({policy.policy_hash for policy in grid.policies}) == len(grid.policies) == 1000


@pytest.mark.parametrize(
    "axes",
    ["grid.axes={sizing.multipliers.spec:[0.5,0.6]}", "grid.axes={sizing:{multipliers:{spec:[0.5,0.6]}}}"],
)
def test_axes_on_the_command_line_replace_those_of_the_file(axes: str) -> None:
    assert [dict(policy.changes) for policy in grid_of(axes).policies] == [
        {"sizing.multipliers.spec": 0.5},
        {"sizing.multipliers.spec": 0.6},
    ]


def test_a_grid_changes_no_hash_of_a_run() -> None:
    assert composed_spec("experiment=grid").config_hash() == composed_spec().config_hash()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["grid.axes={sizing.multipliers.spec:[0.5,3]}"], "grid.axes.sizing.multipliers.spec: 3 is not in [0, 2]"),
        (["grid.axes={sizing.multipliers.spek:[0.5]}"], "grid.axes.sizing.multipliers.spek: unknown value 'spek'; did you mean 'spec'?"),
        (["grid.axes={sizing.multipliers.spec:[fast]}"], "grid.axes.sizing.multipliers.spec: 'fast' is not a number"),
        (["grid.axes={limits.risk_max:[0.2]}"], "grid.axes.limits.risk_max: unknown key 'risk_max'; did you mean 'risk_max_frac'?"),
        (
            ["grid.axes={limits.risk_max_frac:[0.25],limits.buckets.safe.min_frac:[0.8]}"],
            "grid.axes: limits.risk_max_frac=0.25 limits.buckets.safe.min_frac=0.8: sleeves.safe.min_nav_frac: 0.75 is not",
        ),
        (
            ["grid.axes=null", "grid.policies=[{},{limits:{gross_max_frac:1.5}}]"],
            "grid.policies[1].limits.gross_max_frac: 1.5 is not in [0, 1]",
        ),
        (["grid.axes=null", "grid.policies=[{name:3}]"], "grid.policies[0].name: 3 is not a text"),
        (["grid.parts=13"], "grid.parts: 13 is more than the policies that there are, 12"),
        (["task=gate"], "grid: is for task=evaluate; task=gate has no use for it"),
        (["evidence=trade_history"], "grid: replays its policies, over evidence=replay or walk_forward"),
    ],
)
def test_a_policy_that_cannot_be_is_named_before_anything_runs(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_spec(composed("experiment=grid", *overrides))
    assert str(caught.value).startswith(message)
