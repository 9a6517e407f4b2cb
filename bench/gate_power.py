"""The gate's operating characteristic: python bench/gate_power.py [REPS] [FIGURE.svg]

Prints how often a re-tilt is promoted and rejected by its true Sharpe difference and the length of the sample, then how often a policy that
sells rare losses is promoted although it is worth nothing, and draws the first as a figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from policyengine.evidence import judge
from policyengine.evidence.controls.simulate import SCALES as BUCKET_SCALES
from policyengine.evidence.controls.simulate import book_moments, shocks, solve_drifts, tilted
from policyengine.records import Verdict

EVEN, TILT = np.ones(3), np.array([1.0, 0.72, 0.55])
LENGTHS = (60, 120, 250, 500)
EFFECTS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
COLOURS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")
RESAMPLES = 999


def rates(n: int, effect: float, reps: int) -> tuple[float, float]:
    drifts = solve_drifts((EVEN, TILT), (1.0, 1.0 + effect))
    found = dict.fromkeys(Verdict, 0)
    for chunk in range(0, reps, 100):
        sample = tilted(np.random.default_rng([2, n, chunk]), min(100, reps - chunk), n, drifts, TILT)
        for i, (b, c) in enumerate(zip(sample.baseline.sum(axis=2), sample.candidate.sum(axis=2), strict=True)):
            found[judge(b, c, seed=chunk + i, n_boot=RESAMPLES).verdict] += 1
    return found[Verdict.PROMOTE] / reps, found[Verdict.REJECT] / reps


def rare_losses(n: int, days: int, wobble: float, reps: int) -> float:
    """Promotions of baseline plus a daily premium, paid for by a loss of 8 sd once in `days`; both arms have Sharpe 1.

    The premium wobbles from day to day by `wobble` of the baseline's standard deviation, as the mark of a short option does.
    """
    drifts = solve_drifts((EVEN,), (1.0,))
    mean, sd = book_moments(drifts, EVEN)
    loss, frequency = 8.0 * sd, 1.0 / days
    spread = (sd**2 * (1.0 + wobble**2) + loss**2 * frequency * (1.0 - frequency)) ** 0.5
    premium = mean / sd * spread - mean + loss * frequency
    hits = 0
    for chunk in range(0, reps, 100):
        rng = np.random.default_rng([3, n, days, chunk])
        x, trades = shocks(rng, min(100, reps - chunk), n)
        baseline = np.where(trades, drifts + BUCKET_SCALES * x, 0.0).sum(axis=2)
        sold = premium + wobble * sd * rng.standard_normal(baseline.shape) - loss * (rng.random(baseline.shape) < frequency)
        # Nine tenths of it, so that the raw drawdown floor is not what stops it.
        candidate = 0.9 * (baseline + sold)
        for i, (b, c) in enumerate(zip(baseline, candidate, strict=True)):
            hits += judge(b, c, seed=chunk + i, n_boot=RESAMPLES).verdict is Verdict.PROMOTE
    return hits / reps


def figure(curves: dict[int, list[float]]) -> str:
    """Promotion rate against the true effect, one line a sample length, as SVG without script."""

    def x(effect: float) -> float:
        return 60 + 420 * (effect - EFFECTS[0]) / (EFFECTS[-1] - EFFECTS[0])

    def y(rate: float) -> float:
        return 260 - 230 * rate

    def text(left: float, top: float, words: str, extra: str = 'text-anchor="middle"') -> str:
        return f'<text x="{left:.0f}" y="{top:.0f}" {extra}>{words}</text>'

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 310" font-family="sans-serif" font-size="11" role="img">',
        "<title>How often the gate promotes, by true Sharpe difference and sample length</title>",
        '<rect width="560" height="310" fill="white"/>',
    ]
    for rate in (0.0, 0.05, 0.25, 0.5, 0.75, 1.0):
        dash = ' stroke-dasharray="3 3"' if rate == 0.05 else ""
        parts.append(f'<line x1="60" x2="480" y1="{y(rate):.1f}" y2="{y(rate):.1f}" stroke="#cccccc"{dash}/>')
        parts.append(text(54, y(rate) + (4 if rate != 0.05 else 2), f"{rate:.0%}", 'text-anchor="end"'))
    parts += [text(x(e), 278, f"{e:+g}") for e in EFFECTS]
    parts.append(text(270, 298, "true Sharpe difference, annual"))
    for curve, colour in zip(curves.values(), COLOURS, strict=True):
        points = " ".join(f"{x(e):.1f},{y(p):.1f}" for e, p in zip(EFFECTS, curve, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for i, (n, colour) in enumerate(zip(curves, COLOURS, strict=True)):
        parts.append(f'<line x1="488" x2="506" y1="{50 + 18 * i}" y2="{50 + 18 * i}" stroke="{colour}" stroke-width="2"/>')
        parts.append(text(510, 54 + 18 * i, f"n = {n}", 'text-anchor="start"'))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    reps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"promoted (rejected), {reps} samples a cell, one look at 5%, B = {RESAMPLES}")
    print("true d Sharpe " + "".join(f"{e:>+16g}" for e in EFFECTS))
    curves: dict[int, list[float]] = {}
    for n in LENGTHS:
        cells = [rates(n, effect, reps) for effect in EFFECTS]
        curves[n] = [promoted for promoted, _ in cells]
        print(f"n = {n:<10}" + "".join(f"{f'{p:.3f} ({r:.3f})':>16}" for p, r in cells), flush=True)
    print("worth nothing, a daily premium against rare losses of 8 sd: promoted")
    for wobble in (0.3, 0.0):
        for days in (250, 500, 1000):
            found = ", ".join(f"{rare_losses(n, days, wobble, reps):.3f} at n = {n}" for n in (120, 250, 500))
            print(f"a loss once in {days} days, premium wobbling by {wobble} sd: {found}", flush=True)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(figure(curves))


if __name__ == "__main__":
    main()
