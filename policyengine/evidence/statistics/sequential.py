"""Confidence sequences: intervals that may be looked at every day, for the canary."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.errors import DataError
from policyengine.evidence.statistics.arrays import finite, paired
from policyengine.evidence.statistics.influence import standardised
from policyengine.evidence.statistics.longrun import long_run_variance

_Floats = NDArray[np.float64]

FIRST_LOOK = 20
"""Sessions before the first look; earlier bounds are infinite."""
MATCHING_SESSIONS = 120
"""Sessions before the canary on which its volatility matching is fixed."""
_TUNED_AT = 100.0
"""Sessions at which the sequence is tightest."""


def confidence_sequence(differences: ArrayLike, *, alpha: float = 0.05) -> tuple[_Floats, _Floats]:
    """(lower, upper) bounds of the mean difference after each session, each valid at all sessions at once with error alpha.

    Args:
        differences: matched daily differences, candidate less baseline, (n,); or (n, K) for K independent sequences.
        alpha: error of each side, in (0, 0.4).

    Returns:
        Arrays of the same shape as `differences`, per session; -inf and inf before session 20.

    Raises:
        DataError: not finite, or alpha out of range.

    L_t = xbar - s sqrt(2 (t r^2 + 1)/(t^2 r^2) ln(1 + sqrt(t r^2 + 1)/(2 a))), r^2 = (-2 ln 2a + ln(-2 ln 2a) + 1)/100,
    s^2 the larger of the long-run and the sample variance of the t sessions so far; the upper bound is the mirror image.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences".
    """
    if not 0.0 < alpha < 0.4:
        raise DataError("alpha", f"{alpha} is not between 0 and 0.4")
    one = np.ndim(differences) != 2
    x = finite(differences, "differences", ndim=1 if one else 2)
    matrix = x[:, None] if one else x
    lower = np.full(matrix.shape, -np.inf)
    upper = np.full(matrix.shape, np.inf)
    level = -2.0 * math.log(2.0 * alpha)
    r2 = (level + math.log(level) + 1.0) / _TUNED_AT
    for t in range(FIRST_LOOK, matrix.shape[0] + 1):
        seen = matrix[:t]
        mean = np.mean(seen, axis=0)
        variance = np.maximum(long_run_variance(seen), np.var(seen, axis=0, ddof=1))
        root = t * r2 + 1.0
        width = np.sqrt(variance * (2.0 * root / (t * t * r2) * math.log1p(math.sqrt(root) / (2.0 * alpha))))
        lower[t - 1], upper[t - 1] = mean - width, mean + width
    return (lower[:, 0], upper[:, 0]) if one else (lower, upper)


def matched_differences(baseline: ArrayLike, candidate: ArrayLike, *, baseline_before: ArrayLike, candidate_before: ArrayLike) -> _Floats:
    """K candidate - baseline with k = sd_b/sd_c of the sessions before the canary, so that leverage is no effect; shape (n,).

    Args:
        baseline: excess returns of the canary's sessions, (n,).
        candidate: the same sessions, (n,).
        baseline_before: excess returns of earlier sessions, (m,), m >= 120; the last 120 are used.
        candidate_before: the same earlier sessions, (m,).

    Raises:
        DataError: malformed arrays, fewer than 120 earlier sessions, or an arm that did not vary in them.
    """
    b, c = paired(baseline, candidate)
    earlier_b, earlier_c = paired(baseline_before, candidate_before)
    if earlier_b.size < MATCHING_SESSIONS:
        raise DataError("baseline_before", f"has {earlier_b.size} sessions; {MATCHING_SESSIONS} before the canary are needed")
    earlier_b, earlier_c = earlier_b[-MATCHING_SESSIONS:], earlier_c[-MATCHING_SESSIONS:]
    if standardised(earlier_b) is None or standardised(earlier_c) is None:
        raise DataError("candidate_before", f"an arm did not vary in the {MATCHING_SESSIONS} sessions before the canary")
    return np.asarray(float(np.std(earlier_b)) / float(np.std(earlier_c)) * c - b)


def pause_at(differences: ArrayLike, *, alpha: float = 0.05) -> int | None:
    """Sessions after which the mirror image shows harm (upper bound below 0) for the first time; None if it never does.

    Raises:
        DataError: as `confidence_sequence`.
    """
    _, upper = confidence_sequence(differences, alpha=alpha)
    below = np.flatnonzero(upper < 0.0)
    return int(below[0]) + 1 if below.size else None
