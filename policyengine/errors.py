"""Errors that name path, value and rule. Each carries the exit code that the command line returns for it."""

from __future__ import annotations


class PolicyEngineError(Exception):
    """Base of every error that a user can cause or mend. Exit code 1."""

    exit_code = 1


class ConfigError(PolicyEngineError):
    """A configured value breaks a rule."""

    def __init__(self, path: str, rule: str) -> None:
        """Name the dotted `path` and the `rule`, which states the value it refuses."""
        self.path = path
        self.rule = rule
        super().__init__(f"{path}: {rule}" if path else rule)


class DataError(PolicyEngineError):
    """A source, or a row of it, breaks a rule."""

    def __init__(self, place: str, rule: str) -> None:
        """Name the `place` (file, view, column or row) and the `rule`, which states the value it refuses."""
        self.place = place
        self.rule = rule
        super().__init__(f"{place}: {rule}")


class SourceUnavailable(DataError):
    """A source cannot be opened or read at all."""


class InfeasibleLimits(ConfigError):
    """Limits that contradict each other; the rule lists the smallest conflicting set."""


class OutputError(PolicyEngineError):
    """A result cannot be written."""


class BrokenInvariant(PolicyEngineError):
    """A runtime assertion failed: the program is wrong, and stops before it does harm."""


class Ruined(PolicyEngineError):
    """A policy lost all its capital in a replay."""
