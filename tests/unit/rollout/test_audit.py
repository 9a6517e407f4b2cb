"""The audit log: what is recorded comes back bit for bit, what is changed is named, and every decision can be told from the files alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.errors import BrokenInvariant, DataError
from policyengine.execution.chain import Chain, digest_of, segment
from policyengine.execution.journal import Journal, JournalBroken
from policyengine.market.audit_view import read_decisions
from policyengine.records import Bucket, Sleeve
from policyengine.rollout.audit import AuditConflict, AuditLog
from policyengine.rollout.audit_reading import find, read, verify, verify_decisions
from policyengine.rollout.audit_records import (
    Begin,
    Breach,
    Checkpoint,
    Intent,
    Kill,
    Outcome,
    Record,
    Recovery,
    Reset,
    Transition,
    decision_id_of,
    recomputed,
)
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import SignatureInvalid
from policyengine.spec.bind import plain
from schemas import audit as contract
from schemas.market import ContractBroken

MONDAY = date(2020, 1, 6)
AT = "2020-01-06T21:00:00+00:00"
KEY = b"a key"


def intent(number: int, *, session: date = MONDAY, **changes: Any) -> Intent:
    """0.6 x 0.8 x 0.9 is 0.432 from left to right, and 0.43200000000000005 in any other order."""
    symbol, evidence = f"S{number}", "e" * 64
    values: dict[str, Any] = {
        "recorded_at": AT,
        "decision_id": decision_id_of("paper", session, symbol, evidence, "p" * 64),
        "account": "paper",
        "session": session,
        "signal_id": f"signal-{number}",
        "symbol": symbol,
        "bucket": Bucket.CORE,
        "sleeve": Sleeve.TS_CORE,
        "base_confidence": 0.6,
        "multipliers": (("bucket", 0.8), ("regime", 0.9)),
        "effective_confidence": 0.432,
        "baseline_size": 0.1 + 0.2,
        "candidate_size": -0.05,
        "acted_size": 0.1 + 0.2,
        "limits": ("core.max_frac",),
        "mode": State.SHADOW,
        "evidence_hash": evidence,
        "policy_hash": "p" * 64,
        "config_hash": "c" * 64,
        "code_hash": "d" * 64,
        "reasons": (),
    }
    return Intent(**{**values, **changes})


def outcome(of: Intent, **changes: Any) -> Outcome:
    filled = {"client_order_id": "o_1", "quantity": 3.0, "price": 101.25, "cost": 0.3, "refusal": None}
    return Outcome(**{"recorded_at": AT, "decision_id": of.decision_id, **filled, **changes})


def transition(before: State, after: State, **changes: Any) -> Transition:
    why = {"by": "ada", "why": "as planned", "evidence_hash": None, "evidence_made_at": None, "approved_by": ()}
    return Transition(**{"recorded_at": AT, "before": before, "after": after, **why, **changes})


KILL = Kill(recorded_at=AT, event_id="k_1", engaged_at=AT, sources=("file",), drill=False, by=None, why=None)
RESET = Reset(recorded_at=AT, event_id="k_1", released_at=AT, drill=False, by="ada", statement="{}")
BREACH = Breach(recorded_at=AT, session=MONDAY, name="hard_loss", observed=0.031, threshold=0.03, why="the canary lost 3.1%")


def opened(folder: Path, **options: Any) -> AuditLog:
    return AuditLog(folder, recorded_at=AT, **options)


def sign(message: bytes) -> bytes:
    return hmac.digest(KEY, message, "sha256")


def signed(message: bytes, signature: bytes, recorded_at: str) -> bool:
    if not hmac.compare_digest(signature, sign(message)):
        raise SignatureInvalid("signature", "is of other bytes")
    return recorded_at <= AT


def sessions(folder: Path, count: int, *, per_session: int = 3, **options: Any) -> Path:
    """A log of `count` sessions: intents at once, outcomes one by one, a checkpoint."""
    with opened(folder, **options) as log:
        for day in range(count):
            intents = [intent(n, session=MONDAY + timedelta(days=day)) for n in range(per_session)]
            log.append_many(intents)
            for one in intents:
                log.append(outcome(one))
            log.checkpoint(recorded_at=AT, why="session", session=MONDAY + timedelta(days=day))
    return folder


def test_records_come_back_bit_for_bit(tmp_path: Path) -> None:
    odd = intent(1, base_confidence=5e-324, multipliers=(), effective_confidence=5e-324, acted_size=None, symbol="a\n\u2028\ud800</script>")
    odd = replace(odd, decision_id=decision_id_of("paper", MONDAY, odd.symbol, odd.evidence_hash, odd.policy_hash))
    given = [intent(0), odd, outcome(odd, quantity=-0.0, price=None, client_order_id=None, refusal="no_price"), KILL, RESET, BREACH]
    with opened(tmp_path / "state" / "audit") as log:
        log.append_many(given[:2])
        log.append_many(given[2:])
        log.append(transition(State.OFF, State.SHADOW))
    found = list(read(tmp_path / "state" / "audit"))
    why = Checkpoint(recorded_at=AT, session=None, why="transition to shadow", signature=None)
    assert found == [Begin(recorded_at=AT), *given, transition(State.OFF, State.SHADOW), why]
    assert repr(found[1:7]) == repr(given)  # also what == cannot tell: -0.0
    assert [*read(tmp_path / "state" / "audit", Kill, Reset)] == [KILL, RESET]
    assert verify(tmp_path / "state" / "audit", deep=True).count == 9


def test_the_multipliers_of_a_record_are_what_sizing_did() -> None:
    assert recomputed(intent(0)) == 0.432 != 0.6 * (0.8 * 0.9)
    assert recomputed(intent(0, multipliers=(("bucket", 3.0),))) == 1.0
    assert recomputed(intent(0, multipliers=(("bucket", -1.0),))) == 0.0
    assert recomputed(intent(0, multipliers=())) == 0.6
    assert recomputed(intent(0, base_confidence=None)) is None


def test_a_decision_id_is_the_same_for_the_same_decision_and_no_other() -> None:
    text = b'["paper", "2020-01-06", "SPY", null, "p"]'
    made = decision_id_of("paper", MONDAY, "SPY", None, "p")
    assert made == "d_" + hashlib.sha256(text).hexdigest()[:32]
    tuesday = MONDAY + timedelta(days=1)
    others = [("paper2", MONDAY, "SPY", None, "p"), ("paper", tuesday, "SPY", None, "p"), ("paper", MONDAY, "QQQ", None, "p")]
    others += [("paper", MONDAY, "SPY", "e", "p"), ("paper", MONDAY, "SPY", None, "q"), ("paper", MONDAY, "SPY", "null", "p")]
    assert len({made, *(decision_id_of(*words) for words in others)}) == 7


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (intent(0, acted_size=float("nan")), "acted_size: nan is not finite"),
        (intent(0, baseline_size=float("inf")), "baseline_size: inf is not finite"),
        (intent(0, base_confidence=True), "base_confidence: true is not a number"),
        (intent(0, symbol=None), "symbol: None is not a text"),
        (intent(0, reasons=["a list"]), "would not be read as it is"),
        (intent(0, effective_confidence=0.43200000000000005), r"0\.43200000000000005 does not follow .* which make 0\.432:"),
        (intent(0, effective_confidence=None), "effective_confidence None does not follow"),
        (intent(0, base_confidence=None), "does not follow from base and multipliers, which make None"),
        (
            intent(0, base_confidence=1.5, multipliers=(("bucket", 0.5),), effective_confidence=0.75),
            r"base_confidence 1\.5 is not in \[0, 1\]",
        ),
        (intent(0, account="other"), "decision_id d_.* is not that of its account"),
        (intent(0, recorded_at="2020-01-06T21:00:00"), "recorded_at '2020-01-06T21:00:00' is not an instant in UTC"),
        (intent(0, recorded_at="2020-01-06T21:00:00+01:00"), "is not an instant in UTC"),
        (intent(0, recorded_at="2020-01-06 21:00:00+00:00"), "is not an instant in UTC"),
        (intent(0, recorded_at="soon"), "recorded_at 'soon' is not an instant"),
        (outcome(intent(1), cost=-0.1), r"cost -0\.1 is below 0"),
        (outcome(intent(1), price=None), r"quantity 3\.0 without a price or an order"),
        (outcome(intent(1), client_order_id=None), "without a price or an order"),
        (outcome(intent(2)), "outcome of d_.*, which was not intended"),
        (replace(KILL, engaged_at="now"), "engaged_at 'now' is not an instant"),
    ],
)
def test_what_cannot_be_is_not_recorded(tmp_path: Path, record: Any, message: str) -> None:
    """And nothing of what came with it."""
    with opened(tmp_path) as log:
        log.append(intent(1))
        before = segment(tmp_path, 1).read_bytes()
        with pytest.raises(BrokenInvariant, match=message):
            log.append_many([intent(5), record])
        assert segment(tmp_path, 1).read_bytes() == before
        log.append(intent(5))
    assert verify(tmp_path, deep=True).count == 3


def test_the_same_again_is_not_written_again(tmp_path: Path) -> None:
    """A restart records the open session, or the one closed last, once more, and at another time."""
    late = "2020-01-06T22:00:00+00:00"
    sessions(tmp_path, 2)
    tuesday = MONDAY + timedelta(days=1)
    again = [intent(n, session=tuesday, recorded_at=late) for n in range(3)]
    open_one = intent(0, session=tuesday + timedelta(days=1))
    for _ in range(2):
        with opened(tmp_path) as log:
            log.append_many([*again, open_one, KILL, RESET])
            log.append_many([outcome(again[0], recorded_at=late), replace(KILL, recorded_at=late)])
            assert log.outcome(again[0].decision_id) == outcome(again[0])
            assert log.outcome(open_one.decision_id) is None
            assert verify(tmp_path, deep=True).count == 18
            with pytest.raises(AuditConflict, match="has its outcome; this is another intent"):
                log.append(replace(again[0], acted_size=0.0))
            with pytest.raises(AuditConflict, match="has its outcome; this is another outcome"):
                log.append(outcome(again[0], quantity=4.0))
            log.append_many([])
    assert verify(tmp_path, deep=True).count == 18


def test_the_session_that_was_closed_last_is_still_known(tmp_path: Path) -> None:
    """It is closed here before it is closed at the broker, or after: whichever a crash kept from happening is done again."""
    tuesday = MONDAY + timedelta(days=1)
    with opened(tmp_path) as log:
        for session in (MONDAY, tuesday):
            log.append(intent(0, session=session))
            log.append(outcome(intent(0, session=session)))
            log.checkpoint(recorded_at=AT, why="session", session=session)
            log.append_many([intent(0, session=session), outcome(intent(0, session=session))])
            assert log.outcome(intent(0, session=session).decision_id) is not None
        assert log.outcome(intent(0).decision_id) is None
    assert len([*read(tmp_path, Intent, Outcome)]) == 4


def test_another_intent_stands_as_long_as_nothing_was_done(tmp_path: Path) -> None:
    first, second = intent(0), intent(0, mode=State.KILLED, acted_size=0.0, reasons=("killed",))
    with opened(tmp_path) as log:
        log.append(first)
    with opened(tmp_path) as log:
        log.append(second)
        log.append(outcome(second))
    found = find(tmp_path, first.decision_id)
    assert found is not None
    assert (found.seq, found.intents, found.outcome) == (3, (first, second), outcome(second))


def test_all_that_is_known_of_a_decision(tmp_path: Path) -> None:
    up = transition(State.SHADOW, State.CANARY, evidence_hash="e" * 64, evidence_made_at=AT, approved_by=("grace",))
    acted, other = intent(1, mode=State.CANARY), intent(2)
    with opened(tmp_path, segment_bytes=1500) as log:
        log.append(transition(State.OFF, State.SHADOW))
        log.append(transition(State.SHADOW, State.OFF))
        log.append(transition(State.OFF, State.SHADOW, why="once more"))
        log.append(up)
        log.append(KILL)
        log.append_many([acted, other])
        log.append(BREACH)
        log.append(outcome(acted))
    found = find(tmp_path, acted.decision_id)
    assert found is not None
    assert (found.intents, found.outcome) == ((acted,), outcome(acted))
    assert found.context == (transition(State.OFF, State.SHADOW, why="once more"), up, KILL)
    unfinished = find(tmp_path, other.decision_id)
    assert unfinished is not None
    assert unfinished.outcome is None
    assert find(tmp_path, "d_none") is None
    assert find(tmp_path / "nowhere", "d_none") is None


def test_one_writer_and_readers_that_need_no_lock(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(intent(0))
        with pytest.raises(NotStarted, match="LOCK_HELD: .*lock: another process writes this journal") as refusal:
            opened(tmp_path)
        assert (refusal.value.code, refusal.value.exit_code) == (Code.LOCK_HELD, 5)
        reading = read(tmp_path)
        assert next(reading) == Begin(recorded_at=AT)
        log.append(intent(1))
        assert [*read(tmp_path, Intent)] == [intent(0), intent(1)]
        assert verify(tmp_path, deep=True).count == 3
    opened(tmp_path).close()


def test_a_log_knows_the_latest_instant(tmp_path: Path) -> None:
    times = ["2020-01-06T21:00:00.500000+00:00", "2020-01-06T21:00:01+00:00", "2020-01-05T00:00:00+00:00"]
    with opened(tmp_path) as log:
        for number, at in enumerate(times):
            log.append(replace(BREACH, recorded_at=at))
            assert log.seen_at == max(AT, *times[: number + 1])
    with opened(tmp_path) as log:
        assert log.seen_at == times[1]


def test_a_folder_that_holds_another_journal_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path, {"kind": "open"}).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):
        with pytest.raises(NotStarted, match=r"AUDIT_BROKEN: .*journal\.jsonl:1: does not begin an audit log"):
            opened(tmp_path)
    with pytest.raises(NotStarted, match=r"journal\.jsonl:1: is not a record of an audit log: KeyError 'open'"):
        verify(tmp_path, deep=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_log_that_was_closed_takes_no_record_and_leaves_the_head_alone(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.close()
    sessions(tmp_path, 1)
    head = (tmp_path / "head.json").read_bytes()
    log.close()
    assert (tmp_path / "head.json").read_bytes() == head
    with pytest.raises(NotStarted, match="AUDIT_UNWRITABLE"):
        log.append(intent(9))
    assert verify(tmp_path, deep=True).count == 8


def test_records_that_are_recorded_together_are_one_write_and_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new segment is synced before it has its name, then its folder, then the head; a checkpoint is followed by the head."""
    calls: list[tuple[str, str]] = []

    def listening(name: str) -> None:
        real: Callable[..., object] = getattr(os, name)

        def call(handle: int, *rest: object) -> object:
            calls.append((name, Path(f"/proc/self/fd/{handle}").readlink().name))
            return real(handle, *rest)

        monkeypatch.setattr(os, name, call)

    listening("write")
    listening("fsync")
    head = [("write", ".head.json"), ("fsync", ".head.json"), ("fsync", "audit")]
    with opened(tmp_path / "audit", segment_bytes=20_000) as log:
        calls.clear()
        log.append_many([intent(n) for n in range(20)])
        assert calls == [("write", "journal.jsonl"), ("fsync", "journal.jsonl")]
        calls.clear()
        log.checkpoint(recorded_at=AT, why="session", session=MONDAY)
        assert calls == [("write", "journal.jsonl"), ("fsync", "journal.jsonl"), *head]
        calls.clear()
        log.append_many([intent(n) for n in range(20, 40)])
        new = "journal-000000000023.jsonl"
        assert calls == [("write", f".{new}"), ("fsync", f".{new}"), ("fsync", "audit"), *head]


# Segments


def test_segments_keep_the_chain(tmp_path: Path) -> None:
    sessions(tmp_path, 8, segment_bytes=4_000)
    verified = verify(tmp_path, deep=True)
    assert verified.count == 1 + 8 * 7
    assert len(verified.segments) > 4
    assert [path.name for path in verified.segments[:1]] == ["journal.jsonl"]
    last, seq = "0" * 64, 0
    for path in verified.segments:
        lines = path.read_bytes().splitlines()
        assert path == segment(tmp_path, seq + 1)
        assert len(path.read_bytes()) <= 4_000
        for line in lines:
            record, seq = json.loads(line), seq + 1
            assert (record["seq"], record["previous"]) == (seq, last)
            last = hashlib.sha256(line).hexdigest()
    assert (verified.count, verified.head) == (seq, last)
    assert len([*read(tmp_path, Intent)]) == 24


def test_records_that_are_recorded_together_stand_in_one_segment(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=100) as log:
        log.append_many([intent(n) for n in range(5)])
        log.append(outcome(intent(0)))
    assert [path.name for path in verify(tmp_path, deep=True).segments] == [
        "journal.jsonl",
        "journal-000000000002.jsonl",
        "journal-000000000007.jsonl",
    ]


def test_a_later_size_of_segments_changes_nothing_that_stands(tmp_path: Path) -> None:
    sessions(tmp_path, 3, segment_bytes=3_000)
    before = verify(tmp_path, deep=False).segments
    with opened(tmp_path) as log:
        log.append(intent(7))
    assert verify(tmp_path, deep=True).segments == before


# What was changed is named, exactly


def broken(folder: Path) -> JournalBroken:
    """The refusal of the writer and of the reader, which are the same; nothing was written."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(NotStarted) as refusal:
        verify(folder, deep=False)
    with pytest.raises(NotStarted) as of_writer:
        opened(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert refusal.value.code is of_writer.value.code is Code.AUDIT_BROKEN
    assert str(refusal.value) == str(of_writer.value)
    cause = refusal.value.__cause__
    assert isinstance(cause, JournalBroken)
    assert f"record {cause.seq}" in str(refusal.value)
    return cause


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in segments; take a copy."""
    return sessions(tmp_path_factory.mktemp("standing"), 15, segment_bytes=6_000)


Change = Callable[[list[bytes]], list[bytes]]
"""Of the lines of one segment; the first is number 0."""


@pytest.mark.parametrize(
    ("change", "row", "seq"),
    [
        (lambda x: [*x[:3], x[3].replace(b'"2020-', b'"2021-', 1), *x[4:]], 4, 3),
        (lambda x: [*x[:3], x[3].replace(b'"previous":"', b'"previous":"0', 1), *x[4:]], 3, 3),
        (lambda x: [*x[:3], x[3].replace(b'{"seq":', b'{"seq":1', 1), *x[4:]], 3, 3),
        (lambda x: [*x[:3], x[3].replace(b'{"seq":', b'{"sex":', 1), *x[4:]], 3, 3),
        (lambda x: [*x[:3], x[3].replace(b"{", b"[", 1), *x[4:]], 3, 3),
        (lambda x: [*x[:3], x[3][:-1] + b" ", *x[4:]], 4, 3),  # two lines become one
        (lambda x: [*x[:3], x[3].replace(b",", b"\n", 1), *x[4:]], 3, 3),  # one line becomes two
        (lambda x: [*x[:3], x[3].replace(b'"recorded_at"', b'\n"recorded_at"'), *x[4:]], 4, 3),
        (lambda x: [*x[:3], *x[4:]], 3, 3),
        (lambda x: [*x[:3], *x[5:]], 3, 3),
        (lambda x: [*x[:3], x[4], x[3], *x[5:]], 3, 3),
        (lambda x: [*x[:3], x[5], x[4], x[3], *x[6:]], 3, 3),
        (lambda x: [*x[:4], x[3], *x[4:]], 4, 3),
        (lambda x: [*x[:5], x[3], *x[5:]], 5, 5),
        (lambda x: [*x[:3], b"{}\n", *x[3:]], 3, 3),
        (lambda x: [*x[:3], b"\n", *x[3:]], 3, 3),
        (lambda x: [*x[:3], x[3].replace(b'"2020-', b'"2021-', 1), *x[3:]], 4, 3),  # a forged record under the right number and hash
        (lambda x: x[1:], 0, 0),
        (lambda x: x[:-1], -1, -1),
        (lambda x: [*x[:-1], x[-1][:-1]], -1, -1),
        (lambda x: [*x[:-1], x[-1].replace(b'"kind"', b'"kimd"')], None, -1),
        (lambda x: [x[0].replace(b'"kind"', b'"kimd"'), *x[1:]], 1, 0),
        (
            lambda x: [*x[:-1], x[-1].replace(b'"previous":"', b'"previous":"0', 1)],
            -1,
            -1,
        ),  # only what follows tells it from the one before
        (lambda x: [*x[:-2], x[-2].replace(b'"kind"', b'"kimd"'), x[-1]], -1, -2),
    ],
)
@pytest.mark.parametrize("where", [0, 2, -1])
def test_the_record_that_was_changed_is_named(
    standing: Path, tmp_path: Path, change: Change, row: int | None, seq: int, where: int
) -> None:
    """In the first segment, one in the middle and the last; `row` is where the chain breaks, `seq` the record that was changed."""
    shutil.copytree(standing, tmp_path, dirs_exist_ok=True)
    segments = verify(tmp_path, deep=False).segments
    path = segments[where]
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 6
    first = json.loads(lines[0])["seq"]
    assert change(lines) != lines
    path.write_bytes(b"".join(change(lines)))
    found = broken(tmp_path)
    assert found.seq == first + seq % len(lines)
    if row is None:  # the last line of a segment is held to what follows it: the next segment, or the head
        follows = len(lines) - 1 if where == -1 else 0
        named = segments[segments.index(path) + (where != -1)]
        assert found.place == f"{named}:{follows + 1}"
    else:
        assert found.place == f"{path}:{row % len(lines) + 1}"


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        (lambda x: [*x[:-1], x[-1].replace(b"{", b"[", 1)], 4),
        (lambda x: [*x[:-1], x[-1].replace(b'"by":null', b'"by":nul')], 4),
        (lambda x: [*x[:-1], x[-1].replace(b'"by":null', b'"by":NaN')], 4),
        (lambda x: [*x[:-2], x[-2].replace(b'"by":null', b'"by":"eve"'), x[-1]], 3),
    ],
)
def test_records_that_no_head_counts_yet_are_held_to_what_a_record_is(tmp_path: Path, change: Change, seq: int) -> None:
    """A crash may leave them. Which of the last two was changed cannot be told; the first of them is named."""
    log = opened(tmp_path)
    for number in range(3):
        log.append(replace(KILL, event_id=f"k_{number}"))
    log._journal.close()
    path = segment(tmp_path, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    assert change(lines) != lines
    path.write_bytes(b"".join(change(lines)))
    found = broken(tmp_path)
    assert (found.seq, found.place) == (seq, f"{path}:4")


def test_a_log_that_is_begun_while_a_reader_looks_is_read(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    opened(tmp_path).close()
    assert len([*chain.lines()]) == 1


@pytest.mark.parametrize("key", ["seq", "previous"])
def test_a_record_may_not_name_what_is_the_journals(tmp_path: Path, key: str) -> None:
    journal = Journal(tmp_path, {"kind": "open"})
    with pytest.raises(BrokenInvariant, match="a key that is no text or is the journal's own"):
        journal.append({"kind": "note", key: 2})
    journal.append({"kind": "note"})
    journal.close()
    assert len(journal.found) == 2


@pytest.mark.parametrize("number", [0, 1, 2, -2, -1])
def test_a_segment_that_is_gone_is_named(standing: Path, tmp_path: Path, number: int) -> None:
    shutil.copytree(standing, tmp_path, dirs_exist_ok=True)
    path = verify(tmp_path, deep=False).segments[number]
    first = json.loads(path.read_bytes().splitlines()[0])["seq"]
    path.unlink()
    assert broken(tmp_path).seq == first


def test_a_segment_that_is_gone_and_not_counted_yet_still_shows_what_it_leaves_behind(tmp_path: Path) -> None:
    """The head is put back as it once was: what is behind the gap is there all the same."""
    sessions(tmp_path, 8, segment_bytes=4_000)
    paths = verify(tmp_path, deep=False).segments
    first = paths[0].read_bytes().splitlines()
    (tmp_path / "head.json").write_text(json.dumps({"count": 1, "hash": digest_of(first[0])}))
    paths[1].unlink()
    found = broken(tmp_path)
    assert (found.seq, found.place) == (len(first) + 1, f"{paths[2]}:1")


def test_the_head_is_written_with_each_checkpoint_and_each_segment(tmp_path: Path) -> None:
    def counted() -> int:
        return int(json.loads((tmp_path / "head.json").read_bytes())["count"])

    with opened(tmp_path, segment_bytes=3_000) as log:
        log.append(intent(0))
        assert counted() == 1
        log.checkpoint(recorded_at=AT, why="session", session=MONDAY)
        assert counted() == 3
        log.append(transition(State.OFF, State.SHADOW))
        assert counted() == 5
        log.append(intent(1))
        assert counted() == 5
        log.append(intent(2))
        assert (counted(), len(verify(tmp_path, deep=False).segments)) == (7, 2)
        log.append(KILL)
    assert counted() == 8


def test_a_writer_whose_file_is_changed_under_it_stops(tmp_path: Path) -> None:
    changes: list[Callable[[Path], object]] = [
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: shutil.copy(path, path.with_name("copy")) and path.with_name("copy").replace(path),
        Path.unlink,
    ]
    for number, change in enumerate(changes):
        log = opened(tmp_path / str(number))
        change(segment(tmp_path / str(number), 1))
        for _ in range(2):
            with pytest.raises(NotStarted, match="AUDIT_BROKEN|AUDIT_UNWRITABLE"):
                log.append(intent(0))
        log.close()


def test_a_torn_last_line_is_moved_aside_and_recorded(tmp_path: Path) -> None:
    sessions(tmp_path, 8, segment_bytes=4_000)
    verified = verify(tmp_path, deep=False)
    torn = b'{"seq":58,"previous":"half of a rec'
    with verified.segments[-1].open("ab") as file:
        file.write(torn)
    (tmp_path / ".journal-000000000058.jsonl").write_bytes(b"half of a segment")
    assert verify(tmp_path, deep=True) == verified  # a reader sees what is whole
    for _ in range(2):
        opened(tmp_path, segment_bytes=4_000).close()
        (note,) = read(tmp_path, Recovery)
        assert (note.size, note.sha256) == (len(torn), hashlib.sha256(torn).hexdigest())
        assert (tmp_path / note.file).read_bytes() == torn
        assert verify(tmp_path, deep=True).count == 58
        assert not [*tmp_path.glob(".*")]


# Checkpoints


def test_a_signature_covers_every_record_before_its_checkpoint(tmp_path: Path) -> None:
    sessions(tmp_path, 3, sign=sign)
    found = verify(tmp_path, deep=False, signed=signed)
    assert (found.signed, found.vouched) == (21, True)
    assert verify(tmp_path, deep=True, signed=signed) == found
    assert verify(tmp_path, deep=True).signed is None
    assert not verify(tmp_path, deep=True).vouched
    with opened(tmp_path) as log:
        log.append(intent(9))
        log.checkpoint(recorded_at=AT, why="nobody signs")
    found = verify(tmp_path, deep=False, signed=signed)
    assert (found.signed, found.vouched) == (21, False)


def test_a_signature_by_somebody_who_does_not_count_counts_for_nothing(tmp_path: Path) -> None:
    with opened(sessions(tmp_path, 1, sign=sign), sign=sign) as log:
        log.checkpoint(recorded_at="2020-01-07T21:00:00+00:00", why="the key has run out")
    found = verify(tmp_path, deep=False, signed=signed)
    assert (found.signed, found.vouched) == (7, False)
    assert verify(tmp_path, deep=False, signed=lambda *_: False).signed == 0


def forged_from(folder: Path, seq: int, change: Callable[[dict[str, Any]], None]) -> None:
    """The log written anew from record `seq` on, by somebody who makes chain and head right again."""
    path = segment(folder, 1)
    values = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(values[seq - 1])
    last, lines = "0" * 64, []
    for value in values:
        line = json.dumps({**value, "previous": last}, separators=(",", ":")).encode()
        last = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))
    (folder / "head.json").write_text(json.dumps({"count": len(values), "hash": last}))


def test_a_log_that_was_written_anew_shows_only_in_its_signatures(tmp_path: Path) -> None:
    sessions(tmp_path, 3, sign=sign)
    forged_from(tmp_path, 6, lambda record: record.update(price=100.0))
    assert verify(tmp_path, deep=True).count == 22
    with pytest.raises(NotStarted, match="record 8: its signature is not one of the 7 records"):
        verify(tmp_path, deep=False, signed=signed)


@pytest.mark.parametrize("signature", ["no base64!", base64.b64encode(b"another").decode()])
def test_a_signature_that_is_none(tmp_path: Path, signature: str) -> None:
    sessions(tmp_path, 1, sign=sign)
    forged_from(tmp_path, 8, lambda record: record.update(signature=signature))
    with pytest.raises(NotStarted, match="AUDIT_BROKEN: .*:8: record 8: its signature"):
        verify(tmp_path, deep=False, signed=signed)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"base_confidence": 0.61}, "effective_confidence 0.432 does not follow"),
        ({"multipliers": [["regime", 0.9], ["bucket", 0.8]]}, "does not follow from base and multipliers, which make 0.43200000000000005"),
        ({"symbol": "X"}, "decision_id d_.* is not that of its"),
    ],
)
def test_decisions_that_do_not_follow_from_their_record_are_named(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    sessions(tmp_path, 1)
    assert verify_decisions(tmp_path) == ()
    forged_from(tmp_path, 3, lambda record: record.update(change))
    ((seq, flaw),) = verify_decisions(tmp_path)
    assert seq == 3
    with pytest.raises(NotStarted, match=rule) as refusal:
        verify(tmp_path, deep=True)
    assert f"journal.jsonl:3: record 3: {flaw}" in str(refusal.value)
    verify(tmp_path, deep=False)


def test_outcomes_that_cannot_be_are_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path, plain(Begin(recorded_at=AT)))
    one, two = intent(1), intent(2)
    journal.append_many([plain(record) for record in (outcome(one), two, outcome(two), outcome(two, quantity=9.0), two, one)])
    journal.close()
    assert verify_decisions(tmp_path) == (
        (2, f"decision {one.decision_id} was never intended"),
        (5, f"decision {two.decision_id} has its outcome already"),
        (6, f"decision {two.decision_id} has its outcome already"),
        (7, f"decision {one.decision_id} has its outcome already"),
    )


@pytest.mark.parametrize(
    "change",
    [{"kind": "else"}, {"kind": ["intent"]}, {"extra": 1}, {"bucket": "Core"}, {"mode": "LIVE"}, {"session": "soon"}, {"cost": 10**400}],
)
def test_a_record_that_is_none_of_an_audit_log_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    sessions(tmp_path, 1)
    forged_from(tmp_path, 5 if "cost" in change else 2, lambda record: record.update(change))
    with pytest.raises(NotStarted, match=r"AUDIT_BROKEN: .*journal\.jsonl:[25]: is not a record of an audit log"):
        verify(tmp_path, deep=True)
    with pytest.raises(NotStarted, match="is not a record of an audit log"):
        list(read(tmp_path))


def test_a_line_with_a_key_twice_is_no_record(tmp_path: Path) -> None:
    """Under a right chain and head: readers that take the first and those that take the last would read two logs."""
    sessions(tmp_path, 1)
    path = segment(tmp_path, 1)
    lines = path.read_bytes().splitlines()
    lines[-1] = lines[-1].replace(b'"why":', b'"why":"x","why":')
    path.write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "head.json").write_text(json.dumps({"count": 8, "hash": hashlib.sha256(lines[-1]).hexdigest()}))
    assert verify(tmp_path, deep=False).count == 8
    with pytest.raises(NotStarted, match=r"journal\.jsonl:8: is not a record of a journal: a key stands twice"):
        verify(tmp_path, deep=True)


def test_records_of_a_kind_are_found_however_they_are_spelled(tmp_path: Path) -> None:
    """A kill that another program wrote with spaces is a kill."""
    opened(tmp_path).close()
    path = segment(tmp_path, 1)
    first = path.read_bytes().splitlines()[0]
    record = {"seq": 2, "previous": hashlib.sha256(first).hexdigest(), **plain(KILL)}
    with path.open("ab") as file:
        file.write(json.dumps(record).encode() + b"\n")
    assert [*read(tmp_path, Kill)] == [KILL]
    with opened(tmp_path) as log:
        log.append(KILL)
    assert [*read(tmp_path, Kill)] == [KILL]


def test_a_log_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    found = verify(tmp_path / "nowhere", deep=True, signed=signed)
    assert (found.count, found.segments, found.signed) == (0, (), 0)
    assert [*read(tmp_path / "nowhere")] == []
    assert not (tmp_path / "nowhere").exists()


# The view


def test_the_view_holds_each_decision_once_with_its_outcome(tmp_path: Path) -> None:
    done, undone = intent(1, base_confidence=0.1 + 0.2, multipliers=(), effective_confidence=0.1 + 0.2), intent(2)
    again = replace(undone, mode=State.KILLED, candidate_size=None, base_confidence=None, multipliers=(), effective_confidence=None)
    with opened(tmp_path / "a'b", segment_bytes=1000) as log:
        log.append_many([done, undone, KILL])
        log.append_many([outcome(done, price=5e-324), again])
    verified = verify(tmp_path / "a'b", deep=True)
    with verified.segments[-1].open("ab") as file:
        file.write(b'{"seq":7,"kind":"intent"}\n{"torn')  # after what was verified
    frame = read_decisions(verified.segments, verified.count, memory_limit_mb=200, temp_dir=tmp_path)
    assert frame["decision_id"].tolist() == [done.decision_id, again.decision_id]
    assert frame["seq"].tolist() == [2, 6]
    first, second = frame.to_dict("records")
    assert (first["base_confidence"].hex(), first["price"]) == ((0.1 + 0.2).hex(), 5e-324)
    assert (first["day"], first["has_outcome"], first["quantity"]) == (MONDAY.toordinal() - date(1970, 1, 1).toordinal(), True, 3.0)
    assert json.loads(first["multipliers"]) == []
    assert json.loads(frame["limits"][0]) == ["core.max_frac"]
    assert (second["mode"], second["has_outcome"]) == ("killed", False)
    assert np.isnan([second["base_confidence"], second["candidate_size"], second["cost"]]).all()


def test_the_view_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no record"):
        read_decisions((), 0, memory_limit_mb=200, temp_dir=tmp_path)
    opened(tmp_path / "log").close()
    verified = verify(tmp_path / "log", deep=True)
    assert len(read_decisions(verified.segments, verified.count, memory_limit_mb=200, temp_dir=tmp_path)) == 0


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("effective_confidence", 1.5, "column effective_confidence: broken rule 'in_range"),
        ("acted_size", np.inf, "column acted_size: broken rule 'finite"),
        ("base_confidence", np.nan, "both confidences are there"),
        ("mode", "LIVE", "column mode: broken rule 'isin"),
        ("cost", -1.0, "column cost: broken rule 'greater_than_or_equal_to"),
        ("cost", np.nan, "quantity and cost are there"),
        ("has_outcome", False, "quantity and cost are there"),
        ("price", np.nan, "what filled has a price"),
        ("extra", 1, "column_in_schema"),
    ],
)
def test_decisions_that_break_their_contract(tmp_path: Path, column: str, value: object, rule: str) -> None:
    folder = sessions(tmp_path / "log", 1)
    verified = verify(folder, deep=True)
    frame = read_decisions(verified.segments, verified.count, memory_limit_mb=200, temp_dir=tmp_path)
    contract.validate_decisions(frame)
    with pytest.raises(ContractBroken, match=rule):
        contract.validate_decisions(frame.assign(**{column: value}))
    with pytest.raises(ContractBroken, match="column decision_id: broken rule 'field_uniqueness'"):
        contract.validate_decisions(frame.assign(decision_id="d_1"))


def test_a_log_whose_decisions_break_the_contract_gives_no_frame(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log", plain(Begin(recorded_at=AT)))
    journal.append(plain(intent(0, base_confidence=None)))
    journal.close()
    with pytest.raises(DataError, match=r"log: broken rule 'both confidences are there, or neither'; rows: 1, first: seq 2"):
        read_decisions((segment(tmp_path / "log", 1),), 2, memory_limit_mb=200, temp_dir=tmp_path)


# Work in proportion


def written(folder: Path, count: int) -> Path:
    """A log of `count` whole records, the quick way: the chain is made by hand."""
    opened(folder).close()
    path = segment(folder, 1)
    last, lines = digest_of(path.read_bytes()[:-1]), [path.read_bytes()]
    body = json.dumps(plain(BREACH), separators=(",", ":"))[1:]
    for seq in range(2, count + 1):
        line = f'{{"seq":{seq},"previous":"{last}",{body}'.encode()
        last = digest_of(line)
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))
    (folder / "head.json").write_text(json.dumps({"count": count, "hash": last}))
    return folder


def least(work: Callable[[], object], repeat: int = 5) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return min(seconds() for _ in range(repeat))


def test_verifying_takes_time_in_proportion_to_the_log_and_appending_none_of_it(tmp_path: Path) -> None:
    """A guard against work that grows with the square, or with what stands already."""
    small, large = written(tmp_path / "small", 3_000), written(tmp_path / "large", 30_000)
    assert verify(large, deep=False).count == 30_000
    assert least(lambda: verify(large, deep=False)) < 30 * least(lambda: verify(small, deep=False))
    numbers = iter(range(10_000))
    with opened(small) as little, opened(large) as long:
        assert least(lambda: long.append(replace(KILL, event_id=f"k_{next(numbers)}")), 50) < 10 * least(
            lambda: little.append(replace(KILL, event_id=f"k_{next(numbers)}")), 50
        )


def test_every_kind_of_record_is_read_as_its_own(tmp_path: Path) -> None:
    kinds: list[Record] = [intent(0), transition(State.OFF, State.SHADOW), KILL, RESET, BREACH]
    with opened(tmp_path) as log:
        log.append_many(kinds)  # type: ignore[arg-type]
    for record in kinds:
        assert [*read(tmp_path, type(record))] == [record]
    assert len([*read(tmp_path, Intent, Kill)]) == 2
