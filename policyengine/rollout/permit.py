"""The permit: what the runtime gets where the evidence verifies for a stage, and one stable code for each way in which it does not.

Checks run in the order of `Code`, and the first that fails is the one that is given. Nothing here reads a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from policyengine.errors import DataError, PolicyEngineError
from policyengine.evidence.anchoring import Superseded, anchored, refuse_superseded
from policyengine.evidence.artifact import Hashes, Inconsistent, Read, code_hash, facts_of, read_artifact
from policyengine.evidence.gate import Facts, decide
from policyengine.records import Arm, Stage, Verdict
from policyengine.rollout.approvals import Answer, read_approvals
from policyengine.rollout.guarded import read_guarded
from policyengine.rollout.quorum import on_slice, quorum
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.trust import Signer, TrustRoots, verify_evidence
from policyengine.spec.bind import bind
from policyengine.spec.gate import GateSpec
from policyengine.spec.root import Spec
from policyengine.store import MAX_JSON_BYTES, parse_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a permit is asked for, and what is known of the past.

    `canonical` is where the evidence stands; `trust` the roots, None where local trust suffices; `source_key` the identity of the data at
    hand. `seen_at` is the latest instant, `newest_evidence_at` the making of the newest evidence, that the audit log holds.
    """

    stage: Stage
    spec: Spec
    canonical: Path
    state_dir: Path
    at: datetime
    trust: TrustRoots | None
    source_key: str
    seen_at: datetime | None = None
    newest_evidence_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Evidence that verified: for `stage`, until `expires_at`, on the sample from `start_date` to `end_date`."""

    stage: Stage
    evidence_hash: str
    policy_hash: str
    baseline_hash: str
    config_hash: str
    code_hash: str
    data_hash: str
    made_at: datetime
    expires_at: datetime
    start_date: date
    end_date: date
    producer: str | None
    approved_by: tuple[str, ...]


def verify(request: Request) -> Permit:
    """The permit of the evidence at `request.canonical`.

    Raises:
        NotStarted: with the first code that applies.
    """
    place = str(request.canonical)
    content, producer = _read(request)
    made = _parsed(content, place)
    found, facts = _facts(made, place)
    made_at = _in_time(found, request)
    _newest(facts, made_at, request)
    stands = _standing(facts, made, request)
    _bound(found.hashes, request)
    _consistent(facts, made, place)
    passed = _passed(stands, made, request)
    if passed.stage is not request.stage:
        raise NotStarted(Code.STAGE_MISMATCH, f"{place}: is for stage {passed.stage}, not {request.stage}")
    evidence_hash = hashlib.sha256(content).hexdigest()
    hashes = found.hashes
    return Permit(
        stage=request.stage,
        evidence_hash=evidence_hash,
        policy_hash=hashes.policy,
        baseline_hash=hashes.baseline,
        config_hash=hashes.config,
        code_hash=hashes.code,
        data_hash=hashes.data,
        made_at=made_at,
        expires_at=made_at + timedelta(days=request.spec.rollout.evidence_days),
        start_date=found.sample.start_date,
        end_date=found.sample.end_date,
        producer=None if producer is None else producer.principal,
        approved_by=_approved(evidence_hash, producer, _overridden(made), request),
    )


def _read(request: Request) -> tuple[bytes, Signer | None]:
    """The evidence's bytes, and who signed them."""
    if request.trust is None:
        return read_guarded(request.canonical, MAX_JSON_BYTES, missing=Code.EV_MISSING), None
    return verify_evidence(request.canonical, request.trust, request.at)


def _parsed(content: bytes, place: str) -> Mapping[str, Any]:
    try:
        made = parse_json(content, place)
    except DataError as error:
        raise NotStarted(Code.EV_MALFORMED, str(error)) from None
    if not isinstance(made, Mapping):
        raise NotStarted(Code.EV_MALFORMED, f"{place}: is not a mapping")
    return made


def _facts(made: Mapping[str, Any], place: str) -> tuple[Read, Facts | Inconsistent]:
    """What the evidence holds, in the shape of this version; what contradicts itself is kept until it is its turn."""
    try:
        found = read_artifact(made)
        return found, facts_of(made, Stage(made["stage"]))
    except Inconsistent as contradiction:
        return found, contradiction
    except (DataError, KeyError, ValueError) as error:
        raise NotStarted(Code.EV_SCHEMA, f"{place}: {error}") from None


def _in_time(found: Read, request: Request) -> datetime:
    """When the evidence was made, if that is neither ahead nor too long ago, by a clock that does not go back."""
    place, at = str(request.canonical), request.at
    if request.seen_at is not None and at < request.seen_at:
        raise NotStarted(Code.CLOCK_ROLLBACK, f"it is {_shown(at)}, and the audit log holds {_shown(request.seen_at)}")
    try:
        made_at = datetime.fromisoformat(found.created_at)
    except ValueError:
        raise NotStarted(Code.EV_SCHEMA, f"{place}: created_at {found.created_at!r} is not an instant") from None
    if made_at.tzinfo is None:
        raise NotStarted(Code.EV_SCHEMA, f"{place}: created_at {found.created_at} names no zone")
    if made_at > at:
        raise NotStarted(Code.EV_NOT_YET_VALID, f"{place}: was made at {_shown(made_at)}, and it is {_shown(at)}")
    age, limit = at - made_at, request.spec.rollout.evidence_days
    if age > timedelta(days=limit):
        raise NotStarted(Code.EV_EXPIRED, f"{place}: is {age.days} days old, rollout.evidence_days is {limit}")
    return made_at


def _newest(facts: Facts | Inconsistent, made_at: datetime, request: Request) -> None:
    newest, place = request.newest_evidence_at, str(request.canonical)
    if newest is not None and made_at < newest:
        raise NotStarted(Code.EV_SUPERSEDED, f"{place}: was made at {_shown(made_at)}, and evidence of {_shown(newest)} was used since")
    if isinstance(facts, Facts):
        try:
            refuse_superseded(facts, request.state_dir, place)
        except Superseded as error:
            raise NotStarted(Code.EV_SUPERSEDED, str(error)) from None
        except PolicyEngineError as error:
            raise NotStarted(Code.EV_UNANCHORED, str(error)) from None


def _standing(facts: Facts | Inconsistent, made: Mapping[str, Any], request: Request) -> Facts | Inconsistent:
    """The facts as the log of trials bears them out now."""
    if isinstance(facts, Inconsistent):
        return facts
    try:
        return anchored(facts, made, request.state_dir, str(request.canonical))
    except PolicyEngineError as error:
        raise NotStarted(Code.EV_UNANCHORED, str(error)) from None


def _bound(hashes: Hashes, request: Request) -> None:
    """Everything that the evidence is bound to is what is at hand."""
    spec = request.spec
    here = (
        (Code.POLICY_MISMATCH, "policy", hashes.policy, spec.policy_hash(Arm.CANDIDATE)),
        (Code.CONFIG_MISMATCH, "config", hashes.config, spec.config_hash()),
        (Code.CODE_MISMATCH, "code", hashes.code, code_hash()),
        (Code.DATA_MISMATCH, "source", hashes.source, request.source_key),
        (Code.BASELINE_MISMATCH, "baseline", hashes.baseline, spec.policy_hash(Arm.BASELINE)),
    )
    for code, name, found, wanted in here:
        if found != wanted:
            raise NotStarted(code, f"{request.canonical}: {name} {found[:12]!a} was evaluated, and {wanted[:12]!a} is at hand")


def _consistent(facts: Facts | Inconsistent, made: Mapping[str, Any], place: str) -> None:
    """What it states is what follows from what it holds, decided as it says it was."""
    if isinstance(facts, Inconsistent):
        raise NotStarted(Code.EV_INCONSISTENT, f"{place}: {facts}")
    try:
        own = bind(GateSpec, made["config"]["gate"], "config.gate")
        decision = decide(facts, own)
        stated = [(c["name"], c["status"], c["hard"]) for c in made["criteria"]]
    except (PolicyEngineError, KeyError, TypeError) as error:
        raise NotStarted(Code.EV_INCONSISTENT, f"{place}: cannot be decided again: {error}") from None
    if not decision.criteria or stated != [(c.name, c.status.value, c.hard) for c in decision.criteria]:
        raise NotStarted(Code.EV_INCONSISTENT, f"{place}: states {len(stated)} criteria that are not those that follow from it")
    if made.get("verdict") != decision.verdict.value or made.get("passed") is not decision.passed:
        shown = f"states {made.get('verdict')}, passed {made.get('passed')!r}"
        raise NotStarted(Code.EV_INCONSISTENT, f"{place}: {shown}; its own criteria give {decision.verdict}")


def _passed(facts: Facts | Inconsistent, made: Mapping[str, Any], request: Request) -> Facts:
    """The facts, if the gate that is configured promotes on them with the trials known now."""
    if isinstance(facts, Inconsistent):
        raise NotStarted(Code.EV_INCONSISTENT, str(facts))
    verdict = decide(facts, request.spec.gate).verdict
    if verdict is not Verdict.PROMOTE:
        opened = ", ".join(c["name"] for c in made["criteria"] if c["hard"] and c["status"] != "pass") or "trials since"
        raise NotStarted(Code.EV_NOT_PASSED, f"{request.canonical}: the verdict is {verdict} ({opened})")
    return facts


def _overridden(made: Mapping[str, Any]) -> tuple[str, ...]:
    """The soft criteria that do not pass: whoever approves the evidence must say so."""
    return tuple(sorted(c["name"] for c in made["criteria"] if not c["hard"] and c["status"] != "pass"))


def _approved(evidence_hash: str, producer: Signer | None, overridden: Sequence[str], request: Request) -> tuple[str, ...]:
    """Who approved the evidence for the stage, with a reason for each criterion of `overridden`."""
    needed = request.spec.rollout.guards.approvals.get(request.stage, 0)
    if needed == 0:
        return ()
    every = read_approvals(request.state_dir / "approvals", evidence_hash, request.stage, request.trust, request.at)
    approvals = on_slice(every, request.spec.rollout.slice if request.stage is Stage.CANARY else None, needed=needed)
    quorum(approvals, needed=needed, producer=producer, at=request.at)
    counted = [
        approval
        for approval in approvals
        if approval.statement.decision is Answer.APPROVE
        and request.at < approval.statement.expires_at
        and (producer is None or approval.person != producer.person)
    ]
    for name in overridden:
        if not any(name in approval.statement.reason for approval in counted):
            raise NotStarted(Code.SIGNOFF_QUORUM, f"soft criterion {name} does not pass, and no approval gives a reason that names it")
    return tuple(approval.statement.principal for approval in counted)


def _shown(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")
