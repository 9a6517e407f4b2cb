"""The latch of the kill switch: a folder whose one name is the state. Every change is a rename."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from policyengine.rollout.kill_records import RELEASED, KillEvent, Source, event_of, listed, there
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.store import reported, sync_folder

_LOOKS = 5
"""POSIX lets a folder that is listed while a name in it changes show both names or neither; not five times in a row."""


def latch_of(state_dir: Path) -> Latch:
    """The latch of the state folder."""
    return Latch(state_dir / "kill" / "latch", state_dir / "kill.lock")


class Latch:
    """The folder whose one name is the state. Nothing here is kept in memory."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder, self._lock = folder, lock

    def begin(self) -> None:
        """Begin it, released, if it never was; the lock, which says that it was, comes last."""
        if there(self._lock):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not listed(self.folder):
            (self.folder / "released").touch()
        sync_folder(self.folder)
        sync_folder(self.folder.parent)
        self._lock.touch()
        sync_folder(self._lock.parent)

    def look(self) -> tuple[list[str], str | None]:
        """The names of a latch, and what is wrong unless there is one alone; neither where none was begun."""
        ours, wrong = [], ""
        for _ in range(_LOOKS):
            try:
                names = listed(self.folder)
            except FileNotFoundError:
                names = []
            except OSError as error:
                return [], f"{self.folder}: cannot be read: {error.strerror}"
            if not names and not there(self._lock):
                return [], None
            ours = [name for name in names if is_latch(name)]
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
            names = [name for name in listed(self.folder) if is_latch(name)]
            before = [found for name in names if (found := event_of(name)) is not None]
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
        sync_folder(self.folder)
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
        sync_folder(self.folder)
        return name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process release meanwhile."""
        with reported(self._lock):
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with reported(self._lock):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise NotStarted(Code.LOCK_HELD, f"{self._lock}: another reset is under way") from None
            yield
        finally:
            os.close(handle)


def is_latch(name: str) -> bool:
    """Whether `name` is one that a latch has."""
    return RELEASED.fullmatch(name) is not None or event_of(name) is not None
