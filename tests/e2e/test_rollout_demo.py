"""A whole rollout by the installed command on the prices that ship: from off to live, a breach, a kill and back.

The gate is the shipped one and the prices are the demo's own, to which the source adds signals of its own: a name is bought while it is
above its average of 200 sessions. The arms are what nobody would argue about once the years are known: the baseline holds names on which
that rule lost for two decades, the candidate those on which it paid. Nothing is claimed of the future.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import ROOT, Command
from tests.keys import public_line, write_key

CORE = ("AAPL", "AMD", "JNJ", "PEP", "RRC", "UNH", "WTI")
SPEC = ("BAC", "GE", "JPM", "LLY", "WMT", "XOM")
APART = ("BBY", "CVX", "HD", "KO", "MRK", "MSFT", "PFE", "PG")
LOOK, BEGIN, CANARY, SECOND_LOOK, END = 3_140, 4_655, 4_690, 4_712, 4_760
"""Sessions at hand: when the evidence for the canary is made, when the account begins, ..., when the evidence for live is made."""
SOURCE = """\
kind: parquet
path: {path}
views:
  prices: SELECT symbol, priced_at, close, currency FROM source
  signals: >-
    SELECT
      symbol || ' ' || CAST(priced_at AS DATE) AS signal_id,
      symbol,
      priced_at AS signalled_at,
      CASE WHEN symbol = 'TBILL' OR close > avg(close) OVER (PARTITION BY symbol ORDER BY priced_at ROWS 199 PRECEDING)
           THEN 'BUY' ELSE 'HOLD' END AS direction,
      0.7 AS confidence
    FROM source
"""
ARMS = """\
# @package _global_
evidence:
  arms:
    baseline:
      sizing: {enabled: true, multipliers: {safe: 1.0, core: 0.0, spec: 1.0, other: 0.0}}
sizing:
  multipliers: {safe: 1.0, core: 0.5, spec: 0.0, other: 0.0}
rollout:
  guards: {data_days: 100000, shadow_trades: 5}   # the one safe name hardly trades
  loss_max_frac: 0.0015
"""


class Team:
    """Runs the command on the demo's prices as they were after so many sessions. Keys: 1 produces, 2 and 3 approve, 4 signs the log."""

    def __init__(self, pe: Command, folder: Path) -> None:
        self._pe, self._mine, self.state = pe, folder / "mine", folder / "state"
        for path in (self._mine / "source", self._mine / "experiment", self.state / "trust"):
            path.mkdir(parents=True)
        self._prices = pd.read_parquet(ROOT / "data" / "prices.parquet")
        days = self._prices[self._prices["symbol"] == "KO"]["priced_at"]
        self.days = days.sort_values().reset_index(drop=True)
        self._data = self._mine / "prices.parquet"
        (self._mine / "source" / "so_far.yaml").write_text(SOURCE.format(path=self._data))
        (self._mine / "experiment" / "known_by_now.yaml").write_text(ARMS)
        self.keys = {number: write_key(folder, number) for number in range(1, 5)}
        allowed = self.state / "trust" / "allowed_signers"
        allowed.write_text("".join(f"person{number} {public_line(number)}\n" for number in self.keys))
        allowed.chmod(0o644)

    def at(self, sessions: int) -> None:
        self._prices[self._prices["priced_at"] <= self.days[sessions - 1]].to_parquet(self._data)

    def run(self, *args: str, exits: int = 0) -> str:
        buckets = [f"universe.instruments.{s}.bucket={b}" for b, names in (("core", CORE), ("spec", SPEC), ("other", APART)) for s in names]
        done = self._pe(
            *("--config-dir", str(self._mine), "source=so_far", "experiment=known_by_now", *buckets, f"runtime.state_dir={self.state}"),
            *args,
        )
        said = done.stdout + done.stderr
        assert done.returncode == exits, said
        assert "Traceback" not in said
        return said

    def trade(self, mode: str, *args: str, exits: int = 0) -> str:
        return self.run("task=trade", f"rollout={mode}", "rollout.trust=signed", f"rollout.audit_key={self.keys[4]}", *args, exits=exits)

    def evidence(self, stage: str) -> None:
        assert f"VERDICT   PROMOTE   promoted to {stage}" in self.run(f"task.stage={stage}", "evidence.publish=true")
        self.approve(stage, 1, "task.decision=sign")

    def approve(self, stage: str, number: int, *args: str) -> None:
        who = (f"task.person=person{number}", f"task.key={self.keys[number]}", "task.reason=reviewed")
        self.run("task=approve", "rollout.trust=signed", f"task.stage={stage}", *who, *args)

    def reset(self, event: str) -> None:
        who = ("task.person=person3", f"task.key={self.keys[3]}", "task.reason=looked into it")
        assert "released" in self.run("task=reset", "rollout.trust=signed", f"task.event={event}", *who)

    def records(self, kind: str) -> list[dict[str, Any]]:
        lines = [line for path in sorted((self.state / "audit").glob("*.jsonl")) for line in path.read_text().splitlines()]
        return [record for record in map(json.loads, lines) if record["kind"] == kind]


def event_of(said: str) -> str:
    found = re.search(r"k_[0-9a-f]{16}", said)
    assert found is not None
    return found[0]


@pytest.fixture
def team(pe: Command, tmp_path: Path) -> Team:
    return Team(pe, tmp_path)


@pytest.mark.long
def test_off_shadow_evidence_approvals_canary_live_breach_pause_kill_reset(team: Team) -> None:
    team.at(LOOK)
    team.evidence("canary")
    team.approve("canary", 2)
    team.at(BEGIN)
    assert "off: TS_ONLY sizes" in team.run("task=trade", f"task.start_date={team.days[BEGIN - 2].date()}")
    team.at(CANARY)
    assert "shadow: TS_ONLY sizes" in team.trade("shadow")
    assert "canary: TS_ONLY sizes" in team.trade("canary")
    team.at(SECOND_LOOK)
    assert "canary: TS_ONLY sizes" in team.trade("canary")

    team.evidence("live")
    team.approve("live", 2)
    team.approve("live", 3)
    team.reset(event_of(team.run("task=kill", "task.drill=true", "task.person=person2", "task.reason=drill")))
    assert "live: BARBELL_SIZED sizes" in team.trade("live")

    team.at(END)
    assert "PAUSED  it lost" in team.trade("live")
    (breach,) = team.records("breach")
    assert (breach["name"], breach["threshold"]) == ("canary", 0.0015)
    assert 0.0015 <= breach["observed"] < 0.01
    states = [transition["after"] for transition in team.records("transition")]
    assert states == ["shadow", "canary", "live", "paused"]
    sizes = {
        (r["mode"], r["acted_size"] == r["candidate_size"]) for r in team.records("intent") if r["baseline_size"] != r["candidate_size"]
    }
    assert sizes == {("shadow", False), ("canary", False), ("live", True), ("paused", False)}

    event = event_of(team.run("task=kill", "task.person=person2", "task.reason=enough"))
    assert "KILL_LATCHED" in team.trade("shadow", exits=5)
    team.reset(event)
    assert "shadow: TS_ONLY sizes" in team.trade("shadow")
    verified = team.run("task=verify", "task.stage=live", "task.deep=true", "rollout.trust=signed", exits=5)
    assert f"{len(team.records('intent')):,} recorded sizes follow, to the bit" in verified
    assert "DATA_MISMATCH" in verified  # the data have grown since the evidence was made
