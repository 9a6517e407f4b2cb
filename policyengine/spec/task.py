"""Tasks and their arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from policyengine.errors import ConfigError
from policyengine.records import Stage
from policyengine.spec.rules import at_least

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeTask:
    """Trade the sessions that are due on the paper account `account`, which a first run begins with `capital` in cash.

    A new account begins with the session of `start_date`, or the first after it; None is the last session at hand.
    """

    KIND: ClassVar[str] = "trade"
    account: str
    capital: float
    start_date: date | None = None

    def __post_init__(self) -> None:
        """Refuse an account that is no plain name, which becomes a folder's, and one without capital."""
        if not _NAME.fullmatch(self.account):
            raise ConfigError("account", f"{self.account!r} is not a name of letters, digits, '-' and '_', at most 64")
        if self.capital <= 0.0:
            raise ConfigError("capital", f"{self.capital:g} is not above 0")


TaskSpec = EvaluateTask | CollectTask | GateTask | SelftestTask | TradeTask
