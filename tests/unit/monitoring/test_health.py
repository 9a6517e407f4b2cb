"""Signal health: what counts towards which share, where the ceilings are, and what cannot be relied on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import ConfigError, SourceUnavailable
from policyengine.market.signals_view import count_records, segments
from policyengine.monitoring.health import Flaw, Health, Level, Profit, Seen, Tally, judge, tally
from policyengine.monitoring.validation_log import MAX_LINE_BYTES, Filters, tally_log
from policyengine.signals.envelope import append
from policyengine.spec.bind import bind
from policyengine.spec.health import CeilingsSpec, FilterUnknown
from policyengine.spec.task import HealthTask

FAIL, NEGATIVE = CeilingsSpec(warn=0.80, red=0.85), CeilingsSpec(warn=0.40, red=0.50)
RECORD: dict[str, Any] = {
    "recorded_at": "2026-01-02T10:00:00+00:00",
    "symbol": "SPY",
    "run_id": "r_1",
    "execution_mode": "live",
    "action": "BUY",
    "status": "PASS",
    "expected_profit": 1.0,
}


def record(**changes: Any) -> dict[str, Any]:
    """A record that is fine but for `changes`; what is set to ... is not there."""
    return {k: v for k, v in {**RECORD, **changes}.items() if v is not ...}


def log(folder: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    path = folder / "log.jsonl"
    texts = [line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode() for line in lines]
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return path


def judged(counted: Tally, *, strict: bool = True) -> Health:
    return judge(counted, fail=FAIL, negative=NEGATIVE, strict=strict)


def of(passed: int, failed: int, no_losses: int, losses: int) -> Tally:
    """Records that say one thing each, so that the two shares are apart."""
    return Tally(judged=passed + failed, passed=passed, failed=failed, losses=losses, no_losses=no_losses, left_out={}, flaws={}, first={})


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ((3, 17, 10, 10), Level.YELLOW),  # 0.85 and 0.50: at the red ceilings, not above them
        ((2999, 17001, 10, 10), Level.RED),
        ((3, 17, 9_999, 10_001), Level.RED),
        ((1, 4, 6, 4), Level.GREEN),  # 0.80 and 0.40: at the warnings
        ((1999, 8001, 6, 4), Level.YELLOW),
        ((1, 4, 5_999, 4_001), Level.YELLOW),
        ((1, 0, 1, 0), Level.GREEN),
        ((0, 1, 1, 0), Level.RED),
    ],
)
def test_at_a_ceiling_is_not_above_it(counts: tuple[int, int, int, int], level: Level) -> None:
    assert judged(of(*counts)).level is level


@given(st.integers(1, 10**6), st.data())
def test_an_exact_share_is_never_above_its_own_decimal(total: int, data: st.DataObject) -> None:
    """Division rounds correctly, so the boundary needs no tolerance."""
    percent = data.draw(st.integers(0, 100))
    failed = total * percent
    ceiling = CeilingsSpec(warn=float(f"0.{percent:02d}") if percent < 100 else 1.0, red=1.0)
    health = judge(of(100 * total - failed, failed, 1, 0), fail=ceiling, negative=NEGATIVE, strict=True)
    assert health.level is Level.GREEN


@pytest.mark.parametrize("strict", [True, False])
def test_no_usable_record_is_red_whatever_is_asked(tmp_path: Path, *, strict: bool) -> None:
    for path in (log(tmp_path), log(tmp_path, "torn", b"\xff"), log(tmp_path, record(status="?"), record(status=...))):
        health = judged(tally_log(path, Filters()), strict=strict)
        assert health.level is Level.RED
        assert health.fail_frac is None
        assert not health.ok
    health = judged(tally_log(log(tmp_path, record(expected_profit=None)), Filters()), strict=strict)
    assert (health.level, health.fail_frac, health.negative_frac) == (Level.RED, 0.0, None)
    assert "no record says whether it is an expected loss" in health.why


def test_what_is_known_of_a_record_counts(tmp_path: Path) -> None:
    path = log(tmp_path, record(), record(status="FAIL", expected_profit=None), record(status="?", expected_profit=-1.0))
    counted = tally_log(path, Filters())
    assert (counted.judged, counted.passed, counted.failed, counted.losses, counted.no_losses) == (3, 1, 1, 1, 1)
    assert counted.flaws == {Flaw.UNKNOWN_STATUS: 1, Flaw.NO_PROFIT: 1}
    assert counted.first == {Flaw.UNKNOWN_STATUS: 3, Flaw.NO_PROFIT: 2}
    assert (judged(counted).fail_frac, judged(counted).negative_frac) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        ("{", Flaw.UNREADABLE),
        ("[1]", Flaw.UNREADABLE),
        ('"PASS"', Flaw.UNREADABLE),
        ("[" * 100_000, Flaw.UNREADABLE),
        (b"\x00" * 100, Flaw.UNREADABLE),
        (b'{"status": "PASS\xff"}', Flaw.UNREADABLE),
        (json.dumps(record()) + json.dumps(record()), Flaw.UNREADABLE),
        ('{"status": "FAIL", "expected_profit": 1, "status": "PASS"}', Flaw.UNREADABLE),
        (json.dumps(record(note="x" * MAX_LINE_BYTES)), Flaw.UNREADABLE),
        (json.dumps(record(note="x" * 3 * MAX_LINE_BYTES)), Flaw.UNREADABLE),
        ('{"status": "PASS", "expected_profit": ' + "9" * 5000 + "}", Flaw.UNREADABLE),
        (record(status="WARN"), Flaw.UNKNOWN_STATUS),
        (record(status=""), Flaw.UNKNOWN_STATUS),
        (record(status=True), Flaw.UNKNOWN_STATUS),
        (record(status=...), Flaw.UNKNOWN_STATUS),
        (record(expected_profit=...), Flaw.NO_PROFIT),
        (record(expected_profit=None), Flaw.NO_PROFIT),
        (record(expected_profit="1.0"), Flaw.NO_PROFIT),
        (record(expected_profit=True), Flaw.NO_PROFIT),
        (record(expected_profit=float("nan")), Flaw.NAN_PROFIT),
        (record(expected_profit=float("-inf")), Flaw.NAN_PROFIT),
        ('{"status": "PASS", "expected_profit": 1e999}', Flaw.NAN_PROFIT),
    ],
)
def test_what_cannot_be_relied_on_is_counted_and_red_unless_told_otherwise(tmp_path: Path, line: Any, flaw: Flaw) -> None:
    counted = tally_log(log(tmp_path, *[record()] * 10, line), Filters())
    assert counted.flaws == {flaw: 1}
    assert counted.first == {flaw: 11}
    assert judged(counted).level is Level.RED
    assert judged(counted).why == (f"1 {flaw}",)
    loose = judged(counted, strict=False)
    assert (loose.level, loose.clean) == (Level.GREEN, False)


@pytest.mark.parametrize(
    "line",
    [
        record(status=" pass "),
        record(expected_profit=-0.0),
        record(expected_profit=10**400),
        {"timestamp": "2026-01-02T10:00:00", "pipeline_id": "r_1", "quant_validation": {"status": "PASS", "expected_profit": 0}},
        record(status=None, quant_validation={"status": "PASS"}),
        record(quant_validation="not an object"),
        "\ufeff" + json.dumps(record()),
        json.dumps(record()) + "\r",
        json.dumps(record(note="x" * (MAX_LINE_BYTES - 300))),
    ],
)
def test_older_and_odder_spellings_are_read(tmp_path: Path, line: Any) -> None:
    counted = tally_log(log(tmp_path, line), Filters())
    assert (counted.flaws, counted.passed, counted.no_losses) == ({}, 1, 1)


def test_empty_lines_are_none_and_a_last_line_needs_no_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n  \n" + json.dumps(record()) + "\n\n" + json.dumps(record()))
    assert tally_log(path, Filters()) == tally_log(log(tmp_path, record(), record()), Filters())


@pytest.mark.parametrize(
    ("filters", "left_out"),
    [
        ({}, {}),
        ({"run_id": "r_1"}, {"run": 1}),
        ({"mode": "live"}, {"mode": 1}),
        ({"mode": "LIVE"}, {"mode": 1}),
        ({"action": "BUY"}, {"action": 1}),
        ({"run_id": "r_2", "mode": "live", "action": "BUY"}, {"run": 1, "mode": 1}),
        ({"span": (datetime(2026, 1, 3, tzinfo=UTC), None)}, {"time": 1}),
        ({"span": (None, datetime(2026, 1, 2, 10, tzinfo=UTC))}, {"time": 2}),
        ({"span": (datetime(2026, 1, 2, 10, tzinfo=UTC), datetime(2026, 1, 3, 10, tzinfo=UTC))}, {"time": 1}),
    ],
)
def test_filters(tmp_path: Path, filters: dict[str, Any], left_out: dict[str, int]) -> None:
    other = record(run_id="r_2", recorded_at="2026-01-03T12:00:00+02:00", execution_mode="shadow", action="SELL")
    counted = tally_log(log(tmp_path, record(), other), Filters(**filters))
    assert counted.left_out == left_out
    assert counted.judged == 2 - sum(left_out.values())
    assert counted.flaws == {}


@pytest.mark.parametrize(
    ("field", "value", "filters"),
    [
        ("run_id", ..., {"run_id": "r_1"}),
        ("execution_mode", ..., {"mode": "live"}),
        ("execution_mode", 1, {"mode": "live"}),
        ("action", None, {"action": "BUY"}),
        ("recorded_at", ..., {"span": (None, datetime(2027, 1, 1, tzinfo=UTC))}),
        ("recorded_at", "yesterday", {"span": (None, datetime(2027, 1, 1, tzinfo=UTC))}),
        ("recorded_at", 1767348000, {"span": (None, datetime(2027, 1, 1, tzinfo=UTC))}),
    ],
)
def test_a_record_that_does_not_say_what_the_filter_asks_is_a_flaw(tmp_path: Path, field: str, value: Any, filters: dict[str, Any]) -> None:
    path = log(tmp_path, record(), record(**{field: value, "status": "FAIL"}))
    counted = tally_log(path, Filters(**filters))
    assert (counted.flaws, counted.judged, counted.failed) == ({Flaw.UNPLACED: 1}, 1, 0)
    assert tally_log(path, Filters()).flaws == {}


def test_a_record_that_one_filter_leaves_out_need_not_answer_the_others(tmp_path: Path) -> None:
    counted = tally_log(log(tmp_path, record(), record(run_id=..., execution_mode="shadow")), Filters(run_id="r_1", mode="live"))
    assert (counted.left_out, counted.flaws) == ({"mode": 1}, {})


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(SourceUnavailable, match=str(path)):
            tally_log(path, Filters())


LINES = st.lists(
    st.one_of(
        st.sampled_from(["torn {", "[]", ""]),
        st.builds(
            lambda **changes: json.dumps(record(**changes)),
            status=st.sampled_from(["PASS", "FAIL", "WARN", ...]),
            expected_profit=st.sampled_from([-1.0, 0.0, 2.0, float("nan"), None]),
            execution_mode=st.sampled_from(["live", "shadow", ...]),
        ),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(lines=LINES, seed=st.integers(0, 10**6))
def test_the_order_of_lines_is_irrelevant(tmp_path_factory: pytest.TempPathFactory, lines: list[str], seed: int) -> None:
    folder = tmp_path_factory.mktemp("order")
    shuffled = random.Random(seed).sample(lines, len(lines))
    found = [judged(tally_log(log(folder, *some), Filters(mode="live"))) for some in (lines, shuffled)]
    assert found[0] == found[1]


@settings(deadline=None)
@given(lines=LINES)
def test_every_line_is_accounted_for_once(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    counted = tally_log(log(tmp_path_factory.mktemp("all"), *lines), Filters(mode="live"))
    apart = counted.flaws.get(Flaw.UNREADABLE, 0) + counted.flaws.get(Flaw.UNPLACED, 0)
    assert counted.judged + sum(counted.left_out.values()) + apart == sum(line != "" for line in lines)
    assert counted.passed + counted.failed + counted.flaws.get(Flaw.UNKNOWN_STATUS, 0) == counted.judged
    missing = counted.flaws.get(Flaw.NO_PROFIT, 0) + counted.flaws.get(Flaw.NAN_PROFIT, 0)
    assert counted.losses + counted.no_losses + missing == counted.judged


def store(folder: Path, run_id: str, records: Iterable[dict[str, Any]]) -> Path:
    """The records, which must keep their contract, as a segment."""
    rows = list(records)
    columns: dict[str, Any] = {
        name: [row[name] for row in rows] for name in ("symbol", "status", "expected_profit", "execution_mode", "action")
    }
    columns |= {"signal_id": [f"s_{i}" for i in range(len(rows))], "source": ["TS"] * len(rows)}
    columns["recorded_at"] = np.array([row["recorded_at"][:19] for row in rows], dtype="datetime64[us]")
    columns["reason"] = [None if row["status"] == "PASS" else "a reason" for row in rows]
    return append(folder, run_id, columns, "VALIDATION")


STORED = st.lists(
    st.sampled_from(
        [
            record(),
            record(status="FAIL", expected_profit=-2.0),
            record(status="FAIL", expected_profit=None),
            record(status="FAIL", execution_mode="shadow", recorded_at="2026-01-03T10:00:00"),
            record(action="SELL", recorded_at="2026-01-03T10:00:00.000000"),
        ]
    ),
    min_size=1,
    max_size=8,
)
ASKED = st.fixed_dictionaries(
    {
        "run_id": st.sampled_from([None, "r_1", "r_2"]),
        "span": st.sampled_from([(None, None), (datetime(2026, 1, 2, 10, tzinfo=UTC), datetime(2026, 1, 3, 10, tzinfo=UTC))]),
        "mode": st.sampled_from([None, "live"]),
        "action": st.sampled_from([None, "BUY"]),
    }
)


@settings(max_examples=25, deadline=None)
@given(records=STORED, asked=ASKED)
def test_segments_are_counted_as_a_log_of_the_same_records_is(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], asked: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("both")
    store(folder, "r_1", records)
    store(folder, "r_2", records[:1])
    rows, broken = count_records(segments(folder), **asked, memory_limit_mb=128, temp_dir=folder)
    stored = tally({Seen(*row[:5], Profit(row[5])): row[6] for row in rows}, len(broken))
    same = [*records, {**records[0], "run_id": "r_2"}]
    assert stored == tally_log(log(folder, *same), Filters(**asked))


def test_a_segment_that_cannot_be_read_is_counted_and_the_others_too(tmp_path: Path) -> None:
    store(tmp_path, "r_1", [record()])
    whole = store(tmp_path, "r_2", [record()] * 3).read_bytes()
    (tmp_path / "r_2.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "r_3.parquet").write_bytes(b"")
    (tmp_path / "r_4.parquet").symlink_to(tmp_path / "gone")
    nothing: dict[str, Any] = {"run_id": None, "span": (None, None), "mode": None, "action": None}
    rows, broken = count_records(segments(tmp_path), **nothing, memory_limit_mb=128, temp_dir=tmp_path)
    assert [path.name for path in broken] == ["r_2.parquet", "r_3.parquet", "r_4.parquet"]
    assert [row[6] for row in rows] == [1]


def task(**changes: Any) -> HealthTask:
    given: dict[str, Any] = {
        "fail_frac": {"warn": 0.8, "red": 0.85},
        "negative_frac": {"warn": 0.4, "red": 0.5},
        "strict": True,
        "gate": False,
        "buckets": ["core", "spec", "other"],
    }
    return bind(HealthTask, {**given, **changes}, "task")


@pytest.mark.parametrize(
    ("changes", "message", "code"),
    [
        ({"fail_frac": {"warn": 0.8, "red": 1.01}}, "task.fail_frac.red: 1.01 is not in [0, 1]", 1),
        ({"negative_frac": {"warn": -0.1, "red": 0.5}}, "task.negative_frac.warn: -0.1 is not in [0, 1]", 1),
        ({"fail_frac": {"warn": 0.9, "red": 0.85}}, "task.fail_frac.warn: 0.9 exceeds red 0.85", 1),
        ({"fail_frac": {"warn": 0.8, "red": float("nan")}}, "task.fail_frac.red: nan is not finite", 1),
        ({"buckets": []}, "task.buckets: [] are not the risk buckets that a gate may disable", 1),
        ({"buckets": ["spec", "safe"]}, "task.buckets: ['spec', 'safe'] are not the risk buckets that a gate may disable", 1),
        ({"mode": "lve"}, "task.mode: unknown value 'lve'; did you mean 'live'?", 2),
        ({"action": "buy"}, "task.action: unknown value 'buy'; known: BUY, HOLD, SELL", 2),
        ({"run_id": ""}, "task.run_id: '' is empty; null takes all", 2),
        ({"path": "x.jsonl", "mode": ""}, "task.mode: '' is empty; null takes all", 2),
        ({"since": "soon"}, "task.since: 'soon' is neither a day nor an instant", 2),
        ({"until": "2026-13-01"}, "task.until: '2026-13-01' is neither a day nor an instant", 2),
        ({"until": "9999-12-31"}, "task.until: '9999-12-31' is neither a day nor an instant", 2),
        ({"since": "2026-01-03", "until": "2026-01-02"}, "task.since: 2026-01-03 is after until 2026-01-02", 2),
    ],
)
def test_what_is_asked_wrongly_is_refused(changes: dict[str, Any], message: str, code: int) -> None:
    with pytest.raises(ConfigError) as caught:
        task(**changes)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == code
    assert isinstance(caught.value, FilterUnknown) == (code == 2)


def test_a_log_of_others_may_have_modes_of_its_own() -> None:
    assert task(path="x.jsonl", mode="proof").mode == "proof"


@pytest.mark.parametrize(
    ("since", "until", "span"),
    [
        (None, None, (None, None)),
        ("2026-01-02", "2026-01-02", (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))),
        ("2026-01-02T10:00:00", None, (datetime(2026, 1, 2, 10, tzinfo=UTC), None)),
        (None, "2026-01-02T10:00:00+02:00", (None, datetime(2026, 1, 2, 8, 0, 0, 1, tzinfo=UTC))),
        ("2026-01-02T10:00:00Z", "2026-01-02T10:00:00Z", tuple(datetime(2026, 1, 2, 10, 0, 0, us, tzinfo=UTC) for us in (0, 1))),
    ],
)
def test_both_ends_of_a_span_are_included(since: str | None, until: str | None, span: tuple[Any, Any]) -> None:
    assert task(since=since, until=until).span == span
