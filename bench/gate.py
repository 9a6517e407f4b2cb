"""Speed and memory of the gate's statistics beside arch, one process, one thread: OMP_NUM_THREADS=1 python bench/gate.py [RUNS]

With `coverage REPS` instead: how often the 95% intervals cover the truth.
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from arch.bootstrap import StationaryBootstrap

from policyengine.evidence import judge, sharpe_difference_test
from policyengine.evidence.controls.simulate import book_moments, solve_drifts, tilted
from policyengine.evidence.statistics.paths import path_differences
from policyengine.evidence.statistics.significance import mean_difference_interval
from policyengine.spec.significance import SignificanceSpec

RESAMPLES = 10_000
MEAN_BLOCK = 6
TILT = np.array([1.0, 0.72, 0.55])


def arms(n: int) -> tuple[np.ndarray, np.ndarray]:
    sample = tilted(np.random.default_rng(0), 1, n, solve_drifts((np.ones(3), TILT), (1.0, 1.5)), TILT)
    return sample.baseline[0].sum(axis=1), sample.candidate[0].sum(axis=1)


def statistics_of(b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """What arch applies to each resample: the same three numbers, written for speed in NumPy."""

    def drawdown(x: np.ndarray) -> float:
        wealth = np.cumprod(1.0 + x)
        return 1.0 - float((wealth / np.maximum(np.maximum.accumulate(wealth), 1.0)).min())

    def factor(x: np.ndarray) -> float:
        sizes, total = np.abs(x).sum(), x.sum()
        return (sizes + total) / (sizes - total)

    matched = b.std() / c.std() * c
    return np.array([(1.0 + c).prod() - (1.0 + b).prod(), drawdown(matched) - drawdown(b), factor(c) - factor(b)])


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def speed(runs: int) -> None:
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, {runs} runs in turn; median (least)")
    for n in (250, 2500):
        b, c = arms(n)

        def ours(b: np.ndarray = b, c: np.ndarray = c) -> object:
            return path_differences(b, c, mean_block=MEAN_BLOCK, n_boot=RESAMPLES, rng=np.random.default_rng(1))

        def theirs(b: np.ndarray = b, c: np.ndarray = c) -> object:
            return StationaryBootstrap(MEAN_BLOCK, b, c, seed=1).apply(statistics_of, RESAMPLES)

        ours()
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(runs)]
        mine, other = zip(*pairs, strict=True)
        ratio = statistics.median(t / m for m, t in pairs)
        print(
            f"joint d return, d max_drawdown, d profit factor, B = {RESAMPLES:,}, {n:5,} days: "
            f"ours {1e3 * statistics.median(mine):6.1f} ({1e3 * min(mine):.1f}) ms, "
            f"arch {1e3 * statistics.median(other):7.1f} ({1e3 * min(other):.1f}) ms, {ratio:.1f} times"
        )
    for n in (250, 2500):
        b, c = arms(n)
        judge(b, c, seed=1)
        times = [seconds(lambda b=b, c=c: judge(b, c, seed=1)) for _ in range(3 * runs)]  # type: ignore[misc]
        print(f"judge(), B = 9,999, {n:5,} days: {1e3 * statistics.median(times):6.1f} ({1e3 * min(times):.1f}) ms")
    print(f"peak resident memory, arch included: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


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
        speed(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
