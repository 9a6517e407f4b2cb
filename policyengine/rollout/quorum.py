"""Whether enough people approve: of this slice, none of them the producer, each counted once, and nobody against it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from policyengine.rollout.approvals import Answer, Approval, Statement
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.trust import Signer
from policyengine.spec.rollout import SliceSpec


def on_slice(approvals: Sequence[Approval], slice_: SliceSpec | None, *, needed: int) -> tuple[Approval, ...]:
    """The approvals of exactly `slice_`, and every rejection. None is the whole book.

    Raises:
        NotStarted: LIMITS_EXCEEDED, enough people approve, but not this slice.
    """
    kept = tuple(a for a in approvals if a.statement.decision is not Answer.APPROVE or a.statement.slice == slice_)
    others = [a for a in approvals if a not in kept]
    if others and len(kept) < needed <= len(approvals):
        signed = "; ".join(f"{a.statement.principal} approves {a.statement.slice}" for a in others)
        raise NotStarted(Code.LIMITS_EXCEEDED, f"rollout.slice {slice_} is not what was approved: {signed}")
    return kept


def quorum(approvals: Sequence[Approval], *, needed: int, producer: Signer | None, at: datetime) -> None:
    """Pass if `needed` people approve, none of them the `producer` of the evidence, and nobody rejects.

    Whatever cannot count is set aside step by step; the code tells at which step too few were left. `producer` is None for unsigned
    evidence: then only unsigned approvals count, as nobody knows whether a signed one is the producer's own.

    Raises:
        NotStarted: SIGNOFF_QUORUM, too few approvals, or a rejection, which no time outlasts; SIGNOFF_SELF, without the producer's keys
            and names; SIGNOFF_DUPLICATE, each key and each person counted once; SIGNOFF_EXPIRED, without those not valid at `at`.
    """
    for approval in approvals:
        said = approval.statement
        if said.decision is not Answer.APPROVE:
            raise NotStarted(Code.SIGNOFF_QUORUM, f"{said.principal} ({said.role}) rejects {said.stage.value}: {said.reason}")
    if len(approvals) < needed:
        raise NotStarted(Code.SIGNOFF_QUORUM, f"{_count(approvals)}; {needed} are needed")
    others = [approval for approval in approvals if _independent(approval, producer)]
    if len(others) < needed:
        own = "whose producer is not known" if producer is None else f"which {producer.person} produced"
        raise NotStarted(Code.SIGNOFF_SELF, f"{_count(others)} of others than the producer of the evidence, {own}; {needed} are needed")
    if _distinct(others) < needed:
        who = ", ".join(sorted({approval.person for approval in others}))
        raise NotStarted(
            Code.SIGNOFF_DUPLICATE, f"{_count(others)}, but only {_distinct(others)} by key and person: {who}; {needed} are needed"
        )
    valid = [approval for approval in others if approval.statement.made_at <= at < approval.statement.expires_at]
    if _distinct(valid) < needed:
        spans = ", ".join(f"{a.statement.principal} {_span(a.statement)}" for a in others if a not in valid)
        raise NotStarted(Code.SIGNOFF_EXPIRED, f"{_distinct(valid)} of {needed} approvals count at {at.isoformat()}; not: {spans}")


def _independent(approval: Approval, producer: Signer | None) -> bool:
    if producer is None:
        return approval.signer is None
    return approval.signer is not None and not approval.ties & producer.ties


def _distinct(approvals: Sequence[Approval]) -> int:
    """How many are left when all that are tied to each other, directly or through others, count as one."""
    groups: list[frozenset[str]] = []
    for approval in approvals:
        tied = [group for group in groups if group & approval.ties]
        groups = [group for group in groups if group not in tied] + [approval.ties.union(*tied)]
    return len(groups)


def _count(approvals: Sequence[Approval]) -> str:
    return f"{len(approvals)} approval{'' if len(approvals) == 1 else 's'}"


def _span(said: Statement) -> str:
    return f"from {said.made_at.isoformat()} until {said.expires_at.isoformat()}"
