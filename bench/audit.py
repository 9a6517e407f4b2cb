"""The audit log on the disk that holds the folder for temporary files, beside the same bytes without a chain.

    python bench/audit.py [--quick]

Appending is one record and one fsync, or a session's intents and one fsync; beside it, the same lines appended to a plain file with the
same fsync. Verifying is of the chain (every line hashed and held to the one before) or deep (every record read, and decisions
recomputed); beside it, one sha256 over the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import measure
from measure import Case, Piece, Spent, seconds

from policyengine.execution.chain import digest_of, segment
from policyengine.records import Bucket, Sleeve
from policyengine.rollout.audit import SEGMENT_BYTES, AuditLog
from policyengine.rollout.audit_reading import find, verify
from policyengine.rollout.audit_records import Checkpoint, Intent, Outcome, Record, decision_id_of
from policyengine.rollout.modes import State
from policyengine.spec.bind import plain

AT = "2026-01-02T21:00:00+00:00"
FIRST = date(2020, 1, 6)
PER_SESSION = 20
SESSIONS = 25
"""Appended in one run: sessions of intents, and of outcomes one by one."""


def intent(number: int) -> Intent:
    session, symbol = FIRST + timedelta(days=number // PER_SESSION), f"SYM{number % PER_SESSION}"
    base = 0.5 + (number % 997) / 2000.0
    return Intent(
        recorded_at=AT,
        decision_id=decision_id_of("paper", session, symbol, "e" * 64, "p" * 64),
        account="paper",
        session=session,
        signal_id=f"ts_core-{number}",
        symbol=symbol,
        bucket=Bucket.CORE,
        sleeve=Sleeve.TS_CORE,
        base_confidence=base,
        multipliers=(("bucket", 0.8), ("regime", 0.9)),
        effective_confidence=base * 0.8 * 0.9,
        baseline_size=base / 7.0,
        candidate_size=base / 9.0,
        acted_size=base / 7.0,
        limits=(),
        mode=State.SHADOW,
        evidence_hash="e" * 64,
        policy_hash="p" * 64,
        config_hash="c" * 64,
        code_hash="d" * 64,
        reasons=(),
    )


def outcome(of: Intent) -> Outcome:
    return Outcome(
        recorded_at=AT, decision_id=of.decision_id, client_order_id="o_" + "0" * 32, quantity=12.5, price=101.3, cost=0.4, refusal=None
    )


def records() -> Iterator[Record]:
    """Session after session: intents, outcomes, a checkpoint."""
    for first in count(0, PER_SESSION):
        intents = [intent(first + n) for n in range(PER_SESSION)]
        yield from intents
        yield from map(outcome, intents)
        yield Checkpoint(recorded_at=AT, session=intents[0].session, why="session", signature=None)


def written(folder: Path, total: int) -> Path:
    """A log of `total` records, without a sync for each; the one that is there, if it is."""
    if folder.exists():
        return folder
    AuditLog(folder, recorded_at=AT).close()
    path = segment(folder, 1)
    last, size, lines = digest_of(path.read_bytes()[:-1]), path.stat().st_size, [path.read_bytes()]
    for seq, record in zip(range(2, total + 1), records(), strict=False):
        line = line_of(record, seq, last)
        last, size = digest_of(line), size + len(line) + 1
        if size > SEGMENT_BYTES:
            path.write_bytes(b"".join(lines))
            path, size, lines = segment(folder, seq), len(line) + 1, []
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))
    (folder / "head.json").write_text(json.dumps({"count": total, "hash": last}) + "\n")
    return folder


def line_of(record: Record, seq: int, previous: str) -> bytes:
    return json.dumps({"seq": seq, "previous": previous, **plain(record)}, separators=(",", ":")).encode()


def appended(place: Path, *, together: bool) -> dict[str, Piece]:
    """Intents of a session in one append, or its outcomes one by one; what is not asked for is appended as well, and not timed."""
    sessions = [[intent(PER_SESSION * session + n) for n in range(PER_SESSION)] for session in range(SESSIONS)]
    fresh = count()

    def new(kind: str) -> Path:
        return place / f"{kind}{next(fresh)}-{os.getpid()}"

    def ours() -> Spent:
        spent = 0.0
        with AuditLog(new("log"), recorded_at=AT) as log:
            for intents in sessions:
                batch = seconds(lambda intents=intents: log.append_many(intents))  # type: ignore[misc]
                single = sum(seconds(lambda one=one: log.append(outcome(one))) for one in intents)  # type: ignore[misc]
                spent += batch if together else single
        return Spent(seconds=spent)

    def bare() -> None:
        with new("plain").open("ab", buffering=0) as file:
            for intents in sessions:
                lines = [line_of(of if together else outcome(of), 1, "0" * 64) + b"\n" for of in intents]
                for batch in [lines] if together else [[line] for line in lines]:
                    file.write(b"".join(batch))
                    os.fsync(file.fileno())

    return {measure.OURS: Piece(run=ours), "plain append of JSON and fsync": Piece(run=bare)}


def verified(place: Path, total: int) -> dict[str, Piece]:
    """What reads a whole log, one that `written` leaves."""
    folder = written(place / "verified", total)
    wanted = intent(total // 4).decision_id

    def hashed() -> int:
        found = hashlib.sha256()
        for path in sorted(folder.glob("*.jsonl")):
            found.update(path.read_bytes())
        return total

    return {
        f"{measure.OURS}, chain": Piece(run=lambda: verify(folder, deep=False).count),
        f"{measure.OURS}, deep": Piece(run=lambda: verify(folder, deep=True).count, tolerance=0.0),
        f"{measure.OURS}, open for writing": Piece(run=lambda: AuditLog(folder, recorded_at=AT).close()),
        f"{measure.OURS}, find a decision": Piece(run=lambda: find(folder, wanted)),
        "sha256 of the bytes": Piece(run=hashed),
    }


def cases(*, quick: bool) -> Iterator[Case]:
    """Appends of one and of twenty, and logs of two lengths."""
    every = SESSIONS * PER_SESSION
    yield Case(name="append outcomes one by one", build=lambda place: appended(place, together=False), units=every, unit="record")
    yield Case(name=f"append {PER_SESSION} intents at once", build=lambda place: appended(place, together=True), units=every, unit="record")
    for total in (20_000,) if quick else (20_000, 200_000):
        yield Case(
            name=f"verify {total:,} records",
            build=lambda place, total=total: verified(place, total),  # type: ignore[misc]
            differ=lambda a, b: float(abs(a - b)),
            repeat=3,
            units=total,
            unit="record",
        )


if __name__ == "__main__":
    measure.main("audit", cases, ())
