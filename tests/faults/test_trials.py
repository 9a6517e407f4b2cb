"""Writers of the log of trials that are killed, at any system call and at any moment, and writers that run at once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import pytest

from policyengine.evidence.trial_log import RecoveryRecord, append_trial, read_log
from policyengine.evidence.trials import TrialRecord
from policyengine.spec.root import digest

CALLS: tuple[tuple[Any, str], ...] = ((os, "write"), (os, "fsync"), (os, "ftruncate"), (Path, "replace"))


def trial(number: int) -> TrialRecord:
    policy = {"sizing": {"cap": number}}
    days = {"first_date": date(2020, 1, 1), "last_date": date(2020, 12, 31)}
    return TrialRecord(
        policy_hash=digest(policy), policy=policy, source_key="s", recorded_at="2026-01-01T00:00:00+00:00", run_id=str(number), **days
    )


def in_child(work: Callable[[], None]) -> int:
    """Do `work` in a forked process; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a forked test must not return into pytest
            os._exit(1)
        os._exit(0)
    return pid


def die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def dying_at(call: int) -> None:
    """Patch this process so that it is killed before, or for a write in the middle of, its `call`-th system call that changes a file."""
    seen = 0

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == call:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                die()
            return real(*args)

        setattr(owner, name, counted)

    for owner, name in CALLS:
        wrap(owner, name)


def numbers(state: Path) -> list[int]:
    return [int(record.run_id) for record in read_log(state).records if isinstance(record, TrialRecord)]


@pytest.mark.parametrize("torn", [False, True])
def test_killed_at_each_system_call(tmp_path: Path, torn: bool) -> None:
    """What was acknowledged stays, at most the record being written is added, and the next writer goes on."""
    survived = False
    for call in range(1, 40):
        state = tmp_path / str(call)
        append_trial(state, trial(1))
        if torn:
            with (state / "trials" / "trials.jsonl").open("ab") as file:
                file.write(b'{"torn')

        def work(call: int = call, state: Path = state) -> None:
            dying_at(call)
            append_trial(state, trial(2))

        _, status = os.waitpid(in_child(work), 0)
        survived = status == 0
        assert survived or os.WTERMSIG(status) == signal.SIGKILL
        assert numbers(state) in ([1], [1, 2])
        append_trial(state, trial(3))
        assert numbers(state) in ([1, 3], [1, 2, 3])
        if survived:
            break
    assert survived
    assert call > 4


def test_killed_while_the_log_is_begun(tmp_path: Path) -> None:
    for call in range(1, 40):
        state = tmp_path / str(call)

        def work(call: int = call, state: Path = state) -> None:
            dying_at(call)
            append_trial(state, trial(1))

        _, status = os.waitpid(in_child(work), 0)
        append_trial(state, trial(2))
        assert numbers(state) in ([2], [1, 2])
        if status == 0:
            break
    assert status == 0


def test_killed_fifty_times_at_any_moment(tmp_path: Path) -> None:
    """Each writer says through a pipe what was acknowledged before it goes on; none of it is ever lost."""
    rng = random.Random(7)
    state, acknowledged = tmp_path / "state", []
    for turn in range(50):
        reading, writing = os.pipe()

        def work(turn: int = turn, writing: int = writing) -> None:
            for number in range(1000):
                append_trial(state, trial(1000 * turn + number))
                os.write(writing, f"{1000 * turn + number}\n".encode())

        pid = in_child(work)
        os.close(writing)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(reading) as pipe:
            acknowledged += [int(line) for line in pipe]
        assert set(acknowledged) <= set(numbers(state))
    found = numbers(state)
    assert found == sorted(set(found))
    assert len(found) <= len(acknowledged) + 50
    assert len(acknowledged) > 20
    moved = [record for record in read_log(state).records if isinstance(record, RecoveryRecord)]
    assert {record.file for record in moved} <= {path.name for path in (state / "trials").iterdir()}


def test_four_writers_at_once(tmp_path: Path) -> None:
    """Every record is there once, in an unbroken chain, each writer's in its order; readers meanwhile are never refused."""
    state, each = tmp_path / "state", 15

    def writer(first: int) -> Callable[[], None]:
        def work() -> None:
            for number in range(first, first + each):
                append_trial(state, trial(number))

        return work

    pids = [in_child(writer(100 * n)) for n in range(4)]
    counts = []
    while pids:
        counts.append(read_log(state).head.count)
        done, status = os.waitpid(pids[0], os.WNOHANG)
        if done:
            assert status == 0
            pids.pop(0)
    found = numbers(state)
    assert sorted(found) == [100 * n + i for n in range(4) for i in range(each)]
    assert all([x for x in found if x // 100 == n] == list(range(100 * n, 100 * n + each)) for n in range(4))
    assert counts == sorted(counts)
