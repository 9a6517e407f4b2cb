"""An audit log whose writer is killed, at any system call and at any moment, that two open at once, or that cannot be written.

Whoever writes it starts again with the session after the last that was closed, and records everything of that once more.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from policyengine.errors import PolicyEngineError
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read, verify
from policyengine.rollout.audit_records import Begin, Checkpoint, Intent, Outcome, Record, Recovery
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code, NotStarted
from tests.faults.test_trials import dying_at, in_child
from tests.killing import KILLS, killed_again_and_again
from tests.small_disk import mount, small_disk
from tests.unit.rollout.test_audit import AT, MONDAY, intent, opened, outcome, transition

PER_SESSION = 4
SEGMENT_BYTES = 5_000
"""One session and a half: every other session begins a segment, with its intents or within its outcomes."""


def record(
    folder: Path, sessions: int, acknowledged: Callable[[str], None] = lambda _said: None, *, segment_bytes: int = SEGMENT_BYTES
) -> None:
    """Record every session up to number `sessions` that is not closed: its intents at once, each outcome, a checkpoint."""
    closed = [point.session for point in read(folder, Checkpoint) if point.session is not None]
    first = len(set(closed))
    with AuditLog(folder, recorded_at=AT, segment_bytes=segment_bytes) as log:
        for number in range(first, sessions):
            session = MONDAY + timedelta(days=number)
            intents = [intent(n, session=session) for n in range(PER_SESSION)]
            log.append_many(intents)
            for one in intents:
                acknowledged(f"intent {one.decision_id}")
            for one in intents:
                log.append(outcome(one, quantity=float(number)))
                acknowledged(f"outcome {one.decision_id}")
            log.checkpoint(recorded_at=AT, why="session", session=session)
            acknowledged(f"checkpoint {session}")


def recorded(folder: Path) -> list[Record]:
    """What was recorded, apart from recoveries."""
    return [found for found in read(folder) if not isinstance(found, Recovery)]


def names(folder: Path) -> set[str]:
    """What is acknowledged by the names that `record` says."""
    found = {f"{one.KIND} {one.decision_id}" for one in read(folder, Intent, Outcome)}
    return found | {f"checkpoint {point.session}" for point in read(folder, Checkpoint)}


def expected(sessions: int) -> list[Record]:
    """What a log holds that nothing interrupted."""
    made: list[Record] = [Begin(recorded_at=AT)]
    for number in range(sessions):
        session = MONDAY + timedelta(days=number)
        intents = [intent(n, session=session) for n in range(PER_SESSION)]
        done = [outcome(one, quantity=float(number)) for one in intents]
        made += [*intents, *done, Checkpoint(recorded_at=AT, session=session, why="session", signature=None)]
    return made


def check(folder: Path, sessions: int) -> None:
    """After a restart the log goes on to be the one that nothing interrupted; what was torn is aside and recorded, nothing else is left."""
    verify(folder, deep=True)  # as the crash left it, for a reader
    record(folder, sessions)
    assert recorded(folder) == expected(sessions)
    found = verify(folder, deep=True)
    aside = [note.file for note in read(folder, Recovery)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(path.name for path in found.segments), "head.json", "lock", *aside])


@pytest.mark.parametrize("torn", [False, True])
def test_killed_at_each_system_call(tmp_path: Path, torn: bool) -> None:
    """The file is torn in half a write, or whole and not synced; a new segment written and not named; the head one segment behind."""
    survived = False
    for call in range(1, 200):
        folder = tmp_path / str(call)
        if torn:
            record(folder, 1)
            with (folder / "journal.jsonl").open("ab") as file:
                file.write(b'{"torn')

        def work(call: int = call, folder: Path = folder) -> None:
            dying_at(call)
            record(folder, 2)

        _, status = os.waitpid(in_child(work), 0)
        survived = status == 0
        assert survived or os.WTERMSIG(status) == signal.SIGKILL
        check(folder, 2)
        if survived:
            break
    assert survived
    assert call > 20
    assert len(verify(folder, deep=False).segments) > 1


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Each record is said through a pipe once it is acknowledged; none of them is ever lost, changed or recorded twice."""
    folder, said = tmp_path / "audit", set[str]()
    for more in killed_again_and_again(lambda say: record(folder, 1_000_000, say), seed=13, within=0.03):
        said |= set(more)
        if folder.exists():
            verify(folder, deep=False)
            assert said <= names(folder)
    assert len(said) > 2 * KILLS
    sessions = len({point.session for point in read(folder, Checkpoint)})
    assert len(verify(folder, deep=False).segments) > sessions // 4
    check(folder, sessions + 2)
    assert said <= names(folder)


def test_readers_see_a_growing_prefix_while_it_is_written(tmp_path: Path) -> None:
    """Without a lock, across new segments, and while the head and the files are replaced under them."""
    folder = tmp_path / "audit"
    record(folder, 1)
    reading, writing = os.pipe()
    pid = in_child(lambda: record(folder, 1_000_000, lambda said: os.write(writing, f"{said}\n".encode()) and None))
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        counts = [0]
        until = time.monotonic() + 1.5
        said = b""
        while time.monotonic() < until:
            known = said.count(b"\n")
            counts.append(verify(folder, deep=len(counts) % 5 == 0).count)
            assert counts[-1] >= 1 + known
            if select.select([reading], [], [], 0)[0]:
                said += os.read(reading, 2**16)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
    assert counts == sorted(counts)
    assert counts[-1] > counts[1]
    assert len(verify(folder, deep=True).segments) > 3


def refused(folder: Path) -> Callable[[], None]:
    """Open the log, hold it for half a second, and exit as the command line would."""

    def work() -> None:
        try:
            with opened(folder):
                time.sleep(0.5)
        except PolicyEngineError as error:
            os._exit(error.exit_code)

    return work


def test_two_at_once_give_one_refusal(tmp_path: Path) -> None:
    for turn in range(5):
        pids = [in_child(refused(tmp_path / str(turn))) for _ in range(2)]
        assert sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids) == [0, 5]
        assert verify(tmp_path / str(turn), deep=True).count == 1


def unwritable(work: Callable[[], object]) -> None:
    with pytest.raises(NotStarted) as refusal:
        work()
    assert refusal.value.code is Code.AUDIT_UNWRITABLE


@pytest.mark.parametrize("within", [True, False])
def test_a_write_that_fails_is_not_acknowledged(tmp_path: Path, within: bool) -> None:
    """No file may grow by a whole record, be it the segment or a new one: nothing more is recorded until the log is opened again."""
    folder = tmp_path / "audit"
    record(folder, 1)
    session = MONDAY + timedelta(days=1)
    intents = [intent(n, session=session) for n in range(PER_SESSION)]

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with AuditLog(folder, recorded_at=AT, segment_bytes=10**6 if within else SEGMENT_BYTES) as log:
            log.append(intents[0])
            size = (folder / "journal.jsonl").stat().st_size
            limit = size + 100 if within else 100
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            unwritable(lambda: log.append_many(intents))
            unwritable(lambda: log.append(intents[1]))
            unwritable(lambda: log.checkpoint(recorded_at=AT, why="session", session=session))
            assert (folder / "journal.jsonl").stat().st_size == (limit if within else size)
            assert [*read(folder, Intent)][-1] == intents[0]

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0
    check(folder, 2)
    assert len([*read(folder, Recovery)]) == within


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """It may still be read. Root may write everywhere, so this is done as somebody else."""
    record(tmp_path / "audit", 2)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "audit", tmp_path / "empty"):
        folder.chmod(0o555)

        def work(folder: Path = folder) -> None:
            os.chdir(folder)
            if os.geteuid() == 0:
                os.setuid(65534)
            unwritable(lambda: opened(Path()))
            assert verify(Path(), deep=True).count == (19 if folder.name == "audit" else 0)

        assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0
        folder.chmod(0o755)
    check(tmp_path / "audit", 3)


def test_a_log_that_may_not_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    record(tmp_path / "audit", 1)
    for path in (tmp_path / "audit").iterdir():
        path.chmod(0o600)

    def work() -> None:
        os.chdir(tmp_path / "audit")
        if os.geteuid() == 0:
            os.setuid(65534)
        else:
            Path("journal.jsonl").chmod(0o000)
        unwritable(lambda: verify(Path(), deep=False))
        unwritable(lambda: [*read(Path())])

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    with small_disk(tmp_path / "disk", "size=64k") as place:
        yield place


def change(folder: Path) -> None:
    with opened(folder) as log:
        log.append(transition(State.OFF, State.SHADOW))


def fill(disk: Path) -> None:
    """Take every byte that is left."""
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.tell() < 2**20:
            file.write(b"x" * 512)
    assert os.statvfs(disk).f_bavail == 0


@pytest.mark.tmpfs
@pytest.mark.parametrize("segment_bytes", [SEGMENT_BYTES, 10**6])
def test_a_disk_that_is_full(disk: Path, segment_bytes: int) -> None:
    """What was acknowledged stands and can be read; when there is room again the log goes on."""
    folder, said = disk / "audit", list[str]()
    unwritable(lambda: record(folder, 1_000, said.append, segment_bytes=segment_bytes))
    assert len(said) > 50
    assert set(said) <= names(folder)
    verify(folder, deep=True)
    fill(disk)
    unwritable(lambda: change(folder))
    assert set(said) <= names(folder)
    mount("-o", "remount,size=1m", str(disk))
    check(folder, len(said) // PER_SESSION)
    assert set(said) <= names(folder)
