"""The risk scaler: each sleeve's budget shrinks and grows with its own realised volatility and drawdown, before the shell.

The factor is clip((target / realised)^a x ((1 - dd/D) / (1 - dd))^b, min, max), D being the tolerated drawdown. It is measured on
the sleeve's return: P&L over the effective budget that carried it. P&L over a fixed budget would fall with the factor, and the
scaler would chase itself.

Arrays are (P, S): P policies, S sleeves in the order of `SLEEVES`. Volatilities are a year's; drawdowns are positive fractions of
the peak; budgets and P&L are in base currency. Unknown is NaN, and never enlarges a budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.records import TOLERANCE, Sleeve
from policyengine.spec.scaler import RiskScalerConfig, ScalerSpec, SleeveRiskSpec
from policyengine.spec.sleeves import SleevesSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_VOL = 1e-12
"""A lower realised volatility counts as this one, which is far enough below any target for `max_scale`, and divides."""
ROUNDING = 1e-12
"""Budgets whose sum exceeds gross by no more than this are within it."""
_HEDGE = SLEEVES.index(Sleeve.TAIL_HEDGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRiskState:
    """What was measured of one sleeve, and what is configured for it.

    `realized_vol` None or NaN is unknown; 0 is a measurement. `max_drawdown` is the tolerated limit, not a measured one.
    """

    realized_vol: float | None
    current_drawdown: float
    max_drawdown: float
    target_vol: float

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, and what `SleeveRiskSpec` refuses."""
        SleeveRiskSpec(target_vol=self.target_vol, max_drawdown=self.max_drawdown)
        if self.realized_vol is not None and (self.realized_vol < 0.0 or np.isinf(self.realized_vol)):
            raise BrokenInvariant(f"a realised volatility of {self.realized_vol:g} cannot have been measured")
        if not 0.0 <= self.current_drawdown <= 1.0:
            raise BrokenInvariant(f"a drawdown of {self.current_drawdown:g} is not in [0, 1]")


def compute_scaling_factor(sleeve: Sleeve, state: BucketRiskState, config: RiskScalerConfig) -> float:
    """Factor on the base budget of `sleeve`; for `tail_hedge` 1 within the bounds, whatever the state. See `scaling_factors`."""
    if sleeve is Sleeve.TAIL_HEDGE:
        return min(max(1.0, config.min_scale), config.max_scale)
    factor = scaling_factors(
        np.array([np.nan if state.realized_vol is None else state.realized_vol]),
        np.array([state.current_drawdown]),
        state.target_vol,
        state.max_drawdown,
        vol_sensitivity=config.vol_sensitivity,
        dd_sensitivity=config.dd_sensitivity,
        min_scale=config.min_scale,
        max_scale=config.max_scale,
    )
    return float(factor[0])


def scaling_factors(
    realized_vol: Floats,
    drawdown: Floats,
    target_vol: Floats | float,
    max_drawdown: Floats | float,
    *,
    vol_sensitivity: Floats | float,
    dd_sensitivity: Floats | float,
    min_scale: Floats | float,
    max_scale: Floats | float,
) -> Floats:
    """clip((target / realised)^a x ((1 - dd/D) / (1 - dd))^b, min, max), all arguments broadcast, configured ones within their specs.

    Whatever the sensitivities, `min_scale` where `drawdown` has reached `max_drawdown`, and where either measurement is NaN or
    cannot be (negative, infinite). A measured volatility of 0 gives `max_scale`, unless its sensitivity is next to nothing or the
    drawdown is at its limit.
    """
    usable = (realized_vol >= 0.0) & (realized_vol < np.inf) & (drawdown >= 0.0) & (drawdown < max_drawdown)
    lost = np.minimum(drawdown, max_drawdown)
    room = (1.0 - lost / max_drawdown) / (1.0 - lost)
    factor = (target_vol / np.maximum(realized_vol, LEAST_VOL)) ** vol_sensitivity * room**dd_sensitivity
    return np.where(usable, np.minimum(np.maximum(factor, min_scale), max_scale), min_scale)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """The scalers of P policies as arrays. `listed`, `target_vol`, `max_drawdown` are (P, S), the others (P, 1).

    A sleeve that is not `listed`, which no sleeve of a scaler switched off is, keeps the factor 1; its target and limit mean nothing.
    """

    listed: Bools
    target_vol: Floats
    max_drawdown: Floats
    vol_sensitivity: Floats
    dd_sensitivity: Floats
    min_scale: Floats
    max_scale: Floats
    ewma_lambda: Floats
    min_sessions: NDArray[np.int64]

    def of(self, policy: int) -> Scaling:
        """The scaler of one of the policies alone."""
        return Scaling(**{f.name: getattr(self, f.name)[policy : policy + 1] for f in fields(self)})


def scaling_of(specs: Sequence[ScalerSpec]) -> Scaling:
    """The scalers of policies that are replayed together, one each."""
    unused = SleeveRiskSpec(target_vol=1.0, max_drawdown=0.5)
    risks = [[spec.sleeves.get(sleeve, unused) for sleeve in SLEEVES] for spec in specs]

    def column(name: str) -> Floats:
        return np.array([[getattr(spec, name)] for spec in specs], dtype=np.float64)

    return Scaling(
        listed=np.array([[spec.enabled and sleeve in spec.sleeves for sleeve in SLEEVES] for spec in specs]),
        target_vol=np.array([[risk.target_vol for risk in row] for row in risks]),
        max_drawdown=np.array([[risk.max_drawdown for risk in row] for row in risks]),
        vol_sensitivity=column("vol_sensitivity"),
        dd_sensitivity=column("dd_sensitivity"),
        min_scale=column("min_scale"),
        max_scale=column("max_scale"),
        ewma_lambda=column("ewma_lambda"),
        min_sessions=np.array([[spec.min_sessions] for spec in specs]),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RiskState:
    """What has been measured of each sleeve, all (P, S).

    `variance` of a session's return, over so many funded `sessions`; `index`, what 1 in the sleeve has come to, and its `peak`.
    """

    variance: Floats
    sessions: NDArray[np.int64]
    index: Floats
    peak: Floats


def empty_risk_state(policies: int) -> RiskState:
    """Nothing measured yet."""
    shape = (policies, len(SLEEVES))
    return RiskState(variance=np.zeros(shape), sessions=np.zeros(shape, dtype=np.int64), index=np.ones(shape), peak=np.ones(shape))


def updated(state: RiskState, pnl: Floats, budget: Floats, scaling: Scaling, *, funded: Bools) -> RiskState:
    """The state after one more session.

    Variance is the mean of squared returns with weights lambda^age over the funded sessions so far, which sum to one from the
    first of them on: the recursion v + g (r^2 - v) with g = (1 - lambda) / (1 - lambda^n) at the n-th, which tends to that of
    J.P. Morgan/Reuters, RiskMetrics Technical Document, 4th ed., 1996, section 5.2 (mean 0), without a first value to choose.

    Args:
        state: after the session before.
        pnl: (P, S) of the session, on the positions held over it, finite.
        budget: (P, S) that those positions were sized on: the effective fraction in force when they were traded, times NAV after
            that session. Finite.
        scaling: gives lambda.
        funded: (P, S) the sleeve held something over the session. Idle money returns 0 and says nothing of the risk; neither it
            nor a budget that is 0, but for float noise, or below changes the state by a bit.

    Returns:
        A sleeve that loses its whole budget or more in one session stays at index 0, a drawdown of 1.

    Raises:
        BrokenInvariant: a P&L or a budget is not finite.
    """
    if not np.isfinite(pnl + budget).all():
        raise BrokenInvariant("the P&L or the budget of a sleeve is not finite")
    live = funded & (budget > TOLERANCE)
    earned = np.divide(pnl, budget, out=np.zeros(pnl.shape), where=live)
    sessions = state.sessions + live
    decay = scaling.ewma_lambda
    gain = np.divide(1.0 - decay, 1.0 - decay**sessions, out=np.zeros(pnl.shape), where=live)
    index = np.maximum(state.index * (1.0 + earned), 0.0)
    return RiskState(
        variance=state.variance + gain * (earned * earned - state.variance),
        sessions=sessions,
        index=index,
        peak=np.maximum(state.peak, index),
    )


def annual_vol(state: RiskState, scaling: Scaling, periods_per_year: float) -> Floats:
    """Realised volatility a year, (P, S): NaN before `min_sessions`, and where no P&L was ever other than 0, as of a stale price."""
    known = (state.sessions >= scaling.min_sessions) & (state.variance > 0.0)
    return np.where(known, np.sqrt(state.variance * periods_per_year), np.nan)


def drawdown(state: RiskState) -> Floats:
    """Fall of each sleeve's index from its peak, (P, S) in [0, 1]."""
    return 1.0 - state.index / state.peak


def risk_factors(state: RiskState, scaling: Scaling, periods_per_year: float) -> Floats:
    """Factor on each base budget, (P, S): `scaling_factors` of what was measured where a sleeve is listed, else 1."""
    factors = scaling_factors(
        annual_vol(state, scaling, periods_per_year),
        drawdown(state),
        scaling.target_vol,
        scaling.max_drawdown,
        vol_sensitivity=scaling.vol_sensitivity,
        dd_sensitivity=scaling.dd_sensitivity,
        min_scale=scaling.min_scale,
        max_scale=scaling.max_scale,
    )
    return np.where(scaling.listed, factors, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Budgets:
    """The budgets of P policies as fractions of NAV: `base`, `least`, `most` (P, S), `gross` (P,) what their sum may reach.

    `room` (P,) is what the minima of all but `tail_hedge` leave of gross.
    """

    base: Floats
    least: Floats
    most: Floats
    gross: Floats
    room: Floats


def budgets_of(sleeves: Sequence[SleevesSpec], gross_max_frac: ArrayLike) -> Budgets:
    """The budgets of policies that are replayed together; `gross_max_frac` (P,), 1 where the limits are switched off.

    Where the sleeves are switched off each has the whole of NAV, which they share, and no sum bounds them.

    Raises:
        ConfigError: the minima of a policy sum to more than its gross.
    """

    def table(name: str) -> Floats:
        return np.array([[getattr(spec.of(sleeve), name) if spec.enabled else 1.0 for sleeve in SLEEVES] for spec in sleeves])

    least = table("min_nav_frac")
    gross = np.where([spec.enabled for spec in sleeves], gross_max_frac, np.inf)
    for total, cap in zip(least.sum(axis=1).tolist(), gross.tolist(), strict=True):
        if not total <= cap + TOLERANCE:
            raise ConfigError("sleeves.min_nav_frac", f"the minima sum to {total:g}, above gross {cap:g}")
    room = gross - (least.sum(axis=1) - least[:, _HEDGE])
    return Budgets(base=table("base_nav_frac"), least=least, most=table("max_nav_frac"), gross=gross, room=room)


def effective_fracs(factors: Floats, budgets: Budgets) -> Floats:
    """Fractions of NAV that the sleeves may spend, (P, S): base x factor, within each sleeve's minimum and maximum.

    Where they sum to more than gross, what each has above its minimum shrinks by one factor until they fit. `tail_hedge` takes
    its part of the sum and is spared, for a hedge must not die because others grow; it yields only what the others' minima
    need. A sum that fits comes back bit for bit.

    Args:
        factors: (P, S), finite, >= 0.
        budgets: of the same policies.

    Raises:
        BrokenInvariant: a factor is NaN.
    """
    least = budgets.least
    fracs = np.minimum(np.maximum(budgets.base * factors, least), budgets.most)
    fits = np.add.reduce(fracs, axis=1) <= budgets.gross + ROUNDING
    if fits.all():
        return fracs
    if np.isnan(fracs).any():
        raise BrokenInvariant("a scaling factor is NaN")
    hedge = np.minimum(fracs[:, _HEDGE], budgets.room)
    spare = fracs - least
    spare[:, _HEDGE] = 0.0
    above = np.add.reduce(spare, axis=1)
    share = np.divide(budgets.room - hedge, above, out=np.zeros(above.shape), where=above > ROUNDING)
    fitted = np.minimum(least + spare * share[:, None], fracs)
    fitted[:, _HEDGE] = hedge
    return np.where(fits[:, None], fracs, fitted)
