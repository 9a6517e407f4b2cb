"""Files that decide: each way in which somebody else could have a hand in one is refused, by name."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from policyengine.rollout.guarded import read_guarded
from policyengine.rollout.refusals import Code, NotStarted


def refused(path: Path, limit: int = 100, **options: Code) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        read_guarded(path, limit, **options)
    assert str(path) in caught.value.why
    return caught.value


def written(path: Path, content: bytes = b"content", mode: int = 0o644) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o755])
def test_a_file_of_ones_own_is_read_to_the_byte(tmp_path: Path, mode: int) -> None:
    assert read_guarded(written(tmp_path / "a", b"x" * 100, mode), 100) == b"x" * 100
    assert read_guarded(written(tmp_path / "b", b""), 100) == b""


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    error = refused(written(tmp_path / "a", b"x" * 101))
    assert error.code is Code.EV_UNSAFE_FILE
    assert "101 bytes is more than 100" in error.why


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = written(tmp_path / "a", b"x" * 100), os.read

    def growing(handle: int, size: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"x")
        return real(handle, min(size, 60))

    monkeypatch.setattr(os, "read", growing)
    assert "grew beyond 100 bytes" in refused(path).why


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    error = refused(written(tmp_path / "a", mode=mode))
    assert error.code is Code.EV_UNSAFE_FILE
    assert f"mode {mode:o} lets others write" in error.why


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        owner = 12345
    else:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    error = refused(path)
    assert error.code is Code.EV_UNSAFE_FILE
    assert f"belongs to user {owner}" in error.why


def pipe(path: Path) -> None:
    os.mkfifo(path)


def to_file(path: Path) -> None:
    path.symlink_to(written(path.with_name("target")))


def to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def to_itself(path: Path) -> None:
    path.symlink_to(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(path))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (to_file, "is a symbolic link"),
        (to_nothing, "is a symbolic link"),
        (to_itself, "is a symbolic link"),
        (Path.mkdir, "is not a regular file"),
        (pipe, "is not a regular file"),
        (listening, "cannot be read"),
    ],
)
def test_what_is_no_regular_file_is_refused_and_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], rule: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has little room
    make(Path("a"))
    error = refused(Path("a"), missing=Code.SIG_MISSING)
    assert error.code is Code.EV_UNSAFE_FILE
    assert rule in error.why


def test_a_file_that_is_not_there_has_the_code_of_the_caller(tmp_path: Path) -> None:
    assert refused(tmp_path / "a").code is Code.EV_UNSAFE_FILE
    assert refused(tmp_path / "a" / "b", missing=Code.SIG_MISSING).code is Code.SIG_MISSING
    assert refused(written(tmp_path / "c") / "d", missing=Code.SIG_MISSING).code is Code.EV_UNSAFE_FILE


def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert "null" in refused(tmp_path / "a\0b").why
