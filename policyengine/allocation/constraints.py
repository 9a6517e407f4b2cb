"""The barbell limits as arrays: caps of single instruments and caps of groups, over absolute exposures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.projection_row import Metric
from policyengine.records import Bucket, Sleeve
from policyengine.spec.limits import LimitsSpec
from policyengine.spec.rules import in_range
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AT_CAP = 1e-9
"""A group whose sum is short of its cap by at most this fraction is at its cap; what the shell returns is nearer by far."""


class Origin(NamedTuple):
    """Where a limit is written: the dotted path, the value that stands there, and whose it is where it caps single instruments."""

    path: str
    value: float
    symbol: str | None = None

    def __str__(self) -> str:
        """As a person would quote it: `limits.buckets.spec.position_max_frac 0.05 (AAPL)`."""
        return f"{self.path} {self.value:g}" + ("" if self.symbol is None else f" ({self.symbol})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The feasible set {0 <= x, x <= upper, groups @ x <= group_upper} over exposures of N instruments.

    `upper` (N,), `groups` (M, N) of 0/1, `group_upper` (M,), `names` (M,) for messages. Where limits are off every bound
    is infinite. `origins` (M + N,): where each limit is written, of groups and then of instruments; the order of `bound`.
    `drift_band` is how far prices may carry a book beyond them before it must trade for that alone; `metric` what "nearest" means.
    """

    upper: Floats
    groups: Floats
    group_upper: Floats
    names: tuple[str, ...]
    origins: tuple[Origin, ...] = ()
    drift_band: float = 0.0
    metric: Metric = "proportional"


class _Row(NamedTuple):
    name: str
    members: list[bool]
    cap: float
    origin: Origin


def constraints(
    limits: LimitsSpec,
    universe: UniverseSpec,
    symbols: Sequence[str],
    *,
    hedge_max_frac: float | None = None,
    short: Sequence[bool] | None = None,
) -> Constraints:
    """The limits as arrays over `symbols`.

    The groups depend on the universe, the symbols, the signs and whether hedges are a group of their own, never on numbers, so
    that policies with different limits can be replayed together.

    Args:
        limits: the numbers.
        universe: bucket, market and sleeve of each symbol; an unlisted one is `other`.
        symbols: (N,).
        hedge_max_frac: cap of the instruments of sleeve `tail_hedge`, which then count against this cap, their market's, their
            position's and the safe floor, and against no other; None (no sleeves in force): they count like any other.
        short: (N,) what is sold short: no safety where the instrument is safe, no hedge where it hedges. None: all are long.

    Raises:
        ConfigError: `hedge_max_frac` is not in [0, 1].
    """
    if hedge_max_frac is not None:
        in_range("hedge_max_frac", hedge_max_frac, 0.0, 1.0)
    kinds = _kinds(universe, symbols, hedges_apart=hedge_max_frac is not None, short=short)
    rows = [*_shared(limits, kinds, hedge_max_frac), *_of_buckets(limits, kinds), *_of_markets(limits, universe, symbols)]
    upper = [_position_cap(limits, bucket) for bucket in kinds.buckets]
    of = [Origin(f"limits.buckets.{b}.position_max_frac", u, s) for b, u, s in zip(kinds.buckets, upper, symbols, strict=True)]
    off = not limits.enabled
    return Constraints(
        upper=np.array([np.inf if off else cap for cap in upper]),
        groups=np.array([row.members for row in rows], dtype=np.float64).reshape(len(rows), len(symbols)),
        group_upper=np.array([np.inf if off else row.cap for row in rows]),
        names=tuple(row.name for row in rows),
        origins=(*(row.origin for row in rows), *of),
        drift_band=limits.drift_band,
        metric=limits.metric,
    )


class _Kinds(NamedTuple):
    """What each of N instruments counts as."""

    buckets: list[Bucket]
    safe: list[bool]
    hedge: list[bool]


def _kinds(universe: UniverseSpec, symbols: Sequence[str], *, hedges_apart: bool, short: Sequence[bool] | None) -> _Kinds:
    buckets = [universe.bucket(symbol) for symbol in symbols]
    listed = [universe.instruments.get(symbol) for symbol in symbols]
    long = [True] * len(symbols) if short is None else [not sold for sold in short]
    hedge = [hedges_apart and i is not None and i.sleeve is Sleeve.TAIL_HEDGE and up for i, up in zip(listed, long, strict=True)]
    safe = [b is Bucket.SAFE and up and not h for b, up, h in zip(buckets, long, hedge, strict=True)]
    return _Kinds(buckets, safe, hedge)


def _shared(limits: LimitsSpec, kinds: _Kinds, hedge_max_frac: float | None) -> list[_Row]:
    """Gross, and the caps on what is not safe: two, and the hedges' own, where there are hedges apart; else the smaller one."""
    plain, not_safe = [not h for h in kinds.hedge], [not s for s in kinds.safe]
    gross = _Row("gross", plain, limits.gross_max_frac, Origin("limits.gross_max_frac", limits.gross_max_frac))
    left = limits.non_safe_max_frac
    floor = _Row("safe_min", not_safe, left, Origin("limits.buckets.safe.min_frac", limits.buckets[Bucket.SAFE].min_frac))
    most = np.inf if limits.risk_max_frac is None else limits.risk_max_frac
    risk = _Row("risk_max", not_safe, most, Origin("limits.risk_max_frac", most))
    if hedge_max_frac is None or not any(kinds.hedge):
        return [gross, risk if most < left else floor]
    hedges = _Row("sleeve tail_hedge", kinds.hedge, hedge_max_frac, Origin("sleeves.tail_hedge.max_nav_frac", hedge_max_frac))
    return [gross, risk._replace(members=[n and p for n, p in zip(not_safe, plain, strict=True)]), floor, hedges]


def _of_buckets(limits: LimitsSpec, kinds: _Kinds) -> Iterator[_Row]:
    for bucket, spec in sorted(limits.buckets.items()):
        others = [b is bucket and not h for b, h in zip(kinds.buckets, kinds.hedge, strict=True)]
        members = kinds.safe if bucket is Bucket.SAFE else others
        yield _Row(f"bucket {bucket}", members, spec.max_frac, Origin(f"limits.buckets.{bucket}.max_frac", spec.max_frac))


def _of_markets(limits: LimitsSpec, universe: UniverseSpec, symbols: Sequence[str]) -> Iterator[_Row]:
    markets = [universe.market(symbol) for symbol in symbols]
    for market in sorted(set(markets)):
        cap = limits.markets[market].max_frac if market in limits.markets else np.inf
        yield _Row(f"market {market}", [m == market for m in markets], cap, Origin(f"limits.markets.{market}.max_frac", cap))


def _position_cap(limits: LimitsSpec, bucket: Bucket) -> float:
    cap = limits.buckets[bucket].position_max_frac
    return np.inf if cap is None else cap


def bound(requested: Floats, projected: Floats, limits: Constraints) -> Bools:
    """Which limits hold each row where it is: a group at its cap that cut a member, an instrument cut to its own cap.

    Args:
        requested: (B, N) absolute exposures before the shell.
        projected: (B, N) absolute exposures that the shell made of them, before any cash is swept.
        limits: the M groups and N instruments they were projected under.

    Returns:
        (B, M + N), in the order of `limits.origins`. Of limits that cut the same instruments all are named, whichever cut first.
    """
    cut = projected < requested
    members = limits.groups.T
    full = projected @ members >= limits.group_upper * (1.0 - AT_CAP)
    held = cut & (projected == limits.upper)
    return np.hstack([full & (cut.astype(np.float64) @ members > 0.0), held])
