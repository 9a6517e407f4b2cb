"""The barbell limits, as fractions of NAV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from policyengine.errors import ConfigError, InfeasibleLimits
from policyengine.records import TOLERANCE, Bucket, Sleeve
from policyengine.spec.rules import in_range, ordered
from policyengine.spec.universe import UniverseSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketLimitSpec:
    """Limits of one bucket. Cash counts as safe. A floor on risk is never met by buying what nobody asked for, only reported."""

    max_frac: float
    min_frac: float = 0.0
    position_max_frac: float | None = None

    def __post_init__(self) -> None:
        """Refuse fractions that are negative, not finite, or cross."""
        _refuse_cap("max_frac", self.max_frac)
        in_range("min_frac", self.min_frac, 0.0, 1.0)
        if self.position_max_frac is not None:
            _refuse_cap("position_max_frac", self.position_max_frac)
        ordered("min_frac", self.min_frac, "max_frac", self.max_frac)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLimitSpec:
    """A cap that cuts across buckets."""

    max_frac: float

    def __post_init__(self) -> None:
        """Refuse a cap that is negative or not finite."""
        _refuse_cap("max_frac", self.max_frac)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashSweepSpec:
    """A standing request: after the shell, idle cash goes into these safe instruments in this order, within every limit."""

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse no symbols, and one named twice."""
        if not self.symbols:
            raise ConfigError("symbols", "[] is empty; leave cash_sweep out to hold cash")
        for symbol in self.symbols:
            if self.symbols.count(symbol) > 1:
                raise ConfigError("symbols", f"'{symbol}' is named twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """The feasible set of the shell. Switched off, weights pass through unchanged, bit for bit, and no cash is swept.

    Every limit bounds absolute exposure from above; `safe.min_frac` does so by bounding everything that is not safe at
    1 - min_frac. `safe.max_frac` caps safe instruments, not cash. `gross_max_frac` above 1 would need financing, which nothing
    declares yet, so it is refused. `metric` says what "nearest" means: under "proportional" a binding cap shrinks its members by
    one factor, under "euclidean" by one amount, which takes small positions to zero first. Limits hold where something trades;
    `drift_band` is how far beyond them prices alone may carry a book before it must.
    """

    enabled: bool
    buckets: Mapping[Bucket, BucketLimitSpec]
    gross_max_frac: float = 1.0
    risk_max_frac: float | None = None
    markets: Mapping[str, MarketLimitSpec] = field(default_factory=dict)
    metric: Literal["proportional", "euclidean"] = "proportional"
    drift_band: float = 0.0
    cash_sweep: CashSweepSpec | None = None

    def __post_init__(self) -> None:
        """Refuse a missing bucket, and floors that cannot all be met."""
        in_range("gross_max_frac", self.gross_max_frac, 0.0, 1.0)
        if self.risk_max_frac is not None:
            _refuse_cap("risk_max_frac", self.risk_max_frac)
        in_range("drift_band", self.drift_band, 0.0, 1.0)
        for bucket in Bucket:
            if bucket not in self.buckets:
                raise ConfigError(f"buckets.{bucket}", "is required and not given; 'max_frac: 0.0' forbids a bucket")
        conflict = min(_conflicts(self), key=lambda c: c.members, default=None)
        if conflict is not None:
            raise InfeasibleLimits("", conflict.shown)

    @property
    def non_safe_max_frac(self) -> float:
        """What the safe floor leaves for everything that is not safe."""
        return 1.0 - self.buckets[Bucket.SAFE].min_frac

    @property
    def swept(self) -> tuple[str, ...]:
        """The instruments that idle cash goes into, in order; none where limits are switched off."""
        return self.cash_sweep.symbols if self.enabled and self.cash_sweep is not None else ()


def check_sweep(limits: LimitsSpec, universe: UniverseSpec) -> None:
    """Refuse to sweep cash into anything but listed safe instruments.

    Raises:
        ConfigError: naming the symbol and what it is.
    """
    for symbol in () if limits.cash_sweep is None else limits.cash_sweep.symbols:
        instrument = universe.instruments.get(symbol)
        if instrument is None:
            raise ConfigError("limits.cash_sweep.symbols", f"'{symbol}' is not in universe.instruments")
        if instrument.bucket is not Bucket.SAFE or instrument.sleeve is Sleeve.TAIL_HEDGE or instrument.type == "option":
            held = f"{instrument.type} in bucket {instrument.bucket}, sleeve {instrument.sleeve or 'of its signal'}"
            raise ConfigError("limits.cash_sweep.symbols", f"'{symbol}' is not a safe instrument but {held}")


def _refuse_cap(path: str, value: float) -> None:
    if not 0.0 <= value < math.inf:
        raise ConfigError(path, f"{value:g} is not a finite number >= 0")


class _Conflict(NamedTuple):
    members: int
    """How many limits it takes."""
    shown: str


def _conflicts(limits: LimitsSpec) -> Iterator[_Conflict]:
    """The smallest conflict of each kind that floors can be in, beyond that of a floor with the maximum of its own bucket.

    Floors other than the safe one need holdings; cash meets the safe one. So a floor conflicts with a position cap that forbids
    every holding, and floors together with what they share: NAV, gross, risk. A market's cap conflicts with none, for a bucket
    can be filled from other markets; nor does a position cap above 0, for nothing bounds how many instruments a bucket has.
    """
    floors = {f"buckets.{bucket}.min_frac": spec.min_frac for bucket, spec in limits.buckets.items() if spec.min_frac > 0}
    risky = {path: frac for path, frac in floors.items() if path != f"buckets.{Bucket.SAFE}.min_frac"}
    for bucket, spec in limits.buckets.items():
        if (path := f"buckets.{bucket}.min_frac") in risky and spec.position_max_frac == 0:
            yield _Conflict(2, f"{path} {spec.min_frac:g} > 0 = buckets.{bucket}.position_max_frac")
    yield from _too_much(floors, 1.0, None)
    yield from _too_much(risky, limits.gross_max_frac, "gross_max_frac")
    if limits.risk_max_frac is not None:
        yield from _too_much(risky, limits.risk_max_frac, "risk_max_frac")


def _too_much(floors: Mapping[str, float], most: float, limit: str | None) -> Iterator[_Conflict]:
    """The fewest floors that add up to more than `most`, which `limit` states: the largest ones."""
    taken: list[str] = []
    for path in sorted(floors, key=lambda p: (-floors[p], p)):
        taken.append(path)
        total = math.fsum(floors[p] for p in taken)
        if total > most + TOLERANCE:
            shown = f"{most:g}" if limit is None else f"{limit} {most:g}"
            yield _Conflict(len(taken) + (limit is not None), f"{' + '.join(f'{p} {floors[p]:g}' for p in taken)} = {total:g} > {shown}")
            return
