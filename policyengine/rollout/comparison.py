"""The canary beside its control: whether what was promoted still holds, day by day.

Both arms are decided every session whatever acts, so that each day of the candidate has the baseline's same day as its control.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.evidence.statistics.sequential import confidence_sequence, matched_differences

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a canary of `sessions` came to.

    `mean` is the mean daily difference of excess returns, candidate matched in volatility less baseline, with the bounds of its
    confidence sequence; infinite before the first look. `loss_frac` is what the account lost of NAV against the baseline since the
    canary began, 0 where it gained. `why` says in a sentence why the canary must pause; None where it need not.
    """

    sessions: int
    mean: float | None
    lower: float
    upper: float
    loss_frac: float
    why: str | None


def compare(
    baseline: Floats, candidate: Floats, *, began: int, account: Floats, control: Floats, loss_max_frac: float, alpha: float = 0.05
) -> Comparison:
    """Compare since the canary began.

    Args:
        baseline: (T,) daily excess returns over all sessions up to now.
        candidate: (T,) the same of the candidate.
        began: index of the canary's first session.
        account: (n + 1,) NAV of the account, from the close before the canary on.
        control: (n + 1,) NAV of the baseline on the same closes.
        loss_max_frac: loss of NAV against the baseline at which it pauses.
        alpha: error of the confidence sequence, over all days together.

    Returns:
        With a reason to pause where the mirror bound is crossed, the loss is reached, or a metric cannot be had: what is not known
        is never taken for harmless.
    """
    sessions = baseline.size - began
    loss = max(float(control[-1] / control[0] - account[-1] / account[0]), 0.0) if control.size and account.size else np.nan
    if not np.isfinite(loss):
        return Comparison(sessions=sessions, mean=None, lower=-np.inf, upper=np.inf, loss_frac=np.nan, why="its loss cannot be measured")
    if loss >= loss_max_frac:
        reason = f"it lost {100.0 * loss:.2f}% of NAV against the baseline; rollout.loss_max_frac is {100.0 * loss_max_frac:g}%"
        return Comparison(sessions=sessions, mean=None, lower=-np.inf, upper=np.inf, loss_frac=loss, why=reason)
    if sessions == 0:
        return Comparison(sessions=0, mean=None, lower=-np.inf, upper=np.inf, loss_frac=loss, why=None)
    try:
        differences = matched_differences(
            baseline[began:], candidate[began:], baseline_before=baseline[:began], candidate_before=candidate[:began]
        )
        lower, upper = confidence_sequence(differences, alpha=alpha)
    except DataError as error:
        return Comparison(sessions=sessions, mean=None, lower=-np.inf, upper=np.inf, loss_frac=loss, why=f"it cannot be compared: {error}")
    crossed = np.flatnonzero(upper < 0.0)
    why = f"the mirror bound was crossed after {int(crossed[0]) + 1} sessions: the candidate does harm" if crossed.size else None
    return Comparison(
        sessions=sessions, mean=float(differences.mean()), lower=float(lower[-1]), upper=float(upper[-1]), loss_frac=loss, why=why
    )
