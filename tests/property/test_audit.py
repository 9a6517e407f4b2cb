"""What holds of every audit log: records come back, tampering is located, a cut leaves a prefix or is named, segments change nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.allocation.sizing import codes_of, size
from policyengine.execution.chain import digest_of, segment
from policyengine.execution.journal import JournalBroken
from policyengine.records import Bucket, Sleeve
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read, verify, verify_decisions
from policyengine.rollout.audit_records import Checkpoint, Intent, Kill, Outcome, Recovery, decision_id_of, recomputed
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.spec.sizing import Overlay, OverlaySpec, SizingSpec

AT = "2020-01-06T21:00:00+00:00"
MONDAY = date(2020, 1, 6)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where what a disk keeps is not the question."""
UNIT = st.floats(0.0, 1.0)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=8)
INSTANTS = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat())
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    base = draw(st.none() | UNIT)
    multipliers = draw(st.lists(st.tuples(TEXTS, st.floats(-1.0, 4.0)), max_size=5).map(tuple)) if base is not None else ()
    names = draw(TEXTS), draw(st.dates()), draw(TEXTS), draw(st.none() | HASHES), draw(HASHES)
    made = Intent(
        recorded_at=draw(INSTANTS),
        decision_id=decision_id_of(*names),
        account=names[0],
        session=names[1],
        symbol=names[2],
        evidence_hash=names[3],
        policy_hash=names[4],
        signal_id=draw(st.none() | TEXTS),
        bucket=draw(st.sampled_from(Bucket)),
        sleeve=draw(st.sampled_from(Sleeve)),
        base_confidence=base,
        multipliers=multipliers,
        effective_confidence=base,
        baseline_size=draw(st.none() | FLOATS),
        candidate_size=draw(st.none() | FLOATS),
        acted_size=draw(st.none() | FLOATS),
        limits=tuple(draw(st.lists(TEXTS, max_size=3))),
        mode=draw(st.sampled_from(State)),
        config_hash=draw(HASHES),
        code_hash=draw(HASHES),
        reasons=tuple(draw(st.lists(TEXTS, max_size=3))),
    )
    effective = base
    for _, factor in multipliers:
        effective = effective * factor
    return replace(made, effective_confidence=effective if not multipliers else min(max(effective, 0.0), 1.0))


@settings(max_examples=200, deadline=None)
@given(given_=st.lists(intents(), min_size=1, max_size=4, unique_by=lambda intent: intent.decision_id), numbers=st.tuples(FLOATS, FLOATS))
def test_every_record_comes_back_to_the_bit(given_: list[Intent], numbers: tuple[float, float]) -> None:
    done = [
        Outcome(
            recorded_at=AT,
            decision_id=one.decision_id,
            client_order_id="o",
            quantity=numbers[0],
            price=numbers[1],
            cost=5e-324,
            refusal=None,
        )
        for one in given_
    ]
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        with AuditLog(Path(place), recorded_at=AT) as log:
            log.append_many(given_)
            log.append_many(done)
        assert repr([*read(Path(place), Intent)]) == repr(given_)
        assert repr([*read(Path(place), Outcome)]) == repr(done)
        assert verify_decisions(Path(place)) == ()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_sizing_did_recomputes_to_the_bit(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    factors = st.floats(0.0, 2.0)
    spec = SizingSpec(
        enabled=True,
        multipliers={bucket: data.draw(factors) for bucket in Bucket},
        regimes={"calm": {bucket: data.draw(factors) for bucket in Bucket}},
        overlays={Overlay.GAP: OverlaySpec(soft_cap=0.1, hard_cap=0.3, floor=data.draw(UNIT))},
    )
    base = np.array(data.draw(st.lists(UNIT, min_size=count, max_size=count)))
    buckets = data.draw(st.lists(st.sampled_from(Bucket), min_size=count, max_size=count))
    gaps = np.array(data.draw(st.lists(st.floats(0.0, 0.5) | st.just(float("nan")), min_size=count, max_size=count)))
    sized = size(
        spec,
        base,
        buckets=codes_of(buckets),
        regimes=["calm"] * count,
        features={Overlay.GAP: gaps},
    )
    whole = data.draw(intents())
    for n in range(count):
        pairs = tuple(zip(sized.names, sized.factors[:, n].tolist(), strict=True))
        again = recomputed(replace(whole, base_confidence=float(base[n]), multipliers=pairs))
        assert again is not None
        assert again.hex() == float(sized.effective[n]).hex()


# Tampering


@cache
def standing() -> dict[str, bytes]:
    """The files of a log of 78 records in ten segments or so."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        with AuditLog(Path(place), recorded_at=AT, segment_bytes=3_000) as log:
            for day in range(7):
                session = MONDAY + timedelta(days=day)
                for n in range(10):
                    log.append(
                        Kill(recorded_at=AT, event_id=f"k_{day}_{n}", engaged_at=AT, sources=("file",), drill=False, by="a", why="b")
                    )
                log.checkpoint(recorded_at=AT, why="session", session=session)
        return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def lines_of(files: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Every line with the segment that it stands in; record n is at n - 1."""
    return [
        (name, line) for name in sorted(files, key=order) if name.startswith("journal") for line in files[name].splitlines(keepends=True)
    ]


def order(name: str) -> str:
    return "" if name == "journal.jsonl" else name


@st.composite
def tamperings(draw: st.DrawFn) -> tuple[list[tuple[str, bytes]], int]:
    """The lines after one change, and the number of the record that it is to be located at."""
    lines = lines_of(standing())
    at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    name, line = lines[at]
    match draw(st.sampled_from(["edit", "drop", "swap", "double", "insert", "forge"])):
        case "edit":
            byte = draw(st.integers(0, len(line) - 1))
            edited = line[:byte] + bytes([line[byte] ^ draw(st.integers(1, 255))]) + line[byte + 1 :]
            return [*lines[:at], (name, edited), *lines[at + 1 :]], at + 1
        case "drop":
            return [*lines[:at], *lines[at + 1 :]], at + 1
        case "swap":
            if at == other:
                other = at - 1 if at else 1
            first, second = sorted((at, other))
            moved = lines.copy()
            moved[first], moved[second] = (lines[first][0], lines[second][1]), (lines[second][0], lines[first][1])
            return moved, first + 1
        case "double":
            return [*lines[: at + 1], lines[at], *lines[at + 1 :]], at + 1
        case "insert":
            copied = lines[other][1]
            twice = at > 0 and copied == lines[at - 1][1]
            return [*lines[:at], (name, copied), *lines[at:]], at if twice else at + 1
        case _:
            if at == len(lines) - 1:
                at, (name, line) = at - 1, lines[at - 1]
            return [*lines[:at], (name, line.replace(b'"by":"a"', b'"by":"z"').replace(b'"why":"', b'"why":"z')), *lines[at:]], at + 1


@settings(max_examples=400, deadline=None)
@given(tampering=tamperings())
def test_tampering_is_located_at_the_exact_record(tampering: tuple[list[tuple[str, bytes]], int]) -> None:
    lines, seq = tampering
    files = {name: content for name, content in standing().items() if not name.startswith("journal")}
    for name, line in lines:
        files[name] = files.get(name, b"") + line
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        for name, content in files.items():
            (Path(place) / name).write_bytes(content)
        with pytest.raises(NotStarted) as refusal:
            verify(Path(place), deep=False)
        assert refusal.value.code is Code.AUDIT_BROKEN
        cause = refusal.value.__cause__
        assert isinstance(cause, JournalBroken)
        assert cause.seq == seq, str(refusal.value)
        with pytest.raises(NotStarted) as of_writer:
            AuditLog(Path(place), recorded_at=AT)
        assert str(of_writer.value) == str(refusal.value)
        assert {path.name: path.read_bytes() for path in Path(place).iterdir()} == files


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_cut_leaves_a_prefix_or_names_the_first_record_that_is_missing(data: st.DataObject) -> None:
    """A reader sees whole lines, a writer moves the rest aside, and what the head counts may not be missing."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place)
        for name, content in standing().items():
            (folder / name).write_bytes(content)
        last = verify(folder, deep=False).segments[-1]
        content = last.read_bytes()
        before = 78 - content.count(b"\n")
        counted = data.draw(st.integers(before + 1, 78))
        hashes = [digest_of(line[:-1]) for _, line in lines_of(standing())]
        (folder / "head.json").write_text(json.dumps({"count": counted, "hash": hashes[counted - 1]}))
        cut = data.draw(st.integers(1, len(content)))
        last.write_bytes(content[:cut])
        whole = before + content[:cut].count(b"\n")
        if whole < counted:
            with pytest.raises(NotStarted, match=f"record {whole + 1} is missing"):
                verify(folder, deep=False)
            return
        assert verify(folder, deep=True).count == whole
        torn = content[:cut].rpartition(b"\n")[2]
        AuditLog(folder, recorded_at=AT).close()
        notes = [*read(folder, Recovery)]
        assert [(folder / note.file).read_bytes() for note in notes] == ([torn] if torn else [])
        assert verify(folder, deep=True).count == whole + len(notes)


STEPS = st.lists(st.one_of(st.integers(1, 4), st.sampled_from(["checkpoint", "restart"])), max_size=12)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, segment_bytes=st.integers(1, 3_000))
def test_segments_and_restarts_change_no_byte_of_what_is_recorded(steps: list[int | str], segment_bytes: int) -> None:
    """However large the segments: the lines are those of a log that is one file, and that nothing interrupted."""

    def recorded(folder: Path, bytes_: int, again: Callable[[AuditLog], AuditLog]) -> bytes:
        log, number = AuditLog(folder, recorded_at=AT, segment_bytes=bytes_), 0
        for step in steps:
            if step == "checkpoint":
                log.checkpoint(recorded_at=AT, why="session", session=MONDAY)
            elif step == "restart":
                log = again(log)
            else:
                assert isinstance(step, int)
                kills = [
                    Kill(recorded_at=AT, event_id=f"k_{number + n}", engaged_at=AT, sources=("file",), drill=True, by=None, why="x" * n)
                    for n in range(step)
                ]
                log.append_many(kills)
                number += step
        log.close()
        assert len([*read(folder, Kill)]) == number
        assert len([*read(folder, Checkpoint)]) == steps.count("checkpoint")
        found = verify(folder, deep=True)
        assert all(path == segment(folder, json.loads(path.read_bytes().splitlines()[0])["seq"]) for path in found.segments)
        return b"".join(path.read_bytes() for path in found.segments)

    def restarted(log: AuditLog) -> AuditLog:
        log.close()
        return AuditLog(Path(place) / "many", recorded_at=AT, segment_bytes=segment_bytes)

    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        assert recorded(Path(place) / "many", segment_bytes, restarted) == recorded(Path(place) / "one", 2**30, lambda log: log)


def test_the_log_that_is_tampered_with_has_several_segments() -> None:
    assert len([name for name in standing() if name.startswith("journal")]) > 5
    assert len(lines_of(standing())) == 78
