"""The sizing overlay: the one place where base confidence becomes effective confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.records import Bucket
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


def size(
    sizing: SizingSpec, base: Floats, *, buckets: Sequence[Bucket], regimes: Sequence[str | None], features: Mapping[Overlay, Floats]
) -> Sized:
    """Apply the overlay to S signals.

    Args:
        sizing: multipliers by bucket and regime, and the overlays.
        base: (S,) base confidences in [0, 1].
        buckets: (S,) bucket of each signal's instrument.
        regimes: (S,) regime that each signal states, None where it states none.
        features: what each configured overlay reads, (S,), NaN where unknown. An absent feature is unknown everywhere.

    Returns:
        clip(base x bucket x regime x overlays, 0, 1), multiplied from left to right.
    """
    if not sizing.enabled:
        return Sized(effective=base, names=(), factors=np.empty((0, base.size)))
    rows = {"bucket": np.array([sizing.multipliers[bucket] for bucket in buckets], dtype=np.float64)}
    if sizing.regimes:
        rows["regime"] = _regime_factor(sizing, buckets, regimes)
    for overlay, spec in sizing.overlays.items():
        rows[overlay.value] = overlay_factor(spec, features.get(overlay, np.full(base.shape, np.nan)))
    effective = base
    for row in rows.values():
        effective = effective * row
    return Sized(effective=np.clip(effective, 0.0, 1.0), names=tuple(rows), factors=np.stack(list(rows.values())))


def overlay_factor(spec: OverlaySpec, feature: Floats) -> Floats:
    """Factor of one overlay, (S,) in [floor, 1]; the floor where `feature` is NaN."""
    share = np.clip((feature - spec.soft_cap) / (spec.hard_cap - spec.soft_cap), 0.0, 1.0)
    return np.where(np.isnan(feature), spec.floor, 1.0 - share * (1.0 - spec.floor))


def _regime_factor(sizing: SizingSpec, buckets: Sequence[Bucket], regimes: Sequence[str | None]) -> Floats:
    lowest = {bucket: min(by_bucket.get(bucket, 1.0) for by_bucket in sizing.regimes.values()) for bucket in Bucket}
    return np.array(
        [
            lowest[bucket] if regime is None or regime not in sizing.regimes else sizing.regimes[regime].get(bucket, 1.0)
            for bucket, regime in zip(buckets, regimes, strict=True)
        ],
        dtype=np.float64,
    )
