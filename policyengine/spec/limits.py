"""The barbell limits, as fractions of NAV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from policyengine.errors import ConfigError, InfeasibleLimits
from policyengine.records import TOLERANCE, Bucket
from policyengine.spec.rules import at_least, in_range, ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketLimitSpec:
    """Limits of one bucket. Cash counts as safe. A floor on risk is never met by buying what nobody asked for, only reported."""

    max_frac: float
    min_frac: float = 0.0
    position_max_frac: float | None = None

    def __post_init__(self) -> None:
        """Refuse fractions that are negative or cross."""
        at_least("max_frac", self.max_frac, 0.0)
        in_range("min_frac", self.min_frac, 0.0, 1.0)
        if self.position_max_frac is not None:
            at_least("position_max_frac", self.position_max_frac, 0.0)
        ordered("min_frac", self.min_frac, "max_frac", self.max_frac)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLimitSpec:
    """A cap that cuts across buckets."""

    max_frac: float

    def __post_init__(self) -> None:
        """Refuse a negative cap."""
        at_least("max_frac", self.max_frac, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """The feasible set of the shell. Switched off, weights pass through unchanged, bit for bit.

    Every limit bounds absolute exposure from above; `safe.min_frac` does so by bounding everything that is not safe at
    1 - min_frac. `gross_max_frac` above 1 would need financing, which nothing declares yet, so it is refused.
    """

    enabled: bool
    buckets: Mapping[Bucket, BucketLimitSpec]
    gross_max_frac: float = 1.0
    risk_max_frac: float | None = None
    markets: Mapping[str, MarketLimitSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a missing bucket, and floors that cannot all be met."""
        in_range("gross_max_frac", self.gross_max_frac, 0.0, 1.0)
        if self.risk_max_frac is not None:
            at_least("risk_max_frac", self.risk_max_frac, 0.0)
        for bucket in Bucket:
            if bucket not in self.buckets:
                raise ConfigError(f"buckets.{bucket}", "is required and not given; 'max_frac: 0.0' forbids a bucket")
        if self.enabled:
            _refuse_conflicts(self)

    @property
    def non_safe_max_frac(self) -> float:
        """What the safe floor leaves for everything that is not safe."""
        return 1.0 - self.buckets[Bucket.SAFE].min_frac


def _refuse_conflicts(limits: LimitsSpec) -> None:
    """Refuse floors that no book can meet at once, naming the fewest that conflict: the largest first."""
    floors = {f"buckets.{bucket}.min_frac": spec.min_frac for bucket, spec in limits.buckets.items() if spec.min_frac > 0}
    safe = f"buckets.{Bucket.SAFE}.min_frac"
    risky = {path: frac for path, frac in floors.items() if path != safe}
    _refuse_sum(floors, 1.0, "1")
    _refuse_sum(risky, limits.gross_max_frac, f"gross_max_frac {limits.gross_max_frac:g}")
    if limits.risk_max_frac is not None:
        _refuse_sum(risky, limits.risk_max_frac, f"risk_max_frac {limits.risk_max_frac:g}")


def _refuse_sum(floors: Mapping[str, float], ceiling: float, shown: str) -> None:
    taken: list[str] = []
    for path in sorted(floors, key=lambda p: (-floors[p], p)):
        taken.append(path)
        total = math.fsum(floors[p] for p in taken)
        if total > ceiling + TOLERANCE:
            raise InfeasibleLimits("", f"{' + '.join(f'{p} {floors[p]:g}' for p in taken)} = {total:g} > {shown}")
