"""The barbell limits as arrays: caps of single instruments and caps of groups, over absolute exposures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.records import Bucket
from policyengine.spec.limits import LimitsSpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The feasible set {0 <= x, x <= upper, groups @ x <= group_upper} over exposures of N instruments.

    `upper` (N,), `groups` (M, N) of 0/1, `group_upper` (M,), `names` (M,) for messages. Where limits are off every bound
    is infinite.
    """

    upper: Floats
    groups: Floats
    group_upper: Floats
    names: tuple[str, ...]


def constraints(limits: LimitsSpec, universe: UniverseSpec, symbols: Sequence[str]) -> Constraints:
    """The limits as arrays over `symbols`. Long positions; a short in a safe instrument is kept out before the shell.

    The groups depend on the universe and the symbols alone, so that policies with different limits can be replayed together.
    """
    buckets = [universe.bucket(symbol) for symbol in symbols]
    markets = [universe.market(symbol) for symbol in symbols]
    risk_max = limits.non_safe_max_frac if limits.risk_max_frac is None else min(limits.risk_max_frac, limits.non_safe_max_frac)
    rows: dict[str, tuple[list[bool], float]] = {
        "gross": ([True] * len(buckets), limits.gross_max_frac),
        "risk": ([bucket is not Bucket.SAFE for bucket in buckets], risk_max),
    }
    for bucket, spec in sorted(limits.buckets.items()):
        rows[f"bucket {bucket}"] = ([b is bucket for b in buckets], spec.max_frac)
    for market in sorted(set(markets)):
        cap = limits.markets[market].max_frac if market in limits.markets else np.inf
        rows[f"market {market}"] = ([m == market for m in markets], cap)
    upper = [limits.buckets[bucket].position_max_frac for bucket in buckets]
    off = not limits.enabled
    return Constraints(
        upper=np.array([np.inf if off or cap is None else cap for cap in upper]),
        groups=np.array([members for members, _ in rows.values()], dtype=np.float64).reshape(len(rows), len(buckets)),
        group_upper=np.array([np.inf if off else cap for _, cap in rows.values()]),
        names=tuple(rows),
    )
