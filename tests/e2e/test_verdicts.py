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
        ("no hashes", {"hashes": []}, "evidence.hashes: "),
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


def looks(tmp_path: Path) -> list[dict[str, object]]:
    """The looks that the log holds, in order."""
    lines = (tmp_path / "home/.local/share/policyengine/trials/trials.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "look"]


def changed(mine: Path, name: str, where: str) -> str:
    """A source that leaves rows out by its SELECT."""
    text = (mine / "source" / "planted.yaml").read_text()
    (mine / "source" / f"{name}.yaml").write_text(text.replace("FROM source", f"FROM source WHERE {where}"))
    return f"source={name}"


BINDS = "the baseline moves with that of budget b_"


@pytest.mark.parametrize("attack", ["symbol", "cost", "name"])
def test_the_same_question_under_another_hash_gets_no_new_look(pe: Command, mine: Path, tmp_path: Path, attack: str) -> None:
    """One symbol less, a cost moved by a thousandth of a basis point, a name that differs, each with three more months of data."""
    pe(*args(mine, until(mine, "2016-12-30")))
    (first,) = looks(tmp_path)
    words = {
        "symbol": changed(mine, "fewer", "symbol <> 'C5'"),
        "cost": "execution.spread_bps=4.001",
        "name": changed(mine, "renamed", "close > 0"),
    }[attack]
    result = pe(*args(mine), words, until(mine, "2017-03-31"))
    assert f"{BINDS}{str(first['budget'])[:6]}, whose looks bind" in " ".join(result.stdout.split()), result.stdout + result.stderr
    found = verdict(tmp_path / "work")["look"]
    assert (found["number"], found["sessions"], found["last_date"]) == (1, 522, "2016-12-30")  # type: ignore[index]
    assert [(look["budget"], look["number"], look["last_date"]) for look in looks(tmp_path)] == [(first["budget"], 1, "2016-12-30")] * 2


def test_cutting_off_the_first_year_reaches_no_look(pe: Command, mine: Path, tmp_path: Path) -> None:
    pe(*args(mine))
    result = pe(*args(mine), changed(mine, "later", "priced_at >= '2016-01-01'"))
    assert "look  missing: 639 sessions; look 1 of 4 is at 900" in result.stdout, result.stdout + result.stderr
    assert BINDS in " ".join(result.stdout.split())
    assert len(looks(tmp_path)) == 1


def test_a_look_does_not_slide_along_with_sessions_that_are_left_out(pe: Command, mine: Path, tmp_path: Path) -> None:
    """As many sessions as the look wants, but twenty new days at the end for twenty left out at the start."""
    pe(*args(mine, until(mine, "2016-12-30")))
    frame = pd.read_parquet(mine / "prices.parquet")
    slid = frame[
        (frame["priced_at"] >= pd.Timestamp("2015-01-29", tz="UTC")) & (frame["priced_at"] <= pd.Timestamp("2017-01-27", tz="UTC"))
    ]
    slid.to_parquet(mine / "slid.parquet")
    result = pe(*args(mine, f"source.path={mine}/slid.parquet", "execution.spread_bps=4.001"))
    assert BINDS in " ".join(result.stdout.split()), result.stdout + result.stderr
    assert "502 sessions by 2016-12-30, when it was taken; look 1 of 4 wants 522" in " ".join(result.stdout.split())
    assert len(looks(tmp_path)) == 1


def test_a_baseline_that_is_really_another_has_looks_of_its_own(pe: Command, mine: Path, tmp_path: Path) -> None:
    pe(*args(mine, until(mine, "2016-12-30")))
    result = pe(*args(mine, until(mine, "2017-03-31"), "signals.ts_core.drift_halflife_sessions=3"))
    assert BINDS not in " ".join(result.stdout.split())
    assert verdict(tmp_path / "work")["look"]["sessions"] == 587  # type: ignore[index]
    one, two = looks(tmp_path)
    assert one["budget"] != two["budget"]


def test_gate_holds_an_artifact_to_the_budget_that_bound_it(pe: Command, mine: Path, tmp_path: Path) -> None:
    pe(*args(mine, until(mine, "2016-12-30")))
    nudged = args(mine, *GOOD, "execution.spread_bps=4.001", until(mine, "2017-03-31"))
    assert pe(*nudged, "evidence.publish=true").returncode == 0
    made = verdict(tmp_path / "work")
    gate = pe("task=gate")
    assert (gate.returncode, BINDS in " ".join(gate.stdout.split())) == ({"PROMOTE": 0, "INCONCLUSIVE": 3}[str(made["verdict"])], True)
    for change in ({"budget": "0" * 64}, {"last_date": "2017-03-31"}, {"first_date": "2014-12-31"}):
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps({**made, "look": {**made["look"], **change}}))  # type: ignore[dict-item]
        result = pe("task=gate", f"task.path={forged}")
        assert (result.returncode, "that the log of trials does not hold under budget b_" in result.stderr) == (1, True), result.stderr


def test_an_origin_is_not_declared_anew_by_another_hash(pe: Command, mine: Path) -> None:
    pe(*args(mine, until(mine, "2016-12-30")))
    late = pe(*args(mine, "execution.spread_bps=4.001", "task.origin_date=2017-01-02"))
    assert (late.returncode, "comes after the first look, which fixed 2015-01-01; look 1 of 4 is taken" in late.stderr) == (1, True)


def test_an_origin_may_fall_on_a_day_without_a_session(pe: Command, mine: Path, tmp_path: Path) -> None:
    result = pe(*args(mine, "task.origin_date=2016-01-02"))  # a Saturday
    assert result.returncode == 0, result.stderr
    made = verdict(tmp_path / "work")
    assert (made["sample"]["start_date"], made["look"]["first_date"]) == ("2016-01-04", "2016-01-04")  # type: ignore[index]
    assert pe(*args(mine)).returncode == 0


def test_a_baseline_that_never_moved_takes_no_look(pe: Command, mine: Path) -> None:
    result = pe(*args(mine, "evidence.arms.baseline.sizing.enabled=true", "+evidence.arms.baseline.sizing.multipliers={core: 0, spec: 0}"))
    assert "the baseline moved in 0 weeks; the first look needs 12" in " ".join(result.stdout.split()), result.stdout + result.stderr


@pytest.mark.long
def test_on_the_data_that_ship_one_instrument_less_is_the_same_and_a_fast_drift_is_not(pe: Command) -> None:
    """The instrument whose absence changes the baseline most; docs/gate.md says so."""
    assert pe("window=365d").returncode == 0
    select = "SELECT symbol, priced_at, close, currency FROM source WHERE symbol <> 'AMD'"
    for word, binds in ((f'source.views.prices="{select}"', True), ("signals.ts_core.drift_halflife_sessions=3", False)):
        result = pe("window=365d", word)
        assert (result.returncode, BINDS in " ".join(result.stdout.split())) == (0, binds), result.stdout + result.stderr
