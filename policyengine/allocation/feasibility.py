"""When a request is feasible, on lists and on arrays: within its box, and no group above its cap.

Group sums are rounded exactly (`math.fsum`), so that neither the order of instruments nor that of the arithmetic has a say.
"""

from __future__ import annotations

import math
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEASIBLE = 2e-13
"""A group sum up to this fraction above its cap is feasible: twice what a result may use, so that a result is feasible again."""


class Layout(NamedTuple):
    """What follows from the membership matrix alone."""

    matrix: NDArray[np.bool_]
    """(m, n)."""
    members: tuple[tuple[int, ...], ...]
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
def layout_of(shape: tuple[int, int], dtype: str, content: bytes) -> Layout:
    """The layout of a membership matrix given as bytes, so that the same matrix is read once, whoever holds it."""
    groups = np.frombuffer(content, dtype=np.dtype(dtype)).reshape(shape)
    matrix = groups == 1
    if not np.array_equal(matrix, groups):
        raise ConfigError("groups", "every entry must be 0 or 1")
    members = tuple(tuple(np.flatnonzero(row).tolist()) for row in matrix)
    # itemgetter of one index would give the bare item, of none an error: a slice gives a list.
    picks = tuple(itemgetter(*at) if len(at) > 1 else itemgetter(slice(at[0], at[0] + 1) if at else slice(0, 0)) for at in members)
    classes, rank = np.unique(matrix.T, axis=0, return_inverse=True) if matrix.size else (matrix.T[:1], np.zeros(shape[1], dtype=np.intp))
    kind = rank.ravel()
    return Layout(matrix, members, picks, tuple(kind.tolist()), kind, classes.T.astype(np.float64), matrix.astype(np.float64))


class Row(NamedTuple):
    """A request with its limits."""

    w: list[float]
    upper: list[float]
    caps: list[float]


def boxed(row: Row, layout: Layout) -> list[float]:
    """The request within instrument caps, 0 where a group has none to give."""
    x = [0.0 if v <= 0 else v if v <= u else u for v, u in zip(row.w, row.upper, strict=True)]  # noqa: FURB136 - speed
    if 0 in row.caps:
        for members, cap in zip(layout.members, row.caps, strict=True):
            if cap == 0:
                for i in members:
                    x[i] = 0.0
    return x


def passed(x: list[float], caps: list[float], layout: Layout) -> list[int]:
    """The groups whose exactly rounded sum of x is above its cap."""
    limit = 1 + FEASIBLE
    return [k for k, (pick, cap) in enumerate(zip(layout.picks, caps, strict=True)) if math.fsum(pick(x)) > cap * limit]


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
        over[r, k] = math.fsum(layout.picks[k](x[r].tolist())) > most[r, k]
    return np.asarray(over)
