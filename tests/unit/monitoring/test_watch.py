"""Pending, firing, resolved: by looks and the time between them, in a history that outlasts the process."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import DataError
from policyengine.execution.chain import Chain
from policyengine.execution.journal import JournalLocked
from policyengine.monitoring.alerts import RULES, Reading, evaluate
from policyengine.monitoring.snapshot import bound_snapshot
from policyengine.monitoring.watch import Watch, firing, history_folder
from tests.conftest import composed_spec
from tests.watched import NOW, stored

SPEC = replace(composed_spec().monitor, file="/there")
SAFE = "safe_below_floor"


def readings(safe: float | None = 0.8, *, engaged: bool = False, at: datetime = NOW) -> dict[str, Reading | None]:
    made = bound_snapshot(stored(buckets__0__held_frac=safe, kill__engaged=engaged, published_at=at.isoformat()), "x")
    return evaluate(made, SPEC, at)


def look(tmp_path: Path, minute: float, safe: float | None = 0.8, *, engaged: bool = False, alert: str = SAFE) -> str:
    """The state of `alert` after one look, in a process of its own as far as the history can tell."""
    at = NOW + timedelta(minutes=minute)
    with Watch(tmp_path, "paper") as watch:
        return next(one.state for one in watch.look(readings(safe, engaged=engaged, at=at), SPEC, at) if one.alert == alert)


def told(tmp_path: Path) -> list[tuple[str, str]]:
    with Watch(tmp_path, "paper") as watch:
        return [(n.change.alert, n.change.kind) for n in watch.undelivered("file")]


def test_a_dip_of_a_minute_pages_nobody(tmp_path: Path) -> None:
    assert look(tmp_path, 0) == "ok"
    assert look(tmp_path, 1, 0.7) == "pending"
    assert look(tmp_path, 2) == "ok"
    assert told(tmp_path) == []


def test_what_holds_fires_once_and_is_resolved_once(tmp_path: Path) -> None:
    states = [look(tmp_path, minute, 0.7) for minute in range(18)]
    assert states == ["pending"] * 15 + ["firing"] * 3
    assert firing(tmp_path, "paper")[SAFE]
    assert look(tmp_path, 18) == "ok"
    assert not firing(tmp_path, "paper")[SAFE]
    assert told(tmp_path) == [(SAFE, "firing"), (SAFE, "resolved")]


def test_a_gap_is_no_proof_and_yet_a_rare_watch_fires_in_the_end(tmp_path: Path) -> None:
    """Each gap counts for five minutes, of fifteen."""
    assert [look(tmp_path, 60 * hour, 0.7) for hour in range(4)] == ["pending", "pending", "pending", "firing"]


def test_a_look_that_finds_it_kept_begins_anew(tmp_path: Path) -> None:
    assert [look(tmp_path, m, 0.7) for m in range(15)][-1] == "pending"
    assert look(tmp_path, 15) == "ok"
    assert [look(tmp_path, m, 0.7) for m in range(16, 31)] == ["pending"] * 15


def test_a_clock_that_goes_back_counts_for_nothing(tmp_path: Path) -> None:
    assert [look(tmp_path, m, 0.7) for m in (0, 5, -100, 0, 5)] == ["pending", "pending", "pending", "pending", "firing"]


def test_what_is_not_sustained_fires_at_once(tmp_path: Path) -> None:
    assert look(tmp_path, 0, engaged=True, alert="kill_engaged") == "firing"
    assert told(tmp_path) == [("kill_engaged", "firing")]


def test_without_a_snapshot_everything_stays_as_it_was(tmp_path: Path) -> None:
    look(tmp_path, 0, 0.7, engaged=True)
    with Watch(tmp_path, "paper") as watch:
        at = NOW + timedelta(minutes=1)
        standing = {one.alert: one.state for one in watch.look(evaluate("gone", SPEC, at), SPEC, at)}
    assert standing["snapshot_absent"] == standing["kill_engaged"] == "firing"
    assert standing[SAFE] == standing["audit_broken"] == "unknown"
    assert look(tmp_path, 2, 0.7, engaged=True) == "pending"
    assert ("kill_engaged", "firing") in told(tmp_path)
    assert ("kill_engaged", "resolved") not in told(tmp_path)


def test_a_quiet_watch_writes_nothing(tmp_path: Path) -> None:
    look(tmp_path, 0)
    before = (history_folder(tmp_path, "paper") / "journal.jsonl").read_bytes()
    for minute in range(1, 5):
        look(tmp_path, minute)
    assert (history_folder(tmp_path, "paper") / "journal.jsonl").read_bytes() == before
    assert before.count(b"\n") == 1


def test_a_torn_last_line_is_put_aside_and_a_changed_one_refused(tmp_path: Path) -> None:
    look(tmp_path, 0, engaged=True)
    journal = history_folder(tmp_path, "paper") / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"seq":3,"previous":"')
    assert look(tmp_path, 1, engaged=True, alert="kill_engaged") == "firing"
    assert told(tmp_path) == [("kill_engaged", "firing")]
    journal.write_bytes(journal.read_bytes().replace(b'"firing"', b'"filing"', 1))
    with pytest.raises(DataError):
        look(tmp_path, 2)
    with pytest.raises(DataError):
        firing(tmp_path, "paper")


def test_two_do_not_look_at_once(tmp_path: Path) -> None:
    with Watch(tmp_path, "paper"), pytest.raises(JournalLocked):
        Watch(tmp_path, "paper")
    with Watch(tmp_path, "other"):
        look(tmp_path, 0)


def test_what_was_delivered_is_not_told_again_by_a_process_that_comes_later(tmp_path: Path) -> None:
    look(tmp_path, 0, engaged=True)
    with Watch(tmp_path, "paper") as watch:
        (one,) = watch.undelivered("file")
        assert watch.undelivered("webhook") == ()
        watch.delivered(one, "file", NOW.isoformat())
        assert watch.undelivered("file") == ()
    assert told(tmp_path) == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0.1, 20.0), st.sampled_from([0.7, 0.8, None])), max_size=30))
def test_whatever_fires_violates_its_limit_and_held_long_enough(looks: list[tuple[float, float | None]]) -> None:
    """The cross-check: every firing in the history is beyond its limit, and so was every look of the time that counts."""
    with tempfile.TemporaryDirectory() as folder:
        minute, run = 0.0, []
        for wait, safe in looks:
            minute += wait
            run = [*run, minute] if safe != 0.8 else []
            held = sum(min(b - a, 5.0) for a, b in zip(run, run[1:], strict=False))
            state = look(Path(folder), minute, safe)
            assert state == ("ok" if not run else "firing" if held >= 15.0 - 1e-6 else "pending") or abs(held - 15.0) < 1e-3
        if history_folder(Path(folder), "paper").exists():
            for record in Chain(history_folder(Path(folder), "paper")).records():
                if record["kind"] == "firing":
                    reading = Reading(observed=record["observed"], operator=record["operator"], limit=record["limit"], why="")
                    assert reading.violated


def test_every_rule_is_looked_at(tmp_path: Path) -> None:
    with Watch(tmp_path, "paper") as watch:
        assert [one.alert for one in watch.look(readings(), SPEC, NOW)] == [rule.name for rule in RULES]
