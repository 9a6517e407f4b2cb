"""The main job by the installed command, as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Command

WIDTH = 80


def only_run(folder: Path) -> Path:
    (run,) = folder.glob("outputs/*/*")
    return run


def without_ids(folder: Path) -> dict[str, bytes]:
    """Each result file but for run_id, created_at and paths."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        if path.name == "run.json":
            continue
        name = "matrix.json" if path.name.startswith("barbell_pnl_matrix") else path.name
        content = path.read_bytes()
        if path.suffix == ".json":
            value = json.loads(content)
            for key in ("run_id", "created_at", "files", "trial_log"):  # the log of trials holds ids and instants
                value.pop(key, None)
            content = json.dumps(value).encode()
        found[name] = content
    return found


def test_the_demo_from_nothing_to_a_verdict(pe: Command, tmp_path: Path) -> None:
    result = pe()
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert "22 instruments, 2000-01-03 to 2018-11-30" in result.stdout
    assert any(line.startswith("VERDICT   INCONCLUSIVE   not promoted to canary") for line in lines)
    assert all(line.isascii() for line in lines)
    assert max(len(line) for line in lines if "outputs/" not in line) <= WIDTH
    run = only_run(tmp_path / "work")
    made = json.loads((run / "evidence.json").read_text())
    assert made["passed"] is False
    assert made["verdict"] == "INCONCLUSIVE"
    assert len(made["windows"]) == 75
    assert made["breaches"] == 0
    assert made["audited_frac"] == [1.0, 1.0]
    assert made["arm_differences"] == [{"path": "sizing.enabled", "baseline": False, "candidate": True}]
    assert set(made["hashes"]) == {"policy", "baseline", "config", "data", "source", "code"}
    assert made["look"]["number"] == 1
    assert made["look"]["trials"] == 1
    state = tmp_path / "home/.local/share/policyengine"
    assert sorted(p.name for p in state.iterdir()) == ["trials", "trials.head.json"]  # nothing was published
    with (run / "matrix.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["window"] for row in rows] == [row["window"] for row in made["windows"]]
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict["verdict"] == made["verdict"]
    assert (tmp_path / "work" / verdict["files"]["evidence"]).exists()


def test_tables_agree_with_the_evidence(pe: Command, tmp_path: Path) -> None:
    assert pe("window=365d").returncode == 0
    run = only_run(tmp_path / "work")
    made = json.loads((run / "evidence.json").read_text())
    trades = pq.read_table(run / "trades.parquet").to_pydict()
    signals = pq.read_table(run / "signals.parquet").to_pydict()
    exposure = pq.read_table(run / "exposure.parquet").to_pydict()
    for arm in ("baseline", "candidate"):
        closing = [
            p for a, c, p in zip(trades["arm"], trades["closed_quantity"], trades["realized_pnl"], strict=True) if a == arm and c > 0
        ]
        assert len(closing) == made["pooled"][arm]["total_trades"]
        assert sum(closing) == pytest.approx(made["pooled"][arm]["realized_pnl"])
        assert exposure[f"{arm}_nav"][-1] - 1_000_000 == pytest.approx(made["pooled"][arm]["total_profit"])
        requests, rejects = (
            sum(sum(exposure[f"{arm}_{bucket}_{name}"]) for bucket in ("safe", "core", "spec", "other")) for name in ("requests", "rejects")
        )
        assert rejects > 0
        assert rejects / requests == pytest.approx(made["pooled"][arm]["reject_rate"])
        assert max(exposure[f"{arm}_safe_frac"]) <= 0.5 + 0.02 + 1e-9  # the drift band
        assert max(s + c for s, c in zip(exposure[f"{arm}_spec_frac"], exposure[f"{arm}_core_frac"], strict=True)) <= 0.25 + 1e-9
    assert len(set(signals["signal_id"])) == len(signals["signal_id"])
    assert set(trades["signal_id"]) <= set(signals["signal_id"])
    multiplier = dict(zip(signals["signal_id"], signals["factor_bucket"], strict=True))
    for arm, base, effective, signal in zip(
        trades["arm"], trades["base_confidence"], trades["effective_confidence"], trades["signal_id"], strict=True
    ):
        assert effective == (base if arm == "baseline" else base * multiplier[signal])


def test_the_same_inputs_give_the_same_bytes(pe: Command, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        env = {"PYTHONHASHSEED": "1" if name == "one" else "2", "XDG_DATA_HOME": str(tmp_path / name / "state")}
        assert pe("window=rolling_monthly", cwd=tmp_path / name, env=env).returncode == 0
    assert without_ids(only_run(tmp_path / "one")) == without_ids(only_run(tmp_path / "two"))


def test_one_run_evaluates_all_its_windows(pe: Command) -> None:
    result = pe("window=rolling_monthly")
    assert result.returncode == 0
    assert "... 219 earlier windows are in matrix.csv" in result.stdout


def test_no_colour_no_control_characters(pe: Command) -> None:
    result = pe("window=30d", env={"NO_COLOR": "1"})
    assert "\x1b" not in result.stdout + result.stderr
    assert "\r" not in result.stdout + result.stderr


def test_gate_exits_by_verdict_on_what_was_published(pe: Command, tmp_path: Path) -> None:
    refused = pe("task=gate")
    assert refused.returncode == 1
    assert "no evidence was published; next: policyengine evidence.publish=true" in refused.stderr
    assert pe("window=365d", "evidence.publish=true").returncode == 0
    canonical = tmp_path / "home/.local/share/policyengine/evidence/barbell_pnl_evidence_latest.json"
    assert canonical.exists()
    gate = pe("task=gate", "task.stage=live")
    assert gate.returncode == 3
    assert gate.stdout.startswith("VERDICT   INCONCLUSIVE   not promoted to live")
    assert len(list((tmp_path / "work").glob("outputs/*/*"))) == 1  # deciding leaves no folder behind


def test_the_canonical_artifact_can_stand_elsewhere(pe: Command, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "latest.json"
    env = {"BARBELL_PROMOTION_EVIDENCE_PATH": str(elsewhere)}
    assert pe("window=365d", "evidence.publish=true", env=env).returncode == 0
    assert elsewhere.exists()
    assert pe("task=gate", env=env).returncode == 3
    assert pe("task=gate").returncode == 1
    state = tmp_path / "state"
    assert pe("window=365d", "evidence.publish=true", f"runtime.state_dir={state}").returncode == 0
    assert (state / "evidence" / "barbell_pnl_evidence_latest.json").exists()


def test_gate_refuses_what_is_not_an_artifact(pe: Command, tmp_path: Path) -> None:
    for name, text, rule in (
        ("a.json", "{}", "schema None is not 1"),
        ("b.json", "[]", "is not an artifact"),
        ("c.json", '{"schema": 1, "schema": 1}', "key 'schema' stands twice"),
        ("d.json", '{"schema": 1}', "evidence.created_at: is required and not given"),
    ):
        path = tmp_path / name
        path.write_text(text)
        result = pe("task=gate", f"task.path={path}")
        assert (result.returncode, rule in result.stderr) == (1, True), result.stderr
        assert "Traceback" not in result.stderr


def test_version_and_help(pe: Command) -> None:
    assert pe("--version").stdout.startswith("policyengine 0.1.0")
    text = pe("--help").stdout
    assert "Exit codes: 0 done or PROMOTE" in text
    assert "rolling_quarterly" in text
