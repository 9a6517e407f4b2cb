"""A policy in a grid comes to what it comes to when it is evaluated alone, window by window and metric by metric."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policyengine.errors import ConfigError
from policyengine.evidence.artifact import row_of
from policyengine.evidence.looks import OriginRecord, budget_key
from policyengine.evidence.matrix import flat
from policyengine.evidence.trial_log import append_origin, read_log
from policyengine.evidence.trials import TrialsRecord
from policyengine.records import Arm
from policyengine.spec.root import digest
from policyengine.tasks.evaluate import evaluate
from policyengine.tasks.run import Run
from tests.conftest import composed_spec

SHORT = ("window.as_of=2001-06-30", "task.report=false")
"""A year and a half of the demo: six quarters."""
NUMBERS = ("baseline_", "candidate_", "delta_")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def gridded(run: Run, *overrides: str) -> list[dict[str, str]]:
    spec = composed_spec("experiment=grid", *SHORT, *overrides)
    evaluate(spec, spec.task, run)  # type: ignore[arg-type]
    return rows_of(run.folder / "matrix.csv")


def alone(run: Run, *overrides: str) -> list[dict[str, Any]]:
    spec = composed_spec(*SHORT, *overrides)
    made = evaluate(spec, spec.task, run)  # type: ignore[arg-type]
    return [flat(row_of(row)) for row in json.loads(json.dumps(made["windows"]))]


def check_same(found: Mapping[str, str], wanted: Mapping[str, Any]) -> None:
    """Every cell of a row; a difference as exact as what it is the difference of."""
    for name, value in wanted.items():
        if not name.startswith(NUMBERS) or name == "baseline_hash":
            assert found[name] == ("" if value is None else str(value)), name
        elif value is None:
            assert found[name] == "", name
        else:
            metric = name.partition("_")[2]
            size = [wanted.get(f"{arm}_{metric}") or 0.0 for arm in ("baseline", "candidate")]
            assert math.isclose(float(found[name]), value, rel_tol=1e-9, abs_tol=1e-9 * max(1e-3, *map(abs, size))), name


@pytest.mark.parametrize(
    "changes",
    [
        ["sizing.multipliers.spec=0.5", "limits.risk_max_frac=0.1"],
        ["limits.enabled=false", "sleeves.ts_core.base_nav_frac=0.1"],
        ["limits.metric=euclidean", "limits.buckets.core.position_max_frac=0.02", "scaler.enabled=false"],
        ["sizing.enabled=false"],
        [],
    ],
)
def test_a_grid_of_one_is_the_evaluation_of_it(run_in: Callable[..., Run], changes: list[str]) -> None:
    policy = ",".join(change.replace("=", ":") for change in changes)
    found = gridded(run_in("grid"), "grid.axes=null", f"grid.policies=[{{{policy}}}]")
    wanted = alone(run_in("alone"), *(f"++evidence.arms.candidate.{change}" for change in changes))
    assert len(found) == len(wanted) == 6
    for one, other in zip(found, wanted, strict=True):
        check_same(one, other)


MULTIPLIER = st.floats(0.0, 1.5).map(lambda value: round(value, 3))


@pytest.mark.long
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({"spec": MULTIPLIER, "core": MULTIPLIER}), min_size=2, max_size=3, unique_by=str), st.data())
def test_each_of_many_is_what_it_is_alone(
    tmp_path_factory: pytest.TempPathFactory, run_in: Callable[..., Run], policies: list[dict[str, float]], data: st.DataObject
) -> None:
    name = tmp_path_factory.mktemp("case").name
    listed = ",".join(f"{{sizing:{{multipliers:{{spec:{p['spec']},core:{p['core']}}}}}}}" for p in policies)
    found = gridded(run_in(f"grid-{name}"), "grid.axes=null", f"grid.policies=[{listed}]")
    number = data.draw(st.integers(0, len(policies) - 1))
    given = [f"++evidence.arms.candidate.sizing.multipliers.{bucket}={value}" for bucket, value in policies[number].items()]
    own = [row for row in found if row["policy"] == str(number)]
    for one, other in zip(own, alone(run_in(f"alone-{name}"), *given), strict=True):
        check_same(one, other)


def test_the_command_that_is_said_next_evaluates_the_policy_that_is_best(run_in: Callable[..., Run]) -> None:
    said: list[str] = []
    spec = composed_spec("experiment=grid", *SHORT)
    made = evaluate(spec, spec.task, run_in("grid", said))  # type: ignore[arg-type]
    best = made["ranking"]["sharpe"]["best"][0]
    command, *overrides = said[-1].split()
    assert command == "policyengine"
    assert composed_spec(*SHORT, *overrides).policy_hash(Arm.CANDIDATE) == best["policy_hash"]


def test_windows_begin_with_the_origin_that_was_declared(run_in: Callable[..., Run]) -> None:
    """As they do where a policy is evaluated alone: the first two quarters are gone, the third is cut."""
    spec = composed_spec("experiment=grid", *SHORT)
    made = evaluate(spec, spec.task, run_in("first"))  # type: ignore[arg-type]
    key = budget_key(made["hashes"]["source"], made["hashes"]["baseline"])
    runs = [run_in(name) for name in ("grid", "alone")]
    for run in runs:
        origin = OriginRecord(budget=key, origin_date=date(2000, 8, 15), recorded_at=run.created_at, run_id=run.run_id)
        append_origin(run.state_dir, origin)
    found = gridded(runs[0], "grid.axes={sizing.multipliers.spec:[0.5]}")
    wanted = alone(runs[1], "++evidence.arms.candidate.sizing.multipliers.spec=0.5")
    assert [row["window"] for row in found] == ["2000-Q3", "2000-Q4", "2001-Q1", "2001-Q2"]
    assert int(found[0]["sessions"]) < 40
    for one, other in zip(found, wanted, strict=True):
        check_same(one, other)


def test_every_policy_is_logged_as_a_trial_of_the_days_at_hand(run_in: Callable[..., Run]) -> None:
    run = run_in("grid")
    gridded(run)
    (record,) = read_log(run.state_dir).records
    grid = composed_spec("experiment=grid", *SHORT).grid
    assert grid is not None
    assert isinstance(record, TrialsRecord)
    assert set(record.policies) == {policy.policy_hash for policy in grid.policies}
    assert all(digest(one.policy) == one.policy_hash for one in record.each())
    assert (record.first_date, record.last_date) == (date(2000, 1, 3), date(2001, 6, 29))
    alone(run, "++evidence.arms.candidate.sizing.multipliers.spec=0.4", "++evidence.arms.candidate.sizing.multipliers.core=0.8")
    assert len(read_log(run.state_dir).records) == 1  # it is a trial of the grid


@pytest.mark.long
def test_the_best_of_a_grid_is_judged_against_all_of_it(run_in: Callable[..., Run]) -> None:
    """The first look at one policy of the twelve, on all the data that are at hand, counts the twelve."""
    run = run_in("grid")
    spec = composed_spec("experiment=grid", "task.report=false")
    evaluate(spec, spec.task, run)  # type: ignore[arg-type]
    assert read_log(run.state_dir).head.count == 1
    chosen = composed_spec("task.report=false", "++evidence.arms.candidate.sizing.multipliers.spec=0.4", "gate.test.n_boot=99")
    made = evaluate(chosen, chosen.task, replace(run_in("alone"), state_dir=run.state_dir))  # type: ignore[arg-type]
    assert made["look"]["trials"] == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evidence.publish=true"], "evidence.publish: true in a grid"),
        (["task.origin_date=2000-06-01"], "task.origin_date: 2000-06-01 in a grid, which takes no look"),
    ],
)
def test_what_a_grid_cannot_do_is_refused_before_the_first_side_effect(
    run_in: Callable[..., Run], overrides: list[str], message: str
) -> None:
    run, spec = run_in("grid"), composed_spec("experiment=grid", *SHORT, *overrides)
    with pytest.raises(ConfigError, match=message):
        evaluate(spec, spec.task, run)  # type: ignore[arg-type]
    assert not run.state_dir.exists()
    assert list(run.folder.iterdir()) == []
