"""The sizing overlay: what turns base confidence into effective confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policyengine.errors import ConfigError
from policyengine.records import Bucket
from policyengine.spec.rules import at_least, in_range


class Overlay(StrEnum):
    """A feature of a signal that may reduce its confidence, and its unit."""

    COST = "cost"  # round-trip cost, bps
    GAP = "gap"  # largest recent move from close to open, fraction
    FUNDING = "funding"  # yearly cost of holding, bps
    LIQUIDITY = "liquidity"  # order size over average daily volume, fraction
    LEVERAGE = "leverage"  # exposure per unit of capital


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlaySpec:
    """Factor 1 up to `soft_cap`, falling linearly to `floor` at `hard_cap` and beyond. An unknown feature gets the floor."""

    soft_cap: float
    hard_cap: float
    floor: float

    def __post_init__(self) -> None:
        """Refuse caps out of order and floors outside [0, 1]."""
        at_least("soft_cap", self.soft_cap, 0.0)
        if self.hard_cap <= self.soft_cap:
            raise ConfigError("hard_cap", f"{self.hard_cap:g} is not above soft_cap {self.soft_cap:g}")
        in_range("floor", self.floor, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizingSpec:
    """Multipliers of confidence, in the order in which they are applied and audited: bucket, regime, then the overlays.

    A regime that a signal does not state, where multipliers for regimes are configured, gets the smallest of its bucket.
    Switched off, effective confidence is base confidence, bit for bit.
    """

    enabled: bool
    multipliers: Mapping[Bucket, float]
    regimes: Mapping[str, Mapping[Bucket, float]] = field(default_factory=dict)
    overlays: Mapping[Overlay, OverlaySpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a bucket without multiplier and multipliers outside [0, 2]."""
        for bucket in Bucket:
            if bucket not in self.multipliers:
                raise ConfigError(f"multipliers.{bucket}", "is required and not given")
        for bucket, multiplier in self.multipliers.items():
            in_range(f"multipliers.{bucket}", multiplier, 0.0, 2.0)
        for regime, by_bucket in self.regimes.items():
            for bucket, multiplier in by_bucket.items():
                in_range(f"regimes.{regime}.{bucket}", multiplier, 0.0, 2.0)
