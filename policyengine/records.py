"""Small records and enums that every room shares. No behaviour beyond what their fields imply."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

TOLERANCE = 1e-9
"""Separates "better" from float noise, everywhere."""

SPLITS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100)
SPLIT_WITHIN = 0.02
"""A price that is one of these times the one before it, or that part of it, within this fraction, looks like a split not adjusted for."""


class Bucket(StrEnum):
    """Barbell class of an instrument."""

    SAFE = "safe"
    CORE = "core"
    SPEC = "spec"
    OTHER = "other"


BUCKETS = tuple(Bucket)
"""The order in which arrays have them: the code of a bucket is its place here."""


class Sleeve(StrEnum):
    """NAV budget that a signal is charged to."""

    SAFE = "safe"
    TS_CORE = "ts_core"
    ML_SECONDARY = "ml_secondary"
    LLM_FALLBACK = "llm_fallback"
    TAIL_HEDGE = "tail_hedge"
    NGX_RISK = "ngx_risk"
    EM_RISK = "em_risk"


class Arm(StrEnum):
    """One sizing of the same signal stream."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


class Status(StrEnum):
    """Outcome of one criterion. Only PASS ever counts as passed."""

    PASS = "pass"
    FAIL = "fail"
    MISSING = "missing"


class Verdict(StrEnum):
    """What the gate says of the evidence."""

    PROMOTE = "PROMOTE"
    INCONCLUSIVE = "INCONCLUSIVE"
    REJECT = "REJECT"


class Stage(StrEnum):
    """Rollout stage that a verdict is asked for."""

    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"


class Mode(StrEnum):
    """What is asked of the candidate's sizes: nothing, to be computed and logged, to act on a slice, to act."""

    OFF = "off"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"


class Severity(StrEnum):
    """What a failed data check does: stop the run, or be shown and block promotion where the gate says so."""

    ERROR = "error"
    ALERT = "alert"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An evaluation span of calendar days, both ends included."""

    label: str
    start_date: date
    end_date: date

    def overlaps(self, other: Window) -> bool:
        """Whether the two spans share a calendar day."""
        return self.start_date <= other.end_date and other.start_date <= self.end_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One named check: what was observed, against what, and in a sentence why it stands as it does.

    `observed`, `threshold` and `interval` are None where the quantity does not exist; they are never NaN.
    """

    name: str
    status: Status
    hard: bool
    observed: float | None
    operator: str
    threshold: float | None
    reason: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One data check that did not hold: how often, and the first rows that broke it."""

    check: str
    severity: Severity
    count: int
    rule: str
    rows: tuple[str, ...] = ()
