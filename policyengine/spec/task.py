"""Tasks and their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from policyengine.records import Stage
from policyengine.spec.rules import at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateTask:
    """Make evidence and decide for `stage`; `origin_date` declares where the decision sample begins, before its first look."""

    KIND: ClassVar[str] = "evaluate"
    stage: Stage = Stage.CANARY
    origin_date: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectTask:
    """Rebuild matrix and gate of the sweep in folder `path`, for `stage`."""

    KIND: ClassVar[str] = "collect"
    path: str
    stage: Stage = Stage.CANARY


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTask:
    """Decide for `stage` on the evidence at `path`; None is the canonical artifact."""

    KIND: ClassVar[str] = "gate"
    stage: Stage = Stage.CANARY
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestTask:
    """Run the gate's negative controls, `reps` repetitions of each cell; `only` names some of them, empty is all."""

    KIND: ClassVar[str] = "selftest"
    reps: int
    seed: int
    n_boot: int
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse too few repetitions to say anything."""
        at_least("reps", self.reps, 20)
        at_least("seed", self.seed, 0)
        at_least("n_boot", self.n_boot, 99)


TaskSpec = EvaluateTask | CollectTask | GateTask | SelftestTask
