"""Tasks and their arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

from policyengine.errors import ConfigError
from policyengine.records import Stage
from policyengine.spec.rules import at_least, in_range

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateTask:
    """Make evidence and decide for `stage`; `origin_date` declares where the decision sample begins, before its first look.

    With `report` a run of its own draws its report once the verdict is said, where what draws is installed.
    """

    KIND: ClassVar[str] = "evaluate"
    stage: Stage = Stage.CANARY
    origin_date: date | None = None
    report: bool = True


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
class ReportTask:
    """Draw the report of the run whose folder is `path` again."""

    KIND: ClassVar[str] = "report"
    path: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveTask:
    """Say, as `person` in `role`, for `reason`, that the evidence at `path` may be used for `stage`, or that it may not; or sign it.

    The signature is that of whoever produced it, without which it counts for nothing where trust is signed. `key` is the file of an
    ed25519 private key; None where trust is local. `path` None is the canonical artifact.
    """

    KIND: ClassVar[str] = "approve"
    stage: Stage
    person: str
    role: str
    reason: str
    decision: Literal["approve", "reject", "sign"] = "approve"
    key: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyTask:
    """Check the canonical artifact for `stage`, and the audit log; `deep` checks every byte of the log and of the data besides."""

    KIND: ClassVar[str] = "verify"
    stage: Stage
    deep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KillTask:
    """Engage the kill switch, as `person`, for `reason`; a `drill` is an exercise, which a reset ends."""

    KIND: ClassVar[str] = "kill"
    person: str
    reason: str
    drill: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetTask:
    """Release the kill switch from the event `event`, as `person`, for `reason`; signed with `key` unless trust is local."""

    KIND: ClassVar[str] = "reset"
    event: str
    person: str
    reason: str
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainTask:
    """Say how the decision `decision` came about."""

    KIND: ClassVar[str] = "explain"
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorTask:
    """Look at what account `account` left, raise and clear alerts, and deliver what is new."""

    KIND: ClassVar[str] = "monitor"
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardTask:
    """Serve the report of the run whose folder is `path`, and what account `account` left, on 127.0.0.1 at `port`; 0 is any free one."""

    KIND: ClassVar[str] = "dashboard"
    path: str
    account: str
    port: int

    def __post_init__(self) -> None:
        """Refuse a port that is none."""
        in_range("port", self.port, 0, 65_535)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTask:
    """Judge the signals by their validation records: those of the state folder, or of the JSONL file `path`.

    Only records of run `run_id`, from `since` until `until` (both days included), of `mode` and `action` count; None takes all. With
    `strict` what cannot be read or understood makes it red; otherwise it is counted and left out.
    """

    KIND: ClassVar[str] = "health"
    strict: bool
    path: str | None = None
    run_id: str | None = None
    since: date | None = None
    until: date | None = None
    mode: str | None = None
    action: str | None = None


TaskSpec = (
    EvaluateTask
    | CollectTask
    | GateTask
    | SelftestTask
    | ReportTask
    | TradeTask
    | ApproveTask
    | VerifyTask
    | KillTask
    | ResetTask
    | ExplainTask
    | MonitorTask
    | DashboardTask
    | HealthTask
)
