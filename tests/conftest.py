"""What every test may use: composing a specification, a run that writes into a temporary folder, the installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from policyengine import cli
from policyengine.reporting.progress import Progress
from policyengine.spec.root import Spec, bind_spec
from policyengine.tasks.run import Run

ROOT = Path(__file__).resolve().parent.parent


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration as plain values."""
    with initialize_config_dir(config_dir=str(cli.CONF), version_base="1.3"):
        container: Any = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True, throw_on_missing=True)
    container.pop("experiment", None)
    return container


def composed_spec(*overrides: str) -> Spec:
    """The configuration, bound."""
    return bind_spec(composed(*overrides))


@pytest.fixture
def spec_of() -> Callable[..., Spec]:
    return composed_spec


@pytest.fixture
def run_in(tmp_path: Path) -> Callable[..., Run]:
    """A run that writes into a folder of its own and remembers what it said."""

    def make(name: str = "run", said: list[str] | None = None, *, in_sweep: bool = False) -> Run:
        folder, temporary = tmp_path / name, tmp_path / f"{name}-tmp"
        folder.mkdir()
        temporary.mkdir()
        return Run(
            run_id="r_0000000000000000",
            created_at="2026-01-01T00:00:00.000000+00:00",
            folder=folder,
            state_dir=tmp_path / f"{name}-state",
            canonical=tmp_path / f"{name}-state" / "evidence" / "barbell_pnl_evidence_latest.json",
            shipped=cli.DATA,
            temporary=temporary,
            in_sweep=in_sweep,
            choices={"source": "demo"},
            say=(said if said is not None else []).append,
            clock=lambda: 0.0,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            environment={},
            progress=Progress(sys.stderr, lambda: 0.0, enabled=False),
        )

    return make


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pe(tmp_path: Path) -> Command:
    """The installed command in an empty home folder, from a working folder that is not the repository.

    It draws no report unless asked to: most tests do not look at one, and drawing takes longer than most of them.
    """
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()

    def call(
        *args: str, cwd: Path = work, env: dict[str, str] | None = None, timeout: float = 120.0, report: bool = False
    ) -> subprocess.CompletedProcess[str]:
        if not report and not any((arg.startswith(("task=", "--")) and arg != "--config-dir") or arg == "-m" for arg in args):
            args = (*args, "task.report=false")
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")}
        command = [str(Path(sys.executable).parent / "policyengine"), *args]
        return subprocess.run(
            command, cwd=cwd, env={**keep, "HOME": str(home), **(env or {})}, capture_output=True, text=True, timeout=timeout, check=False
        )

    return call
