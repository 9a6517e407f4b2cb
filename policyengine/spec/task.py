"""Tasks and their arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, Literal

from policyengine.errors import ConfigError
from policyengine.records import Bucket, Stage
from policyengine.spec.bind import unknown
from policyengine.spec.health import ACTIONS, EXECUTION_MODES, CeilingsSpec, FilterUnknown, ends_before, starts_at
from policyengine.spec.rules import at_least, in_range

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _check_name(path: str, name: str) -> None:
    """Refuse what is no plain name: it becomes a folder's."""
    if not _NAME.fullmatch(name):
        raise ConfigError(path, f"{name!r} is not a name of letters, digits, '-' and '_', at most 64")


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
    """Draw the report of the run whose folder is `path` again, with what account `account` left last; None leaves that out."""

    KIND: ClassVar[str] = "report"
    path: str
    account: str | None = None

    def __post_init__(self) -> None:
        """Refuse an account that is no plain name."""
        if self.account is not None:
            _check_name("account", self.account)


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
        _check_name("account", self.account)
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

    def __post_init__(self) -> None:
        """Refuse an account that is no plain name."""
        _check_name("account", self.account)


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
        _check_name("account", self.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTask:
    """Judge the signals by their validation records: those of the state folder, or of the JSONL file `path`.

    Only records of run `run_id`, from `since` until `until` (days or instants, both included), of `mode` and `action` count; None takes
    all. `fail_frac` bounds the share of FAIL among records with a status, `negative_frac` that of an expected profit below 0 among those
    with one. With `strict` what cannot be read or understood makes it red; otherwise it is counted and left out. With `gate` the judgement
    feeds the quant gate, which while it is active lets the instruments in `buckets` open nothing.
    """

    KIND: ClassVar[str] = "health"
    strict: bool
    fail_frac: CeilingsSpec
    negative_frac: CeilingsSpec
    gate: bool
    buckets: tuple[Bucket, ...]
    path: str | None = None
    run_id: str | None = None
    since: str | None = None
    until: str | None = None
    mode: str | None = None
    action: str | None = None

    def __post_init__(self) -> None:
        """Refuse filters that cannot be understood, and a gate that would disable nothing, or what is safe.

        A log that is not ours may have modes of its own.
        """
        if not self.buckets or Bucket.SAFE in self.buckets:
            raise ConfigError("buckets", f"{[b.value for b in self.buckets]} are not the risk buckets that a gate may disable")
        if self.path is None and self.mode is not None and self.mode not in EXECUTION_MODES:
            raise FilterUnknown("mode", unknown("value", self.mode, EXECUTION_MODES))
        if self.action is not None and self.action not in ACTIONS:
            raise FilterUnknown("action", unknown("value", self.action, ACTIONS))
        if "" in (self.run_id, self.mode):
            raise FilterUnknown("run_id" if self.run_id == "" else "mode", "'' is empty; null takes all")
        since, before = self.span
        if since is not None and before is not None and since >= before:
            raise FilterUnknown("since", f"{self.since} is after until {self.until}")

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """The first instant that counts, and the first after that no longer does; None has no bound."""
        return (
            None if self.since is None else starts_at("since", self.since),
            None if self.until is None else ends_before("until", self.until),
        )


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
