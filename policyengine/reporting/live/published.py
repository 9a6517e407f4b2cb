"""What is published, as it is on disk now: the page of the run's payload and the account's snapshot, looked at twice a second."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from policyengine.errors import DataError
from policyengine.monitoring.alerts import violations
from policyengine.monitoring.snapshot import Alert, Snapshot, bound_snapshot, snapshot_path
from policyengine.reporting.markup import facts
from policyengine.reporting.names import PAYLOAD
from policyengine.reporting.now import Snapped, age, now
from policyengine.reporting.report.drawing import command, reason
from policyengine.reporting.report.page import NOW
from policyengine.reporting.text import esc
from policyengine.spec.monitor import MonitorSpec
from policyengine.store import read_json

LOOK_SECONDS = 0.5
Signature = tuple[int, int, int]
"""Inode, time and size: a file that is replaced whole has another one."""
State = Literal["CURRENT", "STALE", "ABSENT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a reader is told: `state` of the snapshot with the reason, its `age`, the section `html`, and which `page` stands below it."""

    state: State
    why: str
    age: str
    html: str
    page: str

    def event(self, *, whole: bool) -> bytes:
        """As a server-sent event: `now` with everything, or the `beat` that only says that the stream lives and how old things are."""
        body = {"state": self.state, "why": self.why, "age": self.age, "page": self.page} | ({"html": self.html} if whole else {})
        return f"event: {'now' if whole else 'beat'}\ndata: {json.dumps(body)}\n\n".encode()


class Published:
    """The run in `folder` and the snapshot of `account` under `state_dir`. Not thread-safe: it lives in one event loop."""

    def __init__(
        self,
        folder: Path,
        state_dir: Path,
        account: str,
        monitor: MonitorSpec,
        clock: Callable[[], datetime],
        kill: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        """`clock` gives the instant; `monitor` says from when on a snapshot is stale, and what is beyond its limit.

        `kill` tells how the kill switch stands now, in the snapshot's own form: nobody waits for the next publication to see that it is
        engaged. None leaves what the snapshot says.
        """
        self._kill, self._killed = kill, kill()
        self.folder, self.state_dir, self.account = folder, state_dir, account
        self._monitor, self._clock = monitor, clock
        self._snapshot_path = snapshot_path(state_dir, account)
        self._drawn: Signature | None = None
        self._page: tuple[bytes, bytes] = (b"", b"")
        self._failure = ""
        self._seen: Signature | None = None
        self._raw: Mapping[str, Any] | None = None
        self._found: Snapped = ""
        self._alerts: tuple[Alert, ...] = ()
        self._changed = asyncio.Event()
        self.turn = 0
        self.stopping = False

    async def open(self) -> None:
        """Draw and read for the first time.

        Raises:
            DataError: the run has no payload, or one that cannot be drawn.
            ConfigError: the extra that draws is not installed.
        """
        if signature(self.folder / PAYLOAD) is None:
            raise DataError(str(self.folder), f"holds no {PAYLOAD}; policyengine task=report task.path={self.folder} writes it")
        await self._draw()
        if self._failure:
            raise DataError(str(self.folder / PAYLOAD), f"cannot be drawn: {self._failure}")
        self._read()

    @property
    def snapshot(self) -> Mapping[str, Any] | None:
        """The snapshot as it is stored, with the kill switch as it stands now; None where there is none that can be read."""
        return self._raw

    def told(self) -> Told:
        """What to tell a reader who comes now."""
        state, why, old = self._state()
        html = now(self._found, self._alerts, account=self.account)
        if self._failure:
            html = facts([("Not drawn", f"the run was published again, and what is below is older: {self._failure}")]) + html
        return Told(state=state, why=why, age=old, html=html, page=version(self._drawn))

    def page(self) -> tuple[bytes, ...]:
        """The page in pieces: that of the run is kept once, however many read it."""
        told = self.told()
        head, tail = self._page
        return head, live_part(told), tail

    async def watch_page(self) -> None:
        """Draw again whenever the payload is replaced, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = signature(self.folder / PAYLOAD)
            if found is not None and found != self._drawn:
                await self._draw()
                self.wake()

    async def watch_snapshot(self) -> None:
        """Read again whenever the snapshot is replaced, and notice when it becomes stale, until cancelled."""
        last = self._state()[0]
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            state, killed = self._state()[0], self._kill()
            if signature(self._snapshot_path) != self._seen or state != last or killed != self._killed:
                self._killed = killed
                self._read()
                last = self._state()[0]
                self.wake()

    async def after(self, turn: int, seconds: float) -> int:
        """The turn that it is when it is no longer `turn`, or once `seconds` have passed."""
        changed = self._changed
        if self.turn == turn:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), seconds)
        return self.turn

    def wake(self) -> None:
        """Begin a new turn: everybody who waits looks again."""
        self.turn += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _draw(self) -> None:
        """Draw the payload that stands there now, in a process of its own; what cannot be drawn leaves the page before."""
        try:
            with (self.folder / PAYLOAD).open("rb") as payload:
                self._drawn = signature(payload.fileno())
                process = await asyncio.create_subprocess_exec(*command(live=True), stdin=payload, stdout=PIPE, stderr=PIPE)
        except OSError as error:  # it was taken away in between
            self._failure = f"{PAYLOAD}: {error.strerror or error}"
            return
        try:
            page, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        head, mark, tail = page.partition(NOW.encode())
        if process.returncode == 0 and mark:
            self._page, self._failure = (head, tail), ""
        else:
            self._failure = reason(said)

    def _read(self) -> None:
        self._seen = signature(self._snapshot_path)
        self._raw, self._found, self._alerts = None, "", ()
        try:
            raw = read_json(self._snapshot_path)
            if isinstance(raw, Mapping) and self._killed is not None:
                raw = {**raw, "kill": self._killed}
            found = bound_snapshot(raw, str(self._snapshot_path))
        except DataError as error:
            self._found = str(error)
            return
        self._raw, self._found, self._alerts = raw, found, violations(found, self._monitor, self._clock())

    def _state(self) -> tuple[State, str, str]:
        if not isinstance(self._found, Snapshot):
            return "ABSENT", "there is no snapshot that can be read", ""
        old, limit = self._found.age(self._clock()), timedelta(hours=self._monitor.stale_hours)
        since = f"published {age(old)}"
        if old > limit or old < -timedelta(minutes=1):
            return "STALE", f"the snapshot is older than {self._monitor.stale_hours:g} h, or of the future", since
        return "CURRENT", "the snapshot is no older than it may be", since


def live_part(told: Told) -> bytes:
    """The part of the page that the script keeps up to date; without one it says how things were when it was asked for."""
    return (
        f'<div id="live" data-page="{esc(told.page)}">'
        f'<p class="stream"><strong id="state" role="status" aria-live="polite" class="{told.state}">{told.state}</strong> '
        f'<span id="why">{esc(told.why)}</span> <span id="age">{esc(told.age)}</span></p>'
        '<noscript><p class="note">Without scripts this page does not refresh by itself; load it again to see what is now.</p></noscript>'
        f'<div id="told">{told.html}</div></div>'
    ).encode()


def signature(file: Path | int) -> Signature | None:
    """What tells one publication from another, by path or descriptor; None where there is no file."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of a descriptor too
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def version(of: Signature | None) -> str:
    """A signature as a name."""
    return "-".join(f"{part:x}" for part in of or ())
