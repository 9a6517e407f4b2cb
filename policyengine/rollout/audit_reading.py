"""Reading the audit log from its files alone: verified, as records, or all that it says of one decision. No lock is taken."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from policyengine.errors import ConfigError, OutputError
from policyengine.execution.chain import Chain, of_kind
from policyengine.execution.journal import JournalBroken, JournalLocked
from policyengine.rollout.audit_records import (
    KINDS,
    Breach,
    Checkpoint,
    Event,
    Intent,
    Kill,
    Outcome,
    Record,
    Reset,
    Transition,
    flaws,
    statement,
)
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import SignatureInvalid
from policyengine.spec.bind import bind
from policyengine.store import reported

_START = re.compile(rb'\{"seq":\d+,"previous":"[0-9a-f]{64}","kind":"([a-z]+)","recorded_at":"([^"\\]*)"')
_EVENTS: tuple[type[Any], ...] = (Transition, Kill, Reset, Breach)
R = TypeVar("R", bound=Record)
Signed = Callable[[bytes, bytes, str], bool]
"""Whether the second, a signature of the first made at the third, is by somebody who is trusted; SignatureInvalid where it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A log that verifies: `count` records, the hash of the last, and its `segments` in order; nothing where there is none.

    `signed` is how many records stand before the last checkpoint whose signature counts, 0 where none does; None where that was not
    asked. `vouched`: that is the last checkpoint there is.
    """

    count: int
    head: str
    segments: tuple[Path, ...]
    signed: int | None
    vouched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What the log says of one decision.

    The last of `intents`, record `seq`, is the one that stood; those before were made otherwise before anything was done. `outcome` is
    None where none is recorded. `context` holds every transition, kill, reset and breach since the rollout last left off, before that.
    """

    seq: int
    intents: tuple[Intent, ...]
    outcome: Outcome | None
    context: tuple[Event, ...]


def verify(folder: Path, *, deep: bool, signed: Signed | None = None) -> Verified:
    """Hold every line of the log to the one before, and to the head; if `deep`, also what the records say to one another.

    Where `signed` is given it is asked about the signature of every checkpoint that has one. One that it does not trust counts for
    nothing; one that is of other bytes breaks the log.

    Raises:
        NotStarted: AUDIT_BROKEN, naming file, line and the first record that is not as it was written or cannot be; AUDIT_UNWRITABLE
            where the files cannot be read.
    """
    with coded(folder):
        chain = Chain(folder)
        covered, vouched, decisions = 0, False, _Decisions()
        wanted = of_kind(Checkpoint.KIND) if signed is not None else _none
        for found in chain.records() if deep else chain.records(wanted):
            previous = str(found["previous"])
            seq, record = bound(chain, found)
            for flaw in decisions.flaws(record) if deep else ():
                raise JournalBroken(chain.place(seq), f"record {seq}: {flaw}", seq)
            if signed is not None and isinstance(record, Checkpoint):
                vouched = record.signature is not None and _counts(chain, seq, previous, record.signature, record.recorded_at, signed)
                covered = seq - 1 if vouched else covered
        asked = None if signed is None else covered
        return Verified(count=chain.count, head=chain.hash, segments=tuple(chain.segments), signed=asked, vouched=vouched)


def verify_decisions(folder: Path) -> tuple[tuple[int, str], ...]:
    """Every record that contradicts itself or those before it, by its number and in words.

    So does an effective confidence that does not follow, to the bit, from base and multipliers; a decision_id that is not that of its
    decision; an outcome without an intent, or a second one.

    Raises:
        NotStarted: as `verify`.
    """
    with coded(folder):
        chain, decisions = Chain(folder), _Decisions()
        records = (bound(chain, found) for found in chain.records())
        return tuple((seq, flaw) for seq, record in records for flaw in decisions.flaws(record))


@overload
def read(folder: Path) -> Iterator[Record]: ...
@overload
def read(folder: Path, *kinds: type[R]) -> Iterator[R]: ...
def read(folder: Path, *kinds: type[Any]) -> Iterator[Any]:
    """Every record in order, or those of `kinds`, each once the chain up to it holds. What is written meanwhile may be seen or not.

    Raises:
        NotStarted: as `verify`.
    """
    with coded(folder):
        chain = Chain(folder)
        for found in chain.records(of_kind(*(kind.KIND for kind in kinds))) if kinds else chain.records():
            _, record = bound(chain, found)
            if not kinds or isinstance(record, kinds):
                yield record


def find(folder: Path, decision_id: str) -> Decided | None:
    """What the log says of a decision; None where it was never intended.

    Raises:
        NotStarted: as `verify`.
    """
    name, event = json.dumps(decision_id).encode(), of_kind(*(kind.KIND for kind in _EVENTS))
    intents: list[Intent] = []
    outcome: Outcome | None = None
    seq, events, context = 0, list[Event](), tuple[Event, ...]()
    with coded(folder):
        chain = Chain(folder)
        for found in chain.records(lambda line: name in line or event(line)):
            number, record = bound(chain, found)
            match record:
                case Intent() if record.decision_id == decision_id:
                    intents.append(record)
                    seq, context = number, tuple(events)
                case Outcome() if record.decision_id == decision_id:
                    outcome = record
                case Transition() | Kill() | Reset() | Breach():
                    if isinstance(record, Transition) and record.before is State.OFF:
                        events.clear()
                    events.append(record)
                case _:
                    pass
    return Decided(seq=seq, intents=tuple(intents), outcome=outcome, context=context) if intents else None


def bound(chain: Chain, found: dict[str, Any]) -> tuple[int, Record]:
    """A record of the chain as what it is, behind its number.

    Raises:
        JournalBroken: it is none of an audit log.
    """
    seq = int(found["seq"])
    value = {name: part for name, part in found.items() if name not in {"seq", "previous"}}
    try:
        record: Record = bind(KINDS[value["kind"]], value)
    except (ConfigError, KeyError, TypeError, OverflowError) as error:
        raise JournalBroken(
            chain.place(seq), f"is not a record of an audit log: {type(error).__name__} {error}; record {seq}", seq
        ) from error
    return seq, record


def start_of(chain: Chain, line: bytes) -> tuple[str, str]:
    """Kind of the line that `chain` is at, and the instant at which it was recorded; "" where it has none."""
    start = _START.match(line)
    if start is not None:
        return start[1].decode(), start[2].decode()
    record = chain.parse(line, chain.count)
    return str(record.get("kind", "")), str(record.get("recorded_at", ""))


@contextmanager
def coded(folder: Path) -> Iterator[None]:
    """Give what goes wrong with the files in `folder` its code; NotStarted."""
    try:
        with reported(folder):
            yield
    except JournalLocked as error:
        raise NotStarted(Code.LOCK_HELD, str(error)) from error
    except JournalBroken as error:
        raise NotStarted(Code.AUDIT_BROKEN, str(error)) from error
    except OutputError as error:
        raise NotStarted(Code.AUDIT_UNWRITABLE, str(error)) from error


class _Decisions:
    """What the records so far say of decisions."""

    def __init__(self) -> None:
        self._intended: set[str] = set()
        self._done: set[str] = set()

    def flaws(self, record: Record) -> Iterator[str]:
        """What of `record` cannot be, after all before it."""
        yield from flaws(record)
        if isinstance(record, Intent):
            if record.decision_id in self._done:
                yield f"decision {record.decision_id} has its outcome already"
            self._intended.add(record.decision_id)
        if isinstance(record, Outcome):
            if record.decision_id not in self._intended:
                yield f"decision {record.decision_id} was never intended"
            if record.decision_id in self._done:
                yield f"decision {record.decision_id} has its outcome already"
            self._done.add(record.decision_id)


def _none(_: bytes) -> bool:
    return False


def _counts(chain: Chain, seq: int, previous: str, signature: str, recorded_at: str, signed: Signed) -> bool:
    try:
        return signed(statement(seq - 1, previous), base64.b64decode(signature, validate=True), recorded_at)
    except (binascii.Error, SignatureInvalid) as error:
        raise JournalBroken(
            chain.place(seq), f"record {seq}: its signature is not one of the {seq - 1} records before it: {error}", seq
        ) from error
