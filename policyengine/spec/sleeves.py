"""NAV budgets of the sleeves, as fractions of NAV."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from policyengine.errors import ConfigError
from policyengine.records import TOLERANCE, Bucket, Sleeve
from policyengine.spec.limits import LimitsSpec
from policyengine.spec.rules import in_range, ordered

_MARKETS = {Sleeve.NGX_RISK: "ngx", Sleeve.EM_RISK: "em"}
"""The sleeves that are a market's, and so stand under its limit as well."""


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
        parts = {f.name: getattr(self, f.name).base_nav_frac for f in fields(self) if f.name != "enabled"}
        total = math.fsum(parts.values())
        if total > 1.0 + TOLERANCE:
            terms = " + ".join(f"{name} {frac:g}" for name, frac in parts.items() if frac > 0)
            raise ConfigError("base_nav_frac", f"{terms} = {total:g} > 1")

    def of(self, sleeve: Sleeve) -> SleeveSpec:
        """Budget of `sleeve`."""
        budget: SleeveSpec = getattr(self, sleeve.value)
        return budget


def check_budgets(sleeves: SleevesSpec, limits: LimitsSpec) -> None:
    """Refuse budgets that promise what the limits do not; where either is switched off there is nothing to compare.

    The safe sleeve's minimum and maximum are the safe bucket's, and a market's sleeve stays within the market: one promise, one
    number. The minima must fit together. A maximum that the other limits cut short is no contradiction: they have the last word.

    Raises:
        ConfigError: naming both paths and both numbers, relative to where `sleeves` and `limits` stand.
    """
    if not (sleeves.enabled and limits.enabled):
        return
    floor = limits.buckets[Bucket.SAFE]
    _same("min_nav_frac", sleeves.safe.min_nav_frac, "min_frac", floor.min_frac)
    _same("max_nav_frac", sleeves.safe.max_nav_frac, "max_frac", floor.max_frac)
    for sleeve, market in _MARKETS.items():
        most = sleeves.of(sleeve).max_nav_frac
        if market in limits.markets and most > (cap := limits.markets[market].max_frac) + TOLERANCE:
            rule = f"{most:g} exceeds limits.markets.{market}.max_frac {cap:g}; lower the budget or change the limit"
            raise ConfigError(f"sleeves.{sleeve}.max_nav_frac", rule)
    risk = f"1 - limits.buckets.safe.min_frac {floor.min_frac:g} =", limits.non_safe_max_frac
    if limits.risk_max_frac is not None and limits.risk_max_frac < limits.non_safe_max_frac:
        risk = "limits.risk_max_frac", limits.risk_max_frac
    risky = [sleeve for sleeve in Sleeve if sleeve not in (Sleeve.SAFE, Sleeve.TAIL_HEDGE)]
    _minima_fit(sleeves, Sleeve, "limits.gross_max_frac", limits.gross_max_frac)
    _minima_fit(sleeves, risky, *risk)


def _same(name: str, frac: float, limit: str, wanted: float) -> None:
    if abs(frac - wanted) > TOLERANCE:
        path = f"limits.buckets.safe.{limit}"
        rule = f"{frac:g} is not {path} {wanted:g}, which is the same promise; give both one number, as ${{oc.select:{path}}} does"
        raise ConfigError(f"sleeves.safe.{name}", rule)


def _minima_fit(sleeves: SleevesSpec, members: Iterable[Sleeve], path: str, cap: float) -> None:
    minima = {sleeve: sleeves.of(sleeve).min_nav_frac for sleeve in members}
    total = math.fsum(minima.values())
    if total > cap + TOLERANCE:
        terms = " + ".join(f"{sleeve} {frac:g}" for sleeve, frac in minima.items() if frac > 0)
        raise ConfigError("sleeves.min_nav_frac", f"{terms} = {total:g} exceeds {path} {cap:g}; lower a minimum or change the limit")
