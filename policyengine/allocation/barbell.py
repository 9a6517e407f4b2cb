"""The words around a projection of named instruments: which requests are refused, which limits hold the book, which stay unmet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints, Origin, bound
from policyengine.errors import BrokenInvariant, DataError
from policyengine.records import TOLERANCE, Bucket
from policyengine.spec.limits import LimitsSpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingLimit:
    """A limit that cut what was asked for.

    `cap` bounds the absolute exposures of `members`, which hold `exposure` of it; members are those asked for, by name. The
    objective falls by `multiplier` per unit of the cap. `shrunk_to_zero` are members of which nothing is left.
    """

    origin: Origin
    cap: float
    exposure: float
    multiplier: float
    members: tuple[str, ...]
    shrunk_to_zero: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmetLimit:
    """A limit that only buying could meet, written at `origin`: what counts towards it is `exposure`, and why."""

    origin: Origin
    exposure: float
    reason: str


def refuse_request(weights: Mapping[str, float], universe: UniverseSpec, *, largest: float) -> None:
    """Refuse what no limit can be applied to; of several, the symbol that comes first in the alphabet.

    Raises:
        DataError: a symbol that is not in the universe, where that is an error; a weight in what is not traded; a short option
            without a stress loss.
        BrokenInvariant: a weight that is NaN, infinite or beyond `largest`.
    """
    for symbol, weight in sorted(weights.items()):
        instrument = universe.instruments.get(symbol)
        if instrument is None and universe.unclassified == "error":
            raise DataError("weights", f"'{symbol}' is not in universe.instruments, and universe.unclassified is 'error'")
        if not abs(weight) <= largest:
            raise BrokenInvariant(f"requested weight {weight} of '{symbol}' is not a finite number up to {largest:g}")
        if weight != 0 and not universe.is_traded(symbol):
            what = "a rate" if symbol in universe.fx else "an option, and universe.options.enabled is false"
            raise DataError("weights", f"'{symbol}' {weight:g} cannot be held: it is {what}")
        if weight < 0 and instrument is not None and instrument.type == "option" and instrument.stress_loss is None:
            raise DataError(
                "weights", f"'{symbol}' {weight:g} is a short option, and universe.instruments.{symbol}.stress_loss is not given"
            )


def binding_limits(
    symbols: Sequence[str], asked: Floats, held: Floats, limits: Constraints, multipliers: Floats
) -> tuple[BindingLimit, ...]:
    """What `constraints.bound` finds between exposures `asked` and `held` (N,), with the multipliers (M + N,) of all limits."""
    groups, found = len(limits.group_upper), []
    for k in np.flatnonzero(bound(asked[None], held[None], limits)[0]).tolist():
        mine = np.flatnonzero((limits.groups[k] > 0) & (asked > 0)).tolist() if k < groups else [k - groups]
        cap = limits.group_upper[k] if k < groups else limits.upper[k - groups]
        found.append(
            BindingLimit(
                origin=limits.origins[k],
                cap=float(cap),
                exposure=math.fsum(held[mine].tolist()),
                multiplier=float(multipliers[k]),
                members=tuple(symbols[i] for i in mine),
                shrunk_to_zero=tuple(symbols[i] for i in mine if held[i] == 0),
            )
        )
    return tuple(found)


def unmet_limits(limits: LimitsSpec, within: Constraints, asked: Floats, held: Floats) -> Iterator[UnmetLimit]:
    """Floors that exposures `held` (N,) fall short of, and safe instruments with cash above `safe.max_frac`.

    The floor of `safe` is not among them: cash counts as safe, so every projection meets it.
    """
    rows = dict(zip(within.names, within.groups > 0, strict=True))
    for bucket, spec in sorted(limits.buckets.items()):
        if bucket is Bucket.SAFE:
            not_safe = rows["safe_min"] if "safe_min" in rows else rows["risk_max"]
            safe = 1.0 - math.fsum(held[not_safe].tolist())
            if safe > spec.max_frac + TOLERANCE:
                origin = Origin(f"limits.buckets.{bucket}.max_frac", spec.max_frac)
                yield UnmetLimit(origin=origin, exposure=safe, reason=_why("risk", 1.0 - spec.max_frac, asked[not_safe], held[not_safe]))
            continue
        mine = rows[f"bucket {bucket}"]
        total = math.fsum(held[mine].tolist())
        if total < spec.min_frac - TOLERANCE:
            origin = Origin(f"limits.buckets.{bucket}.min_frac", spec.min_frac)
            yield UnmetLimit(origin=origin, exposure=total, reason=_why(bucket, spec.min_frac, asked[mine], held[mine]))


def _why(what: str, floor: float, asked: Floats, held: Floats) -> str:
    """Why these exposures are below their floor."""
    wanted, left = math.fsum(asked.tolist()), math.fsum(held.tolist())
    if wanted < floor - TOLERANCE:
        return f"{wanted:g} of {what} was asked for where {floor:g} is wanted, and nothing is bought that nobody asked for"
    return f"{wanted:g} of {what} was asked for where {floor:g} is wanted, and other limits leave {left:g}"
