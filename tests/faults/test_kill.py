"""The kill switch where things fail: the disk full, read-only or gone, processes killed at any moment, many at once."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from policyengine.errors import ConfigError, OutputError, PolicyEngineError
from policyengine.rollout.kill import VARIABLE, KillSwitch
from policyengine.rollout.kill_records import KillEvent, KillRelease
from policyengine.rollout.refusals import Code, NotStarted
from tests.faults.test_trials import die, in_child
from tests.killing import KILLS, Say, killed_again_and_again
from tests.small_disk import mount, small_disk
from tests.unit.rollout.test_kill import LATER, NOON, House, drilled, engaged, refusal, reset

CALLS: tuple[tuple[Any, str], ...] = (
    *((Path, name) for name in ("rename", "replace", "touch", "mkdir", "unlink", "chmod")),
    (os, "fsync"),
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[House]:
    """A state folder on a file system of 64 KB and 32 files; the kill file is elsewhere."""
    with small_disk(tmp_path / "disk", "size=64k,nr_inodes=32") as disk:
        house = House(disk)
        house.file = tmp_path / "KILL"
        yield house


def full(write: Callable[[], object]) -> bool:
    try:
        write()
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def fill(disk: Path) -> None:
    """Take every block and every file that the disk has."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        while not full(lambda: file.write(b"x" * 4096)):
            assert file.tell() < 2**20
    taken = [full((disk / f"ballast{number}").touch) for number in range(100)]
    assert taken[-1]


def make_room(disk: Path) -> None:
    for path in disk.glob("ballast*"):
        path.unlink()


@pytest.mark.tmpfs
def test_a_command_on_a_full_disk_is_effective_and_recorded_once_there_is_room(small: House) -> None:
    running = small.process()
    running.check()
    fill(small.state.parent)
    commanding = small.process()
    event = commanding.engage("ann", "stop", NOON)
    assert small.names() == [event.name]
    assert "'ann': 'stop'" in refusal(commanding)
    for switch in (running, *(small.process() for _ in range(3))):
        assert f"{event.event_id} engaged at {event.at} (command), who and why was not written down" in refusal(switch)
    assert commanding.pending() == (event,)
    assert running.pending() == (KillEvent(event_id=event.event_id, at=event.at, sources=event.sources),)
    make_room(small.state.parent)
    assert "'ann': 'stop'" in refusal(commanding)
    assert "'ann': 'stop'" in refusal(running)
    assert running.pending() == (event,)


@pytest.mark.tmpfs
@pytest.mark.parametrize("source", ["environment", "file"])
def test_a_source_on_a_full_disk_latches(small: House, source: str) -> None:
    running = small.process()
    fill(small.state.parent)
    if source == "file":
        small.file.touch()
    else:
        small.environment[VARIABLE] = "1"
    first = engaged(running)
    small.environment.clear()
    small.file.unlink(missing_ok=True)
    for _ in range(3):
        assert f"{first.event_id} engaged at {first.at} ({source})" in refusal(small.process())
    make_room(small.state.parent)
    assert engaged(running) == first
    assert engaged(small.process()) == first


@pytest.mark.tmpfs
def test_each_engagement_on_a_full_disk_is_told_by_its_process(small: House) -> None:
    first, second = small.process(), small.process()
    fill(small.state.parent)
    events = [first.engage("ann", "stop", NOON), second.engage("eve", "stop!", LATER)]
    assert first.current() == KillEvent(event_id=events[1].event_id, at=events[1].at, sources=events[1].sources)
    assert first.pending()[0] == events[0]
    make_room(small.state.parent)
    assert engaged(first) == first.current()
    assert engaged(second) == events[1]
    assert list(small.process().pending()) == events


@pytest.mark.tmpfs
def test_what_one_process_could_not_write_outlasts_a_reset_by_another(small: House) -> None:
    first, second = small.process(), small.process()
    fill(small.state.parent)
    event = first.engage("ann", "stop", NOON)
    make_room(small.state.parent)
    reset(second, engaged(second))
    bare, release = second.pending()
    assert (bare.event_id, release.event_id) == (event.event_id, event.event_id)
    first.recorded(release)
    assert first.pending() == (event,)


@pytest.mark.tmpfs
def test_a_latch_lost_on_a_full_disk_is_engaged(small: House) -> None:
    running = small.process()
    next(small.latch.iterdir()).unlink()
    fill(small.state.parent)
    assert "(latch)" in refusal(running)
    assert "(latch)" in refusal(small.process())
    assert small.names() == []
    make_room(small.state.parent)
    event = engaged(running)
    assert small.names() == [event.name]
    reset(small.process(), event)
    running.check()


@pytest.mark.tmpfs
def test_no_reset_without_room_to_record_it(small: House) -> None:
    switch = small.process()
    event = switch.engage("ann", "stop", NOON)
    fill(small.state.parent)
    with pytest.raises(OutputError, match="releasing"):
        reset(switch, event)
    assert engaged(small.process()) == event
    make_room(small.state.parent)
    reset(switch, event)
    small.process().check()


@pytest.mark.tmpfs
def test_a_first_start_on_a_full_disk_starts_nothing(small: House) -> None:
    fill(small.state.parent)
    with pytest.raises(OutputError, match="cannot be read or written"):
        small.process()
    bare = KillSwitch(small.state, environment={}, file=None, configured=False, clock=lambda: NOON)
    assert "no latch was begun" in refusal(bare)


@pytest.mark.tmpfs
def test_a_read_only_disk(small: House) -> None:
    """The process that engages holds the switch; it says that others do not see it, and latches once it can."""
    first, other = small.process(), small.process()
    mount("-o", "remount,ro", str(small.state.parent))
    with pytest.raises(OutputError, match=f"Read-only file system; set {VARIABLE}=1"):
        first.engage("ann", "stop", NOON)
    held = engaged(first)
    assert "held by this process alone" in refusal(first)
    other.check()
    small.file.touch()
    assert "held by this process alone" in refusal(other)
    with pytest.raises(NotStarted, match="no drill"):
        other.engage("eve", "practice", NOON, drill=True)
    small.file.unlink()
    assert first.pending() == (held,)
    mount("-o", "remount,rw", str(small.state.parent))
    assert engaged(first) == held
    assert engaged(small.process()) == held
    assert not engaged(other).drill
    assert {record.event_id for record in small.process().pending()} == {held.event_id, engaged(other).event_id}


@pytest.mark.tmpfs
def test_a_drill_on_a_read_only_disk_is_none(small: House) -> None:
    switch = small.process()
    mount("-o", "remount,ro", str(small.state.parent))
    with pytest.raises(OutputError, match="Read-only file system"):
        switch.engage("ann", "practice", NOON, drill=True)
    switch.check()
    assert switch.pending() == ()


@pytest.mark.tmpfs
def test_a_disk_that_is_gone(small: House) -> None:
    switch = small.process()
    switch.check()
    subprocess.run(["umount", str(small.state.parent)], check=True)
    assert "no latch was begun" in refusal(switch)
    small.environment[VARIABLE] = "1"
    assert VARIABLE in refusal(switch)


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As on a full disk, where nothing can be mounted: the name changes, and nothing can be written into any file."""
    house = House(tmp_path)
    switch = house.process()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        assert switch.engage("ann", "stop", NOON).by == "ann"
        assert len(switch.pending()) == 1

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0
    assert "who and why was not written down" in refusal(switch)
    assert list(house.events.iterdir()) == []


def test_a_name_that_does_not_fit_leaves_no_latch(tmp_path: Path) -> None:
    """`released` is just short enough a path, and nothing it could be renamed to is. Taking it away still works."""
    deep = str(tmp_path)
    wanted = os.pathconf(tmp_path, "PC_PATH_MAX") - len("/state/kill/latch/released") - 2
    steps = []
    while (left := wanted - len(deep)) > 0:
        steps.append("x" * min(left - 1, 250 if left > 300 else left // 2 if left > 252 else left - 1))
        deep += "/" + steps[-1]
        Path(deep).mkdir()
    house = House(Path(deep))
    house.file = tmp_path / "KILL"
    switch = house.process()
    try:
        switch.check()
        with pytest.raises(OutputError, match="the latch was removed instead, which engages too"):
            switch.engage("ann", "stop", NOON)
        assert house.names() == []
        assert "(latch)" in refusal(house.process())
        assert "'ann': 'stop'" in refusal(switch)
    finally:
        shutil.rmtree(tmp_path / steps[0])


def without_rights(work: Callable[[], None]) -> int:
    """The exit code of `work` done by a process that may not read what nobody was given."""

    def done() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        work()

    return os.waitstatus_to_exitcode(os.waitpid(in_child(done), 0)[1])


@pytest.mark.parametrize("what", ["file", "latch"])
def test_permission_denied(tmp_path: Path, what: str) -> None:
    locked = tmp_path / "locked"
    closed, house = House(locked), House(tmp_path)
    locked.mkdir()
    closed.process()
    locked.chmod(0)

    def work() -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as own:
            house.state = closed.state if what == "latch" else Path(own) / "state"
            house.file = closed.file if what == "file" else Path(own) / "KILL"
            switch = KillSwitch(house.state, environment={}, file=house.file, configured=False, clock=lambda: NOON)
            if what == "file":
                switch.begin()
            why = refusal(switch)
            assert f"({what})" in why
            assert "Permission denied" in why

    try:
        assert without_rights(work) == 0
    finally:
        locked.chmod(0o700)


def test_it_survives_three_restarts(tmp_path: Path) -> None:
    """Each time another interpreter, with nothing of the source left."""
    house = House(tmp_path)
    house.file.touch()
    event = engaged(house.process())
    house.file.unlink()
    for _ in range(3):
        done = subprocess.run([*started(house), "once"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 5, done.stderr
        assert event.sentence in done.stdout


LOOP = f"""
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from policyengine.rollout.kill import KillSwitch
from policyengine.rollout.refusals import NotStarted
state, file, how = sys.argv[1:]
switch = KillSwitch(Path(state), environment={{"{VARIABLE}": "0"}}, file=Path(file), configured=False, clock=lambda: datetime.now(UTC))
try:
    switch.check()
    print("passed", flush=True)
    while how == "loop":
        switch.check()
        last = time.monotonic()
        time.sleep(0.001)
except NotStarted as error:
    print(time.monotonic(), error.why, flush=True)
    sys.exit(error.exit_code)
"""


def started(house: House) -> list[str]:
    return [sys.executable, "-c", LOOP, str(house.state), str(house.file)]


@pytest.mark.parametrize("source", ["command", "file", "latch"])
def test_it_takes_effect_in_another_process_within_a_second(tmp_path: Path, source: str) -> None:
    house = House(tmp_path)
    here = house.process()
    with subprocess.Popen([*started(house), "loop"], stdout=subprocess.PIPE, text=True) as there:
        assert there.stdout is not None
        try:
            assert there.stdout.readline() == "passed\n"
            begun = time.monotonic()
            match source:
                case "command":
                    here.engage("ann", "stop", NOON)
                case "file":
                    house.file.touch()
                case _:
                    (house.latch / "released").unlink()
            ended, why = there.stdout.readline().split(maxsplit=1)
            assert there.wait(timeout=10) == 5
        finally:
            there.kill()
    assert f"({source})" in why
    assert 0.0 < float(ended) - begun < 1.0


def dying_at(call: int) -> None:
    """Patch this process so that it is killed before its `call`-th call that changes a name or waits for the disk."""
    seen = 0

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == call:
                die()
            return real(*args, **named)

        setattr(owner, name, counted)

    for owner, name in CALLS:
        wrap(owner, name)


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Whether the process that does `work` was killed before it had made that many calls."""

    def dying() -> None:
        dying_at(call)
        work()

    _, status = os.waitpid(in_child(dying), 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status != 0


def test_killed_at_each_call_of_a_first_start(tmp_path: Path) -> None:
    for call in range(1, 40):
        house = House(tmp_path / str(call))
        killed = killed_at(call, house.process)
        house.process().check()
        assert house.names() == ["released"]
        if not killed:
            break
    assert not killed
    assert call > 6


@pytest.mark.parametrize("before", ["released", "engaged", "lost"])
def test_killed_at_each_call_of_an_engagement(tmp_path: Path, before: str) -> None:
    for call in range(1, 40):
        house = House(tmp_path / str(call))
        first = house.process().engage("eve", "before", NOON)
        if before == "released":
            reset(house.process(), first)
        if before == "lost":
            (house.latch / first.name).unlink()

        killed = killed_at(call, lambda house=house: house.process().engage("ann", "stop", LATER))
        after = house.process()
        event = after.current()
        assert len(house.names()) == 1
        if event is None:
            assert killed
            assert before == "released"
        elif event.by is not None and not killed:
            assert event.by == "ann"
        told = [record.event_id for record in after.pending()]
        assert event is None or event.event_id in told
        assert after.engage("ann", "stop", LATER) == after.current()
        if not killed:
            break
    assert not killed
    assert call > 5


@pytest.mark.parametrize("then", ["looked at", "engaged"])
def test_killed_at_each_call_of_a_reset(tmp_path: Path, then: str) -> None:
    """Released and recorded, or neither, also where another engagement follows before anybody looks."""
    outcomes = set()
    for call in range(1, 40):
        house = House(tmp_path / str(call))
        event = house.process().engage("ann", "practice", NOON, drill=True)
        killed = killed_at(call, lambda house=house, event=event: reset(house.process(), event))
        released = house.names() == [f"released.{event.event_id}"]
        assert released or house.names() == [event.name]
        outcomes.add((killed, released))
        after = house.process()
        if then == "engaged":
            after.engage("eve", "stop", LATER)
        records = [record for record in after.pending() if isinstance(record, KillRelease)]
        assert [record.event for record in records] == [event] * released
        assert (drilled(house, after) is not None) == released
        if then == "looked at" and not released:
            reset(after, event)
        if not killed:
            break
    assert outcomes == {(True, False), (True, True), (False, True)}


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """What was acknowledged last stands, or what was under way; and every acknowledged engagement and reset is recorded."""
    house = House(tmp_path)
    house.process()
    acknowledged: list[tuple[str, str]] = []
    standing: str | None = None

    def work(say: Say) -> None:
        switch = house.process()
        while True:
            event = switch.current() or switch.engage("ann", "stop", NOON)
            say(f"engaged {event.event_id}")
            reset(switch, event)
            say(f"released {event.event_id}")

    for more in killed_again_and_again(work, seed=3, within=0.04):
        told = [(word, event_id) for word, event_id in map(str.split, more)]
        for word, event_id in told:
            assert standing in ((None, event_id) if word == "engaged" else (event_id,))
            standing = event_id if word == "engaged" else None
        acknowledged += told
        (name,) = house.names()
        event = house.process().current()
        if event is None:
            assert standing is None or name == f"released.{standing}"
        else:
            assert standing == event.event_id or (standing is None and ("engaged", event.event_id) not in acknowledged)
        standing = None if event is None else event.event_id
    records = {(record.WORD, record.event_id) for record in house.process().pending()}
    assert set(acknowledged) <= records
    assert len(set(acknowledged)) > KILLS


def together(*works: Callable[[], object]) -> list[int]:
    """The exit codes of processes that begin their work in the same moment."""
    moment = time.monotonic() + 0.02

    def waiting(work: Callable[[], object]) -> Callable[[], None]:
        def wait() -> None:
            while time.monotonic() < moment:
                pass
            try:
                work()
            except PolicyEngineError as error:
                os._exit(error.exit_code)

        return wait

    pids = [in_child(waiting(work)) for work in works]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_four_engage_at_once(tmp_path: Path) -> None:
    for turn in range(15):
        house = House(tmp_path / str(turn))
        switch = house.process()
        assert together(*(partial(switch.engage, who, "stop", NOON) for who in "abcd")) == [0] * 4
        (name,) = house.names()
        event = engaged(house.process())
        assert event.name == name
        assert sorted(str(record.by) for record in house.process().pending()) == list("abcd")


def test_four_lost_latches_are_found_at_once(tmp_path: Path) -> None:
    for turn in range(15):
        house = House(tmp_path / str(turn))
        house.process()
        (house.latch / "released").unlink()
        assert together(*[house.process().check] * 4) == [5] * 4
        event = engaged(house.process())
        assert house.names() == [event.name]


def test_engaging_and_releasing_at_once_ends_engaged(tmp_path: Path) -> None:
    """Whoever is first, the reset was signed before the second engagement, and never undoes it."""
    codes = set()
    for turn in range(40):
        house = House(tmp_path / str(turn))
        switch = house.process()
        first = switch.engage("ann", "stop", NOON)
        code, zero = together(partial(reset, switch, first), partial(switch.engage, "eve", "stop!", NOON))
        assert zero == 0
        codes.add(code)
        event = engaged(house.process())
        assert event.by == "eve"
        assert house.names() == [event.name]
        resets = [record for record in switch.pending() if isinstance(record, KillRelease)]
        assert len(resets) == (code == 0)
    assert codes <= {0, 5}


def between(monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]) -> None:
    """Let another process take `step` after the next to change the latch has looked at it, and before it does."""
    real, waiting = Path.rename, [step]

    def rename(path: Path, target: Path) -> Path:
        if path.parent.name == "latch" and waiting:
            waiting.pop()()
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)


def test_a_reset_that_is_faster_does_not_stop_an_engagement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    first = house.process().engage("ann", "stop", NOON)
    between(monkeypatch, partial(reset, house.process(), first))
    second = house.process().engage("eve", "stop!", NOON)
    assert engaged(house.process()) == second
    assert [record.WORD for record in house.process().pending()] == ["engaged", "engaged", "released"]


def test_an_engagement_that_is_faster_stops_a_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    first = house.process().engage("ann", "practice", NOON, drill=True)
    between(monkeypatch, partial(house.process().engage, "eve", "stop!", NOON))
    with pytest.raises(NotStarted, match="is not what is engaged any more") as caught:
        reset(house.process(), first)
    assert caught.value.code is Code.KILL_LATCHED
    assert engaged(house.process()).by == "eve"
    assert [record.WORD for record in house.process().pending()] == ["engaged", "engaged"]
    assert drilled(house, house.process()) is None


def test_an_engagement_that_is_faster_stops_a_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    other = house.process()
    between(monkeypatch, partial(other.engage, "eve", "stop!", NOON))
    with pytest.raises(NotStarted, match="no drill begins while"):
        house.process().engage("ann", "practice", NOON, drill=True)
    (event,) = other.pending()
    assert engaged(house.process()) == event
    assert not event.drill


def test_two_resets_at_once_are_one(tmp_path: Path) -> None:
    for turn in range(15):
        house = House(tmp_path / str(turn))
        switch = house.process()
        codes = together(*[partial(reset, switch, switch.engage("ann", "stop", NOON))] * 2)
        assert sorted(codes) in ([0, 1], [0, 5])
        assert len(house.process().pending()) == 2


def test_no_reset_while_another_holds_the_lock_but_engaging_needs_none(tmp_path: Path) -> None:
    import fcntl

    house = House(tmp_path)
    switch = house.process()
    event = switch.engage("ann", "stop", NOON)
    with (house.state / "kill.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NotStarted) as caught:
            reset(switch, event)
        assert caught.value.code is Code.LOCK_HELD
        assert switch.engage("eve", "stop!", NOON) == house.process().current()


def test_no_reset_undoes_an_engagement_that_ended_before_it_began(tmp_path: Path) -> None:
    """Three processes engage and two release whatever they find, again and again; each says when, and what came of it."""
    house, lines = House(tmp_path), tmp_path / "lines"
    house.process()

    def say(word: str, event_id: str, begun: float) -> None:
        with lines.open("a") as file:
            file.write(f"{word} {event_id} {begun} {time.monotonic()}\n")

    def engaging() -> None:
        switch = house.process()
        for _ in range(25):
            begun = time.monotonic()
            say("engaged", switch.engage("ann", "stop", NOON).event_id, begun)

    def releasing() -> None:
        switch = house.process()
        for _ in range(80):
            event, begun = switch.current(), time.monotonic()
            try:
                if event is not None:
                    reset(switch, event)
                    say("released", event.event_id, begun)
            except (NotStarted, ConfigError):
                continue

    assert together(engaging, releasing, engaging, releasing, engaging) == [0] * 5
    told = [(word, event_id, float(begun), float(ended)) for word, event_id, begun, ended in map(str.split, lines.read_text().splitlines())]
    engagements = {event_id: (begun, ended) for word, event_id, begun, ended in told if word == "engaged"}
    releases = [(event_id, begun, ended) for word, event_id, begun, ended in told if word == "released"]
    assert len(engagements) == 75
    assert releases
    assert len({event_id for event_id, *_ in releases}) == len(releases)
    for event_id, begun, _ in releases:
        since = engagements[event_id][1]
        assert not [other for other, (b, e) in engagements.items() if since < b and e < begun and other != event_id]
    last = max(engagements, key=lambda event_id: engagements[event_id][0])
    if all(ended < engagements[last][0] for _, _, ended in releases):
        assert engaged(house.process())
    assert len(house.names()) == 1


class Switching(RuleBasedStateMachine):
    """Engaged from any engagement until a reset that names the last event while no source engages; nothing else changes it.

    The model is the event that stands, None or, where its process was killed, not known. Every event that was seen is recorded.
    """

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.house = House(self.folder)
        self.switch = self.house.process()
        self.engaged, self.old, self.seen = False, list[KillEvent](), set[str]()
        self.drilled_at: Any = None
        self.now = NOON

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def sources(self) -> bool:
        return bool(self.house.environment) or self.house.file.exists()

    @rule()
    def engage(self) -> None:
        event = self.switch.engage("ann", "stop", self.now)
        assert event.event_id not in self.seen
        self.engaged = True

    @rule()
    def drill(self) -> None:
        if self.engaged or self.sources:
            with pytest.raises(NotStarted, match="no drill"):
                self.switch.engage("ann", "practice", self.now, drill=True)
        else:
            assert self.switch.engage("ann", "practice", self.now, drill=True).drill
            self.engaged = True

    @precondition(lambda self: self.engaged)
    @rule()
    def release(self) -> None:
        event = engaged(self.switch)
        self.now += timedelta(hours=1)
        if self.sources:
            with pytest.raises(NotStarted, match="is not released while"):
                reset(self.switch, event, self.now)
        else:
            reset(self.switch, event, self.now)
            self.engaged = False
            self.drilled_at = self.now if event.drill else self.drilled_at

    @precondition(lambda self: len(self.old) > 1)
    @rule()
    def release_an_old_one(self) -> None:
        with pytest.raises((NotStarted, ConfigError)):
            reset(self.switch, self.old[-2], self.now)

    @rule()
    def restart(self) -> None:
        self.switch = self.house.process()

    @rule()
    def lose_the_latch(self) -> None:
        """What a process that was killed left in the name alone is lost with it, but not that something is engaged."""
        if (event := self.switch.current()) is not None and event.by is None:
            self.seen.discard(event.event_id)
        next(self.house.latch.iterdir()).unlink()
        self.engaged = True

    @rule(call=st.integers(1, 8))
    def engage_and_crash(self, call: int) -> None:
        killed = killed_at(call, lambda: self.house.process().engage("eve", "crash", self.now))
        renamed = self.house.names() != [] and self.house.names()[0].startswith("engaged")
        assert killed or renamed
        assert renamed or not self.engaged
        self.engaged = renamed

    @precondition(lambda self: self.engaged and not self.sources)
    @rule(call=st.integers(1, 10))
    def release_and_crash(self, call: int) -> None:
        event = engaged(self.switch)
        self.now += timedelta(hours=1)
        killed = killed_at(call, lambda: reset(self.house.process(), event, self.now))
        released = self.house.names() == [f"released.{event.event_id}"]
        assert released or (killed and self.house.names() == [event.name])
        self.engaged = not released
        self.drilled_at = self.now if released and event.drill else self.drilled_at

    @rule(on=st.booleans())
    def environment(self, on: bool) -> None:
        self.house.environment.clear()
        if on:
            self.house.environment[VARIABLE] = "1"

    @rule(on=st.booleans())
    def file(self, on: bool) -> None:
        self.house.file.unlink(missing_ok=True)
        if on:
            self.house.file.touch()

    @invariant()
    def is_as_modelled(self) -> None:
        self.engaged = self.engaged or self.sources
        event = self.switch.current()
        assert (event is not None) == self.engaged
        (name,) = self.house.names()
        assert name.startswith("engaged" if self.engaged else "released")
        if event is not None and event.event_id not in self.seen:
            self.old.append(event)
            self.seen.add(event.event_id)
        assert drilled(self.house, self.switch) == self.drilled_at
        assert self.seen <= {record.event_id for record in self.switch.pending() if isinstance(record, KillEvent)}


TestSwitching = Switching.TestCase
TestSwitching.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
