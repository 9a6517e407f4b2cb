"""A small file system to fill. Mounting one needs root; a test that cannot have it fails."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"this test mounts a small file system, for which it has to be root: {done.stderr.strip()}")


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system of these tmpfs options at the new folder `place`."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", options, "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=False)
