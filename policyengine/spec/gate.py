"""Thresholds of the gate. Every value here is a floor that must hold besides the statistical test."""

from __future__ import annotations

from dataclasses import dataclass

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range
from policyengine.spec.significance import SignificanceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorsSpec:
    """The plain criteria.

    Per window and arm: at least `trades_min` closing trades, of which `losing_trades_min` lost. At least `windows_min`
    pairwise non-overlapping windows must meet both. `trade_drop_max` is the largest tolerated fall of the number of
    trades, as a fraction of the baseline's; `reject_rate_rise_max` the largest tolerated rise of the reject rate;
    `runtime_rise_max` that of the time to decide, which is recorded beside the evidence and never decides: a clock must not.
    """

    trades_min: int
    losing_trades_min: int
    windows_min: int
    trade_drop_max: float
    reject_rate_rise_max: float
    runtime_rise_max: float

    def __post_init__(self) -> None:
        """Refuse floors that would let nothing or everything through."""
        at_least("trades_min", self.trades_min, 1)
        at_least("losing_trades_min", self.losing_trades_min, 1)
        at_least("windows_min", self.windows_min, 1)
        in_range("trade_drop_max", self.trade_drop_max, 0.0, 1.0)
        in_range("reject_rate_rise_max", self.reject_rate_rise_max, 0.0, 1.0)
        at_least("runtime_rise_max", self.runtime_rise_max, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LooksSpec:
    """How often a verdict may be reached on one source and baseline; the number decides the level of each look."""

    max: int

    def __post_init__(self) -> None:
        """Refuse no look at all; which numbers have a measured level is known where the looks are."""
        at_least("max", self.max, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What a candidate must show. `soft` names the criteria that a signed reason may override; every other one is hard."""

    floors: FloorsSpec
    test: SignificanceSpec
    looks: LooksSpec
    soft: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a level beside the one that the number of looks decides."""
        if self.test.alpha != SignificanceSpec().alpha:
            raise ConfigError("test.alpha", f"{self.test.alpha:g}: the level of a look follows from looks.max and is not set by hand")
