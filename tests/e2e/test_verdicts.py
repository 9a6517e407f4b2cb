"""The three verdicts on data where the truth is planted, and what the log of trials and the looks do to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command

CORE = [f"C{i}" for i in range(6)]
SPEC = [f"S{i}" for i in range(4)]
GOOD = ("sizing.multipliers.core=1.0", "sizing.multipliers.spec=0.3")
BAD = ("sizing.multipliers.core=0.5", "sizing.multipliers.spec=2.0")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Core names that drift up with little noise, spec names that are noise alone and fall: holding less of these is better."""
    rng = np.random.default_rng(7)
    days = pd.bdate_range("2015-01-01", periods=900, tz="UTC")
    frames = [
        pd.DataFrame({"symbol": s, "priced_at": days, "close": 100 * np.exp(np.cumsum(rng.normal(mu, sd, days.size)))})
        for names, mu, sd in ((CORE, 0.0006, 0.006), (SPEC, -0.001, 0.03))
        for s in names
    ]
    frames.append(pd.DataFrame({"symbol": "CASH", "priced_at": days, "close": 100.0}))
    folder = tmp_path / "work" / "mine"
    (folder / "source").mkdir(parents=True)
    (folder / "universe").mkdir()
    pd.concat(frames).to_parquet(folder / "prices.parquet")
    (folder / "source" / "planted.yaml").write_text(
        f"kind: parquet\npath: {folder}/prices.parquet\nviews:\n  prices: SELECT symbol, priced_at, close FROM source\n"
    )
    listed = {"CASH": "safe", **dict.fromkeys(CORE, "core"), **dict.fromkeys(SPEC, "spec")}
    (folder / "universe" / "planted.yaml").write_text("instruments:\n" + "".join(f"  {s}: {{bucket: {b}}}\n" for s, b in listed.items()))
    return folder


def args(mine: Path, *more: str) -> list[str]:
    return ["--config-dir", str(mine), "source=planted", "universe=planted", "window=rolling_quarterly", *more]


def verdict(work: Path) -> dict[str, object]:
    latest = max(work.glob("outputs/*/*/evidence.json"), key=lambda p: p.stat().st_mtime_ns)
    made: dict[str, object] = json.loads(latest.read_text())
    return made


def test_a_candidate_that_is_better_is_promoted_and_gate_exits_0(pe: Command, mine: Path, tmp_path: Path) -> None:
    result = pe(*args(mine, *GOOD, "evidence.publish=true"))
    assert result.returncode == 0, result.stderr
    assert "VERDICT   PROMOTE   promoted to canary: all 17 hard criteria pass" in result.stdout, result.stdout
    assert "total return is lower by" in result.stdout  # a promotion for less risk says what it costs
    assert verdict(tmp_path / "work")["passed"] is True
    assert pe(*args(mine), "task=gate").returncode == 0


def test_a_promotion_does_not_outlive_new_trials_or_a_changed_log(pe: Command, mine: Path, tmp_path: Path) -> None:
    assert pe(*args(mine, *GOOD, "evidence.publish=true")).returncode == 0
    state = tmp_path / "home/.local/share/policyengine"
    before = {p: p.read_bytes() for p in (state / "trials" / "trials.jsonl", state / "trials.head.json")}
    assert pe("-m", *args(mine, "sizing.multipliers.spec=0.4,0.5")).returncode == 0
    gate = pe("task=gate")
    assert gate.returncode == 3
    assert "there are 3 now, so evaluate again" in " ".join(gate.stdout.split())
    again = pe(*args(mine, *GOOD))
    assert "3 trials" in again.stdout
    assert "selection" in {c["name"] for c in verdict(tmp_path / "work")["criteria"]}  # type: ignore[attr-defined,union-attr]
    (state / "trials" / "trials.jsonl").write_bytes(before[state / "trials" / "trials.jsonl"])
    blocked = pe("task=gate")
    assert (blocked.returncode, "trials.jsonl" in blocked.stderr) == (1, True), blocked.stderr
    assert pe(*args(mine, *GOOD)).returncode == 1


def test_a_candidate_that_is_worse_is_rejected_and_gate_exits_4(pe: Command, mine: Path) -> None:
    result = pe(*args(mine, *BAD, "evidence.publish=true"))
    assert result.returncode == 0, result.stderr
    assert "VERDICT   REJECT" in result.stdout, result.stdout
    assert pe("task=gate").returncode == 4


def test_the_same_run_again_is_the_same_look(pe: Command, mine: Path, tmp_path: Path) -> None:
    pe(*args(mine))
    one = verdict(tmp_path / "work")
    pe(*args(mine))
    two = verdict(tmp_path / "work")
    for key in ("verdict", "criteria", "look", "test"):
        assert one[key] == two[key]
    assert len((tmp_path / "home/.local/share/policyengine/trials/trials.jsonl").read_text().splitlines()) == 2


def until(mine: Path, day: str) -> str:
    """The source as it was on `day`."""
    path = mine / f"prices-{day}.parquet"
    frame = pd.read_parquet(mine / "prices.parquet")
    frame[frame["priced_at"] <= pd.Timestamp(day, tz="UTC")].to_parquet(path)
    return f"source.path={path}"


def test_between_looks_nothing_is_judged_anew(pe: Command, mine: Path, tmp_path: Path) -> None:
    """The same data under other names, as they grow: what counts is the number of sessions."""
    pe(*args(mine, until(mine, "2016-12-30")))
    first = verdict(tmp_path / "work")
    pe(*args(mine, until(mine, "2017-03-31")))
    later = verdict(tmp_path / "work")
    assert first["test"] == later["test"]
    assert first["look"]["sessions"] == later["look"]["sessions"] == 522  # type: ignore[index]
    earlier = pe(*args(mine, until(mine, "2016-06-30")))
    assert "look  missing: 391 sessions; look 1 of 4 is at 522" in earlier.stdout
    pe(*args(mine))
    assert verdict(tmp_path / "work")["look"]["number"] == 2  # type: ignore[index]


def test_a_day_that_was_chosen_takes_no_look(pe: Command, mine: Path, tmp_path: Path) -> None:
    result = pe(*args(mine, *GOOD, "window.as_of=2017-03-31"))
    assert result.returncode == 0
    assert "window.as_of is before the last session" in result.stdout
    assert verdict(tmp_path / "work")["verdict"] == "INCONCLUSIVE"


def test_an_origin_is_declared_before_anybody_evaluated_or_not_at_all(pe: Command, mine: Path, tmp_path: Path) -> None:
    declared = pe(*args(mine, "task.origin_date=2016-01-01"))
    assert declared.returncode == 0, declared.stderr
    assert verdict(tmp_path / "work")["sample"]["start_date"] == "2016-01-01"  # type: ignore[index]
    pe(*args(mine))
    assert verdict(tmp_path / "work")["sample"]["start_date"] == "2016-01-01"  # type: ignore[index]
    late = pe(*args(mine, "task.origin_date=2017-01-01"))
    assert (late.returncode, "is declared too late: 1 trials" in late.stderr) == (1, True), late.stderr


def test_an_origin_chosen_after_a_sweep_is_too_late(pe: Command, mine: Path) -> None:
    assert pe("-m", *args(mine, "seed=1")).returncode == 0
    assert "is declared too late" in pe(*args(mine, "task.origin_date=2016-01-01")).stderr
    swept = pe("-m", *args(mine, "task.origin_date=2016-01-01"))
    assert (swept.returncode, "takes no look" in swept.stdout) == (1, True)


def test_another_universe_is_another_trial(pe: Command, mine: Path, tmp_path: Path) -> None:
    assert pe("-m", *args(mine, "universe.instruments.C0.bucket=core,spec", "universe.instruments.C1.bucket=core,spec")).returncode == 0
    pe(*args(mine))
    assert verdict(tmp_path / "work")["look"]["trials"] == 4  # type: ignore[index]


def test_a_trial_that_cannot_be_replayed_counts_and_stops_nobody(pe: Command, mine: Path, tmp_path: Path) -> None:
    """It read the source by another SELECT: K is 2, and the candidate's p is doubled for it."""
    other = (mine / "source" / "planted.yaml").read_text().replace("FROM source", "FROM source WHERE close > 0")
    (mine / "source" / "other.yaml").write_text(other)
    assert pe(*args(mine, *GOOD), "source=other", "window=30d").returncode == 0
    result = pe(*args(mine, *GOOD))
    assert result.returncode == 0, result.stderr
    assert verdict(tmp_path / "work")["look"]["trials"] == 2  # type: ignore[index]
    assert "best of 2 trials (1 aligned)" in json.dumps(verdict(tmp_path / "work")["criteria"])


def test_a_forged_artifact_is_refused(pe: Command, mine: Path, tmp_path: Path) -> None:
    pe(*args(mine, *BAD, "evidence.publish=true"))
    published = tmp_path / "home/.local/share/policyengine/evidence/barbell_pnl_evidence_latest.json"
    text = published.read_text()
    made = json.loads(text)
    for name, change, rule in (
        ("verdict", {"verdict": "PROMOTE"}, "its own criteria give"),
        ("passed", {"passed": True}, "its own criteria give"),
        ("passed as text", {"passed": "true"}, "its own criteria give"),
        ("criteria", {"judged": [{**c, "status": "pass"} for c in made["judged"]]}, "does not follow from"),
        ("no configuration", {"config": None}, "holds no configuration"),
        ("no hashes", {"hashes": []}, "holds no hashes"),
        ("none", {"judged": []}, "a look without its test"),
        ("look", {"look": {**made["look"], "number": 2}}, "does not hold"),
        ("log", {"trial_log": {"count": 9, "hash": "0" * 64}}, "is not the one in"),
    ):
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps({**made, **change}))
        result = pe("task=gate", f"task.path={forged}")
        assert (result.returncode, rule in result.stderr) == (1, True), f"{name}: {result.stdout} {result.stderr}"
        assert "Traceback" not in result.stderr
    other = pe("task=gate", "gate.test.min_effect=0.2")
    assert (other.returncode, "was tested with gate.test.min_effect=0.1" in other.stderr) == (1, True)


def test_looks_and_effect_are_fixed_by_the_first_look(pe: Command, mine: Path) -> None:
    pe(*args(mine))
    assert "gate.looks.max: 1 differs from 4" in pe(*args(mine, "gate.looks.max=1")).stderr
    assert "'growth_at_es' differs from 'sharpe'" in pe(*args(mine, "gate.test.effect=growth_at_es")).stderr
    assert "gate.looks.max: 3 is not one of" in pe(*args(mine, "gate.looks.max=3")).stderr
