"""The quant gate: what closes and opens it, and that it never fails open."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from policyengine.errors import DataError, OutputError
from policyengine.monitoring.health import Flaw, Health, Level, Tally
from policyengine.monitoring.quant_gate import FILE, RISK, QuantGate, disabled, feed, read_gate
from policyengine.records import Bucket
from policyengine.spec.universe import InstrumentSpec, UniverseSpec

UNIVERSE = UniverseSpec(
    instruments={
        s: InstrumentSpec(bucket=b) for s, b in {"BIL": Bucket.SAFE, "SPY": Bucket.CORE, "BTC": Bucket.SPEC, "X": Bucket.OTHER}.items()
    }
)
GREEN, YELLOW, RED = Level


def health(level: Level, *, flaws: int = 0) -> Health:
    found = {Flaw.UNREADABLE: flaws} if flaws else {}
    tally = Tally(judged=1, passed=1, failed=0, losses=0, no_losses=1, left_out={}, flaws=found, first={})
    why = () if level is GREEN else (f"it is {level}", "and more")
    return Health(level=level, fail_frac=0.0, negative_frac=0.0, why=why, tally=tally)


def fed(folder: Path, *levels: Level, flaws: int = 0, buckets: tuple[Bucket, ...] = RISK) -> QuantGate:
    """The gate after judgements on the first, second, ... of January."""
    for i, level in enumerate(levels):
        gate = feed(
            folder, health(level, flaws=flaws), UNIVERSE, buckets=buckets, judged_at=f"2026-01-0{i + 1}T00:00:00+00:00", judged="these"
        )
    assert read_gate(folder) == gate
    return gate


@pytest.mark.parametrize("levels", [*product(Level, repeat=3)])
def test_red_closes_green_opens_and_yellow_changes_nothing(tmp_path: Path, levels: tuple[Level, ...]) -> None:
    """Against the table, step by step."""
    since = None
    for day, level in enumerate(levels, 1):
        since = {GREEN: None, YELLOW: since, RED: since or f"2026-01-0{day}T00:00:00+00:00"}[level]
    gate = fed(tmp_path, *levels)
    assert (gate.active, gate.since, gate.level) == (since is not None, since, levels[-1])
    symbols, why = disabled(tmp_path, UNIVERSE)
    assert symbols == ({"SPY", "BTC", "X"} if gate.active else set())
    assert (why is not None) == gate.active
    assert gate.disabled == tuple(sorted(symbols))


def test_it_says_since_when_and_why(tmp_path: Path) -> None:
    gate = fed(tmp_path, RED, YELLOW)
    assert gate.reason == "it is RED; and more"
    assert disabled(tmp_path, UNIVERSE)[1] == "the quant gate is active since 2026-01-01T00:00:00+00:00: it is RED; and more"
    written = json.loads((tmp_path / FILE).read_text())
    assert (written["judged"], written["judged_at"], written["level"]) == ("these", "2026-01-02T00:00:00+00:00", "YELLOW")


def test_green_with_something_unread_opens_nothing(tmp_path: Path) -> None:
    assert not fed(tmp_path, GREEN, flaws=1).active
    fed(tmp_path, RED)
    assert fed(tmp_path, GREEN, flaws=1).active
    assert not fed(tmp_path, GREEN).active


def test_it_disables_the_buckets_it_is_told_and_yellow_does_not_change_them(tmp_path: Path) -> None:
    fed(tmp_path, RED, buckets=(Bucket.SPEC,))
    assert disabled(tmp_path, UNIVERSE)[0] == {"BTC"}
    fed(tmp_path, YELLOW, buckets=(Bucket.OTHER,))
    assert disabled(tmp_path, UNIVERSE)[0] == {"BTC"}


def test_an_instrument_that_joins_a_bucket_later_is_disabled_too(tmp_path: Path) -> None:
    fed(tmp_path, RED)
    wider = UniverseSpec(instruments={**UNIVERSE.instruments, "NEW": InstrumentSpec(bucket=Bucket.SPEC)})
    assert disabled(tmp_path, wider)[0] == {"SPY", "BTC", "X", "NEW"}


def test_absent_is_inactive(tmp_path: Path) -> None:
    assert disabled(tmp_path / "none", UNIVERSE) == (frozenset(), None)
    assert read_gate(tmp_path) is None
    assert not fed(tmp_path, YELLOW).active


GOOD: dict[str, Any] = {
    "schema": 1,
    "active": False,
    "since": None,
    "reason": None,
    "level": "GREEN",
    "judged_at": "2026-01-01T00:00:00+00:00",
    "judged": "these",
    "buckets": [],
    "disabled": [],
}
ACTIVE = {"active": True, "since": "2026-01-01T00:00:00+00:00", "reason": "it is RED", "buckets": ["spec"]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({k: v for k, v in GOOD.items() if k != "active"}),
        json.dumps(GOOD)[:-1] + ', "active": true}',
        json.dumps({**GOOD, "schema": 2}),
        json.dumps({**GOOD, "active": "false"}),
        json.dumps({**GOOD, "active": 0}),
        json.dumps({**GOOD, **ACTIVE, "active": False}),
        json.dumps({**GOOD, **ACTIVE, "since": None}),
        json.dumps({**GOOD, **ACTIVE, "reason": None}),
        json.dumps({**GOOD, **ACTIVE, "buckets": []}),
        json.dumps({**GOOD, **ACTIVE, "buckets": ["safe"]}),
        json.dumps({**GOOD, "level": "BLUE"}),
        json.dumps({**GOOD, "more": 1}),
    ],
)
def test_what_cannot_be_understood_counts_as_active(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    symbols, why = disabled(tmp_path, UNIVERSE)
    assert symbols == {"SPY", "BTC", "X"}
    assert why is not None
    assert why.startswith(f"the quant gate counts as active: {tmp_path / FILE}")
    with pytest.raises(DataError, match=FILE):
        read_gate(tmp_path)


def test_the_good_ones_are_understood(tmp_path: Path) -> None:
    """Without which the test above would hold of any content."""
    (tmp_path / FILE).write_text(json.dumps(GOOD))
    assert disabled(tmp_path, UNIVERSE) == (frozenset(), None)
    (tmp_path / FILE).write_text(json.dumps({**GOOD, **ACTIVE}))
    assert disabled(tmp_path, UNIVERSE)[0] == {"BTC"}


def test_what_is_no_file_counts_as_active(tmp_path: Path) -> None:
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE).symlink_to(tmp_path / "gone")
    (tmp_path / "state").write_text("not a folder")
    for state in ("folder", "link", "state"):
        assert disabled(tmp_path / state, UNIVERSE)[0] == {"SPY", "BTC", "X"}


def test_yellow_on_a_file_that_cannot_be_read_keeps_it_active_and_green_mends_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    gate = fed(tmp_path, YELLOW, buckets=(Bucket.SPEC,))
    assert (gate.active, gate.since, gate.buckets) == (True, "2026-01-01T00:00:00+00:00", RISK)
    (tmp_path / FILE).write_text("{")
    assert not fed(tmp_path, GREEN).active


def test_a_gate_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        fed(tmp_path / "state", RED)
