"""What the audit log holds: one record for each thing that was decided, done, changed or stopped.

Instants (`_at`) are texts in UTC as `datetime.isoformat` gives them, so that later ones sort later. Hashes are SHA-256 in hexadecimal.
Sizes are signed fractions of NAV, money is in base currency. What is unknown is None, no number is NaN, and a float comes back bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from policyengine.records import Bucket, Sleeve
from policyengine.rollout.modes import State
from policyengine.spec.rollout import SliceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The first record of a log."""

    KIND: ClassVar[str] = "begin"
    recorded_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decides the sizes of an arm, in full; once in a log. `policy` is its canonical JSON, whose SHA-256 is `policy_hash`.

    It is a text, so that a version whose policies have other settings still reads the record.
    """

    KIND: ClassVar[str] = "policy"
    recorded_at: str
    policy_hash: str
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A signal that was in force: `direction` is 1 or -1, `sleeve` what it is charged to.

    Its confidence at `base`, and as the `baseline` and the `candidate` size it.
    """

    symbol: str
    direction: int
    sleeve: Sleeve
    base: float
    baseline: float
    candidate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How risky the sleeves were, one number for each of `Sleeve`: the fields of `allocation.scaler.RiskState`."""

    variance: tuple[float, ...]
    sessions: tuple[int, ...]
    index: tuple[float, ...]
    peak: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """All that the sizes of both arms for `session` follow from, besides the two policies: durable before its intents.

    `symbols` in the order in which they were summed; `risk` is None where no policy scales its budgets.
    """

    KIND: ClassVar[str] = "basis"
    recorded_at: str
    account: str
    session: date
    baseline_hash: str
    candidate_hash: str
    code_hash: str
    periods_per_year: int
    symbols: tuple[str, ...]
    signals: tuple[InForce, ...]
    risk: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What was decided on a signal, durable before any order of it is sent.

    `multipliers` are every factor of the sizing overlay by name, in the order applied; none where sizing is off. `baseline_size` and
    `candidate_size` are what each arm holds, `acted_size` what orders are made for; `limits` names what bound. `evidence_hash` is None
    where no evidence is asked for; the other three name the candidate policy, the configuration and the code that decided.
    """

    KIND: ClassVar[str] = "intent"
    recorded_at: str
    decision_id: str
    account: str
    session: date
    signal_id: str | None
    symbol: str
    bucket: Bucket
    sleeve: Sleeve
    base_confidence: float | None
    multipliers: tuple[tuple[str, float], ...]
    effective_confidence: float | None
    baseline_size: float | None
    candidate_size: float | None
    acted_size: float | None
    limits: tuple[str, ...]
    mode: State
    evidence_hash: str | None
    policy_hash: str
    config_hash: str
    code_hash: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a decision: `quantity` filled (signed, 0 where nothing was), at `price`, for `cost`.

    `client_order_id` is None where no order was sent; `refusal` says why nothing filled, or not all.
    """

    KIND: ClassVar[str] = "outcome"
    recorded_at: str
    decision_id: str
    client_order_id: str | None
    quantity: float
    price: float | None
    cost: float
    refusal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The state became `after`: asked for `by` whom and why; on what evidence, made when and approved by whom, where it needs any.

    The slice that a canary acts on is as it was then; None of other states.
    """

    KIND: ClassVar[str] = "transition"
    recorded_at: str
    before: State
    after: State
    by: str
    why: str
    evidence_hash: str | None
    evidence_made_at: str | None
    approved_by: tuple[str, ...]
    slice: SliceSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The kill switch was engaged, by these sources; by whom and why are None where that could not be written down then."""

    KIND: ClassVar[str] = "kill"
    recorded_at: str
    event_id: str
    engaged_at: str
    sources: tuple[str, ...]
    drill: bool
    by: str | None
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The kill switch was released from the event `event_id`; `statement` is what was signed."""

    KIND: ClassVar[str] = "reset"
    recorded_at: str
    event_id: str
    released_at: str
    drill: bool
    by: str
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A bound was passed: `observed` beyond `threshold`, either None where it has no number."""

    KIND: ClassVar[str] = "breach"
    recorded_at: str
    session: date | None
    name: str
    observed: float | None
    threshold: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Every record before this one stands. It closes `session`, or none.

    `signature` is over `statement`, in base64; None where nobody signs.
    """

    KIND: ClassVar[str] = "checkpoint"
    recorded_at: str
    session: date | None
    why: str
    signature: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Bytes of a record that a crash left half-written, and the file beside the log that they were moved to."""

    KIND: ClassVar[str] = "recovery"
    file: str
    size: int
    sha256: str


Event = Transition | Kill | Reset | Breach
Record = Begin | Policy | Basis | Intent | Outcome | Transition | Kill | Reset | Breach | Checkpoint | Recovery
KINDS: Mapping[str, type[Any]] = {
    kind.KIND: kind for kind in (Begin, Policy, Basis, Intent, Outcome, Transition, Kill, Reset, Breach, Checkpoint, Recovery)
}


def decision_id_of(account: str, session: date, symbol: str, evidence_hash: str | None, policy_hash: str) -> str:
    """The id of a decision: the same inputs give the same one, in any process. It begins with a letter."""
    words = json.dumps([account, session.isoformat(), symbol, evidence_hash, policy_hash])
    return "d_" + hashlib.sha256(words.encode()).hexdigest()[:32]


def recomputed(intent: Intent) -> float | None:
    """The effective confidence that follows from the record alone, by the arithmetic of `allocation.sizing.size`, to the bit.

    clip(base x multiplier x multiplier ..., 0, 1), multiplied from left to right; the base itself without multipliers, None without a base.
    """
    if intent.base_confidence is None or not intent.multipliers:
        return intent.base_confidence
    effective = intent.base_confidence
    for _, factor in intent.multipliers:
        effective = effective * factor
    return min(max(effective, 0.0), 1.0)


def statement(count: int, last_hash: str) -> bytes:
    """What a checkpoint signs: how many records stand before it, and the hash of the last, which holds that of all the others."""
    return f"policyengine audit checkpoint\n{count}\n{last_hash}\n".encode()


def flaws(record: Record) -> Iterator[str]:
    """What `record` says of itself that cannot be, in words: field, value and rule."""
    match record:
        case Intent():
            yield from _flaws_of_intent(record)
        case Basis():
            yield from _flaws_of_basis(record)
        case Policy() if record.policy_hash != hashlib.sha256(record.policy.encode()).hexdigest():
            yield f"policy_hash {record.policy_hash} is not the SHA-256 of the policy"
        case Outcome() if record.cost < 0.0:
            yield f"cost {record.cost} is below 0"
        case Outcome() if record.quantity != 0.0 and (record.price is None or record.client_order_id is None):
            yield f"quantity {record.quantity} without a price or an order"
        case _:
            pass
    for name in ("recorded_at", "evidence_made_at", "engaged_at", "released_at"):
        instant = getattr(record, name, None)
        if instant is not None and not _is_instant(instant):
            yield f"{name} '{instant}' is not an instant in UTC as datetime.isoformat gives it"


def _flaws_of_intent(intent: Intent) -> Iterator[str]:
    for name, value in (("base_confidence", intent.base_confidence), ("effective_confidence", intent.effective_confidence)):
        if value is not None and not 0.0 <= value <= 1.0:
            yield f"{name} {value} is not in [0, 1]"
    follows = recomputed(intent)
    if _bits(intent.effective_confidence) != _bits(follows):
        yield f"effective_confidence {intent.effective_confidence} does not follow from base and multipliers, which make {follows}"
    made = decision_id_of(intent.account, intent.session, intent.symbol, intent.evidence_hash, intent.policy_hash)
    if intent.decision_id != made:
        yield f"decision_id {intent.decision_id} is not that of its account, session, symbol, evidence and policy, {made}"


def _flaws_of_basis(basis: Basis) -> Iterator[str]:
    if basis.periods_per_year < 1:
        yield f"periods_per_year {basis.periods_per_year} is below 1"
    signalled = [signal.symbol for signal in basis.signals]
    if len(set(basis.symbols)) < len(basis.symbols) or len(set(signalled)) < len(signalled) or not set(signalled) <= set(basis.symbols):
        yield "a symbol stands twice, or has a signal and is not among the symbols"
    for signal in basis.signals:
        if signal.direction not in (1, -1):
            yield f"direction {signal.direction} of {signal.symbol} is neither 1 nor -1"
        for value in (signal.base, signal.baseline, signal.candidate):
            if not 0.0 <= value <= 1.0:
                yield f"confidence {value} of {signal.symbol} is not in [0, 1]"
    if basis.risk is not None:
        measured: tuple[tuple[float, ...], ...] = (basis.risk.variance, basis.risk.sessions, basis.risk.index, basis.risk.peak)
        if any(len(row) != len(Sleeve) or min(row) < 0 for row in measured) or not min(basis.risk.peak) > 0.0:
            yield "risk does not hold a measurement of each sleeve, none of them below 0 and each peak above it"


def _bits(value: float | None) -> str | None:
    return None if value is None else float(value).hex()


def _is_instant(text: str) -> bool:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return False
    return instant.utcoffset() == timedelta(0) and instant.isoformat() == text
