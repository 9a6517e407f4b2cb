"""Telling people: a line in a file, and a POST to a URL. At least once each, under an id by which a receiver knows it again.

What is delivered is noted in the history before the next is sent. Where the process dies between the two, or an answer is lost, it is
sent again with the same id, in the body and as `Idempotency-Key`. A file has each id once.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from policyengine.errors import DataError, OutputError, PolicyEngineError
from policyengine.monitoring.watch import Notification, Watch
from policyengine.spec.bind import plain
from policyengine.spec.monitor import MonitorSpec
from policyengine.store import reported

FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled before each later one."""


class NotDelivered(PolicyEngineError):
    """A channel did not take a notification. It is tried again at the next look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Seconds that only go forward, the instant as a text, and a sleep."""

    seconds: Callable[[], float]
    now: Callable[[], str]
    sleep: Callable[[float], None]


def deliver(history: Watch, spec: MonitorSpec, clock: Clock) -> tuple[str, ...]:
    """Deliver what is left, oldest first, to every configured channel; what went wrong, in words that hold no URL.

    A channel that fails is left until the next look, for what comes later must not overtake.
    """
    stop = clock.seconds() + spec.deadline_seconds
    failed = []
    for channel, place in (("file", spec.file), ("webhook", spec.webhook_file)):
        left = history.undelivered(channel)
        if place is None or not left:
            continue
        done = 0
        try:
            tell = _teller(channel, Path(place), spec, clock, stop)
            for notification in left:
                tell(notification)
                history.delivered(notification, channel, clock.now())
                done += 1
        except NotDelivered as error:
            failed.append(f"{channel}: {len(left) - done} not delivered: {error}")
    return tuple(failed)


def body_of(notification: Notification) -> dict[str, Any]:
    """What a channel is told."""
    change = notification.change
    return {"id": notification.id, "account": notification.account, "state": change.kind, **_without(plain(change), "kind", "to")}


def _without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name not in names}


def _teller(channel: str, place: Path, spec: MonitorSpec, clock: Clock, stop: float) -> Callable[[Notification], None]:
    if channel == "file":
        known = _ids(place)
        return lambda notification: _append(place, notification, known)
    url = _url(place)
    return lambda notification: _persist(url, notification, spec, clock, stop)


def _persist(url: SplitResult, notification: Notification, spec: MonitorSpec, clock: Clock, stop: float) -> None:
    """Post it, again and again within the attempts and the time that are left.

    Raises:
        NotDelivered: with what came of the last attempt.
    """
    why, wait = "no time was left", FIRST_WAIT
    for attempt in range(spec.attempts):
        if attempt:
            clock.sleep(min(wait, max(stop - clock.seconds(), 0.0)))
            wait *= 2.0
        left = min(spec.timeout_seconds, stop - clock.seconds())
        if left <= 0.0:
            break
        try:
            status = _post(url, notification, left)
        except (OSError, HTTPException, ValueError) as error:
            late = "timed out" if isinstance(error, TimeoutError) else type(error).__name__
            why = getattr(error, "strerror", None) or late  # not its text, which may hold the URL
            continue
        if 200 <= status < 300:
            return
        why = f"it answered {status}"
    raise NotDelivered(why)


def _post(url: SplitResult, notification: Notification, seconds: float) -> int:
    """The status of the answer; redirections are not followed.

    On a thread of its own: the time limit of a socket is one for each read, and names are looked up without any.

    Raises:
        OSError, HTTPException, ValueError: there is none within `seconds`.
    """
    answer: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(_answered(url, notification, seconds))
        except (OSError, HTTPException, ValueError) as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {seconds:.1f} s") from None
    if isinstance(found, Exception):
        raise found
    return found


def _answered(url: SplitResult, notification: Notification, seconds: float) -> int:
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=seconds)
    headers = {"Content-Type": "application/json", "Idempotency-Key": notification.id, "User-Agent": "policyengine", "Connection": "close"}
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        connection.request("POST", target, json.dumps(body_of(notification)).encode(), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _url(place: Path) -> SplitResult:
    """The URL in the file `place`.

    Raises:
        NotDelivered: there is none, or it is not one of HTTP.
    """
    try:
        url = urlsplit(place.read_text(encoding="utf-8").strip())
        port = url.port
    except (OSError, ValueError) as error:
        raise NotDelivered(f"{place}: holds no URL: {type(error).__name__}") from error
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise NotDelivered(f"{place}: holds no URL of http or https")
    return url


def _ids(place: Path) -> set[str]:
    """The ids that the file has; a line that a crash tore has none."""
    try:
        lines = place.read_bytes().splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise NotDelivered(f"{place}: cannot be read: {error.strerror or error}") from error
    found = set()
    for line in lines:
        try:
            found.add(str(json.loads(line)["id"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _append(place: Path, notification: Notification, known: set[str]) -> None:
    """One line, synced; after a torn one it begins a line of its own."""
    if notification.id in known:
        return
    line = json.dumps(body_of(notification)).encode() + b"\n"
    try:
        with reported(place), place.open("a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except (OutputError, DataError) as error:
        raise NotDelivered(str(error)) from error
    known.add(notification.id)
