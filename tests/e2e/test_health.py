"""task=health by the installed command: exit codes, what it says, and the gate that it feeds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.records import Bucket
from policyengine.signals.envelope import append
from tests.conftest import ROOT, Command, composed_spec

PASS, FAIL = {"status": "PASS", "expected_profit": 2.0}, {"status": "FAIL", "expected_profit": 0.5}
LOSS = {"status": "PASS", "expected_profit": -1.0}


class Check:
    """Runs the check on a log, or on the state folder."""

    def __init__(self, pe: Command, folder: Path) -> None:
        self._pe, self.folder, self.state = pe, folder, folder / "state"

    def log(self, *records: dict[str, Any] | str) -> str:
        path = self.folder / "quant_validation.jsonl"
        common = {"timestamp": "2026-01-02T10:00:00", "ticker": "SPY", "run_id": "r_1", "execution_mode": "live", "action": "BUY"}
        path.write_text("".join((r if isinstance(r, str) else json.dumps({**common, **r})) + "\n" for r in records))
        return f"task.path={path}"

    def __call__(self, *args: str, exits: int) -> str:
        done: subprocess.CompletedProcess[str] = self._pe("task=health", f"runtime.state_dir={self.state}", *args)
        said = done.stdout + done.stderr
        assert done.returncode == exits, said
        assert "Traceback" not in said
        return said

    def gate(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "quant_gate.json").read_text())
        return found


@pytest.fixture
def check(pe: Command, tmp_path: Path) -> Check:
    return Check(pe, tmp_path)


def test_green_yellow_and_red(check: Check) -> None:
    assert check(check.log(*[PASS] * 3, FAIL), exits=0).startswith("HEALTH    GREEN")
    yellow = check(check.log(PASS, *[FAIL] * 9, *[FAIL] * 7, PASS, PASS), exits=0)
    assert yellow.startswith("HEALTH    YELLOW")
    assert "fail        84.21%   16 of 19   yellow above 80%, red above 85%" in yellow
    red = check(check.log(PASS, LOSS, LOSS), exits=1)
    assert red.startswith("HEALTH    RED")
    assert "negative    66.67%   2 of 3   yellow above 40%, red above 50%" in red
    assert not check.state.exists()


def test_no_usable_record(check: Check) -> None:
    assert "there is no usable record" in check(exits=1)
    assert "there is no usable record" in check(check.log(), exits=1)
    assert "1 that cannot be read" in check(check.log("{"), exits=1)
    assert "3 by mode" in check(check.log(PASS, PASS, PASS), "task.mode=shadow", exits=1)
    assert "there is no usable record" in check(check.log("{"), "task.strict=false", exits=1)
    assert "none.jsonl: cannot be read" in check("task.path=none.jsonl", exits=1)


def test_what_cannot_be_read_or_understood(check: Check) -> None:
    nan = '{"status": "PASS", "expected_profit": NaN}'
    for flawed in ("{torn", nan, {"status": "PASS"}, {"status": "MAYBE", "expected_profit": 1.0}):
        log = check.log(PASS, PASS, flawed)
        assert check(log, exits=1).startswith("HEALTH    RED")
        loose = check(log, "task.strict=false", exits=0)
        assert loose.startswith("HEALTH    GREEN")
        assert "left out  1 " in loose


@pytest.mark.parametrize(
    ("argument", "exits", "said"),
    [
        ("task.fail_frac.red=1.1", 1, "task.fail_frac.red: 1.1 is not in [0, 1]"),
        ("task.negative_frac.warn=-0.1", 1, "task.negative_frac.warn: -0.1 is not in [0, 1]"),
        ("task.negative_frac.warn=0.6", 1, "task.negative_frac.warn: 0.6 exceeds red 0.5"),
        ("task.fail_frac.red=high", 1, "task.fail_frac.red: 'high' is not a number"),
        ("task.mode=lve", 2, "task.mode: unknown value 'lve'; did you mean 'live'?"),
        ("task.action=KEEP", 2, "task.action: unknown value 'KEEP'"),
        ("task.since=soon", 2, "task.since: 'soon' is neither a day nor an instant"),
        ("--no-such-flag", 2, "unrecognized arguments"),
    ],
)
def test_wrong_usage_and_wrong_values(check: Check, argument: str, exits: int, said: str) -> None:
    assert said in check(argument, exits=exits)


def test_filters(check: Check) -> None:
    later = {**FAIL, "timestamp": "2026-01-05T10:00:00Z", "run_id": "r_2", "execution_mode": "paper", "action": "SELL"}
    log = check.log(PASS, later)
    for argument in (
        "task.run_id=r_2",
        "task.since=2026-01-05",
        "task.since=2026-01-05T10:00:00+00:00",
        "task.mode=paper",
        "task.action=SELL",
    ):
        assert "100.00%   1 of 1" in check(log, argument, exits=1)
    for argument in ("task.run_id=r_1", "task.until=2026-01-02", "task.mode=live", "task.action=BUY"):
        assert "0.00%   0 of 1" in check(log, argument, exits=0)


def store(folder: Path, run_id: str, *statuses: str) -> None:
    count = len(statuses)
    append(
        folder / "validation",
        run_id,
        {
            "signal_id": [f"s_{i}" for i in range(count)],
            "symbol": ["SPY"] * count,
            "recorded_at": np.full(count, np.datetime64("2026-01-02T10:00:00", "us")),
            "status": list(statuses),
            "expected_profit": [1.0] * count,
            "execution_mode": ["shadow"] * count,
            "action": ["BUY"] * count,
            "source": ["TS"] * count,
            "reason": [None if status == "PASS" else "the edge is below 0.1" for status in statuses],
        },
        "VALIDATION",
    )


def test_the_records_of_the_state_folder(check: Check) -> None:
    store(check.state, "r_1", *["FAIL"] * 9)
    assert "100.00%   9 of 9" in check("task.mode=shadow", exits=1)
    store(check.state, "r_2", *["PASS"] * 3)
    assert check(exits=0).startswith("HEALTH    GREEN")
    assert "9 judged" in check("task.run_id=r_1", exits=1)
    (check.state / "validation" / "r_3.parquet").write_bytes(b"PAR1")
    assert "1 that cannot be read" in check(exits=1)
    assert check("task.strict=false", exits=0).startswith("HEALTH    GREEN")


def test_the_gate_is_closed_by_red_and_opened_by_green(check: Check) -> None:
    closed = check(check.log(FAIL), "task.gate=true", exits=1)
    assert "gate      active since" in closed
    gate = check.gate()
    assert (gate["active"], gate["level"], gate["reason"]) == (True, "RED", "FAIL is a share of 1, above 0.85")
    universe = composed_spec().universe
    assert gate["disabled"] == sorted(s for s in universe.instruments if universe.bucket(s) is not Bucket.SAFE)

    check(check.log(*[FAIL] * 4, PASS, LOSS, LOSS, LOSS, LOSS), "task.gate=true", exits=0)  # YELLOW
    assert check.gate()["since"] == gate["since"]
    check(check.log(PASS), exits=0)  # not fed
    assert check.gate()["active"]
    assert "gate      inactive" in check(check.log(PASS), "task.gate=true", exits=0)
    assert (check.gate()["active"], check.gate()["since"], check.gate()["disabled"]) == (False, None, [])


def test_a_reader_that_goes_away_does_not_change_the_exit_code(check: Check, tmp_path: Path) -> None:
    import os
    import sys

    read, write = os.pipe()
    os.close(read)
    command = [str(Path(sys.executable).parent / "policyengine"), "task=health", check.log(FAIL), f"runtime.state_dir={check.state}"]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_example_in_the_document_is_what_the_command_prints(check: Check, pe: Command, tmp_path: Path) -> None:
    section = (ROOT / "docs" / "signals.md").read_text().split("## Health\n")[1].split("\n## ")[0]
    log, shown = section.split("```jsonl\n")[1].split("```")[0], section.split("```console\n$ policyengine ")[1].split("```")[0]
    (tmp_path / "work" / "quant_validation.jsonl").write_text(log)
    command, *printed = shown.rstrip().splitlines()
    assert pe(*command.split()).stdout.splitlines() == printed


def test_the_ceilings_in_the_document_are_those_that_ship() -> None:
    section = (ROOT / "docs" / "signals.md").read_text().split("## Health\n")[1]
    task = composed_spec("task=health").task
    for name in ("fail_frac", "negative_frac"):
        ceilings = getattr(task, name)
        assert f"`task.{name}` | {ceilings.warn:g} | {ceilings.red:g} |" in section
