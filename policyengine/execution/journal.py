"""An append-only file of records: what was acknowledged survives a crash, and what was changed afterwards shows.

How records are chained, in one file or in several segments, is said in `chain`. A record is acknowledged once it is written and synced,
all that are appended together by one write and one fsync. `head.json` counts the records and holds the hash of the last, as of opening,
of each `seal` and of each new segment; it shows when lines or segments are missing from the end. A new segment is written aside and
renamed, so that it holds its first records whole or does not exist. One writer at a time holds `lock`, from opening to closing.

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
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from policyengine.errors import BrokenInvariant, OutputError, PolicyEngineError
from policyengine.execution.chain import GENESIS, HEAD, Chain, Head, JournalBroken, Record, digest_of, of_kind, parsed, read_head, segment
from policyengine.store import reported, sync_folder

__all__ = ["GENESIS", "Journal", "JournalBroken", "JournalLocked", "Record", "reported"]


class JournalLocked(PolicyEngineError):
    """Another process has the journal open for writing. Exit code 5."""

    exit_code = 5


class Journal:
    """The journal in a folder, open for writing by this process alone.

    A forked child shares the lock: start processes by spawn.
    """

    def __init__(self, folder: Path, first: Mapping[str, Any], *, segment_bytes: int | None = None) -> None:
        """Open the journal in `folder`, or begin it with the record `first`; mend what a crash left.

        Where a segment would grow beyond `segment_bytes`, the next one is begun; None never begins one.

        Raises:
            JournalLocked: another writer has it.
            JournalBroken: it does not verify; nothing was written.
            OutputError: the folder cannot be read or written.
        """
        self.path = segment(folder, 1)
        self._folder, self._segment_bytes = folder, segment_bytes
        self.writable = True
        """Until a write fails, or the journal is closed."""
        self._path, self._file, self._left = self.path, -1, (0, 0)
        with ExitStack() as opened, reported(self.path):
            _make(folder)
            opened.callback(os.close, _lock(folder / "lock"))
            chain = _walked(folder)
            if not chain.segments:
                # Head before journal, so that a journal without a head is never a crash.
                _replace_head(folder, Head(count=0, hash=GENESIS))
                _replace(self.path, _line({"seq": 1, "previous": GENESIS, **first}) + b"\n")
                chain = _walked(folder)
            self.head = Head(count=chain.count, hash=chain.hash)
            self._open(chain.segments[-1])
            opened.callback(lambda: os.close(self._file))
            self._mend(chain.torn)
            os.fsync(self._file)  # a killed writer may have left a whole record that never was synced
            self.seal()
            self._close = opened.pop_all().close

    @property
    def found(self) -> tuple[Record, ...]:
        """Every record, read again.

        Raises:
            JournalBroken: it does not verify, or a line is no record.
            OutputError: it cannot be read.
        """
        with reported(self.path):
            return tuple(Chain(self._folder).records())

    def append(self, record: Mapping[str, Any]) -> Record:
        """Write `record` durably; returns what a reader of the journal will find. Its values must come back from JSON as they are.

        Raises:
            BrokenInvariant: the record is not plain JSON: a number is not finite, a key not a text, a tuple for a list.
            JournalBroken: the file is no longer as this process left it; nothing was written.
            OutputError: it could not be written and may or may not stand; nothing more can be, until the journal is opened again.
        """
        return self.append_many([record])[0]

    def append_many(self, records: Iterable[Mapping[str, Any]]) -> tuple[Record, ...]:
        """Write `records` in turn, by one write and one fsync; where that fails, any number of them may stand, the first ones.

        Raises:
            As `append`.
        """
        if not self.writable:
            raise OutputError(f"{self._path}: a write failed before; open it again to see what was kept")
        head, lines, stored = self.head, [], []
        for record in records:
            whole = {"seq": head.count + 1, "previous": head.hash, **record}
            line = _line(whole)
            found = parsed(line)
            if found != whole or len(whole) != len(record) + 2:
                raise BrokenInvariant(
                    "a record is not plain JSON: it holds a key that is no text or is the journal's own, or a tuple for a list"
                )
            head = Head(count=head.count + 1, hash=digest_of(line))
            lines.append(line + b"\n")
            stored.append(found)
        if lines:
            self._write(b"".join(lines), head)
        return tuple(stored)

    def seal(self) -> None:
        """Let the head count every record written so far.

        Raises:
            OutputError: the head cannot be written.
        """
        with reported(self._folder / HEAD):
            if read_head(self._folder) != self.head:
                _replace_head(self._folder, self.head)

    def close(self) -> None:
        """Let another writer have it."""
        self.writable = False
        self._close()

    def _write(self, content: bytes, head: Head) -> None:
        """Write the lines that lead from the head to `head`."""
        self.writable = False
        with reported(self._path):
            stands = self._path.stat()
            if (stands.st_ino, stands.st_size) != self._left:
                raise JournalBroken(str(self._path), "is no longer as this process left it: it was written, cut or replaced by another")
            full = self._segment_bytes is not None and stands.st_size + len(content) > self._segment_bytes
            if full:
                path = segment(self._folder, self.head.count + 1)
                _replace(path, content)
                os.close(self._file)
                self._open(path)
            else:
                _write(self._file, content)
                os.fsync(self._file)
                self._left = (stands.st_ino, stands.st_size + len(content))
        self.head = head
        if full:
            self.seal()
        self.writable = True

    def _open(self, path: Path) -> None:
        self._path, self._file = path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        stands = os.fstat(self._file)
        self._left = (stands.st_ino, stands.st_size)

    def _mend(self, torn: bytes) -> None:
        """Move a torn line aside and cut it off; record every such file that no record names, also one that a crash kept from it."""
        for unfinished in (path for pattern in (".journal*", ".head*", ".torn*") for path in self._folder.glob(pattern)):
            unfinished.unlink()
        if torn:
            inode, size = self._left
            _replace(self._folder / f"torn-{self.head.count + 1}-{digest_of(torn)[:12]}.bin", torn)
            os.ftruncate(self._file, size - len(torn))
            os.fsync(self._file)
            self._left = (inode, size - len(torn))
        aside = sorted(self._folder.glob("torn-*.bin"))
        found = Chain(self._folder).records(of_kind("recovery")) if aside else ()
        noted = {record["file"] for record in found if record.get("kind") == "recovery"}
        for path in aside:
            if path.name not in noted:
                content = path.read_bytes()
                self.append({"kind": "recovery", "file": path.name, "size": len(content), "sha256": digest_of(content)})


def _walked(folder: Path) -> Chain:
    chain = Chain(folder)
    for _ in chain.lines():
        pass
    return chain


def _line(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise BrokenInvariant(f"a record cannot be written as JSON: {error}") from error


def _make(folder: Path) -> None:
    """Make `folder`, so that it lasts."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


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


def _replace_head(folder: Path, head: Head) -> None:
    _replace(folder / HEAD, _line({"count": head.count, "hash": head.hash}) + b"\n")


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
    sync_folder(path.parent)
