"""Thresholds of the gate's test: one place, read by `policyengine.evidence`. Defaults are those of docs/gate.md."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range


class EffectKind(StrEnum):
    """What "better" means; fixed before the first look. Omega is refused: it credits selling volatility."""

    SHARPE = "sharpe"
    GROWTH_AT_ES = "growth_at_es"


class BootstrapScheme(StrEnum):
    """How sessions are resampled. `circular` is the scheme whose size was measured; the others are options."""

    CIRCULAR = "circular"
    STATIONARY = "stationary"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignificanceSpec:
    """The test, the sign rule, materiality, the drawdown guard, and what "missing" is computed for.

    Effects and their thresholds are annualised and in units of the baseline's volatility (a Sharpe difference); fractions
    are fractions; counts are sessions. Seeds are arguments of the functions, never configuration of the test.
    """

    effect: EffectKind = EffectKind.SHARPE
    alpha: float = 0.05
    short_alpha_factor: float = 0.8
    """alpha is multiplied by this below `short_sessions`, where the bootstrap is a little liberal."""
    short_sessions: int = 120
    min_sessions: int = 60
    growth_min_sessions: int = 120
    min_effect: float = 0.10
    n_boot: int = 9999
    scheme: BootstrapScheme = BootstrapScheme.CIRCULAR
    min_block_sessions: int = 5
    max_block_frac: float = 0.25
    spans: int = 3
    min_agreeing_spans: int = 2
    drawdown_guard_frac: float = 0.25
    drawdown_confidence: float = 0.95
    interval_confidence: float = 0.95
    """Of the intervals that are reported and never gate."""
    target_effect: float = 0.50
    """The effect for which "what is missing" says how many sessions would show it ..."""
    target_power: float = 0.80
    """... with this probability."""

    def __post_init__(self) -> None:
        """Refuse values outside their range and contradictory pairs."""
        for name, (low, high) in _RANGES.items():
            in_range(name, getattr(self, name), low, high)
        for name, low in _LEAST.items():
            at_least(name, getattr(self, name), low)
        if self.short_sessions < self.min_sessions:
            raise ConfigError("short_sessions", f"{self.short_sessions} is below min_sessions {self.min_sessions}")
        if not 1 <= self.min_agreeing_spans <= self.spans:
            raise ConfigError("min_agreeing_spans", f"{self.min_agreeing_spans} is not between 1 and spans {self.spans}")
        if self.spans > self.min_sessions // 10:
            raise ConfigError("spans", f"{self.spans} spans of min_sessions {self.min_sessions} hold fewer than 10 sessions each")
        if self.target_effect < self.min_effect:
            raise ConfigError("target_effect", f"{self.target_effect} is below min_effect {self.min_effect}, which can never be promoted")
        if (self.n_boot + 1) * self.alpha * self.short_alpha_factor < 1:
            raise ConfigError("n_boot", f"{self.n_boot} resamples cannot give a p-value as small as alpha {self.alpha}")

    def alpha_at(self, n_sessions: int, alpha: float) -> float:
        """The level that holds at `n_sessions`, given the planned `alpha` of this look."""
        return alpha * self.short_alpha_factor if n_sessions < self.short_sessions else alpha

    @property
    def least_sessions(self) -> int:
        """Sessions below which the configured effect is not tested at all."""
        return max(self.min_sessions, self.growth_min_sessions) if self.effect is EffectKind.GROWTH_AT_ES else self.min_sessions


_RANGES = {
    "alpha": (1e-4, 0.5),
    "short_alpha_factor": (0.1, 1.0),
    "max_block_frac": (0.05, 0.5),
    "min_effect": (0.0, 10.0),
    "target_effect": (0.0, 10.0),
    "target_power": (0.05, 0.999),
    "drawdown_guard_frac": (0.0, 10.0),
    "drawdown_confidence": (0.5, 0.999),
    "interval_confidence": (0.5, 0.999),
}
_LEAST = {"min_sessions": 60, "growth_min_sessions": 60, "min_block_sessions": 2, "spans": 1, "n_boot": 99}
"""Lower bounds. `min_sessions` may be raised but not lowered: nobody has measured the test below 60 sessions."""
