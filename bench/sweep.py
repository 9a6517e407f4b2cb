"""What one more job of a sweep costs besides its own evaluation, against Hydra's own: python bench/sweep.py [RUNS]. Recorded, never gating.

In turn, each in a process of its own: `policyengine -m`, and a Hydra application on the same configuration whose jobs do nothing, with
few jobs and with many. The cost of a job is the slope, so starting up is in neither. What a job takes to evaluate is what it says itself,
from reading its source to writing its results; the rest is composing, binding, the wrapper around it, and collecting its row.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import machine, table, versions

COMMAND = str(Path(sys.executable).parent / "policyengine")
FEW, MANY = 4, 24
BARE = """\
import hydra
from omegaconf import OmegaConf
from policyengine.cli import CONF
OmegaConf.register_new_resolver("runid", lambda: "0", use_cache=True, replace=True)
hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(lambda config: None)()
"""
RECENT = """\
kind: parquet
path: shipped:prices.parquet
views:
  prices: SELECT symbol, priced_at, close, currency FROM source WHERE priced_at >= '2018-01-01'
"""


def seconds(command: list[str], folder: Path, jobs: int) -> float:
    """The wall time of a sweep of `jobs` jobs, which differ in their seed."""
    folder.mkdir(parents=True)
    words = [
        "--config-dir",
        str(folder.parent.parent / "mine"),
        "source=recent",
        "window=90d",
        "hydra.sweep.dir=swept",
        f"seed=range(1,{jobs + 1})",
    ]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "data")}
    started = time.perf_counter()
    subprocess.run([*command[:-1], "-m", *words, *command[-1:]], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def evaluating(folder: Path) -> list[float]:
    """What each job of a sweep says that it took."""
    return [json.loads(path.read_text())["seconds"] for path in folder.glob("swept/*/run.json")]


def main(runs: int) -> None:
    """Measure in turn, so that what else the machine does falls on both."""
    hydra, ours, own = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "mine" / "source" / "recent.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(RECENT)
        for run in range(runs):
            for name, command, slopes in (
                ("hydra", [sys.executable, "-c", BARE, "~hydra.callbacks.sweep"], hydra),
                ("ours", [COMMAND, "task=evaluate"], ours),
            ):
                few, many = Path(place) / f"{name}-{run}" / "few", Path(place) / f"{name}-{run}" / "many"
                slopes.append((seconds(command, many, MANY) - seconds(command, few, FEW)) / (MANY - FEW))
            own.append(statistics.fmean(evaluating(many)))
    above = [mine - evaluated - theirs for mine, evaluated, theirs in zip(ours, own, hydra, strict=True)]
    print(f"sweep: one more job, from {FEW} to {MANY} on hydra/launcher=basic, {runs} runs of each in turn")
    print(machine())
    print(versions(("hydra-core", "omegaconf", "duckdb", "pandas")))
    lines = [
        {
            "what": what,
            **{name: f"{1e3 * of(values):.1f} ms" for name, of in (("median", statistics.median), ("least", min), ("most", max))},
        }
        for what, values in (
            ("policyengine -m", ours),
            ("  of which the evaluation itself", own),
            ("Hydra on the same configuration, jobs that do nothing", hydra),
            ("policyengine above Hydra, without the evaluation", above),
        )
    ]
    print("\n".join(table({"what": "<", "median": ">", "least": ">", "most": ">"}, lines)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
