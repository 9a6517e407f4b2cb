"""One minimal test for each code that evidence can be refused with. What concerns signatures and trust is in their own tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from policyengine.evidence.artifact import facts_of
from policyengine.evidence.gate import decide
from policyengine.records import Stage, Verdict
from policyengine.rollout.approvals import Answer
from policyengine.rollout.permit import Request, verify
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.trust import TrustRoots
from policyengine.spec.bind import plain
from tests.unit.rollout.conftest import MADE_AT, Case

Ask = Callable[..., Request]


def refused(request: Request) -> Code:
    with pytest.raises(NotStarted) as caught:
        verify(request)
    assert caught.value.exit_code == 5
    str(caught.value).encode()
    return caught.value.code


def test_evidence_that_verifies_gives_a_permit(case: Case) -> None:
    permit = verify(case.request)
    made = case.artifact()
    assert permit.evidence_hash == sha256(case.canonical.read_bytes()).hexdigest()
    assert (permit.stage, permit.approved_by, permit.producer) == (Stage.CANARY, ("local:ann",), None)
    assert permit.made_at == MADE_AT
    assert permit.expires_at == MADE_AT + timedelta(days=7)
    sample = made["sample"]
    assert (permit.start_date.isoformat(), permit.end_date.isoformat()) == (sample["start_date"], sample["end_date"])


def test_ev_missing(case: Case) -> None:
    case.canonical.unlink()
    assert refused(case.request) is Code.EV_MISSING


@pytest.mark.parametrize("fault", ["symlink", "writable", "folder", "pipe"])
def test_ev_unsafe_file(case: Case, fault: str) -> None:
    path = case.canonical
    match fault:
        case "symlink":
            shutil.move(path, path.with_name("elsewhere.json"))
            path.symlink_to(path.with_name("elsewhere.json"))
        case "writable":
            path.chmod(0o666)
        case "folder":
            path.unlink()
            path.mkdir()
        case "pipe":
            path.unlink()
            os.mkfifo(path)
    assert refused(case.request) is Code.EV_UNSAFE_FILE


def test_sig_missing_where_trust_is_signed(case: Case, with_: Ask) -> None:
    assert refused(with_(trust=TrustRoots(place="roots", entries=(), revoked=frozenset(), people={}))) is Code.SIG_MISSING


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": 1, "a": 2}', b'{"\\ud800": 1, "\\ud800": 2}', b'{"a": NaN}', b"{} {}", b"[]", b"\xff\xfe", b"null", b"[" * 100_000],
    ids=["empty", "open", "duplicate", "duplicate surrogate", "nan", "trailing", "list", "bytes", "null", "deep"],
)
def test_ev_malformed(case: Case, content: bytes) -> None:
    case.canonical.write_bytes(content)
    assert refused(case.request) is Code.EV_MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": "1"},
        {"windows": None},
        {"stage": "paper"},
        {"created_at": "yesterday"},
        {"created_at": "2026-01-01T00:00:00"},
        {"look": {}},
    ],
)
def test_ev_schema(case: Case, changes: dict[str, Any]) -> None:
    case.store({**case.artifact(), **changes})
    assert refused(case.request) is Code.EV_SCHEMA


def test_clock_rollback(case: Case, with_: Ask) -> None:
    """The audit log holds an instant a day ahead of the clock."""
    assert refused(with_(seen_at=case.request.at + timedelta(days=1))) is Code.CLOCK_ROLLBACK


def test_ev_not_yet_valid(with_: Ask) -> None:
    assert refused(with_(at=MADE_AT - timedelta(seconds=1))) is Code.EV_NOT_YET_VALID


def test_ev_expired_a_year_ahead_and_a_second_too_late(with_: Ask) -> None:
    assert refused(with_(at=MADE_AT + timedelta(days=365))) is Code.EV_EXPIRED
    assert refused(with_(at=MADE_AT + timedelta(days=7, seconds=1))) is Code.EV_EXPIRED
    verify(with_(at=MADE_AT + timedelta(days=7)))


def test_ev_superseded_by_evidence_that_was_used_since(with_: Ask) -> None:
    assert refused(with_(newest_evidence_at=MADE_AT + timedelta(hours=1))) is Code.EV_SUPERSEDED


def test_ev_unanchored_in_another_state_folder(case: Case) -> None:
    shutil.rmtree(case.request.state_dir / "trials")
    (case.request.state_dir / "trials.head.json").unlink()
    assert refused(case.request) is Code.EV_UNANCHORED


def test_ev_unanchored_by_a_log_that_was_edited(case: Case) -> None:
    path = case.request.state_dir / "trials" / "trials.jsonl"
    path.write_bytes(path.read_bytes().replace(b"BARBELL", b"BARBELX", 1).replace(b"2015", b"2016", 1))
    assert refused(case.request) is Code.EV_UNANCHORED


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("policy", Code.POLICY_MISMATCH),
        ("config", Code.CONFIG_MISMATCH),
        ("code", Code.CODE_MISMATCH),
        ("source", Code.DATA_MISMATCH),
        ("baseline", Code.BASELINE_MISMATCH),
    ],
)
def test_every_hash_binds(case: Case, name: str, code: Code) -> None:
    """The one in the artifact is another, as it would be had anything of it changed since."""
    made = case.artifact()
    made["hashes"][name] = "0" * 64
    if name in ("policy", "baseline"):  # the log of trials would not hold such a look either: its own test
        made["look"], made["judged"], made["harm"] = "no look was taken", [], []
    case.store(made)
    assert refused(case.request) is code


def test_an_override_of_1e_9_is_another_policy(case: Case, with_: Ask) -> None:
    spec = case.request.spec
    candidate = replace(spec.candidate, limits=replace(spec.candidate.limits, risk_max_frac=0.25 - 1e-9))
    assert refused(with_(spec=replace(spec, candidate=candidate))) is Code.POLICY_MISMATCH
    execution = replace(spec.execution, spread_bps=spec.execution.spread_bps + 1e-9)
    assert refused(with_(spec=replace(spec, execution=execution))) is Code.POLICY_MISMATCH
    gate = replace(spec.gate, floors=replace(spec.gate.floors, trades_min=29))
    assert refused(with_(spec=replace(spec, gate=gate))) is Code.CONFIG_MISMATCH


@pytest.mark.parametrize("fault", ["verdict", "passed text", "no criteria", "a status", "one criterion less", "an observation"])
def test_ev_inconsistent(case: Case, fault: str) -> None:
    made = case.artifact()
    match fault:
        case "verdict":
            made["verdict"] = "INCONCLUSIVE"
        case "passed text":
            made["passed"] = "true"
        case "no criteria":
            made["criteria"] = []
        case "a status":
            made["judged"][0]["status"] = "fail"
        case "one criterion less":
            made["criteria"] = made["criteria"][1:]
        case "an observation":
            made["breaches"] = 3
    case.store(made)
    case.approve()
    assert refused(case.request) is Code.EV_INCONSISTENT


def test_ev_not_passed(case: Case) -> None:
    """Honest evidence that does not promote: all it states follows from what it holds."""
    made = case.artifact()
    made["breaches"] = 3
    for criterion in made["criteria"]:
        if criterion["name"] == "limits_held":
            criterion.update(status="fail", observed=3.0)
    made |= {"verdict": "REJECT", "passed": False}
    case.store(made)
    assert refused(case.request) is Code.EV_NOT_PASSED


def test_stage_mismatch(with_: Ask) -> None:
    assert refused(with_(stage=Stage.LIVE)) is Code.STAGE_MISMATCH


def test_signoff_quorum(case: Case) -> None:
    shutil.rmtree(case.request.state_dir / "approvals")
    assert refused(case.request) is Code.SIGNOFF_QUORUM
    case.approve(evidence_hash="0" * 64)  # of other evidence
    assert refused(case.request) is Code.SIGNOFF_QUORUM
    case.approve()
    verify(case.request)
    case.approve("local:bob", answer=Answer.REJECT)
    assert refused(case.request) is Code.SIGNOFF_QUORUM


def test_a_soft_criterion_that_does_not_pass_is_overridden_by_a_reason_that_names_it(case: Case, with_: Ask) -> None:
    """Evidence whose trade count dropped, under a gate in which that is soft."""
    spec = case.request.spec
    soft = replace(spec, gate=replace(spec.gate, soft=("trade_count",)))
    made = case.artifact()
    made["config"]["gate"]["soft"] = ["trade_count"]
    made["hashes"]["config"] = soft.config_hash()
    for name in ("total_trades", "winning_trades", "losing_trades"):
        made["pooled"]["candidate"][name] = 0.6 * made["pooled"]["baseline"][name]
    case.store(made)
    facts = facts_of(made, Stage.CANARY)
    decision = decide(facts, soft.gate)
    made["criteria"] = [plain(c) for c in decision.criteria]
    assert decision.verdict is Verdict.PROMOTE
    case.store(made)
    case.approve()
    with pytest.raises(NotStarted, match="soft criterion trade_count does not pass, and no approval gives a reason") as caught:
        verify(with_(spec=soft))
    assert caught.value.code is Code.SIGNOFF_QUORUM
    case.approve("local:bob", reason="trade_count: fewer trades are what it is for")
    assert verify(with_(spec=soft)).approved_by == ("local:ann", "local:bob")


def test_signoff_expired(case: Case, with_: Ask) -> None:
    shutil.rmtree(case.request.state_dir / "approvals")
    case.approve(days=1)
    assert refused(with_(at=MADE_AT + timedelta(days=2))) is Code.SIGNOFF_EXPIRED


def test_an_edited_byte_voids_the_approval(case: Case) -> None:
    """Even one that changes nothing that is read: people approve bytes."""
    case.canonical.write_text(json.dumps(case.artifact()))
    assert refused(case.request) is Code.SIGNOFF_QUORUM


def test_instants_are_compared_across_zones(with_: Ask) -> None:
    made_at = datetime(2026, 1, 1, 1, tzinfo=UTC)
    verify(with_(at=made_at))
