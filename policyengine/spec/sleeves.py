"""NAV budgets of the sleeves, as fractions of NAV."""

from __future__ import annotations

from dataclasses import dataclass, fields

from policyengine.errors import ConfigError
from policyengine.records import TOLERANCE, Sleeve
from policyengine.spec.rules import in_range, ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class SleeveSpec:
    """Budget of one sleeve. `min_nav_frac` bounds the budget and never forces holdings."""

    base_nav_frac: float
    min_nav_frac: float
    max_nav_frac: float

    def __post_init__(self) -> None:
        """Refuse fractions outside [0, 1] or out of order."""
        for name in ("base_nav_frac", "min_nav_frac", "max_nav_frac"):
            in_range(name, getattr(self, name), 0.0, 1.0)
        ordered("min_nav_frac", self.min_nav_frac, "base_nav_frac", self.base_nav_frac)
        ordered("base_nav_frac", self.base_nav_frac, "max_nav_frac", self.max_nav_frac)


@dataclass(frozen=True, slots=True, kw_only=True)
class SleevesSpec:
    """One budget for each sleeve. Switched off, all signals share one budget of the whole NAV."""

    enabled: bool
    safe: SleeveSpec
    ts_core: SleeveSpec
    ml_secondary: SleeveSpec
    llm_fallback: SleeveSpec
    tail_hedge: SleeveSpec
    ngx_risk: SleeveSpec
    em_risk: SleeveSpec

    def __post_init__(self) -> None:
        """Refuse budgets that add up to more than NAV."""
        for rule in ("base_nav_frac", "min_nav_frac"):
            parts = {f.name: getattr(getattr(self, f.name), rule) for f in fields(self) if f.name != "enabled"}
            total = sum(parts.values())
            if total > 1.0 + TOLERANCE:
                terms = " + ".join(f"{name} {frac:g}" for name, frac in parts.items() if frac > 0)
                raise ConfigError(rule, f"{terms} = {total:g} > 1")

    def of(self, sleeve: Sleeve) -> SleeveSpec:
        """Budget of `sleeve`."""
        budget: SleeveSpec = getattr(self, sleeve.value)
        return budget
