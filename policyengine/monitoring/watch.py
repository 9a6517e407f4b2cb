"""The history of one account's alerts, in a journal: pending, firing, resolved, and what was delivered to whom.

A rule that is violated is pending until it held for as long as it must, then fires, once, until a look finds it kept. How long it held
is added up over looks that found it violated one after the other, and the time between two of them counts for at most `gap_minutes`:
nobody saw what was in between, so a gap proves little, and a watch that looks rarely still fires in the end. A look that finds it kept
begins anew. Where a rule cannot be read, for want of a snapshot, it stays as it was, and `snapshot_absent` fires.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from policyengine.errors import DataError
from policyengine.execution.chain import Chain
from policyengine.execution.journal import Journal
from policyengine.monitoring.alerts import RULES, Reading
from policyengine.monitoring.snapshot import account_folder, instant_of
from policyengine.spec.bind import plain
from policyengine.spec.monitor import MonitorSpec
from policyengine.store import reported

StateName = Literal["ok", "pending", "firing", "unknown"]
CHANNELS = ("file", "webhook")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the history: `alert` became, or still is, `kind` at the instant `at`.

    `since` is the first look of those that found it violated without a break, `held_minutes` what counts of the time since; `fired_at`
    is None before it fired. `to` are the channels that are to hear of it; of pending and cleared nobody does.
    """

    kind: Literal["pending", "cleared", "firing", "resolved"]
    at: str
    alert: str
    since: str
    held_minutes: float
    fired_at: str | None
    observed: float | None
    operator: str
    limit: float | None
    why: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one alert stands after a look; `reading` is None where the rule could not be read."""

    alert: str
    state: StateName
    since: str | None
    reading: Reading | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a channel is told: a change, under an id that is the same however often it is sent."""

    id: str
    account: str
    change: Change


class Watch:
    """The history of `account` under `state_dir`, open for writing by this process alone. Close it, or use it in a `with`."""

    def __init__(self, state_dir: Path, account: str) -> None:
        """Open it, or begin it.

        Raises:
            ConfigError: the account is no plain name.
            JournalLocked: another process looks at this account.
            DataError: the history was changed, or is none.
            OutputError: it cannot be read or written.
        """
        self._account = account
        self._journal = Journal(history_folder(state_dir, account), {"kind": "open", "account": account})
        try:
            self._last, self._undelivered = _folded(account, self._journal.found)
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._journal.writable:
                self._journal.seal()
        finally:
            self._journal.close()

    def look(self, readings: Mapping[str, Reading | None], spec: MonitorSpec, now: datetime) -> tuple[Standing, ...]:
        """Take note of what was read at `now`; where every alert stands then. What changed is durable when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        to = channels_of(spec)
        standing, changes = [], []
        for rule in RULES:
            reading, last = readings[rule.name], self._last.get(rule.name)
            if reading is not None:
                change = _change(rule.name, reading, last, wait=rule.wait(spec), gap=timedelta(minutes=spec.gap_minutes), now=now, to=to)
                changes += [] if change is None else [change]
                last = change or last
            standing.append(_standing(rule.name, reading, last))
        self._journal.append_many(plain(change) for change in changes)
        self._last, new = _after(self._account, self._last, changes)
        self._undelivered += new
        return tuple(standing)

    def undelivered(self, channel: str) -> tuple[Notification, ...]:
        """What `channel` is to hear and is not known to have heard, oldest first."""
        return tuple(n for n, to in self._undelivered if to == channel)

    def delivered(self, notification: Notification, channel: str, at: str) -> None:
        """Note that `channel` heard it; durable when this returns.

        Raises:
            OutputError: it cannot be written, and it will be sent again under the same id.
        """
        self._journal.append({"kind": "delivered", "at": at, "id": notification.id, "channel": channel})
        self._undelivered = [(n, to) for n, to in self._undelivered if (n.id, to) != (notification.id, channel)]


def history_folder(state_dir: Path, account: str) -> Path:
    """Where the history of `account` is."""
    return account_folder(state_dir / "monitor", account)


def channels_of(spec: MonitorSpec) -> tuple[str, ...]:
    """The channels that are configured."""
    return tuple(name for name, place in zip(CHANNELS, (spec.file, spec.webhook_file), strict=True) if place is not None)


def firing(state_dir: Path, account: str) -> dict[str, bool]:
    """Whether each alert fires, as the history says last; by anybody, at any time, without a lock. Empty where nobody ever looked.

    Raises:
        DataError: the history was changed, or is none.
        OutputError: it cannot be read.
    """
    folder = history_folder(state_dir, account)
    if not folder.exists():
        return {}
    with reported(folder):
        last, _ = _folded(account, Chain(folder).records())
    return {rule.name: (found := last.get(rule.name)) is not None and found.kind == "firing" for rule in RULES}


def _change(
    alert: str, reading: Reading, last: Change | None, *, wait: timedelta, gap: timedelta, now: datetime, to: tuple[str, ...]
) -> Change | None:
    """What `reading` changes for an alert whose last line is `last`; None where there is nothing to note."""
    open_ = last if last is not None and last.kind in ("pending", "firing") else None
    if open_ is None and not reading.violated:
        return None
    if open_ is not None and open_.kind == "firing" and reading.violated:
        return None
    since, held, fired_at = now.isoformat(), timedelta(), None
    if open_ is not None:
        looked = now - instant_of("at", open_.at)
        since, fired_at = open_.since, open_.fired_at
        held = timedelta(minutes=open_.held_minutes) + min(max(looked, timedelta()), gap)
    kind: Literal["pending", "cleared", "firing", "resolved"]
    if reading.violated:
        kind = "firing" if held >= wait else "pending"
        fired_at = now.isoformat() if kind == "firing" else None
    else:
        kind = "resolved" if fired_at is not None else "cleared"
    return Change(
        kind=kind,
        at=now.isoformat(),
        alert=alert,
        since=since,
        held_minutes=held / timedelta(minutes=1),
        fired_at=fired_at,
        observed=reading.observed,
        operator=reading.operator,
        limit=reading.limit,
        why=reading.why,
        to=to if kind in ("firing", "resolved") else (),
    )


def _standing(alert: str, reading: Reading | None, last: Change | None) -> Standing:
    if last is not None and last.kind == "firing":
        return Standing(alert=alert, state="firing", since=last.fired_at, reading=reading)
    if reading is None:
        return Standing(alert=alert, state="unknown", since=None, reading=None)
    if last is not None and last.kind == "pending":
        return Standing(alert=alert, state="pending", since=last.since, reading=reading)
    return Standing(alert=alert, state="ok", since=None, reading=reading)


Heard = list[tuple[Notification, str]]


def _folded(account: str, records: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Change], Heard]:
    """The last line of each alert, and what each channel is still to hear."""
    delivered: set[tuple[str, str]] = set()
    last: dict[str, Change] = {}
    heard: Heard = []
    for record in records:
        try:
            match record["kind"]:
                case "pending" | "cleared" | "firing" | "resolved":
                    last, new = _after(account, last, [_read(record)])
                    heard += new
                case "delivered":
                    delivered.add((record["id"], record["channel"]))
                case "open":
                    _refuse_other(account, record["account"])
                case _:  # of the journal itself
                    pass
        except (KeyError, TypeError) as error:
            raise DataError(f"alerts of {account}", f"record {record.get('seq')} is none: {type(error).__name__} {error}") from error
    return last, [(n, to) for n, to in heard if (n.id, to) not in delivered]


def _refuse_other(account: str, found: str) -> None:
    if found != account:
        raise DataError(f"alerts of {account}", f"were begun for account {found!r}")


def _after(account: str, last: Mapping[str, Change], changes: Sequence[Change]) -> tuple[dict[str, Change], Heard]:
    heard = [(Notification(id=_id(account, one), account=account, change=one), to) for one in changes for to in one.to]
    return {**last, **{one.alert: one for one in changes}}, heard


def _id(account: str, change: Change) -> str:
    """The same for the same firing of the same alert, in any process; its resolution has another."""
    words = json.dumps([account, change.alert, change.fired_at, change.kind])
    return "a_" + hashlib.sha256(words.encode()).hexdigest()[:32]


def _read(record: Mapping[str, Any]) -> Change:
    value = {name: part for name, part in record.items() if name not in ("seq", "previous")}
    return Change(**{**value, "to": tuple(value["to"])})
