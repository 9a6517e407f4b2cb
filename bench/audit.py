"""Speed of the audit log, one process: python bench/audit.py [RUNS]. Recorded, never gating.

Appending is one record and one fsync, or a batch of 20 intents and one fsync, on the disk that holds the folder for temporary files.
Verifying is of the chain (every line hashed and held to the one before) and deep (every record read, and decisions recomputed).
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path

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
    """A log of `total` records, without a sync for each."""
    AuditLog(folder, recorded_at=AT).close()
    path = segment(folder, 1)
    last, size, lines = digest_of(path.read_bytes()[:-1]), path.stat().st_size, [path.read_bytes()]
    for seq, record in zip(range(2, total + 1), records(), strict=False):
        line = json.dumps({"seq": seq, "previous": last, **plain(record)}, separators=(",", ":")).encode()
        last, size = digest_of(line), size + len(line) + 1
        if size > SEGMENT_BYTES:
            path.write_bytes(b"".join(lines))
            path, size, lines = segment(folder, seq), len(line) + 1, []
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))
    (folder / "head.json").write_text(json.dumps({"count": total, "hash": last}) + "\n")
    return folder


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def appending(folder: Path, runs: int) -> None:
    with AuditLog(folder, recorded_at=AT) as log:
        intents = [[intent(PER_SESSION * run + n) for n in range(PER_SESSION)] for run in range(10 * runs)]
        batch = [seconds(lambda many=many: log.append_many(many)) for many in intents]  # type: ignore[misc]
        single = [seconds(lambda one=one: log.append(outcome(one))) for many in intents for one in many]  # type: ignore[misc]
        closing = [
            seconds(lambda run=run: log.checkpoint(recorded_at=AT, why="session", session=FIRST + timedelta(days=run)))  # type: ignore[misc]
            for run in range(10 * runs)
        ]
    for name, times, records in (
        ("one outcome, one fsync", single, 1),
        (f"{PER_SESSION} intents, one fsync", batch, PER_SESSION),
        ("checkpoint and head", closing, 1),
    ):
        median = statistics.median(times)
        print(f"append, {name:22}: {1e3 * median:7.2f} ({1e3 * min(times):.2f}) ms, {records / median:9,.0f} records a second")


def verifying(folder: Path, total: int, runs: int) -> None:
    found = verify(written(folder, total), deep=False)
    size = sum(path.stat().st_size for path in found.segments) / total
    print(f"{total:,} records of {size:.0f} bytes in {len(found.segments)} segments:")
    decision = intent(total // 4).decision_id
    works: tuple[tuple[str, Callable[[], object], int], ...] = (
        ("verify the chain", lambda: verify(folder, deep=False), runs),
        ("open for writing", lambda: AuditLog(folder, recorded_at=AT).close(), runs),
        ("find one decision", lambda: find(folder, decision), runs),
        ("verify deep", lambda: verify(folder, deep=True), 1),
    )
    for name, work, repeat in works:
        times = [seconds(work) for _ in range(repeat)]
        median = statistics.median(times)
        print(f"  {name:18} {1e3 * median:9.1f} ({1e3 * min(times):.1f}) ms, {total / median:9,.0f} records a second")


def main(runs: int) -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, one process, {runs} runs; median (least)")
    with tempfile.TemporaryDirectory() as place:
        appending(Path(place) / "appended", runs)
        for total in (20_000, 200_000):
            verifying(Path(place) / str(total), total, runs)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
