"""A whole rollout by the installed command, on planted data whose truth is known."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command

CORE, SPEC = [f"C{i}" for i in range(6)], [f"S{i}" for i in range(4)]
DAYS = pd.bdate_range("2015-01-01", periods=900, tz="UTC")
SIGNALS = (
    "SELECT symbol || ' ' || CAST(priced_at AS DATE) AS signal_id, symbol, priced_at AS signalled_at, 'BUY' AS direction, "
    "CASE WHEN (day(priced_at) + ascii(right(symbol, 1))) % 2 = 0 THEN 0.6 ELSE 0.9 END AS confidence FROM source"
)
"""Everything is always wanted, every other day a little more: there is something to trade on each."""
SHADOW, CANARY, LAST = 522, 560, 800
"""Sessions at hand when the evidence is made, when shadow has done enough, and at the second look, which falls at 783."""


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Core names that drift up with little noise, spec names that fall in much of it: holding less of these is better."""
    rng = np.random.default_rng(7)
    frames = [
        pd.DataFrame({"symbol": s, "priced_at": DAYS, "close": 100 * np.exp(np.cumsum(rng.normal(mu, sd, DAYS.size)))})
        for names, mu, sd in ((CORE, 0.0006, 0.006), (SPEC, -0.001, 0.03))
        for s in names
    ]
    frames.append(pd.DataFrame({"symbol": "CASH", "priced_at": DAYS, "close": 100.0}))
    path = tmp_path_factory.mktemp("prices") / "prices.parquet"
    pd.concat(frames).to_parquet(path)
    return path


class Team:
    """Runs the command on the data as they were after so many sessions."""

    def __init__(self, pe: Command, prices: Path, folder: Path) -> None:
        self._pe, self._prices, self.state = pe, prices, folder / "state"
        self.state.mkdir()
        self._mine = folder / "mine"
        for group in ("source", "universe"):
            (self._mine / group).mkdir(parents=True)
        listed = {"CASH": "safe", **dict.fromkeys(CORE, "core"), **dict.fromkeys(SPEC, "spec")}
        (self._mine / "universe" / "planted.yaml").write_text(
            "instruments:\n" + "".join(f"  {s}: {{bucket: {b}}}\n" for s, b in listed.items())
        )
        self._data = self._mine / "data.parquet"
        (self._mine / "source" / "planted.yaml").write_text(
            f"kind: parquet\npath: {self._data}\nviews:\n  prices: SELECT symbol, priced_at, close FROM source\n  signals: {SIGNALS}\n"
        )

    def at(self, sessions: int) -> None:
        frame = pd.read_parquet(self._prices)
        frame[frame["priced_at"] <= DAYS[sessions - 1]].to_parquet(self._data)

    def gone(self) -> None:
        self._data.unlink()

    def run(self, *args: str, exits: int = 0, env: dict[str, str] | None = None) -> str:
        done = self._pe(
            "--config-dir",
            str(self._mine),
            *("source=planted", "universe=planted", "window=rolling_quarterly"),
            *("sizing.multipliers.core=1.0", "sizing.multipliers.spec=0.3", f"runtime.state_dir={self.state}"),
            "rollout.guards.data_days=100000",  # the data end in the past
            *args,
            env=env,
        )
        said = done.stdout + done.stderr
        assert done.returncode == exits, said
        assert "Traceback" not in said
        return said

    def trade(self, mode: str, *args: str, exits: int = 0, env: dict[str, str] | None = None) -> str:
        return self.run("task=trade", f"rollout={mode}", *args, exits=exits, env=env)

    def approve(self, stage: str, person: str) -> str:
        return self.run("task=approve", f"task.stage={stage}", f"task.person={person}", "task.reason=reviewed")

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for path in sorted((self.state / "audit").glob("*.jsonl")) for line in path.read_text().splitlines()]

    def states(self) -> list[object]:
        return [record["after"] for record in self.records() if record["kind"] == "transition"]


@pytest.fixture
def team(pe: Command, prices: Path, tmp_path: Path) -> Team:
    return Team(pe, prices, tmp_path / "team") if (tmp_path / "team").mkdir() is None else None  # type: ignore[return-value]


def test_off_shadow_canary_pause_kill_reset(team: Team) -> None:
    team.at(SHADOW)
    first = str(DAYS[SHADOW - 1].date())
    assert "off: TS_ONLY sizes" in team.trade("off", f"task.start_date={first}")
    assert not (team.state / "audit").exists()

    refused = team.trade("canary", exits=5)
    assert "STAGE_MISMATCH: the rollout stands at off, and canary is not reached from there" in refused
    assert "EV_MISSING" in team.run("task=verify", exits=5)

    team.at(SHADOW + 5)
    assert "shadow: TS_ONLY sizes" in team.trade("shadow")
    team.run("evidence.publish=true")
    assert "SIGNOFF_QUORUM" in team.trade("canary", exits=5)
    assert "slice     10% of the way on 100% of the instruments, salt 'barbell'" in team.approve("canary", "ann")
    assert "LIMITS_EXCEEDED" in team.trade("canary", "rollout.slice.universe_frac=0.5", exits=5)
    assert "permit    canary" in team.run("task=verify")
    assert "5 of 20 sessions in shadow are done" in team.trade("canary", exits=5)

    team.at(CANARY)
    team.trade("shadow")
    assert "canary: TS_ONLY sizes" in team.trade("canary")
    assert team.states() == ["shadow", "canary"]

    team.at(CANARY + 5)
    assert "canary" in team.trade("canary")
    acted = [r for r in team.records() if r["kind"] == "intent" and r["mode"] == "canary"]
    assert acted
    moved = [r for r in acted if r["baseline_size"] != r["candidate_size"]]
    assert moved
    for r in moved:  # a tenth of the way, where no limit binds
        assert r["acted_size"] == pytest.approx(0.9 * r["baseline_size"] + 0.1 * r["candidate_size"], abs=1e-12)  # type: ignore[operator]

    assert "LIMITS_EXCEEDED" in team.trade("canary", "rollout.slice.capital_frac=0.5", exits=5)
    team.at(CANARY + 6)
    paused = team.trade("canary", "rollout.loss_max_frac=0")
    assert "PAUSED  it lost" in paused
    assert [(r["name"], r["threshold"]) for r in team.records() if r["kind"] == "breach"] == [("canary", 0.0)]
    assert team.states()[-1] == "paused"
    team.at(CANARY + 8)
    assert "paused: TS_ONLY sizes" in team.trade("canary")  # goes on with the baseline's sizes
    halted = [r for r in team.records() if r["kind"] == "intent" and r["mode"] == "paused"]
    assert halted
    assert all(r["acted_size"] == r["baseline_size"] for r in halted)

    _killed_and_reset(team)
    decision = str(acted[0]["decision_id"])
    told = team.run("task=explain", f"task.decision={decision}")
    assert "approved by local:ann" in told
    assert f"decision  {decision}" in told
    assert "record 0 " not in told
    verified = team.run("task=verify", "task.deep=true", exits=5)  # the log holds; the data have grown since the evidence was made
    assert re.search(r"audit     [\d,]+ records in 1 files hold", verified)
    decided = sum(record["kind"] == "intent" for record in team.records())
    assert f"{decided:,} recorded sizes follow, to the bit" in verified
    assert "DATA_MISMATCH" in verified


def _killed_and_reset(team: Team) -> None:
    """From paused: nothing acts while the latch is engaged, and only the event's own reset releases it."""
    killed = team.run("task=kill", "task.person=ann", "task.reason=enough")
    event = re.search(r"k_[0-9a-f]{16}", killed)
    assert event is not None
    for mode in ("shadow", "canary"):
        assert "KILL_LATCHED" in team.trade(mode, exits=5)
    assert "killed: TS_ONLY sizes" in team.trade("off")
    assert "KILL_LATCHED" in team.run("task=reset", "task.event=k_0000000000000000", "task.person=bob", "task.reason=x", exits=5)
    assert "released" in team.run("task=reset", f"task.event={event[0]}", "task.person=bob", "task.reason=fixed")
    team.at(CANARY + 9)
    team.trade("shadow")
    assert team.states()[-3:] == ["killed", "off", "shadow"]


@pytest.mark.long
def test_stale_data_pause_a_canary_and_nothing_below(team: Team) -> None:
    """The last session is of 2017, and the clock is the computer's."""
    stale = "rollout.guards.data_days=7"
    team.at(SHADOW)
    team.trade("shadow", stale, f"task.start_date={DAYS[SHADOW - 1].date()}")
    team.run("evidence.publish=true")
    team.approve("canary", "ann")
    team.at(CANARY)
    team.trade("shadow", stale)
    assert "the rollout stays at shadow: the data end on 2017-02-22" in team.trade("canary", stale, exits=5)
    team.trade("canary")
    team.at(CANARY + 1)
    assert "paused: TS_ONLY sizes" in team.trade("canary", stale)
    assert team.states() == ["shadow", "canary", "paused"]
    (breach,) = (record for record in team.records() if record["kind"] == "breach")
    assert (breach["name"], breach["threshold"]) == ("data", 7.0)


def test_the_kill_switch_takes_effect_with_the_data_gone(team: Team) -> None:
    """Engaged and on record though no source can be opened; three more starts find it engaged with nothing of its cause left."""
    team.at(SHADOW)
    team.trade("shadow", f"task.start_date={DAYS[SHADOW - 1].date()}")
    team.gone()
    assert "data.parquet" in team.trade("shadow", exits=1)
    assert "KILL_LATCHED" in team.trade("shadow", env={"POLICYENGINE_KILL": "1"}, exits=5)
    kinds = [record["kind"] for record in team.records()]
    assert kinds.count("kill") == 1
    for _ in range(3):
        assert "KILL_LATCHED" in team.trade("shadow", exits=5)
    team.run("task=kill", "task.person=ann", "task.reason=the data are gone")
    assert [record["kind"] for record in team.records()].count("kill") == 2
    assert "data.parquet" in team.trade("off", exits=1)  # nothing of the candidate's: the data alone stand in the way


def test_shadow_sends_the_orders_of_off(team: Team) -> None:
    """Byte for byte, over sessions and names."""
    team.at(SHADOW + 60)
    start = f"task.start_date={DAYS[SHADOW - 1].date()}"
    team.trade("off", start, "task.account=plain")
    team.trade("shadow", start, "task.account=shadowed")
    streams = []
    for account in ("plain", "shadowed"):
        lines = (team.state / "paper" / account / "journal.jsonl").read_text().splitlines()
        orders = [json.loads(line) for line in lines if '"kind":"order"' in line]
        for order in orders:
            order["order"].pop("client_order_id")  # names the account
        streams.append(json.dumps([(o["order"], o["fill"]) for o in orders]))
    assert streams[0].count("symbol") > 100
    assert streams[0] == streams[1]


@pytest.mark.parametrize(
    ("env", "exits", "said"),
    [
        ({"POLICYENGINE_KILL": "1"}, 5, "KILL_LATCHED"),
        ({"POLICYENGINE_KILL": "maybe"}, 5, "KILL_LATCHED"),
        ({"ENABLE_BARBELL_SIZING": "0"}, 0, "off: TS_ONLY sizes"),
        ({"ENABLE_BARBELL_SIZING": "yes"}, 1, "ENABLE_BARBELL_SIZING: 'yes' is none of 1, 0, true, false"),
    ],
)
def test_the_environment_stops_and_is_understood_or_refused(team: Team, env: dict[str, str], exits: int, said: str) -> None:
    team.at(SHADOW)
    assert said in team.trade("shadow", env=env, exits=exits)


def test_a_mode_that_is_none_is_an_error(team: Team) -> None:
    team.at(SHADOW)
    assert "unknown option 'pilot'" in team.trade("pilot", exits=1)
    assert "rollout.mode" in team.trade("off", "rollout.mode=pilot", exits=1)


def keys(folder: Path, *people: str) -> dict[str, Path]:
    """A key for each person, and the list of them where the state folder keeps it."""
    trust = folder / "state" / "trust"
    trust.mkdir()
    made = {}
    lines = []
    for person in people:
        path = folder / f"{person}.key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", str(path)], check=True)
        made[person] = path
        lines.append(f"{person} {' '.join(path.with_suffix('.key.pub').read_text().split()[:2])}")
    (trust / "allowed_signers").write_text("\n".join(lines) + "\n")
    (trust / "allowed_signers").chmod(0o644)
    return made


@pytest.mark.ssh
def test_live_needs_signed_evidence_two_other_people_a_canary_and_a_drill(team: Team, tmp_path: Path) -> None:
    signed = "rollout.trust=signed"
    people = keys(tmp_path / "team", "producer", "ann", "bob", "audit")
    audited = (signed, f"rollout.audit_key={people['audit']}")

    def evidence(stage: str) -> None:
        team.run(f"task.stage={stage}", "evidence.publish=true")
        path = team.state / "evidence" / "barbell_pnl_evidence_latest.json"
        path.with_name(path.name + ".sig").unlink(missing_ok=True)
        if stage == "canary":  # by hand, and by the task
            sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "policyengine-evidence", "-f", str(people["producer"]), str(path)]
            subprocess.run(sign, check=True, capture_output=True)
        else:
            words = ("task.person=producer", f"task.key={people['producer']}", "task.reason=made")
            team.run("task=approve", signed, "task.decision=sign", f"task.stage={stage}", *words)

    def approve(stage: str, person: str, exits: int = 0) -> str:
        args = ("task=approve", signed, f"task.stage={stage}", f"task.person={person}", f"task.key={people[person]}", "task.reason=ok")
        return team.run(*args, exits=exits)

    team.at(SHADOW)
    team.trade("shadow", signed, f"task.start_date={DAYS[SHADOW - 1].date()}")
    evidence("canary")
    approve("canary", "producer")
    team.at(CANARY)
    team.trade("shadow", signed)
    assert "SIGNOFF_SELF" in team.trade("canary", signed, exits=5)
    approve("canary", "ann")
    team.trade("canary", signed)

    team.at(LAST)
    assert "rollout.audit_key: null with mode live" in team.trade("live", exits=1)
    assert "no signature that counts is on its last checkpoint" in team.trade("live", *audited, exits=5)
    team.trade("canary", *audited)
    assert team.states()[-1] == "canary"
    assert "STAGE_MISMATCH" in team.trade("live", *audited, exits=5)  # evidence of the canary's stage
    assert team.states()[-1] == "canary"
    evidence("live")
    approve("live", "ann")
    assert "SIGNOFF_QUORUM" in team.trade("live", *audited, exits=5)
    approve("live", "bob")
    assert "never drilled" in team.trade("live", *audited, exits=5)
    drill = re.search(r"k_[0-9a-f]{16}", team.run("task=kill", "task.drill=true", "task.person=ann", "task.reason=drill"))
    assert drill is not None
    reset = ("task=reset", signed, f"task.event={drill[0]}", "task.person=bob", "task.reason=drilled")
    assert "task.key: is required" in team.run(*reset, exits=1)
    team.run(*reset, f"task.key={people['bob']}")
    assert "live: BARBELL_SIZED sizes" in team.trade("live", *audited)
    team.at(LAST + 2)
    assert "live: BARBELL_SIZED sizes" in team.trade("live", *audited)
    live = [r for r in team.records() if r["kind"] == "intent" and r["mode"] == "live"]
    assert live
    assert all(r["acted_size"] == r["candidate_size"] for r in live)
    _an_edit_expires(team, audited)


def _an_edit_expires(team: Team, audited: tuple[str, str]) -> None:
    path = team.state / "evidence" / "barbell_pnl_evidence_latest.json"
    path.write_bytes(path.read_bytes().replace(b"PROMOTE", b"PROMOTe", 1))
    assert "SIG_INVALID" in team.trade("live", *audited, exits=5)
    assert team.states()[-1] == "expired"
    assert "TS_ONLY sizes" in team.trade("off")
