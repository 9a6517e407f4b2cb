"""The audit log of the rollout: what was decided before it is done, what became of it, and each change of state, so that tampering shows.

It is a journal (`execution.journal`) in segments: one writer, and any number of readers without a lock. An intent is durable before its
order is sent. A checkpoint closes a session and follows each change of state: the head then counts every record, and where somebody
signs, the signature covers every record before it.

| done to the files | shows |
|---|---|
| a byte changed; a line dropped, doubled, moved or put in | in the chain, at the exact record |
| the last lines dropped, a segment cut or deleted | in the head, up to the last checkpoint, opening, closing or new segment |
| rewritten from some record on, chain and head made right again | no signed checkpoint after that record verifies |
| the last line torn by a crash | at the next opening: it is moved to `torn-*.bin`, and that is recorded |

What files alone cannot show: records after the last checkpoint changed or dropped, and the head with them; the whole folder deleted, or
put back as it once was. That shows only to whoever kept a later count and hash elsewhere. A record that somebody who may write to the
folder adds at the end is like any other, and the next checkpoint vouches for it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from policyengine.errors import BrokenInvariant, ConfigError, DataError
from policyengine.execution.chain import Chain
from policyengine.execution.journal import Journal, JournalBroken
from policyengine.rollout.audit_reading import bound, coded, start_of
from policyengine.rollout.audit_records import (
    Basis,
    Begin,
    Checkpoint,
    Event,
    Intent,
    Kill,
    Outcome,
    Policy,
    Record,
    Reset,
    Transition,
    flaws,
    statement,
)
from policyengine.spec.bind import bind, plain

SEGMENT_BYTES = 64 * 2**20
"""About 80,000 records."""
Sign = Callable[[bytes], bytes]
"""Makes a detached signature of a message."""
Recorded = Policy | Basis | Intent | Outcome | Event
"""What is appended; the log itself adds the rest."""
_Line = tuple[int, bytes]
_OF_A_SESSION = frozenset((Basis.KIND, Intent.KIND, Outcome.KIND))
_ONCE = frozenset((Kill.KIND, Reset.KIND, Policy.KIND))


class AuditConflict(DataError):
    """What is to be recorded contradicts what is. Nothing was written."""


class AuditLog:
    """The audit log in `folder`, open for writing by this process alone. Close it, or use it in a `with`.

    A restart may record the same again: what belongs to the session that is open or was closed last, a policy, kill or reset of any
    time. It is not written twice.
    """

    def __init__(self, folder: Path, *, recorded_at: str, sign: Sign | None = None, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the log, or begin it; mend what a crash left. `sign` signs the checkpoints; None leaves them unsigned.

        Raises:
            NotStarted: LOCK_HELD, another process writes it; AUDIT_UNWRITABLE, it cannot be read or written; AUDIT_BROKEN, it does not
                verify, and nothing was written.
        """
        self._folder, self._sign = folder, sign
        self._intents: dict[str, Intent] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._basis: Basis | None = None
        self._once: set[tuple[str, str]] = set()
        self.seen_at = ""
        """The latest instant at which anything was recorded."""
        first = _checked(Begin(recorded_at=recorded_at))
        with coded(folder):
            self._journal = Journal(folder, first, segment_bytes=segment_bytes)
            try:
                self._resume()
            except BaseException:
                self._journal.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._journal.close()

    def close(self) -> None:
        """Let the head count every record, and another process write.

        Raises:
            NotStarted: AUDIT_UNWRITABLE.
        """
        try:
            if self._journal.writable:
                with coded(self._folder):
                    self._journal.seal()
        finally:
            self._journal.close()

    def append(self, record: Recorded) -> None:
        """Record one thing; as `append_many`."""
        self.append_many([record])

    def append_many(self, records: Iterable[Recorded]) -> None:
        """Record all of them by one write and one fsync: every intent of a session before its first order. Durable when this returns.

        An intent takes the place of one under the same id as long as that has no outcome. A transition is followed by a checkpoint.

        Raises:
            AuditConflict: the decision has its outcome, and this is another intent or outcome.
            BrokenInvariant: a record contradicts itself, is not what its type says, or is an outcome without an intent.
            NotStarted: AUDIT_UNWRITABLE: any number of them may stand, the first ones; nothing more can be recorded until the log is
                opened again. AUDIT_BROKEN: somebody else changed the file meanwhile; nothing was written.
        """
        new = [record for record in records if self._is_new(record)]
        self._write(new)
        changes = [record for record in new if isinstance(record, Transition)]
        if changes:
            self.checkpoint(recorded_at=changes[-1].recorded_at, why=f"transition to {changes[-1].after}")

    def checkpoint(self, *, recorded_at: str, why: str, session: date | None = None) -> None:
        """Close `session`, if it is given, sign what stands if there is who signs, and let the head count it.

        Raises:
            NotStarted: as `append_many`.
        """
        head = self._journal.head
        signature = None if self._sign is None else base64.b64encode(self._sign(statement(head.count, head.hash))).decode()
        self._write([Checkpoint(recorded_at=recorded_at, session=session, why=why, signature=signature)])
        with coded(self._folder):
            self._journal.seal()

    def outcome(self, decision_id: str) -> Outcome | None:
        """What became of a decision of the session that is open or was closed last; None where nothing is recorded."""
        return self._outcomes.get(decision_id)

    def _is_new(self, record: Recorded) -> bool:
        match record:
            case Intent():
                return self._differs(record, self._intents.get(record.decision_id))
            case Outcome():
                if record.decision_id not in self._intents:
                    raise BrokenInvariant(f"outcome of {record.decision_id}, which was not intended in this session")
                return self._differs(record, self._outcomes.get(record.decision_id))
            case Basis():
                return self._basis is None or replace(self._basis, recorded_at=record.recorded_at) != record
            case Kill() | Reset() | Policy():
                return _once(record) not in self._once
            case _:
                return True

    def _differs(self, record: Intent | Outcome, known: Intent | Outcome | None) -> bool:
        if known is not None and replace(known, recorded_at=record.recorded_at) == record:
            return False
        if record.decision_id in self._outcomes:
            raise AuditConflict(str(self._folder), f"decision {record.decision_id} has its outcome; this is another {record.KIND}")
        return True

    def _write(self, records: Sequence[Record]) -> None:
        values = [_checked(record) for record in records]
        with coded(self._folder):
            self._journal.append_many(values)
        for record in records:
            self._know(record)

    def _know(self, record: Record) -> None:
        self.seen_at = max(self.seen_at, getattr(record, "recorded_at", ""))
        match record:
            case Intent():
                self._intents[record.decision_id] = record
            case Outcome():
                self._outcomes[record.decision_id] = record
            case Basis():
                self._basis = record
            case Kill() | Reset() | Policy():
                self._once.add(_once(record))
            case Checkpoint() if record.session is not None:
                self._intents = {name: intent for name, intent in self._intents.items() if intent.session >= record.session}
                self._outcomes = {name: outcome for name, outcome in self._outcomes.items() if name in self._intents}
            case _:
                pass

    def _resume(self) -> None:
        """Know again what may be recorded once more, without parsing the rest."""
        chain = Chain(self._folder)
        closed, since, once = list[_Line](), list[_Line](), list[_Line]()
        for line in chain.lines():
            kind, recorded_at = start_of(chain, line)
            if chain.count == 1 and kind != Begin.KIND:
                raise JournalBroken(chain.place(1), "does not begin an audit log", 1)
            self.seen_at = max(self.seen_at, recorded_at)
            if kind in _OF_A_SESSION:
                since.append((chain.count, line))
            elif kind in _ONCE:
                once.append((chain.count, line))
            elif kind == Checkpoint.KIND and chain.parse(line, chain.count).get("session") is not None:
                closed, since = since, []
        for seq, line in (*closed, *since, *once):
            self._know(bound(chain, chain.parse(line, seq))[1])


def _once(record: Kill | Reset | Policy) -> tuple[str, str]:
    """What is recorded once in a log."""
    return record.KIND, record.policy_hash if isinstance(record, Policy) else record.event_id


def _checked(record: Record) -> dict[str, Any]:
    """`record` as it is written; BrokenInvariant where it would not be read as it is, or contradicts itself."""
    value: dict[str, Any] = plain(record)
    try:
        same = bind(type(record), value) == record
    except ConfigError as error:
        raise BrokenInvariant(f"{record.KIND}: {error}") from error
    for flaw in (*(() if same else ("would not be read as it is",)), *flaws(record)):
        raise BrokenInvariant(f"{record.KIND}: {flaw}: {record}")
    return value
