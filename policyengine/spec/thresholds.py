"""When an opinion becomes a signal: horizon, thresholds, calibration of confidence, and the regimes it is labelled with."""

from __future__ import annotations

from dataclasses import dataclass

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsSpec:
    """Below `edge_min` (expected return, net of the round trip, over predicted volatility) or `confidence_min` an engine is silent."""

    edge_min: float
    confidence_min: float

    def __post_init__(self) -> None:
        """Refuse thresholds that cannot be."""
        at_least("edge_min", self.edge_min, 0.0)
        in_range("confidence_min", self.confidence_min, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec:
    """Confidence is the share of past forecasts that had the sign right, among those that were about as confident.

    `bins` of the engine's own confidence, equally wide from 0.5 to 1; in each, `prior_outcomes` outcomes at the engine's own word are
    added to those seen. Only outcomes whose horizon has passed count.
    """

    bins: int
    prior_outcomes: float

    def __post_init__(self) -> None:
        """Refuse no bins, and a prior that is nothing."""
        at_least("bins", self.bins, 1)
        if not self.prior_outcomes > 0.0:
            raise ConfigError("prior_outcomes", f"{self.prior_outcomes:g} is not above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimesSpec:
    """Regimes from the volatility of an instrument, against its own past, and its trend.

    The volatility of the last `vol_sessions`, over its median of the last `memory_sessions`: from `crisis_ratio` on it is CRISIS. A trend
    is a drift of the last `trend_sessions` of at least `trend_min` of its standard error, up or down: HIGH_VOL_TRENDING from `high_ratio`
    on, else MODERATE_TRENDING; and no trend is LIQUID_RANGEBOUND below `high_ratio`, HIGH_VOL_TRENDING from there on.
    """

    vol_sessions: int
    memory_sessions: int
    trend_sessions: int
    trend_min: float
    high_ratio: float
    crisis_ratio: float

    def __post_init__(self) -> None:
        """Refuse spans that cannot be, and a crisis calmer than what is high."""
        at_least("vol_sessions", self.vol_sessions, 5)
        at_least("memory_sessions", self.memory_sessions, self.vol_sessions)
        at_least("trend_sessions", self.trend_sessions, 5)
        at_least("trend_min", self.trend_min, 0.0)
        at_least("high_ratio", self.high_ratio, 0.0)
        if self.crisis_ratio < self.high_ratio:
            raise ConfigError("crisis_ratio", f"{self.crisis_ratio:g} is below high_ratio {self.high_ratio:g}")
