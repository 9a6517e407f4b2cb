"""Arrays at the door of the statistics: checked once, then trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.errors import DataError

LARGEST_RETURN = 1000.0
"""A daily return beyond +-100,000% is a unit error; squares of such numbers would overflow further on."""


def finite(values: ArrayLike, place: str, *, ndim: int = 1, largest: float = LARGEST_RETURN) -> NDArray[np.float64]:
    """`values` as a float64 array of `ndim` dimensions, read-only by convention, never a copy when none is needed.

    Raises:
        DataError: naming `place`, when the values are not real numbers, not `ndim`-dimensional, masked, NaN,
            infinite, or beyond +-`largest`.
    """
    if np.ma.is_masked(values):
        raise DataError(place, "has masked entries; a missing session is not a return")
    try:
        raw = np.asarray(values)
    except ValueError:
        raise DataError(place, "is ragged; one number a session is wanted") from None
    if raw.dtype.kind not in "iuf":
        raise DataError(place, f"holds {raw.dtype.name}; real numbers are wanted")
    if raw.ndim != ndim:
        raise DataError(place, f"has shape {raw.shape}; {ndim} dimension{'s' if ndim > 1 else ''} wanted")
    bad = ~(np.abs(raw) <= largest)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        at = first[0] if ndim == 1 else first
        raise DataError(
            place, f"{int(bad.sum())} of {raw.size} values are not finite numbers of at most {largest:g}; the first is {raw[first]} at {at}"
        )
    return np.ascontiguousarray(raw, dtype=np.float64)


def paired(baseline: ArrayLike, candidate: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arms as float64 arrays of one shape (n_days,).

    Raises:
        DataError: when an arm is not a finite one-dimensional array, is empty, or the lengths differ.
    """
    b, c = finite(baseline, "baseline"), finite(candidate, "candidate")
    if b.size == 0:
        raise DataError("baseline", "has no sessions")
    if b.size != c.size:
        raise DataError("candidate", f"has {c.size} sessions, the baseline {b.size}; the arms are not aligned")
    return b, c


def check_resamples(n_boot: int) -> None:
    """Refuse a number of resamples that no p-value can be read from.

    Raises:
        DataError: not a whole number of at least 99.
    """
    if isinstance(n_boot, bool) or not isinstance(n_boot, int | np.integer) or n_boot < 99:
        raise DataError("n_boot", f"{n_boot!r} is not a whole number of at least 99")


def generator(seed: int, stream: int) -> np.random.Generator:
    """The generator of one purpose (`stream`) under one user `seed`: independent streams, the same bits for the same seed.

    Raises:
        DataError: when `seed` is not a non-negative whole number.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise DataError("seed", f"{seed!r} is not a non-negative whole number")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), stream])))
