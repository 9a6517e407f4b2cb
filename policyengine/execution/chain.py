"""Reading a journal: by anybody, at any time, without a lock. Each line is held to the one before; what breaks is named.

A journal is one or more segments in a folder: `journal.jsonl`, and for each later one `journal-<number of its first record>.jsonl`.
A line begins with `{"seq":<number>,"previous":"<hash>"`: its number, counted from 1 over all segments, and the SHA-256 of the exact
bytes of the line before, without its newline. So a segment is found by how many records stand before it, its first record holds the
hash of the last one before, and a line is held to the chain by its first bytes alone, unread. A line in another spelling is read.

A reader sees a prefix: what was written when it came by, up to the last newline. It reads the head first, so that it must find at
least what the head counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from policyengine.errors import DataError

GENESIS = "0" * 64
"""Stands for the hash of the line before the first."""
HEAD = "head.json"
_BUFFER = 2**20
_KIND = re.compile(rb'\{"seq":\d+,"previous":"[0-9a-f]{64}","kind":"([^"\\]*)"')
_LATER_SEGMENT = re.compile(r"journal-\d{12}\.jsonl")

Record = dict[str, Any]


class JournalBroken(DataError):
    """A journal was edited, cut, reordered or deleted. Nothing is decided on it."""

    def __init__(self, place: str, rule: str, seq: int | None = None) -> None:
        """`seq` is the number of the first record that is not as it was written, where that is one."""
        self.seq = seq
        super().__init__(place, rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How many records there are, and the hash of the last."""

    count: int
    hash: str


class Chain:
    """The journal in `folder`, as far as `lines` has walked it.

    `head` is None where there is none. `count` records with the `hash` of the last stand in `segments`; `torn` are the bytes after the
    last newline.
    """

    def __init__(self, folder: Path) -> None:
        """Look at what there is, before any of it is read.

        Raises:
            JournalBroken: the head is none.
            OSError: something cannot be read.
        """
        self._folder = folder
        self._listed = _later_segments(folder)
        self.head = read_head(folder)
        self.count, self.hash = 0, GENESIS
        self.segments: list[Path] = []
        self.torn = b""
        self._last = b""

    def lines(self) -> Iterator[bytes]:
        """Each line in turn, without its newline, once it is known to follow the one before.

        What no head counts yet is parsed as well: nothing else shows whether such a last line is as it was written.

        Raises:
            JournalBroken: naming file, line, rule and record.
            OSError: a segment cannot be read.
        """
        path = segment(self._folder, 1)
        while path not in self.segments and not self.torn:
            try:
                file = path.open("rb", buffering=_BUFFER)
            except FileNotFoundError:
                break
            with file:
                self.segments.append(path)
                counted = self._counted()
                for text in file:
                    if text[-1:] != b"\n":
                        self.torn = text
                        break
                    line = text[:-1]
                    if not line.startswith(b'{"seq":%d,"previous":"%s"' % (self.count + 1, self.hash.encode())):
                        self._read(line, file.readline)
                    elif self.count >= counted:
                        self.parse(line, self.count + 1)
                    self.count, self.hash, self._last = self.count + 1, digest_of(line), line
                    if self.count == counted:
                        self._check_counted()
                    yield line
            path = segment(self._folder, self.count + 1)
        self._check_end()

    def records(self, wanted: Callable[[bytes], bool] = lambda _: True) -> Iterator[Record]:
        """Each of `lines` as a record, or only those lines that are `wanted`: all are held to the chain, but only they are parsed.

        Raises:
            JournalBroken: also where a line is no record.
            OSError: a segment cannot be read.
        """
        for line in self.lines():
            if wanted(line):
                yield self.parse(line, self.count)

    def _counted(self) -> int:
        """How many records the head counts. It is written before the first of them, so a head that came meanwhile is looked for again."""
        if self.head is None:
            self.head = read_head(self._folder)
        if self.head is None:
            raise JournalBroken(f"{self._folder / HEAD}:1", f"does not exist, but {self.segments[0]} does: it was deleted")
        return self.head.count

    def place(self, seq: int) -> str:
        """File and line of record `seq`, one of those read so far or the next one."""
        path = next(path for path in reversed(self.segments) if first_of(path) <= seq)
        return f"{path}:{seq - first_of(path) + 1}"

    def parse(self, line: bytes, seq: int) -> Record:
        """Line `seq`, as `parsed`; JournalBroken where it is no record."""
        try:
            return parsed(line)
        except ValueError as error:
            raise JournalBroken(self.place(seq), f"is not a record of a journal: {error}; record {seq}", seq) from error

    def _read(self, line: bytes, following: Callable[[], bytes]) -> None:
        """Hold a line to the chain by its values; on a break look at its neighbours for the record that was changed."""
        n = self.count + 1
        place = self.place(n)
        self._check_before()
        record = self.parse(line, n)
        if "seq" not in record or "previous" not in record:
            raise JournalBroken(place, f"is not a record of a journal: 'seq' or 'previous' is missing; record {n}", n)
        if record["previous"] != self.hash:
            seq, what = self._changed(record, line, following)
            raise JournalBroken(place, f"'previous' is not the hash of the line before: {what}", seq)
        if record["seq"] != n:
            raise JournalBroken(place, f"seq {record['seq']} is not the number of the line: record {n} was changed", n)

    def _check_before(self) -> None:
        """A line that was cut or joined still begins as it should; that it ends as none does shows here."""
        if self.count and _claims(self._last) is None:
            rule = f"'previous' is not the hash of the line before: record {self.count} was changed"
            raise JournalBroken(self.place(self.count + 1), rule, self.count)

    def _changed(self, record: Record, line: bytes, following: Callable[[], bytes]) -> tuple[int, str]:
        """Which record is not as it was written, where `record` does not hold the hash of the line before."""
        seq, n = self.count, self.count + 1
        if record["seq"] != n:
            twice = record["seq"] == seq and _claims(self._last) == (seq, record["previous"])
            return (seq, f"record {seq} stands twice") if twice else (n, f"record {record['seq']} stands where record {n} should")
        as_written = self._is_as_written(line, following() or self._first_of_next())
        if as_written is None and seq:
            return seq, f"record {seq}, or {n}, was changed"
        return (seq, f"record {seq} was changed") if as_written and seq else (n, f"record {n} was changed")

    def _is_as_written(self, line: bytes, following: bytes) -> bool | None:
        """Whether the record after the last counted one is `line`, as the next record or the head knows; None where neither does."""
        claims = _claims(following)
        if claims is not None:
            return bool(claims[1] == digest_of(line))
        if self.head is not None and self.head.count == self.count + 1:
            return self.head.hash == digest_of(line)
        return None

    def _first_of_next(self) -> bytes:
        try:
            with segment(self._folder, self.count + 2).open("rb") as file:
                return file.readline()
        except FileNotFoundError:
            return b""

    def _check_counted(self) -> None:
        if self.head is not None and self.hash != self.head.hash:
            raise JournalBroken(self.place(self.count), f"is not the record that {HEAD} holds: record {self.count} was changed", self.count)

    def _check_end(self) -> None:
        counted = 0 if self.head is None else self.head.count
        if not self.segments and counted:
            rule = f"does not exist, but {self._folder / HEAD} counts {counted} records from record 1 on: it was deleted"
            raise JournalBroken(f"{segment(self._folder, 1)}:1", rule, 1)
        missing = self.count + 1
        if self.segments and self.count < max(counted, 1):
            self._check_before()
            rule = f"is not there: {self.count} whole records stand of {max(counted, 1)} acknowledged"
            raise JournalBroken(self.place(missing), f"{rule}; record {missing} is missing", missing)
        for path in sorted(self._listed - set(self.segments)):
            raise JournalBroken(f"{path}:1", f"begins with record {first_of(path)}, but record {missing} is missing", missing)


def of_kind(*kinds: str) -> Callable[[bytes], bool]:
    """Tells whether a line may hold a record of one of `kinds`: one in another spelling may as well."""
    names = frozenset(kind.encode() for kind in kinds)

    def wanted(line: bytes) -> bool:
        kind = _KIND.match(line)
        return kind is None or kind[1] in names

    return wanted


def segment(folder: Path, first: int) -> Path:
    """The segment that begins with record `first`."""
    return folder / ("journal.jsonl" if first == 1 else f"journal-{first:012d}.jsonl")


def first_of(path: Path) -> int:
    """The number of the first record of a segment."""
    return int(path.stem[len("journal-") :] or 1)


def parsed(line: bytes) -> Record:
    """A line as a record: one JSON object without a key twice and with numbers that are ones.

    Raises:
        ValueError: it is none.
    """
    try:
        record = _decode(line.decode())
    except RecursionError as error:
        raise ValueError(f"RecursionError {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__} is not an object")  # noqa: TRY004 - what JSON holds is a value, not a type
    return record


def read_head(folder: Path) -> Head | None:
    """The head, None where there is none.

    Raises:
        JournalBroken: it is none of a journal.
        OSError: it cannot be read.
    """
    path = folder / HEAD
    try:
        value = parsed(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JournalBroken(f"{path}:1", f"is not a head: {error}") from error
    match value:
        case {"count": int(count), "hash": str(last), **others} if count >= 0 and not others:
            return Head(count=count, hash=last)
    raise JournalBroken(f"{path}:1", "is not a head: a count of records and the hash of the last")


def digest_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def _claims(line: bytes) -> tuple[Any, Any] | None:
    """The number of a line and the hash of the one before as it states them; None where it is no record."""
    try:
        record = parsed(line)
    except ValueError:
        return None
    return record.get("seq"), record.get("previous")


def _later_segments(folder: Path) -> frozenset[Path]:
    try:
        return frozenset(path for path in folder.iterdir() if _LATER_SEGMENT.fullmatch(path.name))
    except FileNotFoundError:
        return frozenset()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _without_doubles(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key stands twice")
    return record


_decode = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_without_doubles).decode
