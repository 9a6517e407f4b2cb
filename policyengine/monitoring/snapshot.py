"""The live snapshot of one account: what everything that watches it reads, in one documented form.

docs/monitoring.md says what each key holds. Fractions are of NAV, instants ISO 8601 in UTC, money in `currency`. What is not known is
None and never zero; no number is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from policyengine.errors import ConfigError, DataError
from policyengine.records import Bucket, Mode, Sleeve, Stage
from policyengine.spec.bind import bind, plain
from policyengine.store import read_json, write_json

SCHEMA = 1
StateName = Literal["off", "shadow", "canary", "live", "paused", "expired", "killed"]
STATES: tuple[StateName, ...] = get_args(StateName)
"""What the candidate's sizes do, as the rollout names it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the data are, without secrets, and whether the source declares them made up."""

    origin: str
    synthetic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketLine:
    """What a bucket holds. A limit of None is not set.

    `held_frac` sums absolute holdings; that of `safe` is 1 less all that is not safe, cash included. `net_frac` sums signed holdings:
    with cash they make 1. `headroom_frac` is what is left to the maximum, of `safe` what is left above the floor, by what counts
    against that limit.
    """

    bucket: Bucket
    held_frac: float | None
    net_frac: float | None
    min_frac: float | None
    max_frac: float | None
    headroom_frac: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLine:
    """All that counts against the risk maximum."""

    held_frac: float | None
    max_frac: float | None
    headroom_frac: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SleeveLine:
    """A sleeve's budget: `effective_frac` is the base budget x `scale` within the bounds, `allocated_frac` what is spent of it.

    `scale` is 1 where the sleeve is not scaled; its inputs are then None. Volatilities are a year's, `drawdown` a positive fraction.
    """

    sleeve: Sleeve
    base_frac: float | None
    effective_frac: float | None
    allocated_frac: float | None
    scale: float | None
    realised_vol: float | None
    target_vol: float | None
    drawdown: float | None
    max_drawdown: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantGate:
    """Whether signal quality holds sizes back, since when and why, and which instruments it disables."""

    active: bool
    since: str | None
    reason: str | None
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The permit that the stage acts under, or the code by which one was refused."""

    stage: Stage | None
    evidence_hash: str | None
    made_at: str | None
    expires_at: str | None
    refusal: str | None

    def __post_init__(self) -> None:
        """Refuse instants that are none."""
        _instants(made_at=self.made_at, expires_at=self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The kill switch. What cannot be read counts as engaged."""

    engaged: bool
    since: str | None
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The audit log: `broken` says what does not verify, and then nothing else is known; None where it holds."""

    recorded_at: str | None
    records: int | None
    checkpoint_at: str | None
    broken: str | None

    def __post_init__(self) -> None:
        """Refuse instants that are none."""
        _instants(recorded_at=self.recorded_at, checkpoint_at=self.checkpoint_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Candidate less baseline, and the profit factor of each, over one span of the evidence."""

    d_return_frac: float | None
    d_max_drawdown_frac: float | None
    profit_factor: float | None
    baseline_profit_factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The canonical artifact: over its whole `sample`, and over its last `window`."""

    evidence_hash: str
    made_at: str
    stage: Stage
    verdict: str
    sample: Figures
    window: Figures | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The stage that acts beside its control: the mean daily difference, its bounds, and why it must pause.

    Bounds are None before the first look; everything but `why` is None once it has paused.
    """

    sessions: int | None
    mean: float | None
    lower: float | None
    upper: float | None
    loss_frac: float | None
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketDone:
    """What was done in a bucket: requests, those that were refused or held back, and the realised P&L of what was closed."""

    bucket: Bucket
    orders: int
    rejects: int
    reject_frac: float | None
    realized_pnl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What was done over `sessions` sessions from `start_date` to `end_date`, as `state` where that was one throughout.

    `turnover_frac` is the sum traded over mean NAV, `cost_bps` the costs over it.
    """

    state: str | None
    start_date: date
    end_date: date
    sessions: int
    turnover_frac: float
    cost_bps: float
    profit_factor: float | None
    reject_frac: float | None
    orders: int
    rejects: int
    buckets: tuple[BucketDone, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was done: in the last session, in the last 20, since the mode changed and before it; None before any change."""

    session: Span
    rolling: Span
    since_mode: Span
    before_mode: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A minimum that only buying could meet."""

    path: str
    value: float
    symbol: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What was beyond its limit when the snapshot was published, or a data check that did not hold."""

    name: str
    observed: float | None
    operator: str
    limit: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One account after a run of task=trade. `halted` says why a stage was left; None where none was."""

    schema: int
    account: str
    published_at: str
    as_of: date
    source: Source
    currency: str
    nav: float | None
    cash: float | None
    cash_frac: float | None
    mode: Mode
    state: StateName
    halted: str | None
    buckets: tuple[BucketLine, ...]
    risk: RiskLine
    sleeves: tuple[SleeveLine, ...]
    done: Done
    unmet: tuple[Unmet, ...]
    quant_gate: QuantGate | None
    permit: Permit | None
    kill: Kill | None
    audit: Audit | None
    evidence: Evidence | None
    canary: Canary | None
    alerts: tuple[Alert, ...] = ()

    def __post_init__(self) -> None:
        """Refuse another schema, and an instant that is none."""
        if self.schema != SCHEMA:
            raise ConfigError("schema", f"{self.schema} is not {SCHEMA}")
        _instants(published_at=self.published_at)

    @property
    def acts(self) -> bool:
        """Whether the candidate's sizes reach orders."""
        return self.state in ("canary", "live")

    def bucket(self, bucket: Bucket) -> BucketLine | None:
        """The line of `bucket`; None where the snapshot has none."""
        return next((line for line in self.buckets if line.bucket is bucket), None)

    def exposure_sum(self) -> float | None:
        """Signed holdings and cash as fractions of NAV, which make 1; None where one of them is not known, or a bucket has no line."""
        parts = [self.cash_frac, *(None if (line := self.bucket(b)) is None else line.net_frac for b in Bucket)]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def age(self, now: datetime) -> timedelta:
        """Since it was published; negative where that is ahead."""
        return now - instant_of("published_at", self.published_at)


def instant_of(path: str, text: str) -> datetime:
    """The instant that `text` names.

    Raises:
        ConfigError: it is none, or names no zone.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(path, f"{text[:40]!r} is not an instant") from None
    if instant.tzinfo is None:
        raise ConfigError(path, f"{text!r} names no zone")
    return instant


def _instants(**named: str | None) -> None:
    for name, text in named.items():
        if text is not None:
            instant_of(name, text)


def account_folder(parent: Path, account: str) -> Path:
    """`parent` / `account`.

    Raises:
        ConfigError: the account is no plain name.
    """
    if not _NAME.fullmatch(account):
        raise ConfigError("task.account", f"{account[:80]!r} is not a name of letters, digits, '-' and '_', at most 64")
    return parent / account


def snapshot_path(state_dir: Path, account: str) -> Path:
    """Where the snapshot of `account` stands.

    Raises:
        ConfigError: as `account_folder`.
    """
    return account_folder(state_dir / "snapshots", account).with_suffix(".json")


def publish(state_dir: Path, snapshot: Snapshot) -> Path:
    """Put `snapshot` in the place of the one before, whole or not at all; the path.

    Raises:
        OutputError: it cannot be written; the one before stands.
        ValueError: a number is not finite.
    """
    path = snapshot_path(state_dir, snapshot.account)
    write_json(path, plain(snapshot))
    return path


def bound_snapshot(value: object, place: str) -> Snapshot:
    """`value` as a snapshot.

    Raises:
        DataError: naming `place`: it is none of this version.
    """
    if not isinstance(value, Mapping):
        raise DataError(place, f"{type(value).__name__} is not a mapping")
    try:
        return bind(Snapshot, value)
    except ConfigError as error:
        raise DataError(f"{place}: {error.path}", error.rule) from error


def read_snapshot(state_dir: Path, account: str) -> Snapshot:
    """The snapshot of `account`.

    Raises:
        ConfigError: as `account_folder`.
        DataError: there is none, or it is not one of this version.
    """
    path = snapshot_path(state_dir, account)
    found = bound_snapshot(read_json(path), str(path))
    if found.account != account:
        raise DataError(str(path), f"is of account {found.account!r}, not {account!r}")
    return found
