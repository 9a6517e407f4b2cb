"""Where signals come from, and the settings of the engines that make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from policyengine.spec.rules import at_least, in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class EwmaEngine:
    """Exponentially weighted drift and volatility of session returns; see `policyengine.signals.ts_core`."""

    KIND: ClassVar[str] = "ewma"
    drift_halflife_sessions: float
    vol_halflife_sessions: float
    warmup_sessions: int
    horizon_sessions: int
    edge_min: float
    confidence_min: float

    def __post_init__(self) -> None:
        """Refuse half-lives, horizons and thresholds that cannot be."""
        at_least("drift_halflife_sessions", self.drift_halflife_sessions, 1.0)
        at_least("vol_halflife_sessions", self.vol_halflife_sessions, 1.0)
        at_least("warmup_sessions", self.warmup_sessions, 2)
        at_least("horizon_sessions", self.horizon_sessions, 1)
        at_least("edge_min", self.edge_min, 0.0)
        in_range("confidence_min", self.confidence_min, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsSpec:
    """`origin` source: the signals view of the source; engine: `ts_core` on its prices; auto: the view if the source has one.

    A signal lives for `max_age_sessions` sessions, or until the next signal on its symbol.
    """

    origin: Literal["auto", "source", "engine"]
    max_age_sessions: int
    ts_core: EwmaEngine

    def __post_init__(self) -> None:
        """Refuse a life shorter than one session."""
        at_least("max_age_sessions", self.max_age_sessions, 1)
