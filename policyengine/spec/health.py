"""What a health check may be asked: its ceilings, and which records it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from policyengine.errors import ConfigError
from policyengine.records import Mode
from policyengine.spec.rules import in_range, ordered

REPLAY = "replay"
EXECUTION_MODES = (*(mode.value for mode in Mode), REPLAY)
"""In which mode a signal was validated: that of the rollout, or in a replay."""
ACTIONS = ("BUY", "SELL", "HOLD")


class FilterUnknown(ConfigError):
    """Records are asked for that cannot be told from others: wrong usage. Exit code 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CeilingsSpec:
    """Shares of the records: above `warn` it is yellow, above `red` red; at a ceiling it is not above."""

    warn: float
    red: float

    def __post_init__(self) -> None:
        """Refuse what is no share, and a warning that would come too late."""
        in_range("warn", self.warn, 0.0, 1.0)
        in_range("red", self.red, 0.0, 1.0)
        ordered("warn", self.warn, "red", self.red)


def starts_at(path: str, text: str) -> datetime:
    """The first instant that the day or instant `text` means; one that names no zone is UTC.

    Raises:
        FilterUnknown: it is neither.
    """
    return _span(path, text)[0]


def ends_before(path: str, text: str) -> datetime:
    """The first instant after all that the day or instant `text` means.

    Raises:
        FilterUnknown: it is neither.
    """
    return _span(path, text)[1]


def _span(path: str, text: str) -> tuple[datetime, datetime]:
    try:
        first = datetime.fromisoformat(text)
        first = first.replace(tzinfo=UTC) if first.tzinfo is None else first.astimezone(UTC)
        return first, first + (timedelta(days=1) if _is_day(text) else timedelta(microseconds=1))
    except (ValueError, OverflowError):
        raise FilterUnknown(path, f"{text!r} is neither a day nor an instant such as 2026-01-31 or 2026-01-31T16:00:00+00:00") from None


def _is_day(text: str) -> bool:
    return ":" not in text and "T" not in text and " " not in text
