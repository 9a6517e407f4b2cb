"""How each sleeve's budget answers to its own volatility and drawdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policyengine.errors import ConfigError
from policyengine.records import Sleeve
from policyengine.spec.rules import at_least, in_range, ordered
from policyengine.spec.sleeves import SleevesSpec

STEEPEST = 10.0
"""Largest sensitivity and scale: a steeper factor is a switch between its bounds, and its powers overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskScalerConfig:
    """Shape of the factor: (target / realised)^vol_sensitivity x drawdown term^dd_sensitivity, clipped to [min_scale, max_scale].

    `min_scale` is above 0, so that a sleeve scaled down keeps trading and can be seen to recover.
    """

    vol_sensitivity: float
    dd_sensitivity: float
    min_scale: float
    max_scale: float

    def __post_init__(self) -> None:
        """Refuse negative or endless sensitivities, and bounds that are not 0 < min_scale <= max_scale."""
        for name in ("vol_sensitivity", "dd_sensitivity", "max_scale"):
            in_range(name, getattr(self, name), 0.0, STEEPEST)
        _above_zero("min_scale", self.min_scale)
        ordered("min_scale", self.min_scale, "max_scale", self.max_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class SleeveRiskSpec:
    """What one sleeve is meant to risk, of its own budget: volatility a year, and the drawdown at which it falls to `min_scale`."""

    target_vol: float
    max_drawdown: float

    def __post_init__(self) -> None:
        """Refuse a target of nothing, and a tolerated drawdown that is none or everything."""
        _above_zero("target_vol", self.target_vol)
        in_range("target_vol", self.target_vol, 0.0, STEEPEST)
        if not 0.0 < self.max_drawdown < 1.0:
            raise ConfigError("max_drawdown", f"{self.max_drawdown:g} is not between 0 and 1, both excluded")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerSpec:
    """The scaler of one arm. Switched off, and for a sleeve that is not listed, the factor is 1.

    `ewma_lambda` is the decay of realised variance a funded session; volatility counts as unknown, which gives `min_scale`, before
    `min_sessions` of them.
    """

    enabled: bool
    vol_sensitivity: float
    dd_sensitivity: float
    min_scale: float
    max_scale: float
    ewma_lambda: float = 0.94
    min_sessions: int = 20
    sleeves: Mapping[Sleeve, SleeveRiskSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse bounds that would enlarge what is unknown, a hedge that is scaled, and a scaler of nothing."""
        bounds = self.config
        in_range("min_scale", bounds.min_scale, 0.0, 1.0)  # above 1 it would enlarge a sleeve of which nothing is known
        at_least("max_scale", bounds.max_scale, 1.0)
        if not 0.0 < self.ewma_lambda < 1.0:
            raise ConfigError("ewma_lambda", f"{self.ewma_lambda:g} is not between 0 and 1, both excluded")
        at_least("min_sessions", self.min_sessions, 2)
        if Sleeve.TAIL_HEDGE in self.sleeves:
            rule = "a hedge pays when volatility and drawdowns are high, and is never scaled by them; leave it out"
            raise ConfigError(f"sleeves.{Sleeve.TAIL_HEDGE}", rule)
        if self.enabled and not self.sleeves:
            raise ConfigError("sleeves", "{} is empty, so nothing would be scaled; enabled: false says so")

    @property
    def config(self) -> RiskScalerConfig:
        """The shape of the factor."""
        return RiskScalerConfig(
            vol_sensitivity=self.vol_sensitivity, dd_sensitivity=self.dd_sensitivity, min_scale=self.min_scale, max_scale=self.max_scale
        )


def check_scaled(scaler: ScalerSpec, sleeves: SleevesSpec) -> None:
    """Refuse a scaler without budgets to scale.

    Raises:
        ConfigError: `scaler` is enabled and `sleeves` is not.
    """
    if scaler.enabled and not sleeves.enabled:
        raise ConfigError("scaler.enabled", "true needs sleeves.enabled true: without budgets there is nothing to scale; switch one over")


def _above_zero(path: str, value: float) -> None:
    if not value > 0.0:
        raise ConfigError(path, f"{value:g} is not above 0")
