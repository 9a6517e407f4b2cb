"""The gate's criteria on arrays: each says what was observed, against what, and in a sentence why it stands as it does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policyengine.evidence.statistics.drawdown import DrawdownGuard, log_wealth, max_drawdown
from policyengine.evidence.statistics.selection import StepM
from policyengine.evidence.statistics.significance import EffectTest
from policyengine.records import TOLERANCE, Criterion, Status, Verdict
from policyengine.spec.significance import EffectKind, SignificanceSpec

_Floats = NDArray[np.float64]

PRIMARY = "improvement"
"""d total_return_pct or d profit_factor. A floor of this name from elsewhere replaces the one computed from sessions."""
DRAWDOWN = "max_drawdown"
"""Raw d max_drawdown. A floor of this name from elsewhere replaces the one computed from excess returns."""
_EFFECT_NAMES = {EffectKind.SHARPE: "Sharpe difference", EffectKind.GROWTH_AT_ES: "growth difference at equal expected shortfall"}


def _criterion(
    name: str,
    passed: bool | None,
    observed: float | None,
    operator: str,
    threshold: float | None,
    reason: str,
    interval: tuple[float, float] | None = None,
) -> Criterion:
    status = Status.MISSING if passed is None else Status.PASS if passed else Status.FAIL
    return Criterion(
        name=name, status=status, hard=True, observed=observed, operator=operator, threshold=threshold, reason=reason, interval=interval
    )


def effect_criteria(test: EffectTest, agreeing: int, *, gate: SignificanceSpec, level: float, worse: bool = False) -> tuple[Criterion, ...]:
    """Sample size, significance, sign rule and materiality; with `worse`, those of harm, the arms swapped."""
    prefix = "harm_" if worse else ""
    enough = test.n_sessions >= gate.least_sessions
    n = test.n_sessions
    size = _criterion(
        f"{prefix}sample_size",
        enough,
        float(n),
        ">=",
        float(gate.least_sessions),
        f"{n} sessions; the test needs {gate.least_sessions}" if not enough else f"{n} sessions",
    )
    p = test.p_worse if worse else test.p_value
    if not enough or p is None or test.effect is None:
        why = test.problem or f"not tested on fewer than {gate.least_sessions} sessions"
        rest = (("significance", "<=", level), ("spans", ">=", float(gate.min_agreeing_spans)), ("materiality", ">=", gate.min_effect))
        return size, *(_criterion(f"{prefix}{name}", None, None, operator, threshold, why) for name, operator, threshold in rest)
    effect = -test.effect if worse else test.effect
    interval = test.interval
    if worse and interval is not None:
        interval = (-interval[1], -interval[0])
    what = f"{_EFFECT_NAMES[test.kind]}{' of baseline over candidate' if worse else ''}"
    words = "above" if p > level else "at or below"
    return (
        size,
        _criterion(f"{prefix}significance", p <= level, p, "<=", level, f"{what} {effect:+.3f}: p {p:.4f} is {words} {level:g}", interval),
        _criterion(
            f"{prefix}spans",
            agreeing >= gate.min_agreeing_spans,
            float(agreeing),
            ">=",
            float(gate.min_agreeing_spans),
            f"{what} is above 0 in {agreeing} of {gate.spans} equal spans",
        ),
        _criterion(
            f"{prefix}materiality",
            effect >= gate.min_effect,
            effect,
            ">=",
            gate.min_effect,
            f"{what} is {effect:+.3f} a year; {gate.min_effect:g} matters",
            interval,
        ),
    )


def harm_criteria(
    test: EffectTest, agreeing: int, primary: Criterion, baseline: _Floats, candidate: _Floats, *, gate: SignificanceSpec, level: float
) -> tuple[Criterion, ...]:
    """What REJECT needs: the test with the arms swapped, and that total return or profit factor has not improved.

    The promotion floor passes when either improved. Requiring both to have worsened would let a policy off that lost less money than a
    losing baseline only because it held less.
    """
    more, gain = _improvements(baseline, candidate)
    worse = primary.status is Status.FAIL or more <= TOLERANCE or (gain is not None and gain <= TOLERANCE)
    known = None if primary.status is Status.MISSING else worse
    smaller = more if gain is None else min(more, gain)
    floor = _criterion("harm_improvement", known, smaller, "<=", TOLERANCE, primary.reason)
    return *effect_criteria(test, agreeing, gate=gate, level=level, worse=True), floor


def guard_criterion(guard: DrawdownGuard | None, test: EffectTest, gate: SignificanceSpec) -> Criterion:
    """Upper bound of volatility-matched d max_drawdown against a fraction of the baseline's drawdown."""
    name = "drawdown_guard"
    if guard is None or test.n_sessions < gate.least_sessions:
        return _criterion(name, None, None, "<=", None, test.problem or "not computed on so few sessions")
    reason = (
        f"at equal volatility max_drawdown may be worse by up to {guard.upper:.4f} ({gate.drawdown_confidence:.0%} bound); "
        f"{gate.drawdown_guard_frac:.0%} of the baseline's {guard.baseline:.4f} is tolerated"
    )
    return _criterion(name, guard.holds, guard.upper, "<=", guard.limit, reason, guard.interval)


def selection_criterion(selection: StepM | None, alpha: float, count: int) -> tuple[Criterion, ...]:
    """Membership of the candidate in the StepM rejection set; none for a single trial, missing where it could not be tested."""
    if count == 1:
        return ()
    if selection is None:
        return (_criterion("selection", None, None, "<=", alpha, f"{count} trials, too few sessions to compare them"),)
    p = selection.candidate_p
    reason = f"best of {count} trials ({selection.aligned} aligned): the candidate's adjusted p is {p:.4f}"
    return (_criterion("selection", p <= alpha, p, "<=", alpha, reason),)


def array_floors(baseline: _Floats, candidate: _Floats, guard: DrawdownGuard | None) -> tuple[Criterion, Criterion]:
    """The primary and the drawdown floor from returns alone: total return compounded, profit factor of sessions."""
    return _primary(baseline, candidate, guard), _drawdown(baseline, candidate)


def _primary(baseline: _Floats, candidate: _Floats, guard: DrawdownGuard | None) -> Criterion:
    more, gain = _improvements(baseline, candidate)
    interval = None if guard is None else guard.return_interval
    if gain is None:
        return _criterion(PRIMARY, None, more, ">", TOLERANCE, "an arm has no losing session, so its profit factor is null", interval)
    reason = f"total return {100.0 * more:+.2f} points, profit factor of sessions {gain:+.3f}"
    if more <= TOLERANCE < gain:
        return _criterion(PRIMARY, True, gain, ">", TOLERANCE, reason, None if guard is None else guard.profit_factor_interval)
    return _criterion(PRIMARY, more > TOLERANCE, more, ">", TOLERANCE, reason, interval)


def _improvements(baseline: _Floats, candidate: _Floats) -> tuple[float, float | None]:
    """(d total return, d profit factor of sessions or None)."""
    before, after = session_profit_factor(baseline), session_profit_factor(candidate)
    gain = None if before is None or after is None else after - before
    return total_return(candidate) - total_return(baseline), gain


def _drawdown(baseline: _Floats, candidate: _Floats) -> Criterion:
    deeper = max_drawdown(candidate) - max_drawdown(baseline)
    reason = f"max_drawdown {100.0 * deeper:+.2f} points"
    sd_b, sd_c = float(np.std(baseline)), float(np.std(candidate))
    if deeper > TOLERANCE and sd_c > sd_b > TOLERANCE:
        reason += f" at {sd_c / sd_b:.2f} times the risk; rescale by sd_b/sd_c = {sd_b / sd_c:.3f}"
    return _criterion(DRAWDOWN, deeper <= TOLERANCE, deeper, "<=", TOLERANCE, reason)


def total_return(returns: _Floats) -> float:
    """Compounded return of (n,) session returns, a fraction, at most e^700; -1 after ruin."""
    return math.expm1(min(float(np.sum(log_wealth(returns))), 700.0))


def session_profit_factor(returns: _Floats) -> float | None:
    """Sum of gains over sum of losses of session returns (n,); None without a loss."""
    losses = -float(np.sum(np.minimum(returns, 0.0)))
    return float(np.sum(np.maximum(returns, 0.0))) / losses if losses > TOLERANCE else None


def verdict_of(criteria: Sequence[Criterion], harm: Sequence[Criterion]) -> Verdict:
    """PROMOTE if there are hard criteria and each passes; REJECT if harm is shown; else INCONCLUSIVE."""
    hard = [c.status for c in criteria if c.hard]
    if hard and all(status is Status.PASS for status in hard):
        return Verdict.PROMOTE
    if harm and all(c.status is Status.PASS for c in harm):
        return Verdict.REJECT
    return Verdict.INCONCLUSIVE


def headline(
    verdict: Verdict, criteria: tuple[Criterion, ...], harm: tuple[Criterion, ...], test: EffectTest, baseline: _Floats, candidate: _Floats
) -> str:
    """One sentence that a risk officer reads first."""
    if verdict is Verdict.INCONCLUSIVE:
        open_ones = [c for c in criteria if c.hard and c.status is not Status.PASS]
        return "INCONCLUSIVE: " + "; ".join(f"{c.name} {c.status.value} ({c.reason})" for c in open_ones)
    shown = harm if verdict is Verdict.REJECT else criteria
    decisive = next(c for c in shown if c.name.endswith("significance"))
    text = f"{verdict.value}: {decisive.reason} over {test.n_sessions} sessions"
    less = total_return(candidate) - total_return(baseline)
    if verdict is Verdict.PROMOTE and less < 0.0:
        risk = float(np.std(candidate)) / float(np.std(baseline))
        text += f"; total return is lower by {-100.0 * less:.2f} points, at {risk:.2f} times the risk"
    return text
