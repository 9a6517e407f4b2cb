"""The kill switch on a folder that works: what engages, what releases, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import timeit
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policyengine.errors import ConfigError, DataError
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_records import Kill, Reset
from policyengine.rollout.kill import VARIABLE, KillSwitch, reset_statement
from policyengine.rollout.kill_records import KillEvent, KillRelease, Source
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import drilled_at, recorded

NOON = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
MUCH_LATER = (NOON + timedelta(days=999)).isoformat()


class House:
    """A state folder, the environment and the kill file of whoever runs there."""

    def __init__(self, folder: Path) -> None:
        self.state, self.file, self.environment = folder / "state", folder / "KILL", dict[str, str]()
        self.latch, self.events = self.state / "kill" / "latch", self.state / "kill" / "events"

    def process(self, *, configured: bool = False, environment: dict[str, str] | None = None) -> KillSwitch:
        """The switch as a process sees it that has just been started."""
        seen = self.environment if environment is None else environment
        switch = KillSwitch(self.state, environment=seen, file=self.file, configured=configured, clock=lambda: NOON)
        switch.begin()
        return switch

    def names(self) -> list[str]:
        return sorted(path.name for path in self.latch.iterdir())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def refusal(switch: KillSwitch) -> str:
    with pytest.raises(NotStarted) as caught:
        switch.check()
    assert caught.value.code is Code.KILL_LATCHED
    assert caught.value.exit_code == 5
    return caught.value.why


def engaged(switch: KillSwitch) -> KillEvent:
    event = switch.current()
    assert event is not None
    return event


def reset(switch: KillSwitch, event: KillEvent, at: datetime = LATER) -> None:
    switch.release(event.event_id, "bob", at, reset_statement(event, "bob", "looked into it", at))


def drilled(house: House, switch: KillSwitch) -> datetime | None:
    """When a drill last ended by an audit log that was told all that the switch wants it to hold."""
    with AuditLog(house.state.with_name("audit"), recorded_at=MUCH_LATER) as audit:
        audit.append_many(recorded(item, MUCH_LATER) for item in switch.pending())
    return drilled_at(house.state.with_name("audit"))


def test_nothing_is_engaged_at_first(house: House) -> None:
    switch = house.process()
    switch.check()
    assert switch.current() is None
    assert switch.pending() == ()
    assert drilled(house, switch) is None
    assert house.names() == ["released"]
    assert house.process().current() is None


def test_before_a_latch_was_begun_nothing_starts(house: House) -> None:
    switch = KillSwitch(house.state, environment={}, file=None, configured=False, clock=lambda: NOON)
    assert "no latch was begun" in refusal(switch)
    assert not house.state.exists()
    switch.begin()
    switch.check()


def test_a_latch_that_was_engaged_before_the_first_start_stays(house: House) -> None:
    event = KillSwitch(house.state, environment={}, file=None, configured=False, clock=lambda: NOON).engage("ann", "not today", NOON)
    assert engaged(house.process()) == event
    (house.state / "kill.lock").unlink()
    assert engaged(house.process()) == event


def test_a_latch_that_was_engaged_before_the_first_start_is_missed(house: House) -> None:
    KillSwitch(house.state, environment={}, file=None, configured=False, clock=lambda: NOON).engage("ann", "not today", NOON)
    shutil.rmtree(house.state / "kill")
    assert "(latch)" in refusal(house.process())


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_an_environment_that_says_no(house: House, value: str) -> None:
    house.process(environment={VARIABLE: value}).check()


@pytest.mark.parametrize("value", ["1", "true", "False", "no", "off", " ", "0 ", "released", "\udcff", "x" * 10_000])
def test_an_environment_that_kills(house: House, value: str) -> None:
    why = refusal(house.process(environment={VARIABLE: value}))
    assert "(environment)" in why
    assert VARIABLE in why
    assert len(why) < 400


@pytest.mark.parametrize("content", [b"0", b"false", b"released", b"released\n", b" 0 \r\n"])
def test_a_kill_file_that_says_no(house: House, content: bytes) -> None:
    house.file.write_bytes(content)
    house.process().check()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"1", b"kill", b"FALSE", b"no", b"00", b"\xff\x00", b"released" + b" " * 90 + b"not", b"0" * 10**6]
)
def test_a_kill_file_that_kills(house: House, content: bytes) -> None:
    house.file.write_bytes(content)
    why = refusal(house.process())
    assert "(file)" in why
    assert str(house.file) in why
    assert len(why) < 600


def a_folder(path: Path) -> None:
    path.mkdir()


def a_dangling_symlink(path: Path) -> None:
    path.symlink_to("nowhere")


def a_symlink_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_symlink_into_a_folder_that_is_not_there(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere" / "KILL")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_pipe_that_says_no(path: Path) -> None:
    os.mkfifo(path)
    os.write(os.open(path, os.O_RDWR), b"0")  # open for as long as the process, or what was written is gone


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def an_input_output_error(path: Path) -> None:
    """Nothing is mapped at the first address, and reading there is EIO."""
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    "make",
    [
        a_folder,
        a_dangling_symlink,
        a_symlink_to_itself,
        a_symlink_into_a_folder_that_is_not_there,
        a_pipe,
        a_pipe_that_says_no,
        a_socket,
        a_device,
        an_input_output_error,
    ],
)
def test_what_is_no_readable_kill_file_kills(tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> None:
    house = House(tmp_path_factory.mktemp("k"))  # a socket's path is short
    make(house.file)
    assert str(house.file) in refusal(house.process())


@pytest.mark.parametrize("where", ["a_file/KILL", "nowhere/KILL", "loop/KILL", "x" * 300, "n\0l"])
def test_a_kill_file_that_cannot_be_looked_for_kills(house: House, where: str) -> None:
    (house.file.parent / "a_file").touch()
    (house.file.parent / "loop").symlink_to("loop")
    house.file = house.file.parent / where
    assert "cannot be looked for" in refusal(house.process())


def test_a_symlink_to_a_kill_file_is_read(house: House) -> None:
    real = house.file.with_name("real")
    real.write_text("released")
    house.file.symlink_to(real)
    switch = house.process()
    switch.check()
    real.write_text("1")
    assert "b'1'" in refusal(switch)


def test_the_configuration_kills(house: House) -> None:
    assert "the configuration says kill" in refusal(house.process(configured=True))


@pytest.mark.parametrize("source", [Source.ENVIRONMENT, Source.FILE, Source.CONFIGURATION, Source.COMMAND])
def test_each_source_takes_effect_at_the_next_check_and_stays_when_it_goes(house: House, source: Source) -> None:
    switch = house.process()
    switch.check()
    match source:
        case Source.ENVIRONMENT:
            house.environment[VARIABLE] = "1"
        case Source.FILE:
            house.file.touch()
        case Source.CONFIGURATION:
            switch = house.process(configured=True)
        case _:
            house.process().engage("ann", "stop", NOON)
    first = refusal(switch)
    assert f"({source})" in first
    house.environment.clear()
    house.file.unlink(missing_ok=True)
    assert refusal(switch) == first
    assert refusal(house.process()) == first


def test_who_when_and_why_are_told_on_one_line(house: House) -> None:
    event = house.process().engage("ann\x1b[2J", "line\nbreak \u202e \udcff", NOON)
    why = refusal(house.process())
    assert why.isprintable()
    assert (
        why == f"{event.event_id} engaged at 2026-01-05T12:00:00.000000+00:00 (command), by 'ann\\x1b[2J': 'line\\nbreak \\u202e \\\\udcff'"
    )


def test_an_instant_of_another_zone_is_kept_as_the_same_instant(house: House) -> None:
    event = house.process().engage("ann", "stop", datetime.fromisoformat("2026-01-05T13:00:00.000007+01:00"))
    assert event.at == "2026-01-05T12:00:00.000007+00:00"
    assert house.names() == [f"engaged.{event.event_id}.20260105T120000.000007Z.command"]
    assert engaged(house.process()) == event


def test_a_reset_releases_what_it_names(house: House) -> None:
    switch = house.process()
    event = switch.engage("ann", "stop", NOON)
    reset(switch, event)
    switch.check()
    house.process().check()
    assert house.names() == [f"released.{event.event_id}"]
    second = switch.engage("ann", "again", NOON)
    assert second.event_id != event.event_id
    assert second.event_id in refusal(house.process())


def test_engaging_what_is_engaged_outlives_a_reset_that_is_already_signed(house: House) -> None:
    first = house.process().engage("ann", "stop", NOON)
    signed = reset_statement(first, "bob", "looked into it", LATER)
    second = house.process().engage("eve", "no, stop", NOON)
    with pytest.raises(NotStarted, match=f"{first.event_id} is not what is engaged: {second.event_id}") as caught:
        house.process().release(first.event_id, "bob", LATER, signed)
    assert caught.value.code is Code.KILL_LATCHED
    assert engaged(house.process()) == second


def test_a_statement_for_another_event_releases_nothing(house: House) -> None:
    switch = house.process()
    first = switch.engage("ann", "stop", NOON)
    reset(switch, first)
    second = switch.engage("ann", "stop", NOON)
    good = reset_statement(second, "bob", "looked into it", LATER)
    bad = [
        reset_statement(first, "bob", "looked into it", LATER),
        reset_statement(second, "eve", "looked into it", LATER),
        reset_statement(second, "bob", "looked into it", NOON),
        *(good + b"\n", b" " + good, good.replace(b'"by":', b'"by": '), good.replace(b"{", b'{"by":"bob",', 1)),
        *(b"", b"{}", b"null", b'{"reason":1}', b"\xff", b"[" * 100_000, json.dumps(json.loads(good), indent=1).encode()),
    ]
    for statement in bad:
        with pytest.raises(ConfigError, match="is not what 'bob' signs to release"):
            switch.release(second.event_id, "bob", LATER, statement)
        assert engaged(switch) == second
    switch.release(second.event_id, "bob", LATER, good)
    switch.check()


def test_a_statement_holds_what_is_signed(house: House) -> None:
    event = house.process().engage("ann", "practice", NOON, drill=True)
    assert reset_statement(event, "bob \u20ac", 'said "ok"', LATER) == (
        b'{"at":"2026-01-05T13:00:00.000000+00:00","by":"bob \\u20ac","drill":true,"event_id":"'
        + event.event_id.encode()
        + b'","reason":"said \\"ok\\"","reset":"policyengine kill"}'
    )


def test_a_reset_of_nothing(house: House) -> None:
    switch = house.process()
    event = switch.engage("ann", "stop", NOON)
    reset(switch, event)
    with pytest.raises(ConfigError, match="nothing is engaged"):
        reset(switch, event)


@pytest.mark.parametrize("source", [Source.ENVIRONMENT, Source.FILE, Source.CONFIGURATION])
def test_no_reset_while_a_source_engages(house: House, source: Source) -> None:
    environment = {VARIABLE: "1"} if source is Source.ENVIRONMENT else {}
    if source is Source.FILE:
        house.file.touch()
    switch = house.process(configured=source is Source.CONFIGURATION, environment=environment)
    event = engaged(switch)
    with pytest.raises(NotStarted, match="is not released while") as caught:
        reset(switch, event)
    assert caught.value.code is Code.KILL_LATCHED
    assert engaged(switch) == event
    environment.clear()
    house.file.unlink(missing_ok=True)
    after = house.process()
    reset(after, event)
    after.check()


def test_a_source_that_engages_meanwhile_is_another_event(house: House) -> None:
    switch = house.process()
    drill = switch.engage("ann", "practice", NOON, drill=True)
    house.file.touch()
    real = engaged(switch)
    assert real.sources == (Source.FILE,)
    house.file.unlink()
    with pytest.raises(NotStarted, match="is not what is engaged"):
        reset(switch, drill)
    reset(switch, real)
    assert drilled(house, switch) is None


def test_an_event_names_the_source_that_made_it_first(house: House) -> None:
    house.environment[VARIABLE] = "1"
    switch = house.process()
    assert engaged(switch).sources == (Source.ENVIRONMENT,)
    house.file.touch()
    event = engaged(switch)
    assert event.sources == (Source.FILE, Source.ENVIRONMENT)
    assert (event.by, event.why) == ("policyengine (file)", f"{house.file}: is there, and holds b''")
    assert engaged(switch) == event


def test_a_source_that_goes_and_comes_back_is_another_event(house: House) -> None:
    switch = house.process()
    events = []
    for _ in range(3):
        house.file.touch()
        events += [engaged(switch), engaged(switch)]
        house.file.unlink()
        events.append(engaged(switch))
    ids = [event.event_id for event in events]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert len(set(ids)) == 3


def test_two_processes_with_different_sources_come_to_rest(house: House) -> None:
    """Each sees what the other does not; the event in the end stands for both, and a restart adds none."""
    first, second = house.process(environment={VARIABLE: "1"}), house.process(configured=True)
    for _ in range(3):
        last = [engaged(first), engaged(second)]
    assert last[0] == last[1]
    assert set(last[0].sources) == {Source.ENVIRONMENT, Source.CONFIGURATION}
    assert last[0].sources[0] is Source.CONFIGURATION
    assert engaged(house.process(environment={VARIABLE: "1"})) == last[0]


def test_a_drill_is_counted_once_it_is_released(house: House) -> None:
    switch = house.process()
    for hours in (1, 3, 2):
        event = switch.engage("ann", "practice", NOON, drill=True)
        assert event.drill
        assert "(drill)" in refusal(house.process())
        reset(switch, event, NOON + timedelta(hours=hours))
    assert drilled(house, house.process()) == NOON + timedelta(hours=3)
    for item in switch.pending():
        switch.recorded(item)
    assert switch.pending() == ()
    assert drilled(house, switch) == NOON + timedelta(hours=3)
    assert drilled_at(house.state / "another log") is None


def test_a_reset_counts_for_a_drill_only_behind_its_own_kill_and_at_most_as_late_as_it_was_recorded(house: House) -> None:
    """Whoever puts files where the switch keeps its records has not drilled."""
    folder, late = house.state.with_name("audit"), NOON + timedelta(days=400)
    kill = Kill(
        recorded_at=NOON.isoformat(), event_id="k_1", engaged_at=NOON.isoformat(), sources=("drill",), drill=True, by="ann", why="practice"
    )
    end = Reset(recorded_at=LATER.isoformat(), event_id="k_2", released_at=late.isoformat(), drill=True, by="bob", statement="{}")
    with AuditLog(folder, recorded_at=NOON.isoformat()) as audit:
        audit.append_many([kill, end])
        assert drilled_at(folder) is None
        audit.append(replace(kill, event_id="k_3", drill=False))
        audit.append(replace(end, event_id="k_3"))
        assert drilled_at(folder) is None
        audit.append(replace(end, event_id="k_1"))
    assert drilled_at(folder) == LATER


def test_a_drill_not_released_or_not_a_drill_counts_for_nothing(house: House) -> None:
    switch = house.process()
    reset(switch, switch.engage("ann", "stop", NOON))
    drill = switch.engage("ann", "practice", NOON, drill=True)
    assert drilled(house, switch) is None
    real = house.process().engage("eve", "a real one", NOON)
    assert not real.drill
    with pytest.raises(NotStarted):
        reset(switch, drill)
    reset(switch, real)
    assert drilled(house, switch) is None


def test_no_drill_takes_the_place_of_a_kill(house: House) -> None:
    switch = house.process()
    event = switch.engage("ann", "stop", NOON)
    with pytest.raises(NotStarted, match="no drill begins while another event stands") as caught:
        house.process().engage("eve", "practice", NOON, drill=True)
    assert caught.value.code is Code.KILL_LATCHED
    assert engaged(switch) == event
    reset(switch, event)
    house.environment[VARIABLE] = "1"
    with pytest.raises(NotStarted, match="no drill"):
        house.process().engage("eve", "practice", NOON, drill=True)
    assert not engaged(house.process()).drill
    assert len(switch.pending()) == 3


def test_what_the_audit_is_to_hold_is_told_until_it_does(house: House) -> None:
    switch = house.process()
    first = switch.engage("ann", "stop", NOON)
    second = switch.engage("eve", "stop!", NOON + timedelta(minutes=1))
    reset(switch, second)
    after = house.process()
    statement = reset_statement(second, "bob", "looked into it", LATER).decode()
    release = KillRelease(event=second, at="2026-01-05T13:00:00.000000+00:00", by="bob", statement=statement)
    assert after.pending() == switch.pending() == (first, second, release)
    after.recorded(second)
    assert switch.pending() == (first, release)
    for item in switch.pending():
        switch.recorded(item)
    assert house.process().pending() == ()


def test_a_kill_that_only_the_latch_tells_of_is_told(house: House) -> None:
    """Its process died before it wrote more; or it still writes, and then the rest is told as soon as it is there."""
    event = house.process().engage("ann", "stop", NOON)
    written = house.events / f"{event.event_id}.engaged.new.json"
    content = written.read_bytes()
    written.unlink()
    after = house.process()
    bare = KillEvent(event_id=event.event_id, at=event.at, sources=(Source.COMMAND,))
    assert after.pending() == (bare,)
    assert "who and why was not written down" in refusal(after)
    after.recorded(bare)
    assert after.pending() == ()
    written.write_bytes(content)
    assert after.pending() == (event,)
    after.recorded(event)
    assert after.pending() == ()
    assert engaged(after) == event


def test_a_reset_of_a_kill_that_only_the_latch_tells_of(house: House) -> None:
    event = house.process().engage("ann", "stop", NOON)
    (house.events / f"{event.event_id}.engaged.new.json").unlink()
    switch = house.process()
    bare = engaged(switch)
    reset(switch, bare)
    told, release = switch.pending()
    assert told == bare
    assert isinstance(release, KillRelease)
    assert release.event == bare
    switch.recorded(bare)
    assert switch.pending() == (release,)


def no_name(latch: Path) -> None:
    (next(latch.iterdir())).unlink()


def no_latch_folder(latch: Path) -> None:
    no_name(latch)
    latch.rmdir()


def no_kill_folder(latch: Path) -> None:
    shutil.rmtree(latch.parent)


def a_foreign_name(latch: Path) -> None:
    next(latch.iterdir()).rename(latch / "Released")


def a_name_beside(latch: Path) -> None:
    (latch / "engaged").touch()


def two_states(latch: Path) -> None:
    (latch / "engaged.k_0123456789abcdef.20260105T120000.000000Z.command").touch()


def a_day_that_is_none(latch: Path) -> None:
    next(latch.iterdir()).rename(latch / "engaged.k_0123456789abcdef.20261305T120000.000000Z.command")


def a_source_that_is_none(latch: Path) -> None:
    next(latch.iterdir()).rename(latch / "engaged.k_0123456789abcdef.20260105T120000.000000Z.nobody")


def a_file_for_a_folder(latch: Path) -> None:
    no_latch_folder(latch)
    latch.touch()


def a_dangling_symlink_for_a_folder(latch: Path) -> None:
    no_latch_folder(latch)
    latch.symlink_to("nowhere")


def a_symlink_loop_for_a_folder(latch: Path) -> None:
    no_latch_folder(latch)
    latch.symlink_to("latch")


BROKEN = [no_name, no_latch_folder, no_kill_folder, a_foreign_name, a_name_beside, two_states, a_day_that_is_none, a_source_that_is_none]
HOPELESS = [a_file_for_a_folder, a_dangling_symlink_for_a_folder, a_symlink_loop_for_a_folder]


@pytest.mark.parametrize("spoil", [*BROKEN, *HOPELESS])
@pytest.mark.parametrize("before", ["released", "engaged"])
def test_a_latch_that_is_not_what_it_should_be_is_engaged(house: House, spoil: Callable[[Path], None], before: str) -> None:
    running = house.process()
    if before == "engaged":
        running.recorded(running.engage("ann", "stop", NOON))
        (next(house.events.iterdir())).unlink()
    spoil(house.latch)
    for switch in (running, house.process(), running, house.process()):
        assert "(latch)" in refusal(switch)
    assert ("held by this process alone" in refusal(running)) is (spoil in HOPELESS)


@pytest.mark.parametrize("spoil", BROKEN)
def test_a_spoiled_latch_is_released_by_name_once_it_is_whole(house: House, spoil: Callable[[Path], None]) -> None:
    switch = house.process()
    spoil(house.latch)
    event = engaged(switch)
    assert event.sources[0] is Source.LATCH
    strays = [name for name in house.names() if event.event_id not in name]
    if strays:
        with pytest.raises(NotStarted, match="is not released while"):
            reset(switch, event)
    for name in strays:
        (house.latch / name).unlink()
    reset(switch, event)
    house.process().check()
    assert house.names() == [f"released.{event.event_id}"]


def test_a_latch_held_in_memory_is_latched_as_soon_as_that_can_be(house: House) -> None:
    switch = house.process()
    a_file_for_a_folder(house.latch)
    event = engaged(switch)
    with pytest.raises(NotStarted, match="is not released while"):
        reset(switch, event)
    house.latch.unlink()
    house.latch.mkdir()
    (house.latch / "released").touch()
    assert engaged(switch) == event
    assert engaged(house.process()) == event


@pytest.mark.parametrize("content", ["{}", "", "[[" * 100_000, '{"event_id": 1}', '{"event_id":"k","at":"noon","sources":[]}'])
def test_a_record_that_is_none_does_not_hide_the_kill(house: House, content: str) -> None:
    event = house.process().engage("ann", "stop", NOON)
    (house.events / f"{event.event_id}.engaged.new.json").write_text(content)
    switch = house.process()
    assert f"{event.event_id} engaged at" in refusal(switch)
    with pytest.raises(DataError, match=event.event_id):
        switch.pending()


def test_a_folder_of_records_that_is_none_hides_neither_the_kill_nor_itself(house: House) -> None:
    switch = house.process()
    house.events.touch()
    event = switch.engage("ann", "stop", NOON)
    assert "'ann': 'stop'" in refusal(switch)
    assert event.event_id in refusal(house.process())
    with pytest.raises(DataError, match="Not a directory"):
        switch.pending()
    house.events.unlink()
    assert switch.pending() == (event,)


def test_a_change_of_the_latch_waits_for_the_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged outlasts a power cut: the folder is synced while the new name is in it."""
    synced, real = list[str](), os.fsync

    def noting(handle: int) -> None:
        real(handle)
        if Path(f"/proc/self/fd/{handle}").readlink() == house.latch:
            synced.extend(house.names())

    monkeypatch.setattr(os, "fsync", noting)
    switch = house.process()
    event = switch.engage("ann", "stop", NOON)
    reset(switch, event)
    assert synced == ["released", event.name, f"released.{event.event_id}"]


def test_a_check_takes_few_microseconds_while_nothing_is_engaged(house: House) -> None:
    """About 20 on a quiet machine; the best of many runs, since others use it too."""
    switch = KillSwitch(house.state, environment=os.environ, file=house.file, configured=False, clock=lambda: NOON)
    switch.begin()
    assert min(timeit.repeat(switch.check, number=100, repeat=50)) / 100 < 50e-6
