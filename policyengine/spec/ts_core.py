"""The time-series engines, one of which `signals.ts_core.kind` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range
from policyengine.spec.thresholds import CalibrationSpec, RegimesSpec, ThresholdsSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class EwmaEngine:
    """Exponentially weighted drift and volatility of returns; see `policyengine.signals.ewma`."""

    KIND: ClassVar[str] = "ewma"
    drift_halflife_sessions: float
    vol_halflife_sessions: float
    warmup_sessions: int
    horizon_sessions: int
    thresholds: ThresholdsSpec
    calibration: CalibrationSpec | None
    regimes: RegimesSpec

    def __post_init__(self) -> None:
        """Refuse half-lives, a warm-up and a horizon that cannot be."""
        at_least("drift_halflife_sessions", self.drift_halflife_sessions, 1.0)
        at_least("vol_halflife_sessions", self.vol_halflife_sessions, 1.0)
        at_least("warmup_sessions", self.warmup_sessions, 2)
        at_least("horizon_sessions", self.horizon_sessions, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsforecastEngine:
    """A model of statsforecast for the drift, an exponentially weighted volatility; see `policyengine.signals.statsforecast_engine`.

    A model is selected and fitted on the last `train_sessions` returns, as many as there are from `warmup_sessions` on, and again every
    `refit_sessions`; in between it is carried forward.
    """

    KIND: ClassVar[str] = "statsforecast"
    model: Literal["AutoARIMA", "AutoETS", "Theta"]
    vol_halflife_sessions: float
    train_sessions: int
    refit_sessions: int
    warmup_sessions: int
    horizon_sessions: int
    thresholds: ThresholdsSpec
    calibration: CalibrationSpec | None
    regimes: RegimesSpec

    def __post_init__(self) -> None:
        """Refuse a half-life and spans that cannot be."""
        at_least("vol_halflife_sessions", self.vol_halflife_sessions, 1.0)
        _check_spans(self.train_sessions, self.refit_sessions, self.warmup_sessions, self.horizon_sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class GarchEngine:
    """Volatility by a GARCH(1,1) of arch, an exponentially weighted drift; see `policyengine.signals.garch`.

    A model is fitted on the last `train_sessions` returns, as many as there are from `warmup_sessions` on, and again every
    `refit_sessions`; in between it is carried forward. `dist` is what its likelihood takes the surprises to be.
    """

    KIND: ClassVar[str] = "garch"
    dist: Literal["normal", "t"]
    drift_halflife_sessions: float
    train_sessions: int
    refit_sessions: int
    warmup_sessions: int
    horizon_sessions: int
    thresholds: ThresholdsSpec
    calibration: CalibrationSpec | None
    regimes: RegimesSpec

    def __post_init__(self) -> None:
        """Refuse a half-life and spans that cannot be."""
        at_least("drift_halflife_sessions", self.drift_halflife_sessions, 1.0)
        _check_spans(self.train_sessions, self.refit_sessions, self.warmup_sessions, self.horizon_sessions)


TsCoreSpec = EwmaEngine | StatsforecastEngine | GarchEngine
FittedEngine = StatsforecastEngine | GarchEngine

MIN_TRAINED = 50
"""Returns below which no model is fitted: its parameters would be noise."""


def _check_spans(train: int, refit: int, warmup: int, horizon: int) -> None:
    at_least("warmup_sessions", warmup, MIN_TRAINED)
    if train < warmup:
        raise ConfigError("train_sessions", f"{train} is below warmup_sessions {warmup}")
    at_least("refit_sessions", refit, 1)
    in_range("horizon_sessions", horizon, 1, warmup)
