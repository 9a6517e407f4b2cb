"""Reductions of small arrays without the overhead of `ndarray.sum`, `any` and `all`, which a replay pays on every session."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def across(values: Floats) -> Floats:
    """Sum over instruments of (P, N), (P,)."""
    total: Floats = np.add.reduce(values, axis=1)
    return total


def some(mask: Bools) -> bool:
    """Whether any entry is true."""
    return int(np.count_nonzero(mask)) > 0


def every(mask: Bools) -> bool:
    """Whether all entries are true."""
    return int(np.count_nonzero(mask)) == mask.size
