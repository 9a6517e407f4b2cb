"""An append-only file of records: what was acknowledged survives a crash, and what was changed afterwards shows.

`journal.jsonl` holds one JSON record a line. Each carries `seq`, the number of its line counted from 1, and as `previous` the SHA-256
of the exact bytes of the line before, without its newline. A record is acknowledged once it is written and synced, by one write and
one fsync. `head.json` counts the records and holds the hash of the last, as of opening and of each `seal`; it shows when lines are
missing from the end. One writer at a time holds `lock`, from opening to closing.

| found | then |
|---|---|
| chain intact, and in it the record that the head holds | opened |
| bytes after the last newline, all that the head counts before them | a crash while writing: moved to `torn-*.bin`, recorded |
| neither a journal nor a record in the head | begun |
| anything else | `JournalBroken` naming the line; nothing is written until a person has looked |

What it cannot see: the last record changed, or the last ones dropped, before a head counted them; journal and head replaced together.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from policyengine.errors import BrokenInvariant, DataError, OutputError, PolicyEngineError

GENESIS = "0" * 64
"""Stands for the hash of the line before the first."""

Record = dict[str, Any]


class JournalBroken(DataError):
    """A journal was edited, cut, reordered or deleted. Nothing is decided on it."""


class JournalLocked(PolicyEngineError):
    """Another process has the journal open for writing. Exit code 5."""

    exit_code = 5


class Journal:
    """The journal in a folder, open for writing by this process alone.

    A forked child shares the lock: start processes by spawn.
    """

    def __init__(self, folder: Path, first: Mapping[str, Any]) -> None:
        """Open the journal in `folder`, or begin it with the record `first`; mend what a crash left.

        Raises:
            JournalLocked: another writer has it.
            JournalBroken: it does not verify; nothing was written.
            OutputError: the folder cannot be read or written.
        """
        self.path = folder / "journal.jsonl"
        self._head_path = folder / "head.json"
        self._writable = True
        with ExitStack() as opened, _reported(self.path):
            _make(folder)
            opened.callback(os.close, _lock(folder / "lock"))
            head = self._read_head()
            if not self.path.exists():
                self._begin(head, first)
                head = self._read_head()
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            opened.callback(os.close, self._file)
            found, hashes, torn = _verified(self.path)
            self._check_head(head, hashes)
            self._count, self._last = len(hashes), hashes[-1]
            self._mend(found, torn)
            os.fsync(self._file)  # a killed writer may have left a whole record that never was synced
            self.seal()
            self.found: tuple[Record, ...] = tuple(found)
            self._close = opened.pop_all().close

    def append(self, record: Mapping[str, Any]) -> Record:
        """Write `record` durably; returns what a reader of the journal will find. Its values must come back from JSON as they are.

        Raises:
            BrokenInvariant: the record is not plain JSON: a number is not finite, a key not a text, a tuple for a list.
            OutputError: it could not be written and may or may not stand; nothing more can be, until the journal is opened again.
        """
        if not self._writable:
            raise OutputError(f"{self.path}: a write failed before; open it again to see what was kept")
        whole = {"seq": self._count + 1, "previous": self._last, **record}
        line = _line(whole)
        stored: Record = json.loads(line)
        if stored != whole:
            raise BrokenInvariant("a record is not plain JSON: it holds a key that is not a text, or a tuple for a list")
        self._writable = False
        with _reported(self.path):
            _write(self._file, line + b"\n")
            os.fsync(self._file)
        self._writable = True
        self._count, self._last = self._count + 1, _hash(line)
        return stored

    def seal(self) -> None:
        """Let the head count every record written so far.

        Raises:
            OutputError: the head cannot be written.
        """
        head = {"count": self._count, "hash": self._last}
        with _reported(self._head_path):
            if self._read_head() != head:
                _replace(self._head_path, _line(head) + b"\n")

    def close(self) -> None:
        """Let another writer have it."""
        self._writable = False
        self._close()

    def _begin(self, head: Record | None, first: Mapping[str, Any]) -> None:
        """Head before journal, so that a journal without a head is never a crash."""
        if head is not None and head["count"] > 0:
            raise JournalBroken(f"{self.path}:1", f"does not exist, but {self._head_path} counts {head['count']} records: it was deleted")
        _replace(self._head_path, _line({"count": 0, "hash": GENESIS}) + b"\n")
        _replace(self.path, _line({"seq": 1, "previous": GENESIS, **first}) + b"\n")

    def _read_head(self) -> Record | None:
        try:
            value = json.loads(self._head_path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise JournalBroken(f"{self._head_path}:1", f"is not a head: {error}") from error
        match value:
            case {"count": int(count), "hash": str()} if count >= 0:
                return dict(value)
        raise JournalBroken(f"{self._head_path}:1", "is not a head: a count of records and the hash of the last")

    def _check_head(self, head: Record | None, hashes: list[str]) -> None:
        if head is None:
            raise JournalBroken(f"{self._head_path}:1", f"does not exist, but {self.path} does: it was deleted")
        count = head["count"]
        if len(hashes) < max(count, 1):
            rule = f"is not there: {len(hashes)} whole records stand of {max(count, 1)} acknowledged"
            raise JournalBroken(f"{self.path}:{len(hashes) + 1}", rule)
        if count and hashes[count - 1] != head["hash"]:
            raise JournalBroken(f"{self.path}:{count}", f"is not the record that {self._head_path.name} holds: it was changed")

    def _mend(self, found: list[Record], torn: bytes) -> None:
        """Move a torn line aside and cut it off; record every such file that no record names, also one that a crash kept from it."""
        folder = self.path.parent
        if torn:
            _replace(folder / f"torn-{self._count + 1}-{_hash(torn)[:12]}.bin", torn)
            os.ftruncate(self._file, os.fstat(self._file).st_size - len(torn))
            os.fsync(self._file)
        noted = {record["file"] for record in found if record.get("kind") == "recovery"}
        for aside in sorted(folder.glob("torn-*.bin")):
            if aside.name not in noted:
                content = aside.read_bytes()
                found.append(self.append({"kind": "recovery", "file": aside.name, "size": len(content), "sha256": _hash(content)}))


def _verified(path: Path) -> tuple[list[Record], list[str], bytes]:
    """Records, the hash of each line, and the bytes after the last newline."""
    *lines, torn = path.read_bytes().split(b"\n")
    decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
    records, hashes, previous = [], [], GENESIS
    for number, line in enumerate(lines, start=1):
        try:
            record = decode(line.decode())
            seq, chained = record["seq"], record["previous"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise JournalBroken(f"{path}:{number}", f"is not a record of a journal: {type(error).__name__} {error}") from error
        if chained != previous:
            raise JournalBroken(f"{path}:{number}", "'previous' is not the hash of the line before: that line, or this one, was changed")
        if seq != number:
            raise JournalBroken(f"{path}:{number}", f"seq {seq} is not the number of the line")
        previous = _hash(line)
        records.append(record)
        hashes.append(previous)
    return records, hashes, torn


def _line(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise BrokenInvariant(f"a record cannot be written as JSON: {error}") from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _make(folder: Path) -> None:
    """Make `folder`, so that it lasts."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _lock(path: Path) -> int:
    """Take the lock at `path`; the open file that holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise JournalLocked(f"{path}: another process writes this journal; one writer at a time") from None
    return handle


def _write(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


def _replace(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all. The temporary name is always the same: only the holder of the lock writes."""
    temporary = path.with_name(f".{path.name}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        _write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be read or written: {error.strerror or error}") from error
