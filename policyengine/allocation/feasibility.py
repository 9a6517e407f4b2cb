"""When a request is feasible, on lists and on arrays: within its box, and no group above its cap.

Group sums are rounded exactly (`math.fsum`), so that neither the order of instruments nor that of the arithmetic has a say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import fsum
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEASIBLE = 2e-13
"""A group sum up to this fraction above its cap is feasible: twice what a result may use, so that a result is feasible again."""


@dataclass(frozen=True, slots=True, eq=False)  # Compared by identity, as the key of what else is read once.
class Layout:
    """What follows from the membership matrix alone."""

    matrix: NDArray[np.bool_]
    """(m, n)."""
    members: tuple[frozenset[int], ...]
    """Per group, the instruments it holds."""
    picks: tuple[Any, ...]
    """Per group, a callable that takes the members out of a list (`operator.itemgetter`)."""
    rank: tuple[int, ...]
    """(n,) instruments in the same groups have the same rank; independent of the order of instruments."""
    kind: NDArray[np.intp]
    """The ranks again."""
    classes: NDArray[np.float64]
    """(m, K) of 0 and 1: the groups of the instruments of each rank."""
    incidence: NDArray[np.float64]
    """(m, n) the matrix again, as numbers."""


@lru_cache(maxsize=16)
def layout_of(shape: tuple[int, int], dtype: np.dtype[Any], content: bytes) -> Layout:
    """The layout of a membership matrix given as bytes, so that the same matrix is read once, whoever holds it."""
    groups = np.frombuffer(content, dtype=dtype).reshape(shape)
    matrix = groups == 1
    if not np.array_equal(matrix, groups):
        raise ConfigError("groups", "every entry must be 0 or 1")
    members = [np.flatnonzero(row).tolist() for row in matrix]
    # itemgetter of one index would give the bare item, of none an error: a slice gives a list.
    picks = tuple(itemgetter(*at) if len(at) > 1 else itemgetter(slice(at[0], at[0] + 1) if at else slice(0, 0)) for at in members)
    classes, rank = np.unique(matrix.T, axis=0, return_inverse=True) if matrix.size else (matrix.T[:1], np.zeros(shape[1], dtype=np.intp))
    kind = rank.ravel()
    held = tuple(frozenset(at) for at in members)
    return Layout(matrix, held, picks, tuple(kind.tolist()), kind, classes.T.astype(np.float64), matrix.astype(np.float64))


class Bounds(NamedTuple):
    """What follows from the caps of few instruments and of their groups, whatever is requested. Shared: nothing writes to it."""

    layout: Layout
    upper: list[float]
    """(n,) cap of each instrument; 0 where a group has none to give."""
    caps: list[float]
    """(m,) cap of each group."""
    order: list[int]
    """The instruments by (cap, membership): from there, a stable sort by request is the canonical order."""
    passable: list[tuple[int, Any, float]]
    """Of each group that the caps of its instruments let pass its own: which it is, its entry of `picks`, its largest feasible sum."""


def bounds_of(layout: Layout, upper: list[float], caps: list[float]) -> Bounds:
    """Bounds from caps, all >= 0."""
    full = {i for members, cap in zip(layout.members, caps, strict=True) if cap == 0 for i in members}
    upper = [0.0 if i in full else u for i, u in enumerate(upper)]
    order = [i for _, _, i in sorted(zip(upper, layout.rank, range(len(upper)), strict=True))]
    groups = enumerate(zip(layout.picks, caps, strict=True))
    # A plain sum will do: FEASIBLE is far above its rounding.
    passable = [(k, pick, cap * (1 + FEASIBLE)) for k, (pick, cap) in groups if sum(pick(upper)) > cap]
    return Bounds(layout, upper, caps, order, passable)


def boxed(w: list[float], bounds: Bounds) -> list[float]:
    """The request within instrument caps, 0 where a group has none to give."""
    return [0.0 if v <= 0 else v if v <= u else u for v, u in zip(w, bounds.upper, strict=True)]  # noqa: FURB136 - speed


def passed(x: list[float], bounds: Bounds) -> list[int]:
    """The groups whose exactly rounded sum of the boxed request x is above its cap."""
    return [k for k, pick, most in bounds.passable if fsum(pick(x)) > most]


def boxed_rows(w: Floats, upper: Floats, caps: Floats, layout: Layout) -> Floats:
    """`boxed` for each row: (R, n) requests and instrument caps, (R, m) group caps."""
    x = np.where(w > 0, np.minimum(w, upper), 0.0)
    if (caps == 0).any():
        x[((caps == 0).astype(np.float64) @ layout.incidence) > 0] = 0.0
    return x


def passed_rows(x: Floats, caps: Floats, layout: Layout) -> Bools:
    """(R, m) `passed` for each row; sums are rounded exactly only where the rounding of plain ones could matter."""
    sums, most = x @ layout.incidence.T, caps * (1 + FEASIBLE)
    over = sums > most
    for r, k in np.argwhere(np.abs(sums - most) <= x.shape[1] * np.spacing(1.0) * sums):
        over[r, k] = fsum(layout.picks[k](x[r].tolist())) > most[r, k]
    return np.asarray(over)
