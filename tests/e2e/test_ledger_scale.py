"""A ledger of ten times the trades takes ten times the time and the same memory: guards of growth, never of absolute time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from policyengine.evidence.trade_history import trade_history_evidence
from tests.conftest import ROOT, composed_spec
from tests.ledgers import large, opened

SPEC = composed_spec("evidence=trade_history", "evidence.initial_capital=1e12")
NOISE = 3.0
PEAK_MB = 700
"""Two million trades held in Python took 3,000 MB; the command that holds none starts at 150."""
RUN = """
import resource, sys
from policyengine.cli import main
sys.argv = ["policyengine", *sys.argv[1:]]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""
SOURCE = """
defaults:
  - override /universe@_global_.universe: round_trips
kind: parquet
path: ???
views: {trades: SELECT * FROM source}
"""


def seconds(path: Path) -> float:
    """CPU time of everything that reads the trades: checks, sums, excerpt and digest."""
    with opened(path) as market:
        started = time.process_time()
        market.check()
        made = trade_history_evidence(SPEC, market, None)
        market.digest()
        taken = time.process_time() - started
    assert made.counts["closing_trades"] > 0
    return taken


@pytest.mark.long
def test_time_grows_with_the_trades_and_no_faster(tmp_path: Path) -> None:
    """At most 11 for ten times the rows, and what a busy machine adds; one attempt of three must do."""
    small, big = large(tmp_path / "small", 200_000), large(tmp_path / "big", 2_000_000)
    ratios = []
    for _ in range(3):
        ratios.append(seconds(big) / seconds(small))
        if ratios[-1] <= 11.0 + NOISE:
            return
    pytest.fail(f"ten times the trades took {', '.join(f'{ratio:.1f}' for ratio in ratios)} times the CPU time")


@pytest.mark.long
def test_memory_does_not_grow_with_the_trades(tmp_path: Path) -> None:
    data = large(tmp_path / "data", 2_000_000)
    (tmp_path / "conf" / "source").mkdir(parents=True)
    (tmp_path / "conf" / "source" / "ledger.yaml").write_text(SOURCE)
    arguments = ["--config-dir", str(tmp_path / "conf"), "source=ledger", f"source.path={data}", "evidence=trade_history"]
    limits = ["evidence.initial_capital=1e12", "runtime.memory_limit_mb=256", "task.report=false"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments, *limits],
        cwd=tmp_path,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the last 100,000 of 2,000,000 closing trades" in " ".join(done.stdout.split())
    assert int(done.stderr.split()[-1]) < PEAK_MB
