"""What is known of engagements and resets of the kill switch: the records, and the files that keep them."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeVar

from policyengine.errors import ConfigError, DataError, OutputError
from policyengine.spec.bind import bind, plain
from policyengine.store import read_json, reported, write_json


class Source(StrEnum):
    """What engages. The latch does by not being what it should be."""

    COMMAND = "command"
    DRILL = "drill"
    ENVIRONMENT = "environment"
    FILE = "file"
    CONFIGURATION = "configuration"
    LATCH = "latch"


_WORD = "|".join(Source)
RELEASED = re.compile(r"released(?:\.(k_[0-9a-f]{16}))?")
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


class Records:
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
            if (released := RELEASED.fullmatch(name)) is not None:
                (self._folder / f"{released[1]}.releasing.json").rename(self._folder / f"{released[1]}.released.new.json")
            elif (event := event_of(name)) is not None and not self._knows(event):
                self._folder.mkdir(parents=True, exist_ok=True)
                (self._folder / name).touch()

    def recorded(self, record: KillEvent | KillRelease) -> None:
        """The audit holds `record`."""
        new, kept = self._paths(record)
        with reported(kept):
            try:
                new.replace(kept)
            except FileNotFoundError:
                write_json(kept, plain(record))
        if isinstance(record, KillEvent):
            self.unwritten.pop(record.event_id, None)

    def bare(self, names: list[str]) -> dict[str, KillEvent]:
        """By id, the events of which nothing but a name tells, among `names` or here."""
        found = [event for name in (*names, *self._names()) if (event := event_of(name)) is not None]
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
            return listed(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(str(self._folder), f"cannot be read: {error.strerror}") from error

    def _knows(self, event: KillEvent) -> bool:
        return any(map(there, self._paths(event)))

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


def made(engaging: Mapping[Source, str], *, by: str, why: str, at: datetime) -> KillEvent:
    """A new event by the sources that engage."""
    return KillEvent(event_id="k_" + secrets.token_hex(8), at=iso(at), sources=tuple(engaging), by=as_text(by), why=as_text(why))


def event_of(name: str) -> KillEvent | None:
    """What the name of a latch says is engaged; None if nothing, or if it is no such name."""
    if (found := _ENGAGED.fullmatch(name)) is None:
        return None
    event_id, at, sources = found.groups()
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        return None
    return KillEvent(event_id=event_id, at=iso(instant), sources=tuple(Source(word) for word in sources.split("+")))


def iso(at: datetime) -> str:
    """The instant in UTC, to the microsecond, as records and names hold it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def listed(folder: Path) -> list[str]:
    """The names in `folder`."""
    return os.listdir(folder)  # noqa: PTH208 - names, and the quickest way to them


def there(path: Path) -> bool:
    """Whether there is such a file; not being allowed to know is no "no"."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def as_text(text: str) -> str:
    """`text`, with what UTF-8 cannot hold written out: a command's arguments may be any bytes."""
    return text.encode(errors="backslashreplace").decode()
