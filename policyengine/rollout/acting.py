"""Whose sizes act: the baseline's, the candidate's, or the candidate's on a slice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.cycle import Cycle, Decision
from policyengine.allocation.scaler import RiskState, Scaling
from policyengine.allocation.shell import project_batch
from policyengine.rollout.modes import State
from policyengine.spec.rollout import SliceSpec

Floats = NDArray[np.float64]


def in_slice(symbol: str, spec: SliceSpec) -> bool:
    """Whether `symbol` is in the slice: drawn by a salted hash, so that nobody chooses it and every run draws alike."""
    drawn = int.from_bytes(hashlib.sha256(f"{spec.salt}\0{symbol}".encode()).digest()[:8], "big") / 2.0**64
    return drawn < spec.universe_frac


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What both arms decide, (N,) each: the paired control of every trade."""

    baseline: Floats
    candidate: Floats


class Acting:
    """Decides for one account, of the two policies of `cycle`, baseline and candidate.

    Off, in shadow and wherever a stage was left the weights and limits are the baseline's, live they are the candidate's, to the
    bit. On the slice of a canary the weights go a share of the way from the one to the other, and through the shell once more under the
    limits of both: of each cap the smaller.
    """

    def __init__(self, cycle: Cycle, symbols: Sequence[str], spec: SliceSpec) -> None:
        self._cycle = cycle
        self._shares = np.array([spec.capital_frac if in_slice(symbol, spec) else 0.0 for symbol in symbols])
        self._both = _within_both(cycle.limits)
        self.lots: Floats = cycle.lots
        self.become(State.OFF)

    def become(self, state: State) -> None:
        """Act from now on as `state` does."""
        self.state = state
        within = {State.CANARY: self._both, State.LIVE: self._cycle.limits[1]}
        self.limits: tuple[Constraints, ...] = (within.get(state, self._cycle.limits[0]),)
        scaling = self._cycle.scaling
        self.scaling: Scaling | None = None if scaling is None else scaling.of(1 if state is State.LIVE else 0)

    def decide(self, t: int, risk: RiskState | None = None, /) -> Decision:
        """The decision that acts, (1, N)."""
        both = self._cycle.decide(t, risk)
        if self.state is State.CANARY:
            return self._mixed(both)
        p = slice(1, 2) if self.state is State.LIVE else slice(0, 1)
        return Decision(allocated=both.allocated[p], weights=both.weights[p], fracs=both.fracs[p])

    def _mixed(self, both: Decision) -> Decision:
        mean = float(self._shares.mean())
        wanted = both.weights[:1] + self._shares * (both.weights[1:] - both.weights[:1])
        within = self._both
        size = project_batch(np.abs(wanted), within.upper, within.groups, within.group_upper, metric=within.metric)
        fracs = both.fracs[:1] + mean * (both.fracs[1:] - both.fracs[:1])
        return Decision(allocated=wanted, weights=np.copysign(size, wanted), fracs=fracs)

    def by_sleeve(self, t: int, values: Floats, /) -> Floats:
        """Sums of `values` (1, N) by sleeve, as the cycle charges them."""
        return self._cycle.by_sleeve(t, values)

    def pair(self, t: int, risk: RiskState | None) -> Pair:
        """What each arm decides on session `t`."""
        both = self._cycle.decide(t, risk)
        return Pair(baseline=both.weights[0], candidate=both.weights[1])


def _within_both(limits: Sequence[Constraints]) -> Constraints:
    """The limits of both arms: of each cap the smaller."""
    first, second = limits
    return replace(
        first,
        upper=np.minimum(first.upper, second.upper),
        group_upper=np.minimum(first.group_upper, second.group_upper),
        drift_band=min(first.drift_band, second.drift_band),
    )
