"""task=monitor through the installed command, on what task=trade published: what fires, what does not, and the exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policyengine.monitoring.alerts import RULES, Reading
from policyengine.monitoring.snapshot import read_snapshot
from policyengine.monitoring.watch import firing
from tests.conftest import Command


class Account:
    """One state folder, traded and looked at."""

    def __init__(self, pe: Command, folder: Path) -> None:
        self._pe, self.state, self.told = pe, folder / "state", folder / "told.jsonl"
        self.state.mkdir()

    def run(self, *args: str, exits: int = 0, env: dict[str, str] | None = None) -> str:
        done = self._pe(*args, f"runtime.state_dir={self.state}", env=env)
        said = done.stdout + done.stderr
        assert done.returncode == exits, said
        assert "Traceback" not in said
        return said

    def trade(self, *args: str, exits: int = 0) -> str:
        return self.run("task=trade", "task.start_date=2018-10-01", *args, exits=exits)

    def monitor(self, *args: str, exits: int = 0, env: dict[str, str] | None = None) -> dict[str, str]:
        """State of each alert."""
        said = self.run("task=monitor", f"monitor.file={self.told}", *args, exits=exits, env=env)
        assert "next      " in said
        rows = re.findall(r"^([a-z_]+) +(ok|pending|firing|unknown) ", said, flags=re.MULTILINE)
        assert [name for name, _ in rows] == [rule.name for rule in RULES]
        return dict(rows)

    def notified(self) -> list[tuple[str, str]]:
        return [(one["alert"], one["state"]) for one in map(json.loads, self.told.read_text().splitlines())] if self.told.exists() else []

    @property
    def snapshot(self) -> Path:
        return self.state / "snapshots" / "paper.json"

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        made = json.loads(self.snapshot.read_text())
        change(made)
        self.snapshot.write_text(json.dumps(made))


@pytest.fixture
def account(pe: Command, tmp_path: Path) -> Account:
    return Account(pe, tmp_path)


def fires(states: dict[str, str]) -> set[str]:
    return {name for name, state in states.items() if state == "firing"}


@pytest.mark.long
def test_absent_then_traded_then_stale_then_torn(account: Account) -> None:
    absent = account.monitor(exits=1)
    assert fires(absent) == {"snapshot_absent"}
    assert {state for name, state in absent.items() if name != "snapshot_absent"} == {"unknown"}

    account.trade()
    assert set(account.monitor().values()) == {"ok"}
    assert account.notified() == [("snapshot_absent", "firing"), ("snapshot_absent", "resolved")]

    old = (datetime.now(UTC) - timedelta(hours=27)).isoformat()
    account.change(lambda made: made.update(published_at=old))
    assert fires(account.monitor(exits=1)) == {"snapshot_stale"}
    assert fires(account.monitor("monitor.stale_hours=28")) == set()

    account.snapshot.write_bytes(account.snapshot.read_bytes()[:-40])
    assert fires(account.monitor(exits=1)) == {"snapshot_absent"}
    assert firing(account.state, "paper")["snapshot_absent"]
    account.trade()  # no session is due, and a snapshot is published all the same
    assert fires(account.monitor()) == set()


def test_what_is_published_adds_up(account: Account) -> None:
    account.trade("scaler=volatility", f"hydra.run.dir={account.state / 'run'}")
    found = read_snapshot(account.state, "paper")
    record = json.loads((account.state / "run" / "trade.json").read_text())
    assert found.nav == record["nav"]
    assert str(found.as_of) == record["as_of"] == record["sessions"][-1]["session"]
    assert found.exposure_sum() == pytest.approx(1.0, abs=1e-9)
    assert sum(line.held_frac or 0.0 for line in found.buckets) == pytest.approx(1.0, abs=1e-9)
    for line in found.buckets:
        assert line.held_frac is not None
        if line.max_frac is not None:
            assert line.headroom_frac == pytest.approx(line.max_frac - line.held_frac)
    scaled = next(line for line in found.sleeves if line.sleeve == "ts_core")
    assert scaled.scale is not None
    assert scaled.effective_frac == pytest.approx((scaled.base_frac or 0.0) * scaled.scale)
    assert scaled.realised_vol is not None
    assert scaled.drawdown is not None
    by_hand = scaled.target_vol / scaled.realised_vol * (1 - scaled.drawdown / scaled.max_drawdown) / (1 - scaled.drawdown)  # type: ignore[operator]
    assert scaled.scale == pytest.approx(min(max(by_hand, 0.1), 1.5))
    last = record["sessions"][-1]
    assert found.done.session.turnover_frac == pytest.approx(last["traded"] / last["nav"])
    assert found.done.session.cost_bps == pytest.approx(1e4 * last["cost"] / last["nav"])
    assert found.done.since_mode.sessions == len(record["sessions"])
    assert (found.source.origin, found.source.synthetic) == ("shipped:prices.parquet", False)
    assert (found.permit, found.kill, found.audit, found.canary, found.evidence) == (None, None, None, None, None)


def test_a_dip_of_one_look_pages_nobody_and_a_firing_alert_violates_its_limit(account: Account) -> None:
    account.trade()
    account.change(lambda made: made["buckets"][0].update(held_frac=0.7))
    assert account.monitor()["safe_below_floor"] == "pending"
    account.trade()
    assert set(account.monitor().values()) == {"ok"}
    assert account.notified() == []
    account.change(lambda made: made["buckets"][0].update(held_frac=0.7))
    assert fires(account.monitor("monitor.for_minutes=0", exits=1)) == {"safe_below_floor"}
    (line,) = map(json.loads, account.told.read_text().splitlines())
    assert Reading(observed=line["observed"], operator=line["operator"], limit=line["limit"], why="").violated
    assert (line["observed"], line["operator"], line["limit"]) == (0.7, "<", 0.75)


@pytest.mark.long
def test_kill_audit_and_gate_are_looked_at_as_they_stand_now(account: Account) -> None:
    """Not as they were when the snapshot was published."""
    account.trade("rollout=shadow")
    assert set(account.monitor("rollout=shadow").values()) == {"ok"}
    killed = account.run("task=kill", "task.person=ann", "task.reason=enough")
    assert fires(account.monitor(exits=1)) == {"kill_engaged"}
    assert fires(account.monitor(exits=1)) == {"kill_engaged"}
    event = re.search(r"k_[0-9a-f]{16}", killed)
    assert event is not None
    account.run("task=reset", f"task.event={event[0]}", "task.person=bob", "task.reason=fixed")
    account.trade("rollout=shadow")
    assert fires(account.monitor()) == set()
    assert account.notified() == [("kill_engaged", "firing"), ("kill_engaged", "resolved")]

    (account.state / "quant_gate.json").write_text("{")
    assert fires(account.monitor(exits=1)) == {"quant_gate_active"}
    (account.state / "quant_gate.json").unlink()

    log = account.state / "audit" / "journal.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"shadow"', b'"shadov"', 1))
    assert fires(account.monitor(exits=1)) == {"audit_broken"}


def test_a_refusal_is_published(account: Account) -> None:
    account.trade()
    before = read_snapshot(account.state, "paper")
    refused = account.trade("rollout=canary", exits=5)
    found = read_snapshot(account.state, "paper")
    assert found.permit is not None
    assert found.permit.refusal is not None
    assert found.permit.refusal in refused
    assert found.published_at > before.published_at
    assert found.nav == before.nav


def test_what_cannot_be_told_is_told_the_next_time(account: Account) -> None:
    account.trade()
    hook = account.state / "hook"
    hook.write_text("http://127.0.0.1:9/T0KEN")
    configured = (f"monitor.webhook_file={hook}", "monitor.attempts=1")
    account.change(lambda made: made["buckets"][0].update(held_frac=0.7))
    said = account.run("task=monitor", *configured, "monitor.for_minutes=0", exits=1)
    assert "webhook: 1 not delivered" in said
    assert "T0KEN" not in said
    account.trade()
    said = account.run("task=monitor", *configured, exits=1)  # nothing fires, and nobody was told
    assert "nothing fires" in said
    assert "webhook: 2 not delivered" in said


@pytest.mark.parametrize(
    ("change", "message"), [("task.account=../x", "is not a name of letters"), ("task.acount=x", "did you mean 'account'?")]
)
def test_bad_arguments_are_refused(account: Account, change: str, message: str) -> None:
    assert message in account.run("task=monitor", change, exits=1)
    assert not (account.state / "monitor").exists()
