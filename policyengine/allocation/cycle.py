"""The decision of a session: signals in force -> sleeves -> NAV budgets -> shell -> target weights, for P policies at once.

Replay and trading take every decision here, so that what was tested is what trades.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints, constraints
from policyengine.allocation.scaler import Budgets, RiskState, Scaling, budgets_of, effective_fracs, risk_factors, scaling_of
from policyengine.allocation.shell import project_batch, sweep_idle_cash
from policyengine.allocation.sizing import Sized, codes_of, size
from policyengine.allocation.sleeves import SLEEVES, Grid, relative, retained, sleeve_of
from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.market.rows import SignalRows
from policyengine.records import TOLERANCE, Bucket, Sleeve
from policyengine.signals.stream import Stream, features
from policyengine.spec.root import ArmSpec, PolicySpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]
CHUNK = 2**20
"""Weights that are worked out at once where nothing of a decision depends on what the one before it came to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What P policies decide.

    Signed fractions of NAV `allocated` and, after the shell, `weights` (P, N); `fracs` (P, S) are the budgets that they spend.
    """

    allocated: Floats
    weights: Floats
    fracs: Floats


class Decider(Protocol):
    """What a session asks for its decisions: `Cycle`, or `FixedTargets`."""

    limits: tuple[Constraints, ...]
    lots: Floats
    scaling: Scaling | None

    def decide(self, t: int, risk: RiskState | None = None, /) -> Decision:
        """Decide on session `t`."""

    def by_sleeve(self, t: int, values: Floats, /) -> Floats:
        """Sums of `values` (P, N) over the instruments that session `t` charges to each sleeve, (P, S)."""


class FixedTargets:
    """Decides what is given: `weights` (P, T, N) within `limits`, one for each policy."""

    def __init__(self, weights: Floats, limits: Sequence[Constraints], lots: Floats | None = None) -> None:
        if not np.isfinite(weights).all():
            raise BrokenInvariant("target weights are not finite")
        self._weights = weights
        self._fracs = np.ones((weights.shape[0], len(SLEEVES)))
        self.limits = tuple(limits)
        self.lots = np.zeros(weights.shape[2]) if lots is None else lots
        self.scaling = None

    def decide(self, t: int, _: RiskState | None = None, /) -> Decision:
        """The weights of session `t`."""
        return Decision(allocated=self._weights[:, t], weights=self._weights[:, t], fracs=self._fracs)

    def by_sleeve(self, _: int, values: Floats, /) -> Floats:
        """No instrument is charged to a sleeve."""
        return np.zeros((values.shape[0], len(SLEEVES)))


class Cycle:
    """Decides for P policies on each session of one stream of signals.

    `sized` is how each policy sizes the signals, `limits` its feasible set. `scaling` is None where no policy scales its budgets.
    `seconds` is what deciding took for each policy by `clock`.
    """

    def __init__(
        self,
        policies: Sequence[ArmSpec | PolicySpec],
        stream: Stream,
        asked: Grid,
        universe: UniverseSpec,
        *,
        allow_short: bool,
        periods_per_year: int,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        symbols = self.symbols = stream.rows.symbols
        self._policies = tuple(policies)
        self._asked = asked
        self._budgets = budgets_by(policies)
        self._base = effective_fracs(np.ones((len(policies), len(SLEEVES))), self._budgets)
        self._periods_per_year = periods_per_year
        self._barred = barred(symbols, universe, allow_short=allow_short)
        self._chunk = (0, 0)
        self._shares = self._allocated = self._weights = np.empty((len(policies), 0, len(symbols)))
        self._clock = clock
        self.seconds = [0.0] * len(policies)
        buckets, sized = buckets_of(stream.rows, universe), []
        for p, policy in enumerate(policies):
            started = clock()
            sized.append(sized_by(policy, stream.rows, buckets))
            self.seconds[p] += clock() - started
        self.sized = tuple(sized)
        self._swept = [[symbols.index(s) for s in policy.limits.swept if s in symbols] for policy in policies]
        self.limits = tuple(limits_of(policy, universe, symbols) for policy in policies)
        if any(c.groups.tobytes() != self.limits[0].groups.tobytes() for c in self.limits):
            raise ConfigError("sleeves.enabled", "differs between policies over instruments of the sleeve tail_hedge")
        lots = [instrument.lot_size if (instrument := universe.instruments.get(s)) is not None else None for s in symbols]
        self.lots = np.array([0.0 if lot is None else lot for lot in lots])
        scales = any(policy.scaler.enabled and policy.sleeves.enabled for policy in policies)
        self.scaling = scaling_of([policy.scaler for policy in policies]) if scales else None
        self._charged = charged(asked)

    def decide(self, t: int, risk: RiskState | None = None, /) -> Decision:
        """Decide on session `t`, given how risky the sleeves have been; needed where a policy scales its budgets.

        Raises:
            BrokenInvariant: a weight that is not finite, breaks a limit, or is larger than what was allocated.
        """
        start, stop = self._chunk
        if not start <= t < stop:
            start, stop = self._load(t)
        if self.scaling is None:
            return Decision(allocated=self._allocated[:, t - start], weights=self._weights[:, t - start], fracs=self._base)
        if risk is None:
            raise BrokenInvariant("a policy scales its budgets and was not told how risky its sleeves are")
        fracs = effective_fracs(risk_factors(risk, self.scaling, self._periods_per_year), self._budgets)
        allocated = _spent(self._shares[:, t - start : t - start + 1], self._asked.sleeve[t : t + 1], fracs)
        weights = self._projected(allocated)
        return Decision(allocated=allocated[:, 0], weights=weights[:, 0], fracs=fracs)

    def by_sleeve(self, t: int, values: Floats, /) -> Floats:
        """Sums of `values` (P, N) over the instruments charged to each sleeve, (P, S): by their last signal up to session `t`."""
        order, starts, present = _runs(self.charged(t).tobytes())
        sums = np.zeros((values.shape[0], len(SLEEVES)))
        sums[:, present] = np.add.reduceat(values[:, order], starts, axis=1)
        return sums

    def charged(self, t: int) -> NDArray[np.int8]:
        """Sleeve of each instrument's last signal up to session `t`, (N,) indices into `SLEEVES`."""
        row: NDArray[np.int8] = self._charged[max(t, 0)]
        return row

    def desired(self) -> Floats:
        """What the signals ask for at base confidence and base budgets, (P, T, N), before overlay, scaling and shell."""
        parts = {on: relative(self._asked, by_sleeve=on) for on in {policy.sleeves.enabled for policy in self._policies}}
        return _spent(np.stack([parts[policy.sleeves.enabled] for policy in self._policies]), self._asked.sleeve, self._base)

    def _load(self, t: int) -> tuple[int, int]:
        policies, instruments = len(self._policies), self._barred.size
        stop = min(self._asked.base.shape[0], t + max(1, CHUNK // max(1, policies * instruments)))
        asked = self._asked.between(t, stop)
        parts = {on: relative(asked, by_sleeve=on) for on in {policy.sleeves.enabled for policy in self._policies}}
        pairs = zip(self._policies, self.sized, strict=True)
        shares = np.stack([parts[policy.sleeves.enabled] * retained(asked, sized.effective) for policy, sized in pairs])
        # A sell signal where shorts are not allowed takes the position to zero.
        self._shares = np.where((shares < 0.0) & self._barred, 0.0, shares)
        if self.scaling is None:
            self._allocated = _spent(self._shares, asked.sleeve, self._base)
            self._weights = self._projected(self._allocated)
        self._chunk = (t, stop)
        return self._chunk

    def _projected(self, allocated: Floats) -> Floats:
        """(P, R, N) inside the limits of each policy."""
        weights = allocated.copy()
        on = [p for p, policy in enumerate(self._policies) if policy.limits.enabled]
        for p in on:
            started = self._clock()
            limits, asked = self.limits[p], allocated[p]
            exposure = project_batch(np.abs(asked), limits.upper, limits.groups, limits.group_upper, metric=limits.metric)
            weights[p] = np.copysign(exposure, asked)
            _check_projected(weights[p], asked)
            weights[p] = sweep_idle_cash(weights[p], limits, self._swept[p])
            _check_limits(weights[p], limits)
            self.seconds[p] += self._clock() - started
        for p, policy in enumerate(self._policies):
            if not (policy.limits.enabled or policy.sleeves.enabled):
                _check_untouched(weights[p], allocated[p])
        return weights


def grid(stream: Stream, universe: UniverseSpec) -> Grid:
    """The signals in force as arrays over sessions and instruments."""
    rows = stream.rows
    active = stream.in_force >= 0
    row = np.maximum(stream.in_force, 0)
    pairs = list(zip(rows.source, rows.code.tolist(), strict=True))
    sleeve = {(s, i): SLEEVES.index(charged_to(s, rows.symbols[i], universe)) for s, i in set(pairs)}
    charged = [sleeve[pair] for pair in pairs]
    if not charged:
        nothing = np.zeros(stream.in_force.shape)
        return Grid(signal=stream.in_force, base=nothing, direction=nothing.astype(np.int8), sleeve=nothing.astype(np.int8))
    return Grid(
        signal=stream.in_force,
        base=np.where(active, rows.confidence[row], 0.0),
        direction=np.where(active, rows.direction[row], 0).astype(np.int8),
        sleeve=np.where(active, np.array(charged, dtype=np.int8)[row], 0).astype(np.int8),
    )


def charged_to(source: str, symbol: str, universe: UniverseSpec) -> Sleeve:
    """Sleeve that a signal of `source` on `symbol` is charged to: the one that the instrument declares, or `sleeve_of`."""
    declared = universe.instruments[symbol].sleeve if symbol in universe.instruments else None
    return declared or sleeve_of(source, universe.bucket(symbol), universe.market(symbol))


def charged(asked: Grid) -> NDArray[np.int8]:
    """Sleeve of the last signal of each instrument up to each session, (T, N)."""
    session = np.arange(asked.base.shape[0])[:, None]
    last = np.maximum.accumulate(np.where(asked.base > 0.0, session, 0), axis=0)
    return np.take_along_axis(asked.sleeve, last, axis=0)


@lru_cache(maxsize=1024)
def _runs(charged: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Instruments ordered by sleeve, where each sleeve begins among them, and which sleeves there are."""
    sleeve = np.frombuffer(charged, dtype=np.int8)
    order = np.argsort(sleeve, kind="stable")
    present, starts = np.unique(sleeve[order], return_index=True)
    return order, starts, present.astype(np.intp)


def buckets_of(rows: SignalRows, universe: UniverseSpec) -> NDArray[np.intp]:
    """Bucket of each signal's instrument, (S,) codes."""
    return codes_of(universe.bucket(symbol) for symbol in rows.symbols)[rows.code]


def sized_by(policy: ArmSpec | PolicySpec, rows: SignalRows, buckets: NDArray[np.intp]) -> Sized:
    """What the overlay of a policy makes of the signals, whose `buckets` are those of `buckets_of`."""
    overlays = features(rows, tuple(policy.sizing.overlays))
    return size(policy.sizing, rows.confidence, buckets=buckets, regimes=rows.regime, features=overlays)


def budgets_by(policies: Sequence[ArmSpec | PolicySpec]) -> Budgets:
    """The budgets of policies, within the gross of each one's limits."""
    gross = [policy.limits.gross_max_frac if policy.limits.enabled else 1.0 for policy in policies]
    return budgets_of([policy.sleeves for policy in policies], gross)


def limits_of(policy: ArmSpec | PolicySpec, universe: UniverseSpec, symbols: Sequence[str]) -> Constraints:
    """The feasible set of a policy over `symbols`, its sleeve of hedges included."""
    hedge_max_frac = policy.sleeves.tail_hedge.max_nav_frac if policy.sleeves.enabled else None
    return constraints(policy.limits, universe, symbols, hedge_max_frac=hedge_max_frac)


def barred(symbols: Sequence[str], universe: UniverseSpec, *, allow_short: bool) -> NDArray[np.bool_]:
    """Which of `symbols` may not be sold short, (N,)."""
    return np.array([not allow_short or not _may_be_short(universe, symbol) for symbol in symbols])


def _may_be_short(universe: UniverseSpec, symbol: str) -> bool:
    """A short in a safe instrument is no safety, one in a hedge no hedge, and one in an option can lose more than its weight says."""
    instrument = universe.instruments.get(symbol)
    if instrument is None:
        return True
    return instrument.bucket is not Bucket.SAFE and instrument.sleeve is not Sleeve.TAIL_HEDGE and instrument.type != "option"


def _spent(shares: Floats, sleeve: NDArray[np.int8], fracs: Floats) -> Floats:
    """Weights (P, R, N) from shares (P, R, N) of the budgets `fracs` (P, S) of the sleeves `sleeve` (R, N)."""
    return shares * fracs[:, sleeve]


def _check_projected(weights: Floats, asked: Floats) -> None:
    """Refuse a projection that is not finite, not on the side that was asked for, or larger."""
    if not np.isfinite(weights).all():
        raise BrokenInvariant("a target weight is not finite")
    if bool((np.abs(weights) > np.abs(asked)).any()) or bool((weights * asked < 0.0).any()):
        raise BrokenInvariant("the shell returned a larger exposure than was allocated")


def _check_limits(weights: Floats, limits: Constraints) -> None:
    """Refuse a decision that breaks a limit, before anything trades on it."""
    size = np.abs(weights)
    if bool((size > limits.upper + TOLERANCE).any()) or bool((size @ limits.groups.T > limits.group_upper + TOLERANCE).any()):
        raise BrokenInvariant("a target weight breaks a limit")


def _check_untouched(weights: Floats, allocated: Floats) -> None:
    """Switched off changes nothing, to the bit."""
    if weights.tobytes() != allocated.tobytes():
        raise BrokenInvariant("limits and sleeves are off, and a weight changed")
