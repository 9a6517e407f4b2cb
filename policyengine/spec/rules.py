"""The few range rules that many specs share."""

from __future__ import annotations

from policyengine.errors import ConfigError


def in_range(path: str, value: float, low: float, high: float) -> None:
    """Refuse `value` outside [low, high], both ends included."""
    if not low <= value <= high:
        raise ConfigError(path, f"{value:g} is not in [{low:g}, {high:g}]")


def at_least(path: str, value: float, low: float) -> None:
    """Refuse `value` below `low`."""
    if not value >= low:
        raise ConfigError(path, f"{value:g} is below {low:g}")


def ordered(low_path: str, low: float, high_path: str, high: float) -> None:
    """Refuse a lower bound above its upper bound."""
    if low > high:
        raise ConfigError(low_path, f"{low:g} exceeds {high_path} {high:g}")
