"""How sure the return difference of one window is. Shown beside it, and never decided on: the gate does not read it."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from policyengine.evidence.metrics import ArmSeries, Floats
from policyengine.evidence.statistics.longrun import long_run_variance
from policyengine.records import TOLERANCE

LEAST_SESSIONS = 18
"""From so many on, intervals at 95% cover in 90% of samples and more, also with fat tails or some dependence. A short month has as many."""


def return_difference_interval(baseline: ArmSeries, candidate: ArmSeries, *, confidence: float) -> tuple[float, float] | None:
    """Two-sided interval of candidate less baseline in `total_return_pct`, percentage points over the n sessions of both.

    An approximation, by the delta method: a log return of session t that is off by e moves the total return R of its arm by (1 + R) e.
    So the difference is off by the sum over t of

        d_t - mean d,   d_t = (1 + R_c) ln(1 + r_ct) - (1 + R_b) ln(1 + r_bt),

    whose variance is n LRV(d) with the long-run variance of the test. The interval is the difference that was seen, +- z sqrt(n LRV(d));
    what it covers is the difference that n sessions of the same expected log returns bring. R counts as it was: over a window in which
    capital doubles, so does the width. The cash rate is in both arms and cancels but for that factor.

    Args:
        baseline: n sessions.
        candidate: the same sessions.
        confidence: of the interval, above 0 and below 1.

    Returns:
        Lower and upper edge. None with fewer than 18 sessions; where the difference does not vary, as between equal arms; and where
        the NAV of an arm is not above 0 throughout. Never NaN.

    Source: Andrews and Monahan 1992 for the variance; the rest is the delta method.
    """
    if baseline.nav.size < LEAST_SESSIONS:
        return None
    grown = [np.concatenate(([1.0], arm.nav / arm.capital)) for arm in (baseline, candidate)]
    if not all(bool((of > 0.0).all()) for of in grown):
        return None
    before, after = map(_weighed, grown)
    spread = math.sqrt(baseline.nav.size * float(long_run_variance((after - before)[:, None])[0]))
    if not TOLERANCE < spread < math.inf:
        return None
    middle, half = 100.0 * float(grown[1][-1] - grown[0][-1]), 100.0 * NormalDist().inv_cdf(0.5 + confidence / 2.0) * spread
    return middle - half, middle + half


def _weighed(grown: Floats) -> Floats:
    """Log returns (n,) by what one of them is worth at the end, of NAV (n + 1,) relative to where it began."""
    weighed: Floats = grown[-1] * np.diff(np.log(grown))
    return weighed
