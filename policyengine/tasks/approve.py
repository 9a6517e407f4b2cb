"""task=approve: a person's word on one piece of evidence and one stage, or its producer's signature."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from policyengine.errors import ConfigError
from policyengine.records import Stage
from policyengine.rollout.approvals import LOCAL, Answer, Statement
from policyengine.rollout.approvals import approve as stored
from policyengine.rollout.guarded import read_guarded
from policyengine.rollout.refusals import Code
from policyengine.rollout.trust import sign_evidence
from policyengine.spec.root import Spec
from policyengine.spec.task import ApproveTask
from policyengine.store import MAX_JSON_BYTES
from policyengine.tasks.rolled import trust_of
from policyengine.tasks.run import Run


def approve(spec: Spec, task: ApproveTask, run: Run) -> Path:
    """Sign and store the statement, or the evidence; where that stands.

    Raises:
        NotStarted: there is no evidence, or the key does not count.
        ConfigError: the key cannot sign here.
    """
    path = run.canonical if task.path is None else Path(task.path)
    if task.decision == "sign":
        if task.key is None:
            raise ConfigError("task.key", "is required to sign")
        made = sign_evidence(path, Path(task.key))
        run.say(f"signed    {made}")
        return made
    evidence_hash = hashlib.sha256(read_guarded(path, MAX_JSON_BYTES, missing=Code.EV_MISSING)).hexdigest()
    trust, at = trust_of(spec, run), run.now()
    statement = Statement(
        evidence_hash=evidence_hash,
        stage=task.stage,
        slice=spec.rollout.slice if task.stage is Stage.CANARY else None,
        decision=Answer(task.decision),
        principal=task.person if trust is not None else f"{LOCAL}{task.person}",
        role=task.role,
        reason=task.reason,
        made_at=at,
        expires_at=at + timedelta(days=spec.rollout.guards.approval_days),
    )
    made = stored(run.state_dir, statement, key=None if task.key is None else Path(task.key), trust=trust)
    word = "approves" if statement.decision is Answer.APPROVE else "rejects"
    run.say(f"{statement.principal} {word} evidence {evidence_hash[:12]} for {task.stage}, until {statement.expires_at:%Y-%m-%d}")
    if statement.slice is not None:
        shares = f"{100.0 * statement.slice.capital_frac:g}% of the way on {100.0 * statement.slice.universe_frac:g}% of the instruments"
        run.say(f"slice     {shares}, salt {statement.slice.salt!a}")
    run.say(f"statement {made}")
    return made
