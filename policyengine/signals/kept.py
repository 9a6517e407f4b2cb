"""Results that took long, kept so that a run which was killed does not redo them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.store import reported, write_bytes

_DIGEST_BYTES = 32

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Arrays in `folder`, one file to each name, which is a digest of everything that decides them.

    A file is its SHA-256 together with its name, then the arrays: one that is torn, foreign or renamed is not one of ours.
    """

    folder: Path

    def load(self, name: str) -> Arrays | None:
        """What was saved under `name`; None where nothing was, or what is there is not what was saved.

        Raises:
            OutputError: the folder or the file cannot be read.
        """
        path = self.folder / name
        with reported(path):
            if not path.is_file():
                return None
            content = path.read_bytes()
        payload = content[_DIGEST_BYTES:]
        if _digest(name, payload) != content[:_DIGEST_BYTES]:
            return None
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def save(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep `arrays` under `name`, whole or not at all.

        Raises:
            OutputError: the folder or the file cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(arrays))
        payload = buffer.getvalue()
        write_bytes(self.folder / name, _digest(name, payload) + payload)


def _digest(name: str, payload: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + payload).digest()
