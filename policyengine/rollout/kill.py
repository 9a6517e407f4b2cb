"""The kill switch: engaged by any one source, effective at the next check, latched until a reset that names the event.

The latch is one file under `state_dir`, and its name is the whole state:

    kill/latch/released[.EVENT]                             EVENT is what the last reset named
    kill/latch/engaged.EVENT.INSTANT.SOURCE[+SOURCE...]     its own source, then every other since the last release
    kill/events/EVENT.{engaged,released}[.new].json         who and why, once it can be written; `.new` until the audit holds it
    kill/events/engaged...                                  a name that the latch has lost before that
    kill.lock                                               a reset holds it; that it exists says that a latch was begun

| found in `kill/latch` | then |
|---|---|
| the one name `released` | nothing is engaged |
| nothing, and no `kill.lock` | no latch was begun: nothing starts |
| anything else: no name, two, a foreign one, not readable | engaged, by the latch itself |

Every change is a rename of the name that was seen: it needs no room on the disk, and of two processes one succeeds. The other looks
again: who engages tries until it stands, who releases is refused. So no reset undoes what came after the event that it names. Where
not even a rename succeeds the process holds the switch in memory and latches it at the first check that can.

What it cannot see: whoever may write to `state_dir` may rename the latch. The audit log has to show that.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from policyengine.errors import ConfigError, OutputError
from policyengine.rollout.kill_records import (
    RELEASED,
    KillEvent,
    KillRelease,
    Records,
    Source,
    as_text,
    event_of,
    iso,
    made,
    there,
)
from policyengine.rollout.latch import latch_of
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.store import reported

VARIABLE = "POLICYENGINE_KILL"
_NO_VALUES = frozenset({"", "0", "false"})
_NO_WORDS = frozenset({b"0", b"false", b"released"})
_MAX_WORD_BYTES = 64
"""A kill file that does not kill holds one word. One that is longer kills: its end is not read."""
_WATCHED = frozenset(Source) - {Source.COMMAND, Source.DRILL}


def reset_statement(event: KillEvent, by: str, reason: str, at: datetime) -> bytes:
    """What `by` signs to release `event` at the instant `at`, in its only form."""
    says = {"reset": "policyengine kill", "event_id": event.event_id, "drill": event.drill, "by": by, "reason": reason, "at": iso(at)}
    return json.dumps(says, sort_keys=True, separators=(",", ":")).encode()


class KillSwitch:
    """The kill switch of one state folder, as one process sees it.

    `environment`, `file` (None: there is none) and `configured` are looked at on every check. `clock` gives the instant of what nobody
    commanded.
    """

    def __init__(
        self, state_dir: Path, *, environment: Mapping[str, str], file: Path | None, configured: bool, clock: Callable[[], datetime]
    ) -> None:
        """Touch nothing yet."""
        self._latch = latch_of(state_dir)
        self._records = Records(state_dir / "kill" / "events")
        self._environment, self._file, self._configured, self._clock = environment, file, configured, clock
        self._held: KillEvent | None = None  # engaged, but not on the disk, because of `_failure`
        self._failure = ""
        self._seen, self._gone = "", frozenset[Source]()  # an event, and the sources that were seen off since

    def begin(self) -> None:
        """Make the latch, released, where there never was one; called at each start, before anything can send an order.

        Raises:
            OutputError: it cannot be made.
        """
        with reported(self._latch.folder):
            self._latch.begin()

    def check(self) -> None:
        """Pass if nothing is engaged; what is, is latched.

        Raises:
            NotStarted: KILL_LATCHED, with who, when and why.
        """
        event = self.current()
        if event is not None:
            alone = "" if self._held is None else f"; held by this process alone: {self._failure}"
            raise NotStarted(Code.KILL_LATCHED, event.sentence + alone)

    def current(self) -> KillEvent | None:
        """The event that is engaged, None if none is. Whatever engages now is latched first.

        Raises:
            NotStarted: KILL_LATCHED: no latch was ever begun here.
        """
        names, wrong = self._latch.look()
        engaging = self._engaging()
        if wrong is not None:
            engaging[Source.LATCH] = wrong
        elif not (names or engaging or self._held):
            raise NotStarted(Code.KILL_LATCHED, f"{self._latch.folder}: no latch was begun, so nothing says that none is engaged")
        event = event_of(names[0]) if len(names) == 1 else None
        new = self._unanswered(event, engaging)
        if new and self._held is None:
            self._held = made({**new, **engaging}, by=f"policyengine ({next(iter(new))})", why="; ".join(new.values()), at=self._clock())
            self._records.note(self._held)
        if self._held is not None:
            event = self._settle(self._held)
        if event is None:  # the one name is `released`
            return None
        self._records.flush()
        return self._records.told(event)

    def engage(self, by: str, why: str, at: datetime, *, drill: bool = False) -> KillEvent:
        """Engage, also what is engaged: it becomes another event, so that no reset already signed releases it.

        Neither room on the disk nor a lock is needed. A drill never takes the place of anything but `released`.

        Raises:
            NotStarted: KILL_LATCHED: a drill, and the latch is not released.
            OutputError: the latch cannot be renamed. Unless it is a drill this process holds the switch in memory.
        """
        if drill:
            if (standing := self.current()) is not None:
                raise NotStarted(Code.KILL_LATCHED, f"no drill begins while another event stands: {standing.sentence}")
            with reported(self._latch.folder):
                event = self._latch.engage(made({Source.DRILL: ""}, by=by, why=why, at=at), self._records.keep)
            self._records.note(event)
        else:
            event = made({Source.COMMAND: "", **self._engaging()}, by=by, why=why, at=at)
            self._records.note(event)
            event = self._settle(event)
        self._records.flush()
        if self._held is not None:
            raise OutputError(f"{self._failure}; set {VARIABLE}=1 for the processes that are to stop")
        return event

    def release(self, event_id: str, by: str, at: datetime, statement: bytes) -> None:
        """Release by `statement`, whose signature the caller has verified and which names the event that is engaged.

        Raises:
            ConfigError: nothing is engaged, or `statement` is not the `reset_statement` of this event, `by` and `at`.
            NotStarted: KILL_LATCHED: another event is engaged, or came meanwhile, or a source still engages. LOCK_HELD: another reset runs.
            OutputError: it cannot be recorded, or the latch not be renamed.
        """
        with self._latch.alone():
            event = self.current()
            if event is None:
                raise ConfigError("task.event", f"{event_id}: nothing is engaged")
            if event.event_id != event_id:
                raise NotStarted(Code.KILL_LATCHED, f"{event_id} is not what is engaged: {event.sentence}")
            wrong = self._latch.look()[1] if self._held is None else self._failure
            if standing := [*self._engaging().values(), *([] if wrong is None else [wrong])]:
                raise NotStarted(Code.KILL_LATCHED, f"{event_id} is not released while {'; '.join(standing)}")
            if statement != reset_statement(event, by, _reason(statement), at):
                raise ConfigError("statement", f"is not what {by!r} signs to release {event_id} at {iso(at)}")
            self._records.keep(event.name)
            self._records.prepare(KillRelease(event=event, at=iso(at), by=as_text(by), statement=statement.decode()))
            with reported(self._latch.folder):
                self._records.keep(self._latch.release(event))

    def pending(self) -> tuple[KillEvent | KillRelease, ...]:
        """What the audit is still to record, in order of time: given until `recorded` is told, and again once more is known of it.

        Raises:
            DataError: a record cannot be read.
        """
        names, _ = self._latch.look()
        for name in names:
            if RELEASED.fullmatch(name):
                self._records.keep(name)
        self._records.flush()
        new: list[KillEvent | KillRelease] = [*(self._records.bare(names) | self._records.unwritten).values()]
        new += self._records.read(KillEvent, ".new.json")
        new += self._records.read(KillRelease, ".new.json")
        return tuple(sorted(new, key=lambda record: (record.at, record.WORD)))

    def recorded(self, record: KillEvent | KillRelease) -> None:
        """The audit holds `record`.

        Raises:
            OutputError: that cannot be kept, and `record` stays pending.
        """
        self._records.recorded(record)

    def _engaging(self) -> dict[Source, str]:
        """Every source that engages now, with the reason."""
        found = {}
        value = self._environment.get(VARIABLE)
        if value is not None and value not in _NO_VALUES:
            found[Source.ENVIRONMENT] = f"{VARIABLE} is {value[:40]!r}"
        if self._file is not None and (reason := _file_kills(self._file)) is not None:
            found[Source.FILE] = reason
        if self._configured:
            found[Source.CONFIGURATION] = "the configuration says kill"
        return found

    def _unanswered(self, event: KillEvent | None, engaging: dict[Source, str]) -> dict[Source, str]:
        """What of `engaging` `event` does not stand for: it came since, or went away since and came back."""
        if event is None:
            return engaging
        if event.event_id != self._seen:
            self._seen, self._gone = event.event_id, frozenset()
        back = self._gone & engaging.keys()
        self._gone |= _WATCHED - engaging.keys()
        return {source: reason for source, reason in engaging.items() if source in back or source not in event.sources}

    def _settle(self, event: KillEvent) -> KillEvent:
        """Latch `event` on the disk, or hold it in memory until that can be done."""
        self._held = event
        try:
            event = self._latch.engage(event, self._records.keep)
        except OSError as error:
            self._failure = f"{self._latch.folder}: {error.strerror or error}"
        else:
            self._held = None
        return event


def _file_kills(path: Path) -> str | None:
    """Why the kill file kills; None if it is not there, or says that it does not. Nothing but a file is read, so it never waits."""
    try:
        if not there(path):
            path.parent.stat()  # without its folder it cannot be looked for
            return None
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return f"{path}: is not a file"
            content = os.read(handle, _MAX_WORD_BYTES + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        return f"{path}: cannot be looked for or read: {getattr(error, 'strerror', None) or error}"
    if len(content) <= _MAX_WORD_BYTES and content.strip() in _NO_WORDS:
        return None
    return f"{path}: is there, and holds {content[:40]!r}"


def _reason(statement: bytes) -> str:
    """The reason that a statement gives; empty if it is none, and then no statement equals it."""
    try:
        match json.loads(statement):
            case {"reason": str(reason)}:
                return reason
    except (ValueError, RecursionError):
        pass
    return ""
