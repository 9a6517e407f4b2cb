"""The log of trials and looks: what it holds, and that no edit of it goes unseen."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import BrokenInvariant, ConfigError, DataError, OutputError
from policyengine.evidence import trial_log
from policyengine.evidence.likeness import Weekly
from policyengine.evidence.looks import LookRecord, OriginRecord
from policyengine.evidence.trial_log import (
    GENESIS,
    Head,
    RecoveryRecord,
    TrialLog,
    TrialLogBroken,
    append_look,
    append_origin,
    append_trial,
    read_log,
)
from policyengine.evidence.trials import TrialRecord, fold, overlapping
from policyengine.records import Verdict
from policyengine.spec.root import digest

AT = "2026-01-01T00:00:00+00:00"
LOOK = LookRecord(
    budget="k",
    trial="p",
    number=1,
    sessions=60,
    origin_date=date(2020, 1, 1),
    as_of=date(2020, 3, 31),
    verdict=Verdict.INCONCLUSIVE,
    alpha=0.018,
    looks_max=4,
    effect="sharpe",
    recorded_at=AT,
    run_id="r",
)


def trial(number: int, first: str = "2020-01-01", last: str = "2020-12-31", source_key: str = "s") -> TrialRecord:
    policy = {"sizing": {"cap": number / 7}, "limits": {"é\u2028": None}}
    days = {"first_date": date.fromisoformat(first), "last_date": date.fromisoformat(last)}
    return TrialRecord(policy_hash=digest(policy), policy=policy, source_key=source_key, recorded_at=AT, run_id=f"r_{number}", **days)


def log_of(state: Path) -> Path:
    return state / "trials" / "trials.jsonl"


def head_of(state: Path) -> Path:
    return state / "trials.head.json"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of five records of three kinds; its readers copy it."""
    state = tmp_path_factory.mktemp("log") / "state"
    for number in (1, 2, 3):
        append_trial(state, trial(number))
    append_look(state, LOOK)
    append_origin(state, OriginRecord(budget="other", origin_date=date(2021, 1, 1), recorded_at=AT, run_id="r"))
    return state


@pytest.fixture
def state(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "state"))


# what the log holds


def test_a_state_without_a_log_is_empty_and_stays_untouched(tmp_path: Path) -> None:
    log = read_log(tmp_path / "state")
    assert (log.records, log.trials, log.head) == ((), (), Head(count=0, hash=GENESIS))
    assert log.budget("k").looks == ()
    assert not list(tmp_path.iterdir())


def test_records_come_back_as_they_were_written(state: Path) -> None:
    log = read_log(state)
    assert log.records[:4] == (trial(1), trial(2), trial(3), LOOK)
    assert [t.policy_hash for t in log.trials] == [trial(n).policy_hash for n in (1, 2, 3)]
    assert all(digest(t.policy) == t.policy_hash for t in log.trials)
    assert log.budget("k").looks == (LOOK,)
    assert log.budget("other").origin_date == date(2021, 1, 1)


def test_each_line_holds_the_hash_of_the_bytes_before_it(state: Path) -> None:
    lines = log_of(state).read_bytes().splitlines()
    before = [GENESIS, *(hashlib.sha256(line).hexdigest() for line in lines)]
    assert [json.loads(line)["previous"] for line in lines] == before[:-1]
    assert json.loads(head_of(state).read_bytes()) == {"count": 5, "hash": before[-1]}
    assert (state / "trials" / "lock").exists()


def test_an_identical_trial_is_one_and_is_extended(tmp_path: Path) -> None:
    for _ in range(2):
        append_trial(tmp_path, trial(1, "2020-01-01", "2020-06-30"))
    append_trial(tmp_path, trial(1, "2020-02-01", "2020-03-01"))
    assert read_log(tmp_path).head.count == 1
    log = append_trial(tmp_path, trial(1, "2020-05-01", "2020-12-31"))
    assert log.head.count == 2
    (one,) = log.trials
    assert [(s.first_date, s.last_date) for s in one.spans] == [(date(2020, 1, 1), date(2020, 12, 31))]


def test_days_apart_and_sources_apart_are_spans_apart() -> None:
    (one,) = fold(
        [
            trial(1, "2020-01-01", "2020-01-31"),
            trial(1, "2021-01-01", "2021-01-31"),
            trial(1, "2020-02-01", "2020-02-03"),
            trial(1, "2020-01-01", "2020-01-31", source_key="t"),
        ]
    )
    spans = [(s.source_key, s.first_date.isoformat(), s.last_date.isoformat()) for s in one.spans]
    assert spans == [("s", "2020-01-01", "2020-02-03"), ("s", "2021-01-01", "2021-01-31"), ("t", "2020-01-01", "2020-01-31")]


def test_trials_count_where_their_days_overlap_the_sample() -> None:
    before = [trial(n, "2019-01-01", "2019-12-31") for n in range(100)]
    frozen = trial(7, "2020-01-01", "2020-02-01")
    known = fold([*before, frozen])
    sample = date(2020, 1, 1), date(2020, 12, 31)
    assert [t.policy_hash for t in overlapping(known, *sample)] == [frozen.policy_hash]
    assert len(overlapping(known, date(2019, 12, 31), date(2020, 12, 31))) == 100
    assert overlapping(known, date(2020, 2, 2), date(2020, 12, 31)) == ()
    both_sides = fold([trial(1, "2019-01-01", "2019-12-31"), trial(1, "2021-01-01", "2021-12-31")])
    assert overlapping(both_sides, *sample) == ()


def test_trials_on_other_data_count_unless_a_source_is_named() -> None:
    known = fold([trial(1), trial(2, source_key="t")])
    sample = date(2020, 1, 1), date(2020, 12, 31)
    assert len(overlapping(known, *sample)) == 2
    assert [t.policy_hash for t in overlapping(known, *sample, source_key="t")] == [trial(2).policy_hash]


def test_the_first_verdict_at_a_look_stands(state: Path) -> None:
    again = replace(LOOK, verdict=Verdict.PROMOTE)
    assert append_look(state, again) == LOOK
    assert read_log(state).head.count == 5
    other = replace(again, trial="q")
    assert append_look(state, other) == other
    assert read_log(state).budget("k").looks == (LOOK, other)


def test_a_look_that_does_not_fit_is_not_written(state: Path) -> None:
    before = log_of(state).read_bytes()
    with pytest.raises(DataError, match="look 2.sessions: 91 does not fit"):
        append_look(state, replace(LOOK, number=2, sessions=91))
    assert log_of(state).read_bytes() == before


def test_a_look_at_a_baseline_that_moves_alike_belongs_to_the_earlier_budget(state: Path) -> None:
    """Two runs that begin at once: the second finds, under the lock, that the first has taken its look."""
    ours = Weekly(first_week=date(2020, 1, 6), returns=tuple(0.01 * (-1) ** (i // 3) for i in range(30)))
    look = replace(LOOK, budget="mine", baseline=ours, last_date=date(2020, 3, 27))
    assert append_look(state, look) == look
    assert read_log(state).records[-1] == look
    nudged = replace(ours, returns=tuple(1.001 * r for r in ours.returns))
    before = log_of(state).read_bytes()
    with pytest.raises(DataError, match="look 1.budget: the looks of b_mine bind a baseline that moves alike; if another run"):
        append_look(state, replace(look, budget="nudged", baseline=nudged))
    assert log_of(state).read_bytes() == before
    assert read_log(state).binding_budget("nudged", nudged) == read_log(state).budget("mine")


def test_a_look_from_before_there_were_fingerprints_is_read(tmp_path: Path) -> None:
    append_look(tmp_path, LOOK)
    line = json.loads(log_of(tmp_path).read_text())
    assert line.pop("baseline") is line.pop("last_date") is None
    old = json.dumps(line, sort_keys=True, separators=(",", ":")).encode()
    log_of(tmp_path).write_bytes(old + b"\n")
    head_of(tmp_path).write_text(json.dumps({"count": 1, "hash": hashlib.sha256(old).hexdigest()}))
    assert read_log(tmp_path).records == (LOOK,)
    again = replace(LOOK, trial="q", last_date=date(2020, 3, 31))
    assert append_look(tmp_path, again) == again


def test_a_chained_fingerprint_that_is_none_blocks(state: Path) -> None:
    ours = Weekly(first_week=date(2020, 1, 6), returns=(0.01,))
    append_look(state, replace(LOOK, budget="mine", baseline=ours))
    lines = lines_of(state)
    for broken in (lines[-1].replace(b"2020-01-06", b"2020-01-07"), lines[-1].replace(b"[0.01]", b'["0.01"]')):
        log_of(state).write_bytes(b"".join([*lines[:-1], broken]))
        check_blocked(state, "trials.jsonl:6: is not a record of this log")


def test_an_origin_is_declared_once_and_only_while_it_may(state: Path) -> None:
    origin = OriginRecord(budget="other", origin_date=date(2021, 1, 1), recorded_at=AT, run_id="r2")
    assert append_origin(state, origin).origin_date == date(2021, 1, 1)
    assert read_log(state).head.count == 5
    with pytest.raises(ConfigError, match="comes after the first look"):
        append_origin(state, replace(origin, budget="k"))


def test_a_hash_that_is_not_the_policys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenInvariant, match="is not the digest of the policy"):
        append_trial(tmp_path, replace(trial(1), policy_hash=trial(2).policy_hash))
    with pytest.raises(ConfigError, match="last_date: 2019-01-01 is before first_date 2020-01-01"):
        trial(1, "2020-01-01", "2019-01-01")


# what a crash leaves


def test_a_record_ahead_of_the_head_is_read_and_caught_up(state: Path) -> None:
    old = head_of(state).read_bytes()
    append_trial(state, trial(4))
    new = head_of(state).read_bytes()
    head_of(state).write_bytes(old)
    assert read_log(state).head.count == 6
    assert head_of(state).read_bytes() == old
    append_trial(state, trial(4))
    assert head_of(state).read_bytes() == new


def test_a_torn_line_is_moved_aside_and_that_is_recorded(state: Path) -> None:
    with log_of(state).open("ab") as file:
        file.write(b'{"kind":"tri')
    assert read_log(state).torn == b'{"kind":"tri'
    log = append_trial(state, trial(4))
    recovery, added = log.records[5:]
    assert isinstance(recovery, RecoveryRecord)
    assert added == trial(4)
    assert (state / "trials" / recovery.file).read_bytes() == b'{"kind":"tri'
    assert (recovery.size, recovery.sha256) == (12, hashlib.sha256(b'{"kind":"tri').hexdigest())
    assert read_log(state) == log


def test_a_crash_before_the_first_record_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "lock").touch()
    assert read_log(tmp_path) == TrialLog()
    head_of(tmp_path).write_text(json.dumps({"count": 0, "hash": GENESIS}))
    assert read_log(tmp_path) == TrialLog()
    log_of(tmp_path).touch()
    assert read_log(tmp_path) == TrialLog()
    assert append_trial(tmp_path, trial(1)).head.count == 1


def test_a_failed_write_leaves_the_log_as_it_was(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, write = log_of(state).read_bytes(), os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) > 100:
            return write(handle, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trial_log.os, "write", full)
    with pytest.raises(OutputError, match="trials.jsonl: cannot be written: No space left on device"):
        append_trial(state, trial(4))
    monkeypatch.undo()
    assert log_of(state).read_bytes() == whole
    assert append_trial(state, trial(4)).head.count == 6


# what nobody may do


def edit_head(state: Path, **changes: object) -> None:
    head_of(state).write_text(json.dumps({**json.loads(head_of(state).read_text()), **changes}))


def lines_of(state: Path) -> list[bytes]:
    return log_of(state).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("order", "place", "rule"),
    [
        ((0, 2, 1, 3, 4), "trials.jsonl:2", "was changed"),
        ((1, 2, 3, 4), "trials.jsonl:1", "was changed"),
        ((0, 1, 3, 4), "trials.jsonl:3", "was changed"),
        ((0, 1, 2, 3), "trials.jsonl:5", "is not there: the log holds 4 whole records of 5 acknowledged"),
        ((), "trials.jsonl:1", "is not there: the log holds 0 whole records of 5"),
        ((0, 1, 2, 3, 4, 4), "trials.jsonl:6", "was changed"),
    ],
)
def test_lines_deleted_or_reordered_block(state: Path, order: tuple[int, ...], place: str, rule: str) -> None:
    lines = lines_of(state)
    log_of(state).write_bytes(b"".join(lines[i] for i in order))
    check_blocked(state, f"{place}: .*{rule}")


def check_blocked(state: Path, match: str) -> None:
    before = {path: path.read_bytes() for path in (log_of(state), head_of(state)) if path.exists()}
    for call in (lambda: read_log(state), lambda: append_trial(state, trial(9)), lambda: append_look(state, LOOK)):
        with pytest.raises(TrialLogBroken, match=match) as raised:
            call()
        assert raised.value.exit_code == 1
    assert before == {path: path.read_bytes() for path in (log_of(state), head_of(state)) if path.exists()}


def test_an_edited_line_blocks(state: Path) -> None:
    log_of(state).write_bytes(log_of(state).read_bytes().replace(b'"r_2"', b'"r_7"'))
    check_blocked(state, r"trials.jsonl:3: 'previous' is not .* line 2, or this one, was changed")


def test_an_edited_last_line_blocks(state: Path) -> None:
    log_of(state).write_bytes(log_of(state).read_bytes().replace(b"2021-01-01", b"2021-01-02"))
    check_blocked(state, "trials.jsonl:5: is not the record that the head holds")


def test_a_last_line_without_its_newline_blocks(state: Path) -> None:
    log_of(state).write_bytes(log_of(state).read_bytes()[:-1])
    check_blocked(state, "trials.jsonl:5: is not there")


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"1\n", b"null\n", b"\xff\n", b'{"previous":1}\n', b"[" * 5000 + b"\n"])
def test_a_line_that_is_no_record_blocks(state: Path, line: bytes) -> None:
    log_of(state).write_bytes(log_of(state).read_bytes() + line)
    check_blocked(state, "trials.jsonl:6: ")


@pytest.mark.parametrize(
    "change", [{"kind": "else"}, {"kind": []}, {"more": 1}, {"last_date": "2019-01-01"}, {"policy": None}, {"run_id": None}]
)
def test_a_chained_line_that_is_no_record_of_ours_blocks(state: Path, change: dict[str, object]) -> None:
    previous = hashlib.sha256(lines_of(state)[-1][:-1]).hexdigest()
    line = json.dumps({**json.loads(lines_of(state)[0]), "previous": previous, **change}).encode() + b"\n"
    log_of(state).write_bytes(log_of(state).read_bytes() + line)
    check_blocked(state, "trials.jsonl:6: is not a record of this log")


def test_two_records_ahead_of_the_head_block(state: Path) -> None:
    old = head_of(state).read_bytes()
    append_trial(state, trial(4))
    append_trial(state, trial(5))
    head_of(state).write_bytes(old)
    check_blocked(state, "trials.jsonl:6: the head counts 5 records of 7; a crash leaves at most one more")


def test_a_record_ahead_with_a_torn_line_after_it_blocks(state: Path) -> None:
    old = head_of(state).read_bytes()
    append_trial(state, trial(4))
    head_of(state).write_bytes(old)
    log_of(state).write_bytes(log_of(state).read_bytes() + b"{")
    check_blocked(state, "trials.jsonl:6: the head counts 5 records of 6")


def test_a_deleted_log_blocks(state: Path) -> None:
    shutil.rmtree(log_of(state).parent)
    check_blocked(state, "trials.jsonl:1: does not exist, but .*trials.head.json counts its records: it was deleted")


def test_a_deleted_head_blocks(state: Path) -> None:
    head_of(state).unlink()
    check_blocked(state, "trials.head.json:1: does not exist, but .*trials.jsonl does: it was deleted")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"count": 4}, "trials.jsonl:4: is not the record that the head holds"),
        ({"count": 6}, "trials.jsonl:6: is not there"),
        ({"count": -1}, "trials.head.json:1: count -1 is below 0"),
        ({"count": True}, "trials.head.json:1: is not a head"),
        ({"count": 5.0}, "trials.head.json:1: is not a head"),
        ({"hash": GENESIS}, "trials.jsonl:5: is not the record that the head holds"),
        ({"count": 0}, "trials.jsonl:1: is not the record that the head holds"),
        ({"count": 0, "hash": GENESIS}, "trials.jsonl:1: the head counts 0 records of 5"),
        ({"more": 1}, "trials.head.json:1: is not a head"),
    ],
)
def test_an_edited_head_blocks(state: Path, changes: dict[str, object], match: str) -> None:
    edit_head(state, **changes)
    check_blocked(state, match)


def test_a_kept_head_shows_that_log_and_head_were_replaced(state: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(state, tmp_path / "old"))
    kept = append_trial(state, trial(4)).head
    assert read_log(state).extends(kept)
    assert read_log(state).extends(read_log(old).head)
    assert not read_log(old).extends(kept)
    assert append_trial(state, trial(5)).extends(kept)
    assert not read_log(state).extends(Head(count=1, hash=kept.hash))
    assert read_log(state).extends(Head(count=0, hash=GENESIS))


def test_a_log_that_cannot_be_read_or_written(state: Path, tmp_path: Path) -> None:
    log_of(state).unlink()
    log_of(state).mkdir()
    with pytest.raises(TrialLogBroken, match="trials.jsonl: cannot be read"):
        read_log(state)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="lock: cannot be opened"):
        append_trial(tmp_path / "file", trial(1))


def test_what_may_not_be_seen_is_not_absent(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", forbidden)
    with pytest.raises(TrialLogBroken, match="cannot be read: Permission denied"):
        read_log(state)


def test_a_file_system_without_locks_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(handle: int, kind: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(trial_log.fcntl, "flock", none_left)
    with pytest.raises(OutputError, match="lock: cannot be locked: No locks available"):
        read_log(state)


def test_a_lock_that_others_hold_is_not_waited_for_forever(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "_LOCK_TRIES", 3)
    with (state / "trials" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert read_log(state).head.count == 5
        with pytest.raises(OutputError, match="lock: another process holds it for 0.03 s"):
            append_trial(state, trial(4))


def test_a_lock_that_was_deleted_and_made_again_is_taken_anew(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, flock, calls = state / "trials" / "lock", fcntl.flock, []

    def meanwhile(handle: int, kind: int) -> None:
        flock(handle, kind)
        if not calls:
            lock.unlink()
        calls.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(trial_log.fcntl, "flock", meanwhile)
    append_trial(state, trial(4))
    assert len(calls) == 2
    assert calls[1] == lock.stat().st_ino


# any damage at all


def damage(content: bytes, kind: str, a: int, b: int, junk: bytes) -> bytes | None:
    """`content` after one edit at, or between, bytes a <= b; of whole lines where the edit is of lines."""
    lines = content.splitlines(keepends=True) or [b""]
    i, j = content[:a].count(b"\n") % len(lines), content[:b].count(b"\n") % len(lines)
    swapped = list(lines)
    swapped[i], swapped[j] = lines[j], lines[i]
    made = {
        "delete": None,
        "truncate": content[:a],
        "cut": content[:a] + content[b:],
        "insert": content[:a] + junk + content[a:],
        "replace": content[:a] + junk[:1] + content[a + 1 :],
        "swap": b"".join(swapped),
        "drop": b"".join(lines[:i] + lines[i + 1 :]),
        "repeat": b"".join([*lines[:i], lines[j], *lines[i:]]),
    }
    return made[kind]


@st.composite
def damages(draw: st.DrawFn, log: bytes, head: bytes) -> tuple[bytes | None, bytes | None]:
    """Log and head after one to three edits of either, or with their contents traded; None is a deleted file."""
    files: list[bytes | None] = [log, head]
    kinds = st.sampled_from(["delete", "truncate", "cut", "insert", "replace", "swap", "drop", "repeat"])
    for _ in range(draw(st.integers(1, 3))):
        which = draw(st.integers(0, 1))
        content = files[which]
        if content is not None:
            a, b = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
            files[which] = damage(content, draw(kinds), a, b, draw(st.binary(min_size=1, max_size=4)))
    if draw(st.integers(0, 9)) == 0:
        files.reverse()
    return files[0], files[1]


@pytest.fixture(scope="module")
def damaged(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    state = tmp_path_factory.mktemp("damaged")
    (state / "trials").mkdir()
    (state / "trials" / "lock").touch()
    return state, log_of(shared).read_bytes(), head_of(shared).read_bytes()


@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_no_damage_loses_an_acknowledged_record_in_silence(damaged: tuple[Path, bytes, bytes], data: st.DataObject) -> None:
    """Each is refused, or leaves every acknowledged record and no other. Only both files gone cannot be seen."""
    state, log, head = damaged
    files = data.draw(damages(log, head))
    for path, content in zip((log_of(state), head_of(state)), files, strict=True):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    try:
        found = read_log(state)
    except TrialLogBroken:
        return
    if files == (None, None):
        assert found == TrialLog()
        return
    acknowledged = [hashlib.sha256(line).hexdigest() for line in log.splitlines()]
    assert list(found.hashes) == acknowledged
