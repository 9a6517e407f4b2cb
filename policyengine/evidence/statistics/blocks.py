"""How long blocks must be to keep the dependence of a series, and calendar blocks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.spec.significance import BootstrapScheme, SignificanceSpec

_STATIONARY, _CIRCULAR = 2.0, 4.0 / 3.0


def optimal_block_lengths(series: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Automatic block lengths of each column for the stationary and the circular bootstrap, real numbers.

    Args:
        series: shape (n, K), finite, n >= 9.

    Returns:
        (stationary, circular), each of shape (K,), in sessions; 0 for a column without variation.

    Source: Politis and White 2004, corrected by Patton, Politis and White 2009. Same rule as `arch.bootstrap.optimal_block_length`,
    which is not called because importing it costs more than a whole cold run.
    """
    n, columns = series.shape
    x = series - np.mean(series, axis=0)
    run = max(5, int(math.log10(n)))
    last = math.ceil(math.sqrt(n)) + run
    covariance = np.stack([np.sum(x[i:] * x[: n - i], axis=0) for i in range(last + 1)]) / n
    # Both ends of the pair drop i + 1 sessions, as in Patton's program, so the ratio is not exactly a correlation.
    norm = np.stack([np.sqrt(np.sum(x[i + 1 :] ** 2, axis=0) * np.sum(x[: n - i - 1] ** 2, axis=0)) for i in range(last + 1)])
    correlation = np.divide(np.abs(n * covariance), norm, out=np.ones_like(norm), where=norm > 0.0)
    quiet = correlation < 2.0 * math.sqrt(math.log10(n) / n)
    stationary, circular = np.empty(columns), np.empty(columns)
    for column in range(columns):
        lengths = _lengths(covariance[:, column], _last_lag(quiet[:, column], run, last), n)
        stationary[column], circular[column] = lengths
    return stationary, circular


def _last_lag(quiet: NDArray[np.bool_], run: int, last: int) -> int:
    """Twice the first lag after which `run` correlations in a row are insignificant, at most `last`."""
    for lag in range(run, last + 1):
        if bool(np.all(quiet[lag - run : lag])):
            return min(2 * max(lag - run, 1), last)
    return last


def _lengths(covariance: NDArray[np.float64], last: int, n: int) -> tuple[float, float]:
    k = np.arange(1, last + 1, dtype=np.float64)
    flat_top = np.minimum(1.0, 2.0 * (1.0 - k / last))
    slope = 2.0 * float(np.sum(flat_top * k * covariance[1 : last + 1]))
    level = float(covariance[0] + 2.0 * np.sum(flat_top * covariance[1 : last + 1]))
    if level == 0.0:
        return 0.0, 0.0
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))

    def length(constant: float) -> float:
        return min(float((2.0 * slope**2 / (constant * level**2) * n) ** (1.0 / 3.0)), longest)

    return length(_STATIONARY), length(_CIRCULAR)


def block_length(series: NDArray[np.float64], gate: SignificanceSpec, *, stationary: bool = False) -> int:
    """max(min_block, ceil(Politis-White length)), at most a quarter of the sample; the median length over columns.

    Args:
        series: shape (n,) or (n, K), finite.
        gate: gives the least length and the largest fraction of the sample.
        stationary: the mean length for the stationary bootstrap instead of the fixed length for the circular one.
    """
    matrix = series.reshape(series.shape[0], -1)
    wanted = float(np.median(optimal_block_lengths(matrix)[0 if stationary else 1]))
    return max(1, min(max(gate.min_block_sessions, math.ceil(wanted)), int(matrix.shape[0] * gate.max_block_frac)))


def calendar_edges(sessions: NDArray[np.datetime64] | None, scheme: BootstrapScheme, n: int) -> NDArray[np.intp]:
    """First session of each calendar week (Monday first) or month, then n; shape (blocks + 1,).

    Raises:
        DataError: when session dates are missing, of another length, or not increasing.
    """
    if sessions is None:
        raise DataError("sessions", f"bootstrap by {scheme.value} needs the date of every session")
    days = np.asarray(sessions, dtype="datetime64[D]")
    if days.shape != (n,) or bool(np.any(np.isnat(days))):
        raise DataError("sessions", f"has shape {days.shape}; one date for each of {n} sessions is wanted")
    number = days.astype(np.int64)
    if bool(np.any(np.diff(number) <= 0)):
        raise DataError("sessions", "dates are not strictly increasing")
    # 1970-01-01 was a Thursday: +3 makes Monday the first day of a block.
    label = (number + 3) // 7 if scheme is BootstrapScheme.WEEK else days.astype("datetime64[M]").astype(np.int64)
    return np.concatenate([[0], np.flatnonzero(np.diff(label)) + 1, [n]]).astype(np.intp)
