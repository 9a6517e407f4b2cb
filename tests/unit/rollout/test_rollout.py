"""A rollout's steps on evidence that promotes: what halts it, what refuses it, and what leaves it alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.errors import ConfigError, DataError
from policyengine.records import Bucket, Mode, Stage
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read
from policyengine.rollout.audit_records import Breach, Transition
from policyengine.rollout.comparison import Comparison
from policyengine.rollout.kill import KillSwitch
from policyengine.rollout.modes import State
from policyengine.rollout.permit import Request
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import Facts, Rollout, state_of
from policyengine.spec.rollout import SliceSpec
from tests.conftest import composed_spec
from tests.unit.rollout.conftest import MADE_AT, Case

NOW = MADE_AT + timedelta(days=1)
DONE = Comparison(sessions=30, mean=0.0001, lower=-0.001, upper=0.002, loss_frac=0.0, why=None)
FACTS = Facts(
    shadow_sessions=20,
    shadow_trades=dict.fromkeys(Bucket, 10),
    material=(Bucket.CORE,),
    unlike=None,
    canary_span=None,
    comparison=None,
    limits_held=True,
    data_to=NOW.date(),
)


@dataclass
class Account:
    """A state folder with evidence for a canary; what its trader finds, and when."""

    case: Case
    facts: Facts = FACTS
    now: datetime = NOW

    @property
    def audit(self) -> Path:
        return self.case.request.state_dir / "audit"

    @contextmanager
    def rollout(self, mode: Mode, **changes: Any) -> Iterator[Rollout]:
        spec = self.case.request.spec
        spec = replace(spec, rollout=replace(spec.rollout, mode=mode, **changes))
        kill = KillSwitch(self.case.request.state_dir, environment={}, file=None, configured=False, clock=lambda: self.now)
        kill.begin()

        def request(stage: Stage, at: datetime, newest: datetime | None) -> Request:
            return replace(self.case.request, spec=spec, stage=stage, at=at, newest_evidence_at=newest)

        with AuditLog(self.audit, recorded_at=self.now.isoformat()) as audit:
            yield Rollout(spec.rollout, audit, self.audit, kill, request=request, clock=lambda: self.now)

    def start(self, mode: Mode, facts: Callable[[], Facts] | None = None, **changes: Any) -> State:
        with self.rollout(mode, **changes) as rollout:
            return rollout.start("test", facts or (lambda: self.facts))

    def refused(self, mode: Mode, **changes: Any) -> NotStarted:
        with pytest.raises(NotStarted) as caught:
            self.start(mode, **changes)
        return caught.value

    def last(self) -> Transition:
        return list(read(self.audit, Transition))[-1]


@pytest.fixture
def account(case: Case) -> Account:
    return Account(case)


@pytest.fixture
def canary(account: Account) -> Account:
    """At canary, after shadow."""
    assert account.start(Mode.SHADOW) is State.SHADOW
    assert account.start(Mode.CANARY) is State.CANARY
    account.facts = replace(FACTS, comparison=DONE, canary_span=(date(2018, 1, 1), date(2018, 2, 1)))
    return account


def test_a_canary_that_is_well_stays(canary: Account) -> None:
    assert canary.start(Mode.CANARY) is State.CANARY
    assert list(read(canary.audit, Breach)) == []


def test_stale_data_pause_a_canary(canary: Account) -> None:
    canary.facts = replace(canary.facts, data_to=NOW.date() - timedelta(days=7))
    assert canary.start(Mode.CANARY) is State.CANARY
    canary.facts = replace(canary.facts, data_to=NOW.date() - timedelta(days=8))
    assert canary.start(Mode.CANARY) is State.PAUSED
    (breach,) = read(canary.audit, Breach)
    assert (breach.name, breach.observed, breach.threshold) == ("data", 8.0, 7.0)
    assert canary.last().why == "the data end on 2025-12-25, 8 days ago; rollout.guards.data_days is 7"
    assert canary.start(Mode.CANARY) is State.PAUSED  # and it goes on with the baseline's sizes until somebody begins again
    assert len(list(read(canary.audit, Breach))) == 1


def test_stale_data_refuse_a_step_to_canary_and_leave_shadow_and_off_alone(account: Account) -> None:
    account.facts = replace(FACTS, data_to=date(2018, 11, 30))
    assert account.start(Mode.SHADOW) is State.SHADOW
    assert account.start(Mode.SHADOW) is State.SHADOW
    refused = account.refused(Mode.CANARY)
    assert refused.code is Code.STAGE_MISMATCH
    assert "the rollout stays at shadow: the data end on 2018-11-30" in str(refused)
    assert account.start(Mode.OFF) is State.OFF


def test_a_canary_that_cannot_be_compared_pauses(canary: Account) -> None:
    def gone() -> Facts:
        raise DataError("prices", "have no session 2018-01-02 any more, which account paper traded")

    assert canary.start(Mode.CANARY, gone) is State.PAUSED
    assert "it cannot be compared: prices: have no session" in canary.last().why


@pytest.mark.parametrize("why", ["its loss cannot be measured", "the mirror bound was crossed after 9 sessions: the candidate does harm"])
def test_a_metric_that_is_missing_or_crossed_pauses_at_the_next_start(canary: Account, why: str) -> None:
    canary.facts = replace(canary.facts, comparison=replace(DONE, mean=None, loss_frac=float(np.nan), why=why))
    assert canary.start(Mode.CANARY) is State.PAUSED
    (breach,) = read(canary.audit, Breach)
    assert (breach.name, breach.observed, breach.why) == ("canary", None, why)


def test_a_bound_hash_that_is_another_expires(canary: Account) -> None:
    spec = canary.case.request.spec
    harder = replace(spec.gate, floors=replace(spec.gate.floors, trades_min=100_000))
    canary.case = replace(canary.case, request=replace(canary.case.request, spec=replace(spec, gate=harder)))
    assert canary.refused(Mode.CANARY).code is Code.CONFIG_MISMATCH
    assert state_of(canary.audit) is State.EXPIRED


def test_a_verdict_that_does_not_promote_any_more_pauses(canary: Account) -> None:
    made = canary.case.artifact()
    made["breaches"] = 3
    for criterion in made["criteria"]:
        if criterion["name"] == "limits_held":
            criterion.update(status="fail", observed=3.0)
    canary.case.store(made | {"verdict": "REJECT", "passed": False})
    assert canary.refused(Mode.CANARY).code is Code.EV_NOT_PASSED
    assert state_of(canary.audit) is State.PAUSED
    assert canary.last().why.startswith("EV_NOT_PASSED: ")
    assert canary.start(Mode.CANARY) is State.PAUSED


def test_a_slice_other_than_that_of_the_rollout_starts_nothing_and_changes_nothing(canary: Account) -> None:
    other = replace(canary.case.request.spec.rollout.slice, capital_frac=0.2)
    canary.case.approve("local:bob", slice_=other)
    refused = canary.refused(Mode.CANARY, slice=other)
    assert refused.code is Code.LIMITS_EXCEEDED
    assert "which the canary began with" in str(refused)
    assert state_of(canary.audit) is State.CANARY
    assert canary.start(Mode.CANARY) is State.CANARY


@pytest.mark.parametrize("change", [{"capital_frac": 0.2}, {"capital_frac": 0.05}, {"universe_frac": 0.5}, {"salt": "another"}])
def test_an_approval_is_of_one_slice(account: Account, change: dict[str, Any]) -> None:
    account.start(Mode.SHADOW)
    approved = account.case.request.spec.rollout.slice
    other: SliceSpec = replace(approved, **change)
    refused = account.refused(Mode.CANARY, slice=other)
    assert refused.code is Code.LIMITS_EXCEEDED
    assert f"rollout.slice {other} is not what was approved: local:ann approves {approved}" in str(refused)
    assert state_of(account.audit) is State.SHADOW
    account.case.approve("local:bob", slice_=other)
    assert account.start(Mode.CANARY, slice=other) is State.CANARY


def test_what_is_on_record_of_a_step_is_what_was_approved(canary: Account) -> None:
    approved = canary.case.request.spec.rollout.slice
    assert (canary.last().slice, canary.last().approved_by) == (approved, ("local:ann",))
    (path,) = (canary.case.request.state_dir / "approvals").rglob("*.json")
    assert json.loads(path.read_text())["slice"] == {"capital_frac": 0.1, "salt": "barbell", "universe_frac": 1.0}


def test_a_limit_on_the_age_of_data_is_one() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.guards\.data_days: 0 is below 1"):
        composed_spec("rollout.guards.data_days=0")
