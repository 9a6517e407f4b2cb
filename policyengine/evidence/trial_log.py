"""The log of trials and looks: append-only, hash-chained, under the state folder.

One JSON record a line in `trials/trials.jsonl`; each holds, as `previous`, the SHA-256 of the exact bytes of the line before, without
its newline. `trials.head.json` beside the folder, so that deleting the folder shows, counts the records and holds the hash of the last.
A record is acknowledged when the head counts it. The trials of one grid are one record: all of them are logged, or none. Writers, also of
parallel processes, take turns on `trials/lock`.

| found | then |
|---|---|
| log and head agree | read |
| log one record ahead, chain intact | a crash before the head was written: read, and the next writer catches the head up |
| bytes after the last newline, all that the head counts before them | a crash while writing: the next writer moves them aside, recorded |
| anything else | `TrialLogBroken`: nothing is read and nothing written until a person has looked |

What it cannot see: log and head replaced together by an older or a forged pair. `TrialLog.extends` shows that to whoever kept a head.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from policyengine.errors import BrokenInvariant, ConfigError, DataError, OutputError
from policyengine.evidence.likeness import Weekly
from policyengine.evidence.looks import (
    MEANWHILE,
    Budget,
    LookRecord,
    OriginRecord,
    binding_budget,
    budget_of,
    check_look,
    check_origin,
)
from policyengine.evidence.trials import Span, Trial, TrialRecord, TrialsRecord, fold, together
from policyengine.spec.bind import bind, plain
from policyengine.spec.root import digest
from policyengine.store import read_json, write_bytes

GENESIS = "0" * 64
"""Stands for the hash of the line before the first."""
_LOCK_TRIES, _LOCK_WAIT_SECONDS = 6000, 0.01


class TrialLogBroken(DataError):
    """The log of trials was edited, truncated, reordered or deleted. Nothing is decided on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryRecord:
    """Bytes of a record that a crash left half-written, and the file in `trials/` that they were moved to."""

    KIND: ClassVar[str] = "recovery"
    file: str
    sha256: str
    size: int
    recorded_at: str
    run_id: str


Record = TrialRecord | TrialsRecord | LookRecord | OriginRecord | RecoveryRecord
_KINDS: Mapping[str, Any] = {kind.KIND: kind for kind in (TrialRecord, TrialsRecord, LookRecord, OriginRecord, RecoveryRecord)}
_AS_STORED = ("policy", "policies", "shared")
"""What is read as it stands: policies of any version, whose form is not this module's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How many records were acknowledged, and the hash of the last."""

    count: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLog:
    """The log as read: whole records in order, the hash of each line, and how many bytes a crash left behind the last."""

    records: tuple[Record, ...] = ()
    hashes: tuple[str, ...] = ()
    torn: bytes = b""

    @property
    def head(self) -> Head:
        """Number of records and hash of the last."""
        return Head(count=len(self.hashes), hash=self._hash_at(len(self.hashes)))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """One for each policy hash, in the order they were first recorded."""
        return fold(self._of_trials())

    def budget(self, key: str) -> Budget:
        """The budget of looks `key`."""
        return budget_of(self._of_looks, key)

    def binding_budget(self, key: str, baseline: Weekly | None) -> Budget:
        """The budget that binds a comparison with `baseline`: `key`, or an earlier one whose baseline moved alike."""
        return binding_budget(self._of_looks, key, baseline)

    def extends(self, head: Head) -> bool:
        """Whether the log still begins with what `head` counted."""
        return head.count <= len(self.hashes) and self._hash_at(head.count) == head.hash

    def _of_trials(self) -> Iterator[TrialRecord]:
        for record in self.records:
            match record:
                case TrialRecord():
                    yield record
                case TrialsRecord():
                    yield from record.each()

    @property
    def _of_looks(self) -> tuple[LookRecord | OriginRecord, ...]:
        return tuple(record for record in self.records if isinstance(record, LookRecord | OriginRecord))

    def _hash_at(self, count: int) -> str:
        return self.hashes[count - 1] if count else GENESIS


def read_log(state_dir: Path) -> TrialLog:
    """Read and verify the whole log; an empty one where none was begun. Nothing is written but the lock, where the log exists.

    Raises:
        TrialLogBroken: naming file, line and rule.
        OutputError: another process holds the lock for a minute.
    """
    if not any(_exists(path) for path in (_lock_path(state_dir), _log_path(state_dir), _head_path(state_dir))):
        return TrialLog()
    with _locked(state_dir, exclusive=False):
        return _load(state_dir)


def append_trial(state_dir: Path, record: TrialRecord) -> TrialLog:
    """`append_trials` of one."""
    return append_trials(state_dir, [record])


def append_trials(state_dir: Path, records: Sequence[TrialRecord]) -> TrialLog:
    """Log evaluations of different policies on the same days, all at once: one line, synced once.

    Left out are those whose policy the log has on all those days of that source already. Returns the log that now stands.

    Raises:
        BrokenInvariant: a `policy_hash` is not the digest of its `policy`.
        TrialLogBroken: the log does not verify; nothing was written.
        OutputError: it cannot be written.
    """
    for record in records:
        if digest(record.policy) != record.policy_hash:
            raise BrokenInvariant(f"policy_hash {record.policy_hash} is not the digest of the policy that would be stored")

    def unless_covered(log: TrialLog) -> Record | None:
        spans = {trial.policy_hash: trial.spans for trial in log.trials}
        left = [record for record in records if not _covered(record, spans.get(record.policy_hash, ()))]
        return together(left) if left else None

    return _append(state_dir, unless_covered, records[0])


def _covered(record: TrialRecord, spans: Sequence[Span]) -> bool:
    """Whether all its days are among those that are logged."""
    return any(s.source_key == record.source_key and s.first_date <= record.first_date and record.last_date <= s.last_date for s in spans)


def append_look(state_dir: Path, look: LookRecord) -> LookRecord:
    """Take a look, or take part in one that is taken. Returns what stands recorded of this trial at this look, which is the first.

    Raises:
        DataError: the look does not fit the budget as the log now has it, or another budget binds it now.
        TrialLogBroken: the log does not verify; nothing was written.
        OutputError: it cannot be written.
    """

    def unless_taken(log: TrialLog) -> Record | None:
        budget = log.binding_budget(look.budget, look.baseline)
        if budget.key != look.budget:
            raise DataError(f"look {look.number}.budget", f"the looks of b_{budget.key[:6]} bind a baseline that moves alike; {MEANWHILE}")
        check_look(budget, look)
        return None if budget.at_look(look.trial, look.number) is not None else look

    stands = _append(state_dir, unless_taken, look).budget(look.budget).at_look(look.trial, look.number)
    if stands is None:
        raise BrokenInvariant(f"look {look.number} of {look.trial} was recorded and is not in the log")
    return stands


def append_origin(state_dir: Path, origin: OriginRecord) -> Budget:
    """Declare the first day of a budget's decision sample; what is declared already is not written again.

    Raises:
        ConfigError: an origin may not be declared now.
        TrialLogBroken: the log does not verify; nothing was written.
        OutputError: it cannot be written.
    """

    def if_allowed(log: TrialLog) -> Record | None:
        budget = log.budget(origin.budget)
        if budget.declared == origin.origin_date:
            return None
        check_origin(budget, origin.origin_date)
        return origin

    return _append(state_dir, if_allowed, origin).budget(origin.budget)


def _append(state_dir: Path, choose: Callable[[TrialLog], Record | None], cause: TrialRecord | LookRecord | OriginRecord) -> TrialLog:
    """Under the lock: verify, mend what a crash left, and write what `choose` makes of the log."""
    with _locked(state_dir, exclusive=True):
        log = _recovered(state_dir, _load(state_dir), cause)
        record = choose(log)
        return log if record is None else _written(state_dir, log, record)


def _recovered(state_dir: Path, log: TrialLog, cause: TrialRecord | LookRecord | OriginRecord) -> TrialLog:
    if not _head_path(state_dir).exists():
        _write_head(state_dir, log.head)  # before the first byte of the log, so that a log without a head is never a crash
    if not _log_path(state_dir).exists():
        write_bytes(_log_path(state_dir), b"")
    if _read_head(state_dir) != log.head:
        _write_head(state_dir, log.head)
    if not log.torn:
        return log
    sha256 = hashlib.sha256(log.torn).hexdigest()
    aside = _log_path(state_dir).with_name(f"torn-{len(log.hashes) + 1}-{sha256[:12]}.bin")
    write_bytes(aside, log.torn)
    with _log_file(state_dir) as handle:
        os.ftruncate(handle, os.fstat(handle).st_size - len(log.torn))
        os.fsync(handle)
    recovery = RecoveryRecord(file=aside.name, sha256=sha256, size=len(log.torn), recorded_at=cause.recorded_at, run_id=cause.run_id)
    return _written(state_dir, dataclasses.replace(log, torn=b""), recovery)


def _written(state_dir: Path, log: TrialLog, record: Record) -> TrialLog:
    line = json.dumps({"previous": log.head.hash, **plain(record)}, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    with _log_file(state_dir) as handle:
        size = os.fstat(handle).st_size
        try:
            left = memoryview(line + b"\n")
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError:
            with suppress(OSError):  # what stays is a torn line, which the next writer moves aside
                os.ftruncate(handle, size)
            raise
    result = dataclasses.replace(log, records=(*log.records, record), hashes=(*log.hashes, hashlib.sha256(line).hexdigest()))
    _write_head(state_dir, result.head)
    return result


def _load(state_dir: Path) -> TrialLog:
    path = _log_path(state_dir)
    head = _read_head(state_dir) if _exists(_head_path(state_dir)) else None
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if head not in (None, Head(count=0, hash=GENESIS)):
            raise TrialLogBroken(f"{path}:1", f"does not exist, but {_head_path(state_dir)} counts its records: it was deleted") from None
        return TrialLog()
    except OSError as error:
        raise TrialLogBroken(str(path), f"cannot be read: {error.strerror or error}") from error
    if head is None:
        raise TrialLogBroken(f"{_head_path(state_dir)}:1", f"does not exist, but {path} does: it was deleted")
    *lines, torn = content.split(b"\n")
    hashes = [hashlib.sha256(line).hexdigest() for line in lines]
    records = tuple(_record(path, number, lines, hashes) for number in range(1, len(lines) + 1))
    log = TrialLog(records=records, hashes=tuple(hashes), torn=torn)
    _check_head(path, log, head)
    return log


def _record(path: Path, number: int, lines: list[bytes], hashes: list[str]) -> Record:
    """Line `number`, counted from 1, as a record whose chain holds."""
    place = f"{path}:{number}"
    previous = hashes[number - 2] if number > 1 else GENESIS
    try:
        value = json.loads(lines[number - 1])
        if value.pop("previous") != previous:
            before = f"line {number - 1}, or this one," if number > 1 else "a line before it, or this one,"
            raise TrialLogBroken(place, f"'previous' is not {previous[:12]}..., the hash of what stands before: {before} was changed")
        stored = {name: value.pop(name) for name in _AS_STORED if name in value}
        if not all(isinstance(held, Mapping) for held in (*stored.values(), *stored.get("policies", {}).values())):
            raise TrialLogBroken(place, "is not a record of this log: a policy in it is not a mapping")
        record: Record = bind(_KINDS[value["kind"]], {**value, **{name: {} for name in stored}})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise TrialLogBroken(place, f"is not a record of this log: {type(error).__name__} {error}") from error
    return dataclasses.replace(record, **stored)


def _check_head(path: Path, log: TrialLog, head: Head) -> None:
    count = len(log.hashes)
    if count < head.count:
        raise TrialLogBroken(f"{path}:{count + 1}", f"is not there: the log holds {count} whole records of {head.count} acknowledged")
    if not log.extends(head):
        raise TrialLogBroken(f"{path}:{max(head.count, 1)}", f"is not the record that the head holds, {head.hash[:12]}...: one was changed")
    if count > head.count + bool(not log.torn):
        place = f"{path}:{head.count + 1}"
        raise TrialLogBroken(place, f"the head counts {head.count} records of {count}; a crash leaves at most one more, or a torn line")


def _read_head(state_dir: Path) -> Head:
    path = _head_path(state_dir)
    try:
        head = bind(Head, read_json(path))
    except (DataError, ConfigError) as error:
        raise TrialLogBroken(f"{path}:1", f"is not a head: {error}") from error
    if head.count < 0:
        raise TrialLogBroken(f"{path}:1", f"count {head.count} is below 0")
    return head


def _write_head(state_dir: Path, head: Head) -> None:
    write_bytes(_head_path(state_dir), (json.dumps(plain(head)) + "\n").encode())


@contextmanager
def _log_file(state_dir: Path) -> Iterator[int]:
    """The log, open for appending and truncating.

    Raises:
        OutputError: it cannot be opened or written.
    """
    path = _log_path(state_dir)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            yield handle
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _locked(state_dir: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock for reading or for writing.

    Raises:
        OutputError: it cannot be opened, or others hold it for a minute.
    """
    path = _lock_path(state_dir)
    for _ in range(_LOCK_TRIES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, (os.O_RDWR if exclusive else os.O_RDONLY) | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(f"{path}: cannot be opened: {error.strerror or error}") from error
        try:
            if _took(handle, path, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
                yield
                return
        finally:
            os.close(handle)
        time.sleep(_LOCK_WAIT_SECONDS)
    raise OutputError(f"{path}: another process holds it for {_LOCK_TRIES * _LOCK_WAIT_SECONDS:g} s")


def _took(handle: int, path: Path, kind: int) -> bool:
    """Whether the lock is ours, and still the file that others lock: it may have been deleted and made again."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        return os.fstat(handle).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        raise OutputError(f"{path}: cannot be locked: {error.strerror or error}") from error


def _exists(path: Path) -> bool:
    """Whether there is such a file; not being allowed to know is no "no"."""
    try:
        return path.exists()
    except OSError as error:
        raise TrialLogBroken(str(path), f"cannot be read: {error.strerror or error}") from error


def _log_path(state_dir: Path) -> Path:
    return state_dir / "trials" / "trials.jsonl"


def _head_path(state_dir: Path) -> Path:
    return state_dir / "trials.head.json"


def _lock_path(state_dir: Path) -> Path:
    return state_dir / "trials" / "lock"
