"""One comparison, checked: the arrays and everything that is held fixed while it is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policyengine.errors import DataError
from policyengine.evidence.statistics.arrays import check_resamples, finite, paired
from policyengine.spec.significance import SignificanceSpec

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Arms (n,), trials (n, K) without the candidate or None, and the settings of the judgement.

    `planned_alpha` is the level of the look, `alpha` the one that holds at n sessions. `n_trials` counts every trial ever made, the
    candidate included; `n_trades` is None where trades are not counted.
    """

    baseline: _Floats
    candidate: _Floats
    trials: _Floats | None
    gate: SignificanceSpec
    planned_alpha: float
    n_boot: int
    seed: int
    n_trials: int
    n_trades: int | None
    periods_per_year: float
    sessions: NDArray[np.datetime64] | None

    @property
    def alpha(self) -> float:
        """The level that holds at this many sessions."""
        return self.gate.alpha_at(self.baseline.size, self.planned_alpha)

    @property
    def strategies(self) -> _Floats:
        """The candidate in column 0, then the trials; (n, 1 + K)."""
        own = self.candidate[:, None]
        return own if self.trials is None else np.column_stack([own, self.trials])


def check_case(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    trials: ArrayLike | None,
    gate: SignificanceSpec | None,
    alpha: float | None,
    n_boot: int | None,
    seed: int,
    total_trials: int | None,
    n_trades: int | None,
    periods_per_year: float,
    sessions: NDArray[np.datetime64] | None,
) -> Case:
    """The arguments of `judge`, checked and with defaults filled in.

    Raises:
        DataError: naming the argument and the rule it breaks.
    """
    gate = gate if gate is not None else SignificanceSpec()
    b, c = paired(baseline, candidate)
    others = None if trials is None else finite(trials, "trials", ndim=2)
    if others is not None and others.shape[0] != b.size:
        raise DataError("trials", f"have {others.shape[0]} sessions, the arms {b.size}")
    aligned = 1 if others is None else 1 + others.shape[1]
    count = aligned if total_trials is None else total_trials
    if count < aligned:
        raise DataError("total_trials", f"{count} in total cannot hold the candidate and {aligned - 1} others")
    alpha = gate.alpha if alpha is None else alpha
    if not 0.0 < alpha <= 0.5:
        raise DataError("alpha", f"{alpha} is not in (0, 0.5]")
    n_boot = gate.n_boot if n_boot is None else n_boot
    check_resamples(n_boot)
    if not 0.0 < periods_per_year < math.inf:
        raise DataError("periods_per_year", f"{periods_per_year} is not a positive number")
    return Case(
        baseline=b,
        candidate=c,
        trials=others,
        gate=gate,
        planned_alpha=alpha,
        n_boot=n_boot,
        seed=seed,
        n_trials=count,
        n_trades=n_trades,
        periods_per_year=periods_per_year,
        sessions=sessions,
    )
