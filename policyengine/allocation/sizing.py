"""The sizing overlay: the one place where base confidence becomes effective confidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.records import BUCKETS, Bucket
from policyengine.spec.sizing import Overlay, OverlaySpec, SizingSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """Effective confidences and every factor that made them.

    `effective` (S,) in [0, 1]; `factors` (F, S), one row for each name in `names`, in the order applied. With sizing off
    there are no factors and `effective` is the base confidence itself.
    """

    effective: Floats
    names: tuple[str, ...]
    factors: Floats


def codes_of(buckets: Iterable[Bucket]) -> NDArray[np.intp]:
    """Places of `buckets` in `BUCKETS`."""
    return np.array([BUCKETS.index(bucket) for bucket in buckets], dtype=np.intp)


def size(
    sizing: SizingSpec,
    base: Floats,
    *,
    buckets: NDArray[np.intp],
    regimes: Iterable[str | None],
    features: Mapping[Overlay, Floats],
) -> Sized:
    """Apply the overlay to S signals.

    Args:
        sizing: multipliers by bucket and regime, and the overlays.
        base: (S,) base confidences in [0, 1].
        buckets: (S,) bucket of each signal's instrument, by its code, as in `codes_of`.
        regimes: (S,) regime that each signal states, None where it states none.
        features: what each configured overlay reads, (S,), NaN where unknown. An absent feature is unknown everywhere.

    Returns:
        clip(base x bucket x regime x overlays, 0, 1), multiplied from left to right.
    """
    if not sizing.enabled:
        return Sized(effective=base, names=(), factors=np.empty((0, base.size)))
    rows = {"bucket": np.array([sizing.multipliers[bucket] for bucket in BUCKETS], dtype=np.float64)[buckets]}
    if sizing.regimes:
        rows["regime"] = _regime_factor(sizing, buckets, regimes)
    for overlay, spec in sizing.overlays.items():
        rows[overlay.value] = overlay_factor(spec, features.get(overlay, np.full(base.shape, np.nan)))
    effective = base
    for row in rows.values():
        effective = effective * row
    return Sized(effective=np.clip(effective, 0.0, 1.0, out=effective), names=tuple(rows), factors=np.stack(list(rows.values())))


def overlay_factor(spec: OverlaySpec, feature: Floats) -> Floats:
    """Factor of one overlay, (S,) in [floor, 1]; the floor where `feature` is NaN."""
    share = np.clip((feature - spec.soft_cap) / (spec.hard_cap - spec.soft_cap), 0.0, 1.0)
    return np.where(np.isnan(feature), spec.floor, 1.0 - share * (1.0 - spec.floor))


def _regime_factor(sizing: SizingSpec, buckets: NDArray[np.intp], regimes: Iterable[str | None]) -> Floats:
    """Of each signal (S,): the multiplier of its regime, and the lowest of its bucket where it states none that is known."""
    named = tuple(sizing.regimes)
    table = np.array([[sizing.regimes[name].get(bucket, 1.0) for bucket in BUCKETS] for name in named])
    place = {name: row for row, name in enumerate(named)}
    rows = np.array([place.get(regime, len(named)) if regime is not None else len(named) for regime in regimes], dtype=np.intp)
    return np.vstack([table, table.min(axis=0)])[rows, buckets]
