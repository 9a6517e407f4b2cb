"""Runs that were really made, once: a replay of names that try to do harm, a ledger, and a run too short to have traded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policyengine import cli
from policyengine.reporting.progress import Progress
from policyengine.spec.root import bind_spec
from policyengine.spec.task import EvaluateTask
from policyengine.tasks.evaluate import evaluate
from policyengine.tasks.run import Run
from tests.conftest import composed

CORE = ["O'Neil & Co", "[/x]", "C2", "C3", "C4", "C5"]
SPEC = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", '=HYPERLINK("http://x.example","y")', "a\u202eb"]


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Core names that drift up, spec names that fall: a candidate that holds less of these is promoted."""
    folder = tmp_path_factory.mktemp("replayed")
    return _evaluate(folder, _planted(folder), "window=rolling_quarterly", "sizing.multipliers.core=1.0", "sizing.multipliers.spec=0.3")


@pytest.fixture(scope="session")
def untraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same before its first signal: no trade, no look, no test."""
    folder = tmp_path_factory.mktemp("untraded")
    return _evaluate(folder, _planted(folder), "window=30d", "window.as_of=2015-02-27")


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Closed lots in a CSV file, scaled after the fact."""
    folder = tmp_path_factory.mktemp("ledger")
    days = pd.bdate_range("2020-01-02", periods=400)
    pnl = np.random.default_rng(3).normal(20.0, 100.0, days.size).round(2)
    lots = {"symbol": "X", "side": "LONG", "entry_date": days - pd.Timedelta(days=1), "exit_date": days, "qty": 10.0}
    prices = {"entry_price": 100.0, "exit_price": 100.0 + pnl / 10.0, "realized_pnl": pnl}
    pd.DataFrame(lots | prices).to_csv(folder / "lots.csv", index=False)
    return _evaluate(folder, {}, "source=round_trips", f"source.path={folder}/lots.csv", "evidence=trade_history")


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a run that a test may change."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "copy"))


def _planted(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    days = pd.bdate_range("2015-01-01", periods=900, tz="UTC")
    frames = [
        pd.DataFrame({"symbol": s, "priced_at": days, "close": 100 * np.exp(np.cumsum(rng.normal(mu, sd, days.size))), "currency": "USD"})
        for names, mu, sd in ((CORE, 0.0006, 0.006), (SPEC, -0.001, 0.03))
        for s in names
    ]
    frames.append(pd.DataFrame({"symbol": "CASH", "priced_at": days, "close": 100.0, "currency": "USD"}))
    pd.concat(frames).to_parquet(folder / "prices.parquet")
    listed = {"CASH": "safe", **dict.fromkeys(CORE, "core"), **dict.fromkeys(SPEC, "spec")}
    return {
        "source": {"path": str(folder / "prices.parquet")},
        "universe": {"instruments": {s: {"bucket": b} for s, b in listed.items()}, "cash_rate_symbol": None},
    }


def _evaluate(folder: Path, changes: Mapping[str, Mapping[str, Any]], *overrides: str) -> Path:
    container = composed(*overrides, "task.report=false")
    for section, values in changes.items():
        container[section] = {**container[section], **values}
    spec = bind_spec(container)
    (folder / "tmp").mkdir()
    (folder / "run").mkdir()
    run = Run(
        run_id="r_0000000000000000",
        created_at="2026-01-01T00:00:00.000000+00:00",
        folder=folder / "run",
        state_dir=folder / "state",
        canonical=folder / "state" / "evidence.json",
        shipped=cli.DATA,
        temporary=folder / "tmp",
        in_sweep=False,
        choices={"source": "planted"},
        say=lambda _: None,
        clock=lambda: 0.0,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        environment={},
        progress=Progress(sys.stderr, lambda: 0.0, enabled=False),
    )
    assert isinstance(spec.task, EvaluateTask)
    evaluate(spec, spec.task, run)
    return run.folder
