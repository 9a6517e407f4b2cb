"""The gate's statistics beside arch, in one process on one thread.

    python bench/gate.py [--quick]
    python bench/gate.py coverage REPS

With `coverage` instead: how often the 95% intervals cover the truth. Resamples of both come from other draws, so what is compared are
the upper 95% bounds of what they estimate, and the p-values: equal up to their Monte Carlo error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import measure
import numpy as np
from measure import Case, Piece, have
from numpy.typing import NDArray

from policyengine.evidence import judge, sharpe_difference_test
from policyengine.evidence.controls.simulate import book_moments, solve_drifts, tilted
from policyengine.evidence.statistics.paths import path_differences
from policyengine.evidence.statistics.selection import stepm
from policyengine.evidence.statistics.significance import mean_difference_interval
from policyengine.spec.significance import SignificanceSpec

Floats = NDArray[np.float64]
RESAMPLES = 10_000
MEAN_BLOCK = 6
TRIALS = 20
TILT = np.array([1.0, 0.72, 0.55])


def arms(n: int) -> tuple[Floats, Floats]:
    sample = tilted(np.random.default_rng(0), 1, n, solve_drifts((np.ones(3), TILT), (1.0, 1.5)), TILT)
    return sample.baseline[0].sum(axis=1), sample.candidate[0].sum(axis=1)


def statistics_of(b: Floats, c: Floats) -> Floats:
    """What arch applies to each resample: the same three numbers, written for speed in NumPy."""

    def drawdown(x: Floats) -> float:
        wealth = np.cumprod(1.0 + x)
        return 1.0 - float((wealth / np.maximum(np.maximum.accumulate(wealth), 1.0)).min())

    def factor(x: Floats) -> float:
        sizes, total = np.abs(x).sum(), x.sum()
        return (sizes + total) / (sizes - total)

    matched = b.std() / c.std() * c
    return np.array([(1.0 + c).prod() - (1.0 + b).prod(), drawdown(matched) - drawdown(b), factor(c) - factor(b)])


def resampled(n: int) -> dict[str, Piece]:
    """The drawdown guard's joint resampling of both arms' paths."""
    b, c = arms(n)

    def ours() -> Floats:
        found = path_differences(b, c, mean_block=MEAN_BLOCK, n_boot=RESAMPLES, rng=np.random.default_rng(1))
        return np.stack([found.total_return, found.max_drawdown, found.profit_factor], axis=1)

    pieces = {measure.OURS: Piece(run=ours)}
    if have("arch"):
        from arch.bootstrap import StationaryBootstrap  # noqa: PLC0415

        pieces["arch"] = Piece(run=lambda: StationaryBootstrap(MEAN_BLOCK, b, c, seed=1).apply(statistics_of, RESAMPLES), tolerance=0.1)
    return pieces


def bounds_apart(first: Floats, other: Floats) -> float:
    """Largest difference of the 95% quantiles of the three columns, in standard deviations of each."""
    a, b = (np.quantile(x, 0.95, axis=0) for x in (first, other))
    return float(np.max(np.abs(a - b) / np.std(first, axis=0)))


def selected(n: int) -> dict[str, Piece]:
    """Whether any of many trials is better: ours by stepwise multiple testing of the Sharpe difference, arch by Hansen's test of the mean.

    Trials as volatile as the baseline, so that both ask the same; one is better by about three standard errors.
    """
    rng = np.random.default_rng(2)
    b = rng.normal(0.0004, 0.01, n)
    noise = rng.normal(0.0, 0.003, (n, TRIALS))
    trials = b[:, None] + noise - noise.mean(axis=0)
    trials[:, 0] += 3.0 * 0.003 / n**0.5
    trials *= b.std() / trials.std(axis=0)
    pieces = {
        measure.OURS: Piece(run=lambda: min(stepm(b, trials, seed=1, n_boot=RESAMPLES - 1, gate=SignificanceSpec()).p_values)),
    }
    if have("arch"):
        from arch.bootstrap import SPA, StepM  # noqa: PLC0415

        def spa() -> float:
            test = SPA(np.zeros(n), b[:, None] - trials, block_size=MEAN_BLOCK, reps=RESAMPLES, seed=1)
            test.compute()
            return float(test.pvalues["consistent"])

        def stepwise() -> None:
            StepM(np.zeros(n), b[:, None] - trials, size=0.05, block_size=MEAN_BLOCK, reps=RESAMPLES, seed=1).compute()

        pieces["arch, SPA"] = Piece(run=spa, tolerance=0.1)
        pieces["arch, StepM"] = Piece(run=stepwise)
    return pieces


def cases(*, quick: bool) -> Iterator[Case]:
    """Sessions of a sample."""
    lengths = (250,) if quick else (250, 2_500)
    for n in lengths:
        yield Case(name=f"joint resampling, {n:,} sessions", build=lambda _, n=n: resampled(n), differ=bounds_apart)  # type: ignore[misc]
    for n in lengths:
        yield Case(
            name=f"best of {TRIALS} trials, {n:,} sessions",
            build=lambda _, n=n: selected(n),  # type: ignore[misc]
            differ=lambda p, q: abs(p - q),
        )
    for n in lengths:
        b, c = arms(n)

        def judging(_: Path, b: Floats = b, c: Floats = c) -> dict[str, Piece]:
            return {measure.OURS: Piece(run=lambda: judge(b, c, seed=1))}

        yield Case(name=f"judge, {n:,} sessions", build=judging, repeat=15)


def coverage(reps: int) -> None:
    gate, even = SignificanceSpec(), np.ones(3)
    for sharpe in (1.0, 1.5):
        drifts = solve_drifts((even, TILT), (1.0, sharpe))
        truths = 252.0 * (book_moments(drifts, TILT)[0] - book_moments(drifts, even)[0]), sharpe - 1.0
        for n in (60, 250, 500):
            hits = np.zeros(2)
            for chunk in range(0, reps, 100):
                sample = tilted(np.random.default_rng([1, n, chunk]), min(100, reps - chunk), n, drifts, TILT)
                for i, (b, c) in enumerate(zip(sample.baseline.sum(axis=2), sample.candidate.sum(axis=2), strict=True)):
                    intervals = (
                        mean_difference_interval(b, c, gate=gate, n_boot=999, seed=chunk + i),
                        sharpe_difference_test(b, c, n_boot=999, seed=chunk + i).interval,
                    )
                    hits += [x is not None and x[0] <= truth <= x[1] for x, truth in zip(intervals, truths, strict=True)]
            rates = hits / reps
            errors = np.sqrt(rates * (1.0 - rates) / reps)
            print(
                f"95% intervals, {n:3} days, Sharpe 1 -> {sharpe:g}, {reps:,} samples: d return covers {100 * rates[0]:.1f}% "
                f"(+- {100 * errors[0]:.1f}), Sharpe difference {100 * rates[1]:.1f}% (+- {100 * errors[1]:.1f})"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["coverage"]:
        coverage(int(sys.argv[2]))
    else:
        measure.main("gate", cases, ("numpy", "scipy", "arch"))
