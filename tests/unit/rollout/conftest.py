"""Evidence that promotes, made once by the real evaluation on planted data; each test changes a copy of its state folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policyengine import cli
from policyengine.records import Stage
from policyengine.reporting.progress import Progress
from policyengine.rollout.approvals import Answer, Statement, approve
from policyengine.rollout.permit import Request
from policyengine.spec.rollout import SliceSpec
from policyengine.spec.root import Spec
from policyengine.spec.task import EvaluateTask
from policyengine.store import read_json, write_json
from policyengine.tasks.evaluate import evaluate
from policyengine.tasks.run import Run
from tests.conftest import composed_spec

MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
CORE, SPEC = [f"C{i}" for i in range(6)], [f"S{i}" for i in range(4)]
BETTER = ("sizing.multipliers.core=1.0", "sizing.multipliers.spec=0.3", "window=rolling_quarterly")


def planted(path: Path, sessions: int = 900) -> list[str]:
    """Core names that drift up with little noise, spec names that fall in much of it; overrides that read them."""
    rng = np.random.default_rng(7)
    days = pd.bdate_range("2015-01-01", periods=900, tz="UTC")
    frames = [
        pd.DataFrame({"symbol": s, "priced_at": days, "close": 100 * np.exp(np.cumsum(rng.normal(mu, sd, days.size)))})
        for names, mu, sd in ((CORE, 0.0006, 0.006), (SPEC, -0.001, 0.03))
        for s in names
    ]
    frames.append(pd.DataFrame({"symbol": "CASH", "priced_at": days, "close": 100.0}))
    every = pd.concat(frames)
    every[every["priced_at"] <= days[sessions - 1]].to_parquet(path)
    listed = {"CASH": "safe", **dict.fromkeys(CORE, "core"), **dict.fromkeys(SPEC, "spec")}
    return [
        f"source.path={path}",
        "source.views={prices: 'SELECT symbol, priced_at, close FROM source'}",
        "universe.cash_rate_symbol=null",
        *(f"~universe.instruments.{s}" for s in composed_spec().universe.instruments),
        *(f"+universe.instruments.{s}={{bucket: {b}}}" for s, b in listed.items()),
    ]


@dataclass(frozen=True)
class Case:
    """A permit that is granted as it stands."""

    request: Request
    source_key: str

    @property
    def canonical(self) -> Path:
        return self.request.canonical

    def artifact(self) -> dict[str, Any]:
        made: dict[str, Any] = read_json(self.canonical)
        return made

    def store(self, made: dict[str, Any]) -> None:
        write_json(self.canonical, made)

    def approve(
        self,
        person: str = "local:ann",
        evidence_hash: str | None = None,
        *,
        days: int = 30,
        answer: Answer = Answer.APPROVE,
        reason: str = "reviewed",
        slice_: SliceSpec | None = None,
    ) -> Path:
        from hashlib import sha256

        said = Statement(
            evidence_hash=evidence_hash or sha256(self.canonical.read_bytes()).hexdigest(),
            stage=self.request.stage,
            slice=slice_ or self.request.spec.rollout.slice,
            decision=answer,
            principal=person,
            role="risk",
            reason=reason,
            made_at=MADE_AT,
            expires_at=MADE_AT + timedelta(days=days),
        )
        return approve(self.request.state_dir, said, key=None, trust=None)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, Path, str]:
    """The specification, the state folder and the identity of the data of evidence that promotes to canary."""
    folder = tmp_path_factory.mktemp("promoted")
    spec = composed_spec(*planted(folder / "prices.parquet"), *BETTER, "evidence.publish=true", "rollout=canary")
    state = folder / "state"
    (folder / "tmp").mkdir()
    run = Run(
        run_id="r_0000000000000000",
        created_at=MADE_AT.isoformat(),
        folder=folder / "run",
        state_dir=state,
        canonical=state / "evidence" / "barbell_pnl_evidence_latest.json",
        shipped=cli.DATA,
        temporary=folder / "tmp",
        in_sweep=False,
        choices={"source": "planted"},
        say=lambda _: None,
        clock=lambda: 0.0,
        now=lambda: MADE_AT,
        environment={},
        progress=Progress(sys.stderr, lambda: 0.0, enabled=False),
    )
    assert isinstance(spec.task, EvaluateTask)
    made = evaluate(spec, spec.task, run)
    assert made["verdict"] == "PROMOTE"
    return spec, state, made["hashes"]["source"]


@pytest.fixture
def case(evaluated: tuple[Spec, Path, str], tmp_path: Path) -> Case:
    spec, state, source_key = evaluated
    own = tmp_path / "state"
    shutil.copytree(state, own)
    made = Case(
        request=Request(
            stage=Stage.CANARY,
            spec=spec,
            canonical=own / "evidence" / "barbell_pnl_evidence_latest.json",
            state_dir=own,
            at=MADE_AT + timedelta(days=1),
            trust=None,
            source_key=source_key,
        ),
        source_key=source_key,
    )
    made.approve()
    return made


@pytest.fixture
def with_(case: Case) -> Callable[..., Request]:
    return lambda **changes: replace(case.request, **changes)
