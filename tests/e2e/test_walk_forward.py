"""Signals made again through history by the installed command: which source counts, why nothing trades, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command
from tests.llm_stub import Server

NAMES = {"CASH": "safe", "C0": "core", "C1": "core", "S0": "spec"}
LLM = ("signals/llm_fallback=openai_compatible", "signals.llm_fallback.model=stub", "signals.llm_fallback.api_key_env=null")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Two core names that drift, one of them the other way, and a noisy one."""
    rng = np.random.default_rng(11)
    days = pd.bdate_range("2019-01-01", periods=420, tz="UTC")
    moves = {"C0": (0.002, 0.01), "C1": (-0.002, 0.01), "S0": (0.0, 0.03)}
    frames = [
        pd.DataFrame({"symbol": s, "priced_at": days, "close": 100 * np.exp(np.cumsum(rng.normal(mu, sd, days.size)))})
        for s, (mu, sd) in moves.items()
    ]
    frames.append(pd.DataFrame({"symbol": "CASH", "priced_at": days, "close": 100.0}))
    folder = tmp_path / "work" / "mine"
    (folder / "source").mkdir(parents=True)
    (folder / "universe").mkdir()
    pd.concat(frames).to_parquet(folder / "prices.parquet")
    (folder / "source" / "planted.yaml").write_text(
        f"kind: parquet\npath: {folder}/prices.parquet\nviews:\n  prices: SELECT symbol, priced_at, close FROM source\n"
    )
    (folder / "universe" / "planted.yaml").write_text("instruments:\n" + "".join(f"  {s}: {{bucket: {b}}}\n" for s, b in NAMES.items()))
    return folder


def args(mine: Path, *more: str) -> list[str]:
    return ["--config-dir", str(mine), "source=planted", "universe=planted", "evidence=walk_forward", *more]


def latest(tmp_path: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(max((tmp_path / "work").glob(f"outputs/*/*/{name}.parquet"), key=lambda p: p.stat().st_mtime_ns))


def test_the_language_model_is_heard_only_where_time_series_are_silent(pe: Command, mine: Path, tmp_path: Path) -> None:
    alone = pe(*args(mine))
    assert alone.returncode == 0, alone.stderr
    assert set(latest(tmp_path, "choices")["chosen"].dropna()) == {"TS"}
    with Server("good") as server:
        both = pe(*args(mine, *LLM, f"signals.llm_fallback.base_url={server.base_url}"))
        assert both.returncode == 0, both.stderr
    choices, table = latest(tmp_path, "choices"), latest(tmp_path, "routing")
    heard = choices[choices["chosen"] == "LLM"]
    assert len(heard) > 50
    assert not (heard["ts"] == "SPEAKS").any()
    assert (choices[choices["ts"] == "SPEAKS"]["chosen"] == "TS").all()
    kept = [pd.read_parquet(path) for path in (tmp_path / "home/.local/share/policyengine/signals").glob("*.parquet")]
    assert max(len(one) for one in kept) == len(latest(tmp_path, "signals"))
    counts = table.groupby("source")["counts"].sum()
    assert counts["LLM"] == len(heard)
    assert counts["TS"] == (choices["chosen"] == "TS").sum()
    lines = [line.split() for line in both.stdout.splitlines() if line.startswith(("TS  ", "LLM "))]
    assert {line[0] for line in lines} == {"TS", "LLM"}
    signals, trades = latest(tmp_path, "signals"), latest(tmp_path, "trades")
    assert set(signals["source"]) == {"TS", "LLM"}
    assert set(trades["signal_id"]) - {""} <= set(signals["signal_id"])


def test_what_was_answered_once_is_answered_offline_to_the_byte(pe: Command, mine: Path, tmp_path: Path) -> None:
    with Server("good") as server:
        url = f"signals.llm_fallback.base_url={server.base_url}"
        pe(*args(mine, *LLM, url, "hydra.run.dir=one"))
        asked = len(server.requests)
    again = pe(*args(mine, *LLM, url, "hydra.run.dir=two"))  # nobody listens any more
    assert again.returncode == 0, again.stderr
    assert asked > 10
    one, two = tmp_path / "work" / "one", tmp_path / "work" / "two"
    for name in ("signals", "choices", "routing", "trades"):
        assert (one / f"{name}.parquet").read_bytes() == (two / f"{name}.parquet").read_bytes()


def test_an_endpoint_that_talks_nonsense_makes_nobody_trade_on_it(pe: Command, mine: Path, tmp_path: Path) -> None:
    with Server("html") as server:
        result = pe(*args(mine, *LLM, f"signals.llm_fallback.base_url={server.base_url}", "signals.llm_fallback.retries=0"))
    assert result.returncode == 0, result.stderr
    assert set(latest(tmp_path, "signals")["source"]) == {"TS"}
    assert "LLM silent:" in result.stdout


def test_a_model_of_machine_learning_is_heard_by_configuration_alone(pe: Command, mine: Path, tmp_path: Path) -> None:
    small = ("warmup_sessions=120", "train_sessions=250", "fold_sessions=40", "spans=[1,5,21]", "trees.min_samples_leaf=20")
    ml = ("signals/ml_secondary=gradient_boosting", *(f"signals.ml_secondary.{one}" for one in small))
    assert pe(*args(mine, *ml)).returncode == 0
    assert {"ts", "ml"} <= set(latest(tmp_path, "choices").columns)
    assert list((tmp_path / "home/.local/share/policyengine/engines/models").iterdir())


def test_without_trades_it_says_why(pe: Command, mine: Path) -> None:
    result = pe(*args(mine, "signals.ts_core.thresholds.edge_min=50", "execution.commission_bps=90"))
    assert result.returncode == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "no trade signals: low edge" in told
    assert "cost " in told
    assert "short history" in told
    small = pe(*args(mine, "execution.min_trade_frac=0.5"))
    assert "no trade orders: below minimum" in " ".join(small.stdout.split())


def test_a_run_that_was_killed_does_not_fit_again_what_it_had_finished(pe: Command, mine: Path, tmp_path: Path) -> None:
    garch = args(mine, "signals/ts_core=garch", "task.report=false")
    home = tmp_path / "home"
    fits = home / ".local/share/policyengine/engines/fits"
    command = [str(Path(sys.executable).parent / "policyengine"), *garch]
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with subprocess.Popen(command, cwd=tmp_path / "work", env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60.0
        while not (fits.is_dir() and [p for p in fits.iterdir() if not p.name.startswith(".")]) and time.monotonic() < until:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    before = {p.name: p.stat().st_mtime_ns for p in fits.iterdir() if not p.name.startswith(".")}
    assert before
    result = pe(*garch)
    assert result.returncode == 0, result.stderr
    after = {p.name: p.stat().st_mtime_ns for p in fits.iterdir() if not p.name.startswith(".")}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(NAMES)
