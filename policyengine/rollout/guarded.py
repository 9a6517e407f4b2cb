"""Reading files that decide whether something may trade: nobody else may have put them there, or be able to change them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from policyengine.rollout.refusals import Code, NotStarted


def read_guarded(path: Path, limit: int, *, missing: Code = Code.EV_UNSAFE_FILE) -> bytes:
    """The bytes of `path`, read once, from the file that was checked.

    It must be a regular file and no symbolic link, owned by this process's user or root, writable by neither its group nor others, and
    of at most `limit` bytes. Folders above it are not checked: whoever can rename them can take the file away or put an older one back.

    Raises:
        NotStarted: `missing` where there is no such file, else EV_UNSAFE_FILE; the sentence names path, value and rule.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer must not block
        try:
            _check(path, os.fstat(handle), limit)
            content = _read(handle, limit + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise NotStarted(missing, f"{path}: does not exist") from None
    except (OSError, ValueError) as error:
        linked = isinstance(error, OSError) and error.errno == errno.ELOOP
        rule = "is a symbolic link" if linked else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise NotStarted(Code.EV_UNSAFE_FILE, f"{path}: {rule}") from None
    if len(content) > limit:
        raise NotStarted(Code.EV_UNSAFE_FILE, f"{path}: grew beyond {limit:,} bytes while it was read")
    return content


def _check(path: Path, found: os.stat_result, limit: int) -> None:
    rule = None
    if not stat.S_ISREG(found.st_mode):
        rule = "is not a regular file"
    elif found.st_uid not in {os.geteuid(), 0}:
        rule = f"belongs to user {found.st_uid}, neither to user {os.geteuid()} nor to root"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        rule = f"mode {stat.S_IMODE(found.st_mode):o} lets others write; chmod go-w"
    elif found.st_size > limit:
        rule = f"{found.st_size:,} bytes is more than {limit:,}"
    if rule is not None:
        raise NotStarted(Code.EV_UNSAFE_FILE, f"{path}: {rule}")


def _read(handle: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(handle, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
