"""The terminal's account of one decision."""

from __future__ import annotations

from collections.abc import Iterator

from policyengine.reporting.terminal import ascii_text, item
from policyengine.rollout.audit_reading import Decided
from policyengine.rollout.audit_records import Breach, Kill, Reset, Transition


def lines(found: Decided) -> Iterator[str]:
    """From the signal to what became of it, and the steps of the rollout that led there."""
    intent, outcome = found.intents[-1], found.outcome
    yield f"decision  {intent.decision_id}   record {found.seq}"
    yield f"          {ascii_text(intent.symbol)} ({intent.bucket}, sleeve {intent.sleeve}) on {intent.session}, mode {intent.mode}"
    yield f"signal    {'none in force' if intent.signal_id is None else ascii_text(intent.signal_id)}"
    if intent.base_confidence is not None and intent.effective_confidence is not None:
        factors = "".join(f" x {name} {factor:g}" for name, factor in intent.multipliers)
        yield f"sized     base {intent.base_confidence:.6f}{factors} = {intent.effective_confidence:.6f}"
    both = f"baseline {_share(intent.baseline_size)}, candidate {_share(intent.candidate_size)}"
    yield f"sizes     {both}, acted {_share(intent.acted_size)} of NAV"
    for path in intent.limits:
        yield f"bound     {path}"
    if outcome is None:
        yield "outcome   none is on record"
    elif outcome.client_order_id is None:
        yield "outcome   no order was needed or sent"
    else:
        price = "no price" if outcome.price is None else f"{outcome.price:,.4f}"
        refused = "" if outcome.refusal is None else f", {outcome.refusal}"
        yield f"outcome   {outcome.quantity:+,.4f} at {price}, cost {outcome.cost:,.2f}{refused}   order {outcome.client_order_id}"
    yield f"evidence  {intent.evidence_hash or 'none was asked for'}"
    yield f"hashes    policy {intent.policy_hash[:12]}  config {intent.config_hash[:12]}  code {intent.code_hash[:12]}"
    for event in found.context:
        match event:
            case Transition():
                by = f"; approved by {', '.join(event.approved_by)}" if event.approved_by else ""
                yield from item(event.recorded_at[:19], f"{event.before} -> {event.after} by {event.by}: {event.why}{by}")
            case Kill():
                yield from item(event.recorded_at[:19], f"killed, {event.event_id}, by {event.by}: {event.why}")
            case Reset():
                yield from item(event.recorded_at[:19], f"reset of {event.event_id} by {event.by}")
            case Breach():
                yield from item(event.recorded_at[:19], f"breach of {event.name}: {event.why}")


def _share(weight: float | None) -> str:
    return "unknown" if weight is None else f"{100.0 * weight:.4f}%"
