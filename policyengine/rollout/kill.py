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

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeVar

from policyengine.errors import ConfigError, DataError, OutputError
from policyengine.evidence.store import read_json, write_json
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.spec.bind import bind, plain

VARIABLE = "POLICYENGINE_KILL"
_NO_VALUES = frozenset({"", "0", "false"})
_NO_WORDS = frozenset({b"0", b"false", b"released"})
_MAX_WORD_BYTES = 64
"""A kill file that does not kill holds one word. One that is longer kills: its end is not read."""
_LOOKS = 5
"""POSIX lets a folder that is listed while a name in it changes show both names or neither; not five times in a row."""


class Source(StrEnum):
    """What engages. The latch does by not being what it should be."""

    COMMAND = "command"
    DRILL = "drill"
    ENVIRONMENT = "environment"
    FILE = "file"
    CONFIGURATION = "configuration"
    LATCH = "latch"


_WATCHED = frozenset(Source) - {Source.COMMAND, Source.DRILL}
_WORD = "|".join(Source)
_RELEASED = re.compile(r"released(?:\.(k_[0-9a-f]{16}))?")
_ENGAGED = re.compile(rf"engaged\.(k_[0-9a-f]{{16}})\.(\d{{8}}T\d{{6}}\.\d{{6}}Z)\.((?:{_WORD})(?:\+(?:{_WORD}))*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KillEvent:
    """One engagement, at the instant `at` (UTC, ISO 8601). `by` and `why` are None where they could not be written down.

    `sources` are all that engaged since the last release, its own first.
    """

    WORD: ClassVar[str] = "engaged"
    event_id: str
    at: str
    sources: tuple[Source, ...]
    by: str | None = None
    why: str | None = None

    @property
    def drill(self) -> bool:
        """Whether nothing but an exercise engaged."""
        return self.sources == (Source.DRILL,)

    @property
    def sentence(self) -> str:
        """Who, when and why, on one line whatever the texts hold."""
        told = "who and why was not written down" if self.by is None or self.why is None else f"by {self.by!r}: {self.why!r}"
        return f"{self.event_id} engaged at {self.at} ({self.sources[0]}), {told}"

    @property
    def name(self) -> str:
        """Of the latch while this is engaged."""
        return f"engaged.{self.event_id}.{datetime.fromisoformat(self.at):%Y%m%dT%H%M%S.%fZ}.{'+'.join(self.sources)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRelease:
    """One reset: of which event, by whom, at what instant (UTC, ISO 8601), and what was signed."""

    WORD: ClassVar[str] = "released"
    event: KillEvent
    at: str
    by: str
    statement: str

    @property
    def event_id(self) -> str:
        """Of the event that was released."""
        return self.event.event_id


_Record = TypeVar("_Record", KillEvent, KillRelease)


def reset_statement(event: KillEvent, by: str, reason: str, at: datetime) -> bytes:
    """What `by` signs to release `event` at the instant `at`, in its only form."""
    says = {"reset": "policyengine kill", "event_id": event.event_id, "drill": event.drill, "by": by, "reason": reason, "at": _iso(at)}
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
        self._latch = _Latch(state_dir / "kill" / "latch", state_dir / "kill.lock")
        self._records = _Records(state_dir / "kill" / "events")
        self._environment, self._file, self._configured, self._clock = environment, file, configured, clock
        self._held: KillEvent | None = None  # engaged, but not on the disk, because of `_failure`
        self._failure = ""
        self._seen, self._gone = "", frozenset[Source]()  # an event, and the sources that were seen off since

    def begin(self) -> None:
        """Make the latch, released, where there never was one; called at each start, before anything can send an order.

        Raises:
            OutputError: it cannot be made.
        """
        with _reported(self._latch.folder):
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
        event = _event(names[0]) if len(names) == 1 else None
        new = self._unanswered(event, engaging)
        if new and self._held is None:
            self._held = _made({**new, **engaging}, by=f"policyengine ({next(iter(new))})", why="; ".join(new.values()), at=self._clock())
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
            with _reported(self._latch.folder):
                event = self._latch.engage(_made({Source.DRILL: ""}, by=by, why=why, at=at), self._records.keep)
            self._records.note(event)
        else:
            event = _made({Source.COMMAND: "", **self._engaging()}, by=by, why=why, at=at)
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
                raise ConfigError("statement", f"is not what {by!r} signs to release {event_id} at {_iso(at)}")
            self._records.keep(event.name)
            self._records.prepare(KillRelease(event=event, at=_iso(at), by=_text(by), statement=statement.decode()))
            with _reported(self._latch.folder):
                self._records.keep(self._latch.release(event))

    def pending(self) -> tuple[KillEvent | KillRelease, ...]:
        """What the audit is still to record, in order of time: given until `recorded` is told, and again once more is known of it.

        Raises:
            DataError: a record cannot be read.
        """
        names = self._catch_up()
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

    def last_drill_at(self) -> datetime | None:
        """When a drill was last released; None if none ever was.

        Raises:
            DataError: a record cannot be read.
        """
        self._catch_up()
        released = [*self._records.read(KillRelease, ".json"), *self._records.read(KillRelease, ".new.json")]
        return max((datetime.fromisoformat(record.at) for record in released if record.event.drill), default=None)

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

    def _catch_up(self) -> list[str]:
        """Write what can be written now; the names of the latch."""
        names, _ = self._latch.look()
        for name in names:
            if _RELEASED.fullmatch(name):
                self._records.keep(name)
        self._records.flush()
        return names


class _Latch:
    """The folder whose one name is the state. Nothing here is kept in memory."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder, self._lock = folder, lock

    def begin(self) -> None:
        """Begin it, released, if it never was; the lock, which says that it was, comes last."""
        if _there(self._lock):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not _listed(self.folder):
            (self.folder / "released").touch()
        _sync(self.folder)
        _sync(self.folder.parent)
        self._lock.touch()
        _sync(self._lock.parent)

    def look(self) -> tuple[list[str], str | None]:
        """The names of a latch, and what is wrong unless there is one alone; neither where none was begun."""
        ours, wrong = [], ""
        for _ in range(_LOOKS):
            try:
                names = _listed(self.folder)
            except FileNotFoundError:
                names = []
            except OSError as error:
                return [], f"{self.folder}: cannot be read: {error.strerror}"
            if not names and not _there(self._lock):
                return [], None
            ours = [name for name in names if _is_latch(name)]
            if len(ours) == len(names) == 1:
                return ours, None
            wrong = f"{self.folder}: holds {sorted(names)!r:.200}, not the one name of a latch"
        return ours, wrong

    def engage(self, event: KillEvent, leaving: Callable[[str], None]) -> KillEvent:
        """Make `event` the one name, with the sources of those it replaces, of which `leaving` hears before.

        Raises:
            OSError: it cannot be, or may not outlast a power cut.
            NotStarted: it is a drill, and the one name is not `released`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        moved = False
        while not moved:
            names = [name for name in _listed(self.folder) if _is_latch(name)]
            before = [found for name in names if (found := _event(name)) is not None]
            if event.drill and (before or len(names) != 1):
                raise NotStarted(Code.KILL_LATCHED, f"no drill begins while the latch is {names}")
            others = {source for found in (event, *before) for source in found.sources} - {event.sources[0], Source.DRILL}
            event = replace(event, sources=(event.sources[0], *sorted(others)))
            if not names:
                (self.folder / event.name).touch()
                with suppress(OSError):
                    self._lock.touch()
                break
            for name in names:
                leaving(name)
                moved |= self._renamed(name, event)
        _sync(self.folder)
        return event

    def _renamed(self, name: str, event: KillEvent) -> bool:
        """Whether `name` was still there to become that of `event`."""
        try:
            (self.folder / name).rename(self.folder / event.name)
        except FileNotFoundError:
            return False
        except OSError as error:
            if event.drill:
                raise
            (self.folder / name).unlink()
            raise OSError(error.errno, f"{error.strerror}; the latch was removed instead, which engages too") from error
        return True

    def release(self, event: KillEvent) -> str:
        """Rename `event`, if it still is what is engaged; the new name."""
        name = f"released.{event.event_id}"
        try:
            (self.folder / event.name).rename(self.folder / name)
        except FileNotFoundError:
            raise NotStarted(Code.KILL_LATCHED, f"{event.event_id} is not what is engaged any more: another event came") from None
        _sync(self.folder)
        return name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process release meanwhile."""
        with _reported(self._lock):
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with _reported(self._lock):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise NotStarted(Code.LOCK_HELD, f"{self._lock}: another reset is under way") from None
            yield
        finally:
            os.close(handle)


class _Records:
    """Who, why and what was signed: one file for each engagement and each reset, and in memory what could not be written yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.unwritten: dict[str, KillEvent] = {}

    def note(self, event: KillEvent) -> None:
        """Keep `event` until it can be written."""
        self.unwritten[event.event_id] = event

    def flush(self) -> None:
        """Write what is kept."""
        for event in tuple(self.unwritten.values()):
            with suppress(OutputError):
                write_json(self._paths(event)[0], plain(event))
                del self.unwritten[event.event_id]

    def prepare(self, record: KillRelease) -> None:
        """Write a reset that is about to be."""
        write_json(self._folder / f"{record.event_id}.releasing.json", plain(record))

    def keep(self, name: str) -> None:
        """Let what the latch tells by `name` outlast it: of a release the record that was prepared, of an engagement at least the name."""
        with suppress(OSError):
            if (released := _RELEASED.fullmatch(name)) is not None:
                (self._folder / f"{released[1]}.releasing.json").rename(self._folder / f"{released[1]}.released.new.json")
            elif (event := _event(name)) is not None and not self._knows(event):
                self._folder.mkdir(parents=True, exist_ok=True)
                (self._folder / name).touch()

    def recorded(self, record: KillEvent | KillRelease) -> None:
        """The audit holds `record`."""
        new, kept = self._paths(record)
        with _reported(kept):
            try:
                new.replace(kept)
            except FileNotFoundError:
                write_json(kept, plain(record))
        if isinstance(record, KillEvent):
            self.unwritten.pop(record.event_id, None)

    def bare(self, names: list[str]) -> dict[str, KillEvent]:
        """By id, the events of which nothing but a name tells, among `names` or here."""
        found = [event for name in (*names, *self._names()) if (event := _event(name)) is not None]
        return {event.event_id: event for event in found if not self._knows(event)}

    def told(self, event: KillEvent) -> KillEvent:
        """`event` with what is known of who and why."""
        known = self.unwritten.get(event.event_id)
        for path in self._paths(event):
            if known is None:
                with suppress(DataError):
                    known = _read(KillEvent, path)
        return event if known is None else replace(event, by=known.by, why=known.why)

    def read(self, kind: type[_Record], end: str) -> list[_Record]:
        """Every record of a kind whose file's name has that end."""
        wanted = re.compile(rf"k_[0-9a-f]{{16}}\.{kind.WORD}{re.escape(end)}")
        return [_read(kind, self._folder / name) for name in self._names() if wanted.fullmatch(name)]

    def _names(self) -> list[str]:
        try:
            return _listed(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(str(self._folder), f"cannot be read: {error.strerror}") from error

    def _knows(self, event: KillEvent) -> bool:
        return any(map(_there, self._paths(event)))

    def _paths(self, record: KillEvent | KillRelease) -> tuple[Path, Path]:
        """Of a record that the audit is to take, and of one that it has."""
        stem = f"{record.event_id}.{record.WORD}"
        return self._folder / f"{stem}.new.json", self._folder / f"{stem}.json"


def _read(kind: type[_Record], path: Path) -> _Record:
    """A record as it was written.

    Raises:
        DataError: it is none.
    """
    try:
        record = bind(kind, read_json(path))
        datetime.fromisoformat(record.at)
    except (ConfigError, ValueError) as error:
        raise DataError(str(path), f"is not a record of this switch: {error}") from error
    return record


def _made(engaging: Mapping[Source, str], *, by: str, why: str, at: datetime) -> KillEvent:
    return KillEvent(event_id="k_" + secrets.token_hex(8), at=_iso(at), sources=tuple(engaging), by=_text(by), why=_text(why))


def _event(name: str) -> KillEvent | None:
    """What the name of a latch says is engaged; None if nothing, or if it is no such name."""
    if (found := _ENGAGED.fullmatch(name)) is None:
        return None
    event_id, at, sources = found.groups()
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        return None
    return KillEvent(event_id=event_id, at=_iso(instant), sources=tuple(Source(word) for word in sources.split("+")))


def _is_latch(name: str) -> bool:
    return _RELEASED.fullmatch(name) is not None or _event(name) is not None


def _file_kills(path: Path) -> str | None:
    """Why the kill file kills; None if it is not there, or says that it does not. Nothing but a file is read, so it never waits."""
    try:
        if not _there(path):
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


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _text(text: str) -> str:
    """`text`, with what UTF-8 cannot hold written out: a command's arguments may be any bytes."""
    return text.encode(errors="backslashreplace").decode()


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - names, and the quickest way to them


def _there(path: Path) -> bool:
    """Whether there is such a file; not being allowed to know is no "no"."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be read or written: {error.strerror or error}") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
