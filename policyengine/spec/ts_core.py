"""The time-series engines, one of which `signals.ts_core.kind` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range
from policyengine.spec.thresholds import CalibrationSpec, RegimesSpec, ThresholdsSpec

MIN_TRAINED = 50
"""Returns below which no model is fitted: its parameters would be noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """What every engine has: opinions over `horizon_sessions`, once it has seen `warmup_sessions` returns, and what they are held to."""

    warmup_sessions: int
    horizon_sessions: int
    thresholds: ThresholdsSpec
    calibration: CalibrationSpec | None
    regimes: RegimesSpec

    def __post_init__(self) -> None:
        """Refuse a warm-up and a horizon that cannot be."""
        at_least("warmup_sessions", self.warmup_sessions, 2)
        at_least("horizon_sessions", self.horizon_sessions, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted(_Engine):
    """A model is fitted, and again every `refit_sessions`; in between it is carried forward.

    On the last `train_sessions` returns, or as many as there are from `warmup_sessions` on.
    """

    train_sessions: int
    refit_sessions: int

    def __post_init__(self) -> None:
        """Refuse spans on which nothing can be fitted."""
        at_least("warmup_sessions", self.warmup_sessions, MIN_TRAINED)
        if self.train_sessions < self.warmup_sessions:
            raise ConfigError("train_sessions", f"{self.train_sessions} is below warmup_sessions {self.warmup_sessions}")
        at_least("refit_sessions", self.refit_sessions, 1)
        in_range("horizon_sessions", self.horizon_sessions, 1, self.warmup_sessions)
        _Engine.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EwmaEngine(_Engine):
    """Exponentially weighted drift and volatility of returns; see `policyengine.signals.ewma`."""

    KIND: ClassVar[str] = "ewma"
    drift_halflife_sessions: float
    vol_halflife_sessions: float

    def __post_init__(self) -> None:
        """Refuse half-lives that cannot be."""
        _Engine.__post_init__(self)
        at_least("drift_halflife_sessions", self.drift_halflife_sessions, 1.0)
        at_least("vol_halflife_sessions", self.vol_halflife_sessions, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsforecastEngine(_Fitted):
    """A model of statsforecast for the drift, an exponentially weighted volatility; see `policyengine.signals.statsforecast_engine`."""

    KIND: ClassVar[str] = "statsforecast"
    model: Literal["AutoARIMA", "AutoETS", "Theta"]
    vol_halflife_sessions: float

    def __post_init__(self) -> None:
        """Refuse a half-life that cannot be."""
        _Fitted.__post_init__(self)
        at_least("vol_halflife_sessions", self.vol_halflife_sessions, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GarchEngine(_Fitted):
    """Volatility by a GARCH(1,1) of arch, an exponentially weighted drift; see `policyengine.signals.garch`.

    `dist` is what its likelihood takes the surprises to be.
    """

    KIND: ClassVar[str] = "garch"
    dist: Literal["normal", "t"]
    drift_halflife_sessions: float

    def __post_init__(self) -> None:
        """Refuse a half-life that cannot be."""
        _Fitted.__post_init__(self)
        at_least("drift_halflife_sessions", self.drift_halflife_sessions, 1.0)


TsCoreSpec = EwmaEngine | StatsforecastEngine | GarchEngine
FittedEngine = StatsforecastEngine | GarchEngine
