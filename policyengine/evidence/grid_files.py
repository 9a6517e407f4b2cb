"""Files of a grid: its joined tables, and the chunks of a grid that is not done, from which the next run goes on.

A chunk holds what a few dozen policies came to. It lies under the state folder, in a folder named by all that decides what is in it,
and begins with the SHA-256 of the rest: one that was cut short or changed counts as absent, and is made again.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.spec.bind import plain
from policyengine.store import csv_cell, csv_lines, growing, reported, write_bytes

MATRIX, POLICIES, SUMMARY = "matrix.csv", "policies.csv", "grid.json"
"""A row of each policy and window; a row of each policy over the whole sample; how they stand. The last says that the others are whole."""
CHUNK = 32
"""Policies in a chunk: what a run that is killed loses at most, and what it keeps in memory."""
STALE_DAYS = 30
"""Chunks that nobody went on from for so long are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What policies from number `first` on came to: lines of `matrix.csv` and `policies.csv`, and the standing of each that has one."""

    first: int
    policies: int
    matrix: str
    whole: str
    standings: Sequence[Mapping[str, Any]]


class Chunks:
    """The chunks of the grid `key` under the state folder."""

    def __init__(self, state_dir: Path, key: str) -> None:
        self._key = key
        self.folder = state_dir / "grids" / key[:32]

    def read(self, first: int, policies: int) -> Chunk | None:
        """The chunk of so many policies from `first` on; None if it is not there, or not whole."""
        try:
            digest, _, content = self._path(first).read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        value = json.loads(content)
        if value.pop("key") != self._key or (value["first"], value["policies"]) != (first, policies):
            return None
        return Chunk(**value)

    def write(self, chunk: Chunk) -> None:
        """Keep a chunk.

        Raises:
            OutputError: it cannot be written.
        """
        content = json.dumps({"key": self._key, **plain(chunk)}, allow_nan=False).encode()
        write_bytes(self._path(chunk.first), hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def remove(self, firsts: Iterable[int]) -> None:
        """Remove the chunks that begin with these policies, and the folder once no other part of the grid has any.

        Raises:
            OutputError: they cannot be removed.
        """
        with reported(self.folder):
            for first in firsts:
                self._path(first).unlink(missing_ok=True)
            for folder in (self.folder, self.folder.parent):
                with suppress(OSError):  # another run has something in it, or has removed it
                    folder.rmdir()

    def _path(self, first: int) -> Path:
        return self.folder / f"chunk_{first:05d}.json"


def remove_stale(state_dir: Path, now: float) -> None:
    """Remove the chunks of grids that were left undone for `STALE_DAYS`; `now` is in seconds since 1970.

    Raises:
        OutputError: they cannot be removed.
    """
    folder = state_dir / "grids"
    with reported(folder):
        for grid in folder.iterdir() if folder.is_dir() else ():
            files = list(grid.iterdir())
            if now - max(file.stat().st_mtime for file in (grid, *files)) > STALE_DAYS * 86_400.0:
                for file in files:
                    file.unlink(missing_ok=True)
                grid.rmdir()


def join(path: Path, parts: Sequence[Path], more: Iterable[Mapping[str, object]]) -> None:
    """Write the tables `parts`, whose columns are the same, as one table, and `more` rows after theirs.

    Raises:
        DataError: a table has other columns than the first.
        OutputError: it cannot be read or written.
    """
    header = ""
    with growing(path) as write:
        for number, part in enumerate(parts):
            with part.open(encoding="utf-8", newline="") as file:
                own = file.readline()
                if number == 0:
                    header = own
                    write(header)
                if own != header:
                    raise DataError(str(part), "has other columns than the other parts of its grid")
                for line in file:
                    write(line)
        write(csv_lines(next(csv.reader([header])), more))


def read_rows(path: Path) -> Iterator[dict[str, object]]:
    """The rows of a table as they were before they were written, to twelve digits.

    Raises:
        OutputError: it cannot be read.
    """
    with reported(path), path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: _read(text) for name, text in row.items()}


def _read(text: str) -> object:
    """A number where it is written as this one would be; the text itself elsewhere."""
    for kind in (int, float):
        with suppress(ValueError):
            if str(csv_cell(kind(text))) == text:
                return kind(text)
    return text or None
