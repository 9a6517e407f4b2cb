"""What is missing: how much more data would show the effect that matters, if it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from policyengine.spec.significance import SignificanceSpec

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Sessions (and trades, where counted) until `target_effect` would be seen with `power` at the level `alpha`.

    `power_now` is the probability of seeing it with the sessions at hand. `trades` is None where trades are not counted.
    """

    target_effect: float
    power: float
    alpha: float
    power_now: float
    sessions_needed: int
    sessions: int
    trades: int | None


def what_is_missing(
    variance: float, n_sessions: int, *, gate: SignificanceSpec, alpha: float, n_trials: int = 1, n_trades: int | None = None
) -> Missing:
    """Invert the test's asymptotic power for this sample's variance and dependence.

    n = variance ((z_{1-alpha} + z_power)/target)^2, never below the least sample. With K trials alpha is divided by K (Bonferroni), so the
    number is then an upper bound: the stepwise test is sharper.

    Args:
        variance: long-run variance of the annualised influence series (`EffectTest.variance`).
        n_sessions: sessions at hand.
        gate: target effect and power, least sample, the stricter level for short samples.
        alpha: level of the look, in (0, 0.5].
        n_trials: trials that the candidate competes with, itself included.
        n_trades: trades at hand (of the arm with fewer); they are assumed to go on at the same rate.

    Source: the power of a one-sided z-test.
    """
    root = math.sqrt(variance)

    def needed(level: float) -> int:
        z = _NORMAL.inv_cdf(1.0 - level) + _NORMAL.inv_cdf(gate.target_power)
        return math.ceil(variance * (max(z, 0.0) / gate.target_effect) ** 2)

    level = alpha / n_trials
    short = needed(gate.alpha_at(gate.least_sessions, level))
    wanted = max(gate.least_sessions, short if short < gate.short_sessions else max(needed(level), gate.short_sessions))
    lacking = max(0, wanted - n_sessions)
    now = gate.alpha_at(n_sessions, level)
    return Missing(
        target_effect=gate.target_effect,
        power=gate.target_power,
        alpha=alpha,
        power_now=_NORMAL.cdf(gate.target_effect * math.sqrt(n_sessions) / root - _NORMAL.inv_cdf(1.0 - now)) if root > 0.0 else 0.0,
        sessions_needed=wanted,
        sessions=lacking,
        trades=None if n_trades is None or n_sessions == 0 else math.ceil(n_trades * lacking / n_sessions),
    )
