"""What needs a human, after how long, and whom to tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSpec:
    """Thresholds of the alerts, and where they are delivered.

    A snapshot older than `stale_hours` is stale. A weight beyond its limit fires once it held for `for_minutes`, of which the time between
    two looks counts for at most `gap_minutes`. `reject_jump_frac` is the rise of the reject rate after a change of mode that fires, from
    `reject_orders_min` orders on. Evidence that runs out within `expiry_hours` fires while a stage acts.

    `file` gets a line of JSON for each notification. `webhook_file` holds the URL that each is posted to: such a URL is a secret, and a
    configuration is stored with the evidence. Each is tried `attempts` times, `timeout_seconds` each, all of them within
    `deadline_seconds`; what was not delivered by then is tried again at the next look.
    """

    stale_hours: float
    for_minutes: float
    gap_minutes: float
    reject_jump_frac: float
    reject_orders_min: int
    expiry_hours: float
    attempts: int
    timeout_seconds: float
    deadline_seconds: float
    webhook_file: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        """Refuse waits that never end or count for nothing, and files that the working folder would find."""
        for name in ("stale_hours", "for_minutes", "gap_minutes", "expiry_hours", "timeout_seconds", "deadline_seconds"):
            in_range(name, getattr(self, name), 0.0, 1e6)
        for name in ("stale_hours", "gap_minutes", "timeout_seconds", "deadline_seconds"):
            if getattr(self, name) == 0.0:
                raise ConfigError(name, "0 is not above 0")
        in_range("reject_jump_frac", self.reject_jump_frac, 0.0, 1.0)
        at_least("reject_orders_min", self.reject_orders_min, 1)
        in_range("attempts", self.attempts, 1, 10)
        for name in ("webhook_file", "file"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_absolute():
                raise ConfigError(name, f"{path!r} is not an absolute path; the working folder must not decide who is told")
