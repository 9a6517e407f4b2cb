"""The table of alerts: what violates, what does not apply, and that unknown never passes."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.monitoring.alerts import RULES, Reading, evaluate, reject_jump, violations
from policyengine.monitoring.snapshot import bound_snapshot
from tests.conftest import composed_spec
from tests.watched import NOW, span, stored

SPEC = composed_spec().monitor


def violated(**changes: Any) -> set[str]:
    found = evaluate(bound_snapshot(stored(**changes), "x"), SPEC, NOW)
    return {name for name, reading in found.items() if reading is not None and reading.violated}


def test_nothing_is_amiss_at_first() -> None:
    assert violated() == set()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"published_at": (NOW - timedelta(hours=26, seconds=1)).isoformat()}, "snapshot_stale"),
        ({"published_at": (NOW + timedelta(minutes=2)).isoformat()}, "snapshot_stale"),
        ({"buckets__0__held_frac": 0.7499}, "safe_below_floor"),
        ({"risk__held_frac": 0.2501}, "risk_above_maximum"),
        ({"risk__held_frac": None}, "risk_above_maximum"),
        ({"done__since_mode": span(orders=40, rejects=7)}, "reject_rate_jump"),
        ({"cash_frac": 0.31}, "exposure_not_whole"),
        ({"buckets__2__net_frac": None}, "exposure_not_whole"),
        ({"buckets__2__held_frac": None}, "exposure_not_whole"),
        ({"quant_gate__active": True}, "quant_gate_active"),
        ({"permit__expires_at": (NOW + timedelta(hours=23)).isoformat()}, "evidence_expiring"),
        ({"permit": None}, "evidence_expiring"),
        ({"audit__broken": "record 7 was changed"}, "audit_broken"),
        ({"audit": None}, "audit_broken"),
        ({"canary__why": "the mirror bound was crossed"}, "canary_bound_crossed"),
        ({"canary": None}, "canary_bound_crossed"),
        ({"kill__engaged": True}, "kill_engaged"),
        ({"kill": None}, "kill_engaged"),
    ],
)
def test_each_thing_amiss_violates_its_own_rule_and_no_other(changes: dict[str, Any], name: str) -> None:
    assert violated(**changes) == {name}


def test_an_unknown_safe_weight_is_not_above_its_floor() -> None:
    assert violated(buckets__0__held_frac=None) == {"safe_below_floor", "exposure_not_whole"}
    assert "exposure_not_whole" in violated(buckets=[])


@pytest.mark.parametrize(
    "changes",
    [
        {"buckets__0__held_frac": 0.75},
        {"buckets__0__held_frac": 0.1, "buckets__0__min_frac": None},
        {"risk__held_frac": 0.25},
        {"published_at": (NOW - timedelta(hours=25, minutes=59)).isoformat()},
        {"done__since_mode": span(orders=19, rejects=19)},
        {"done__since_mode": span(orders=40, rejects=6)},
        {"done__since_mode": span(orders=40, rejects=40), "done__before_mode": None},
        {"quant_gate": None},
        {"permit__expires_at": (NOW + timedelta(hours=25)).isoformat()},
    ],
)
def test_at_its_limit_or_without_one_nothing_is_amiss(changes: dict[str, Any]) -> None:
    assert violated(**changes) == set()


@pytest.mark.parametrize(
    ("state", "name"), [("paused", "canary_bound_crossed"), ("expired", "evidence_expiring"), ("killed", "kill_engaged")]
)
def test_a_stage_that_was_left_says_why(state: str, name: str) -> None:
    assert violated(state=state, halted="it lost 3% of NAV", permit=None, canary=None) == {name}


def test_an_account_without_a_rollout_has_nothing_to_be_broken() -> None:
    assert violated(state="off", mode="off", permit=None, canary=None, kill=None, audit=None, evidence=None, quant_gate=None) == set()


def test_without_a_snapshot_only_its_absence_can_be_told() -> None:
    found = evaluate("it does not exist", SPEC, NOW)
    assert found.pop("snapshot_absent") == Reading(observed=1.0, operator=">", limit=0.0, why="it does not exist")
    assert set(found.values()) == {None}
    assert len(found) == len(RULES) - 1


def test_where_nothing_was_ordered_before_the_whole_rate_is_a_rise() -> None:
    snapshot = bound_snapshot(stored(done__before_mode=span(orders=0, rejects=0), done__since_mode=span(orders=40, rejects=8)), "x")
    assert reject_jump(snapshot) == (0.2, 40)
    assert [one.name for one in violations(snapshot, SPEC, NOW)] == ["reject_rate_jump"]


@given(st.one_of(st.none(), st.floats(allow_nan=True)), st.sampled_from("<>"), st.one_of(st.none(), st.floats(-1.0, 1.0)))
def test_what_is_not_known_to_keep_a_limit_violates_it(observed: float | None, way: Any, limit: float | None) -> None:
    reading = Reading(observed=observed, operator=way, limit=limit, why="")
    if limit is None:
        assert not reading.violated
    elif observed is None or math.isnan(observed):
        assert reading.violated
    else:
        beyond = observed - limit if way == ">" else limit - observed
        assert reading.violated == (beyond > 1e-9) or abs(beyond - 1e-9) < 1e-12
