"""From signals in force to feasible target weights, for one arm over a whole panel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints, constraints
from policyengine.allocation.shell import project_batch
from policyengine.allocation.sizing import Sized, size
from policyengine.allocation.sleeves import SLEEVES, Grid, requested_weights, sleeve_of
from policyengine.records import Bucket
from policyengine.signals.stream import Stream, features
from policyengine.spec.root import ArmSpec, PolicySpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What one arm wants: `weights` (T, N) signed fractions of NAV inside `limits`, and how each signal was `sized`."""

    weights: Floats
    limits: Constraints
    sized: Sized


def grid(stream: Stream, universe: UniverseSpec) -> Grid:
    """The signals in force as arrays over sessions and instruments."""
    rows = stream.rows
    active = stream.in_force >= 0
    row = np.maximum(stream.in_force, 0)
    pairs = list(zip(rows.source, rows.code.tolist(), strict=True))
    sleeve = {(s, i): _sleeve_index(s, rows.symbols[i], universe) for s, i in set(pairs)}
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


def _sleeve_index(source: str, symbol: str, universe: UniverseSpec) -> int:
    return SLEEVES.index(sleeve_of(source, universe.bucket(symbol), universe.market(symbol)))


def targets(arm: ArmSpec | PolicySpec, stream: Stream, asked: Grid, universe: UniverseSpec, *, allow_short: bool) -> Targets:
    """Size, allocate and project the signals of one arm.

    A sell signal where shorts are not allowed, or on a safe instrument, takes the position to zero: a short is never safety.
    With limits switched off the requested weights come back unchanged, bit for bit.
    """
    rows = stream.rows
    buckets = [universe.bucket(symbol) for symbol in rows.symbols]
    sized = size(
        arm.sizing,
        rows.confidence,
        buckets=[buckets[code] for code in rows.code.tolist()],
        regimes=rows.regime.tolist(),
        features=features(rows, tuple(arm.sizing.overlays)),
    )
    requested = requested_weights(asked, sized.effective, arm.sleeves)
    shortable = np.array([allow_short and bucket is not Bucket.SAFE for bucket in buckets])
    requested = np.where((requested < 0.0) & ~shortable, 0.0, requested)
    limits = constraints(arm.limits, universe, rows.symbols)
    if not arm.limits.enabled:
        return Targets(weights=requested, limits=limits, sized=sized)
    exposure = project_batch(np.abs(requested), limits.upper, limits.groups, limits.group_upper)
    return Targets(weights=np.copysign(exposure, requested), limits=limits, sized=sized)
