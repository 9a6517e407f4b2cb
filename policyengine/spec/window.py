"""Evaluation windows and the calendar they are counted on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calendar:
    """`as_of` None is the last session of the source. `calendar` core: dates on which a core instrument has a bar; all: any."""

    as_of: date | None = None
    calendar: Literal["core", "all"] = "core"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailingWindow(_Calendar):
    """The `days` calendar days that end at `as_of`: [as_of - days + 1, as_of]."""

    KIND: ClassVar[str] = "trailing"
    days: int

    def __post_init__(self) -> None:
        """Refuse a window without days."""
        at_least("days", self.days, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingWindows(_Calendar):
    """Every whole calendar month or quarter up to `as_of`; they do not overlap."""

    KIND: ClassVar[str] = "rolling"
    period: Literal["month", "quarter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DateRange:
    """One explicit span, both ends included."""

    label: str
    start_date: date
    end_date: date

    def __post_init__(self) -> None:
        """Refuse an empty label and an end before the start."""
        if not self.label:
            raise ConfigError("label", "'' is empty")
        if self.end_date < self.start_date:
            raise ConfigError("end_date", f"{self.end_date} is before start_date {self.start_date}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplicitWindows(_Calendar):
    """Windows given one by one."""

    KIND: ClassVar[str] = "ranges"
    ranges: tuple[DateRange, ...]

    def __post_init__(self) -> None:
        """Refuse no range, and two of one label."""
        if not self.ranges:
            raise ConfigError("ranges", "[] is empty")
        labels = [r.label for r in self.ranges]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError("ranges", f"label '{label}' stands {labels.count(label)} times")


WindowSpec = TrailingWindow | RollingWindows | ExplicitWindows
