"""What is loaded before the command has said what it was asked: a new name in a list below is a decision about how long everybody waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import io, json, sys
until, place = sys.argv[1:3]

class Watched(io.TextIOWrapper):
    def write(self, text):
        if any(line.startswith(until) for line in text.splitlines()):
            with open(place, "w") as file:
                json.dump(sorted(sys.modules), file)
        return super().write(text)

sys.stdout = Watched(sys.stdout.buffer, encoding="utf-8", write_through=True)
sys.argv[1:] = sys.argv[3:]
from policyengine.cli import main
main()
"""
HYDRA = {"antlr4", "attr", "hydra", "omegaconf", "packaging", "yaml"}
FRAMES = {"dateutil", "duckdb", "numpy", "pandas", "pyarrow"}
CONTRACTS = {
    "annotated_types",
    "cloudpickle",
    "mypy_extensions",
    "pandera",
    "pydantic",
    "pydantic_core",
    "typeguard",
    "typing_extensions",
    "typing_inspect",
    "typing_inspection",
}
OF_TESTS = {"hypothesis", "sortedcontainers", "pytz"}
"""pandera and pandas take these where they are installed, as they are for tests only."""
HEAVY = (
    *("adbc_driver_manager", "altair", "arch", "cryptography", "joblib", "llvmlite", "matplotlib", "numba", "prometheus_client"),
    *("rich", "scipy", "sklearn", "starlette", "statsforecast", "statsmodels", "uvicorn", "vl_convert"),
)
LATE = (
    "policyengine.monitoring",
    "policyengine.reporting.report",
    "policyengine.execution.compiled",
    "pyarrow.dataset",
    "pandas.plotting._matplotlib",
)
"""Of what is loaded in part, what is for others."""


def loaded(folder: Path, until: str, *args: str) -> set[str]:
    """The modules when the command prints a line that begins with `until`, in a process of its own."""
    place = folder / "modules.json"
    place.unlink(missing_ok=True)
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL")}
    command = [sys.executable, "-c", PROBE, until, str(place), *args]
    done = subprocess.run(command, cwd=folder, env={**keep, "HOME": str(folder)}, capture_output=True, text=True, timeout=120, check=False)
    assert place.exists(), done.stdout + done.stderr
    return set(json.loads(place.read_text()))


def packages(modules: set[str]) -> set[str]:
    """Packages of others, without what is private to one of them."""
    tops = {name.partition(".")[0] for name in modules}
    own = {"policyengine", "schemas", "hydra_plugins", "cython_runtime"}
    return {name for name in tops - sys.stdlib_module_names - own - OF_TESTS if not name.startswith("_")}


def test_a_run_of_the_demo_up_to_its_verdict_and_the_gate_after_it(tmp_path: Path) -> None:
    run = loaded(tmp_path, "next ", "evidence.publish=true", "task.report=false")
    assert packages(run) == HYDRA | FRAMES | CONTRACTS
    assert not [name for name in run if name.partition(".")[0] in HEAVY or name.startswith(LATE)]
    assert packages(loaded(tmp_path, "evidence ", "task=gate")) == HYDRA | {"numpy"}


@pytest.mark.parametrize(("until", "option"), [("policyengine ", "--version"), ("policyengine ", "--help")])
def test_what_needs_no_data_loads_no_numbers(tmp_path: Path, until: str, option: str) -> None:
    assert packages(loaded(tmp_path, until, option)) == HYDRA
