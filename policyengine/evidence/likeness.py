"""Whether two baselines ask the same question: their weekly returns say so, where names and hashes can be changed at will.

Whoever drops a symbol, cuts off the first year or moves a cost by a thousandth of a basis point has another hash and moves as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError
from policyengine.records import TOLERANCE

Floats = NDArray[np.float64]
SAME_ABOVE = 0.80
"""Correlation beyond which two baselines are one. Leaving out one of N equal and independent instruments leaves sqrt(1 - 1/N), 0.82 of
three; an engine that warms up from another first session is often not above 0.98 either, while a much faster drift or short positions, on
the data that ship, fall below 0.80."""
WEEKS_MIN = 12
"""Weeks below which a correlation tells nothing apart."""
_DAYS, _MONDAY = 7, 3  # 1970-01-01, day 0, was a Thursday


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekly:
    """Fingerprint of a baseline: its excess return in each ISO week, the sum over the week's sessions, to 6 significant digits.

    `first_week` is the Monday of the first; every week from there to the last session has its return, 0.0 without a session.
    """

    first_week: date
    returns: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a week that begins on another day."""
        if self.first_week.isoweekday() != 1:
            raise ConfigError("first_week", f"{self.first_week} is not a Monday")


def weekly(sessions: NDArray[np.datetime64], excess_returns: Floats) -> Weekly | None:
    """The fingerprint of a baseline with `excess_returns` (T,), finite, on `sessions` (T,), ascending.

    It begins with the first week in which the baseline moved: before that an engine only warms up, from wherever the data begin. None
    for a baseline that never moved.
    """
    week = (sessions.astype("datetime64[D]").astype(np.int64) + _MONDAY) // _DAYS
    returns = np.bincount(week - week[0], weights=excess_returns)
    moved = np.flatnonzero(np.abs(returns) > TOLERANCE)
    if moved.size == 0:
        return None
    first = int(moved[0])
    monday: date = np.datetime64(int(week[0] + first) * _DAYS - _MONDAY, "D").item()
    return Weekly(first_week=monday, returns=tuple(float(f"{value:.6g}") for value in returns[first:].tolist()))


def alike(one: Weekly, other: Weekly) -> bool:
    """Whether two fingerprints are of one baseline: they correlate above 0.80 over the weeks that they share.

    They must share at least half of the shorter; less is other days, on which nobody has looked. Fewer than 12 weeks in common tell nothing
    apart and count as the same, and so do two that stand still on them; where only one stands still, the other moved. The first and the
    last week in common may be parts of weeks and are left out.
    """
    start = [week.toordinal() // _DAYS for week in (one.first_week, other.first_week)]
    first = max(start)
    shared = min(start[0] + len(one.returns), start[1] + len(other.returns)) - first
    if shared <= 0 or 2 * shared < min(len(one.returns), len(other.returns)):
        return False
    if shared < WEEKS_MIN:
        return True
    x, y = (np.array(of.returns[first - begun :][1 : shared - 1]) for of, begun in zip((one, other), start, strict=True))
    still = [bool(np.ptp(series) <= TOLERANCE) for series in (x, y)]
    if any(still):
        return all(still)
    x, y = x - x.mean(), y - y.mean()
    return float(np.sum(x * y)) > SAME_ABOVE * math.sqrt(float(np.sum(x * x)) * float(np.sum(y * y)))
