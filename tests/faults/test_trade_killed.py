"""Trading cut short by SIGKILL, again and again: what is in the journal in the end is what one undisturbed run leaves."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from policyengine.execution.broker import PaperBroker
from tests.conftest import Command, composed_spec

KILLS = 12
SPAN = ["task=trade", "task.start_date=2018-03-01"]
ABOUT_THE_FILE = ("seq", "previous")


def records(state: Path) -> list[dict[str, Any]]:
    """What was done, without what a recovery adds and where a record stands."""
    path = next(state.rglob("paper/*/journal.jsonl"))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ABOUT_THE_FILE} for r in found if r["kind"] != "recovery"]


@pytest.mark.long
def test_nothing_is_lost_and_nothing_doubles(pe: Command, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert pe(*SPAN, f"runtime.state_dir={whole}").returncode == 0
    command = [str(Path(sys.executable).parent / "policyengine"), *SPAN, f"runtime.state_dir={broken}"]
    rng = random.Random(1)
    cut = 0
    for attempt in range(KILLS):
        child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = broken / "paper" / "paper" / "journal.jsonl"
        before = journal.stat().st_size if journal.exists() else 0
        # Wait until it trades, then a moment more: a session has about ten orders of a few milliseconds each.
        while child.poll() is None and (journal.stat().st_size if journal.exists() else 0) <= before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.15) if attempt else 0.01)
        child.send_signal(signal.SIGKILL)
        cut += child.wait() == -signal.SIGKILL
    assert cut >= KILLS // 2
    assert pe(*SPAN, f"runtime.state_dir={broken}").returncode == 0
    expected, found = records(whole), records(broken)
    assert found == expected
    ids = [r["order"]["client_order_id"] for r in found if r["kind"] == "order"]
    assert len(set(ids)) == len(ids) > 1_000


def test_an_account_that_another_process_trades_is_refused(pe: Command, tmp_path: Path) -> None:
    opened = {"account": "paper", "base_currency": "USD", "capital": 1e6, "lots": {}}
    with PaperBroker(tmp_path / "paper" / "paper", composed_spec().execution, **opened):  # type: ignore[arg-type]
        refused = pe(*SPAN, f"runtime.state_dir={tmp_path}")
    assert refused.returncode == 5
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "paper" in refused.stderr
    assert pe(*SPAN, f"runtime.state_dir={tmp_path}").returncode == 0
