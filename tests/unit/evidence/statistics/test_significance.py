"""The test: numbers, determinism, coverage, bad input."""

import os
import subprocess
import sys

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence import growth_at_es_test, sharpe_difference_test
from policyengine.evidence.controls.simulate import book_moments, solve_drifts, tilted
from policyengine.evidence.statistics.significance import mean_difference_interval
from policyengine.spec.significance import BootstrapScheme, EffectKind, SignificanceSpec

GATE = SignificanceSpec()
TILT = np.array([1.0, 0.72, 0.55])


def _arms(n: int = 250, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = 0.01 * rng.standard_t(4, n) + 0.0005
    return b, 0.6 * b + 0.004 * rng.standard_normal(n) + 0.0006


def test_fields_hang_together() -> None:
    b, c = _arms()
    test = sharpe_difference_test(b, c, n_boot=999, seed=1, periods_per_year=252.0)
    assert test.problem is None
    assert test.effect == pytest.approx((c.mean() / c.std() - b.mean() / b.std()) * 252**0.5)
    assert test.t == pytest.approx(test.effect / test.se)
    assert test.variance == pytest.approx(test.se**2 * 250)
    assert test.interval[0] < test.effect < test.interval[1]
    assert 0 < test.p_value <= 1
    assert test.p_value + test.p_worse == pytest.approx(1.0, abs=2 / 1000)
    assert test.block_sessions == 5


def test_swapping_the_arms_swaps_the_p_values() -> None:
    b, c = _arms()
    one, other = sharpe_difference_test(b, c, n_boot=999, seed=3), sharpe_difference_test(c, b, n_boot=999, seed=3)
    assert (one.p_value, one.p_worse) == (other.p_worse, other.p_value)
    assert one.effect == pytest.approx(-other.effect)


def test_a_scaled_arm_changes_nothing() -> None:
    b, c = _arms()
    one, other = sharpe_difference_test(b, c, n_boot=499, seed=3), sharpe_difference_test(4.0 * b, 0.25 * c, n_boot=499, seed=3)
    assert one.p_value == other.p_value
    assert one.effect == pytest.approx(other.effect)


def test_a_large_effect_is_seen_and_a_null_is_not() -> None:
    rng = np.random.default_rng(5)
    b = 0.01 * rng.standard_normal(250)
    assert sharpe_difference_test(b, 0.9 * b + 0.001, n_boot=999, seed=1).p_value == pytest.approx(0.001)
    assert sharpe_difference_test(b, rng.permutation(b), n_boot=999, seed=1).p_value > 0.05


@pytest.mark.parametrize("scheme", list(BootstrapScheme))
def test_every_scheme_answers_alike(scheme: BootstrapScheme) -> None:
    b, c = _arms(500)
    days = np.datetime64("2024-01-01") + np.arange(500)
    p = sharpe_difference_test(b, c, n_boot=999, seed=1, gate=SignificanceSpec(scheme=scheme), sessions=days).p_value
    assert p == pytest.approx(sharpe_difference_test(b, c, n_boot=999, seed=1).p_value, abs=0.03)


def test_few_calendar_blocks_are_a_problem_not_a_p_value() -> None:
    b, c = _arms(60)
    days = np.datetime64("2024-01-01") + np.arange(60)
    test = sharpe_difference_test(b, c, n_boot=99, seed=1, gate=SignificanceSpec(scheme=BootstrapScheme.MONTH), sessions=days)
    assert test.p_value is None
    assert test.problem == "2 month blocks; a test needs at least 4"


def test_growth_effect() -> None:
    b, c = _arms(500)
    test = growth_at_es_test(b, c + 0.0005, n_boot=999, seed=1)
    assert test.kind is EffectKind.GROWTH_AT_ES
    assert test.p_value < 0.05 < test.p_worse


@pytest.mark.parametrize(
    ("baseline", "candidate", "says"),
    [
        (np.ones(100), np.arange(100.0) / 1e4, "do not vary"),
        (np.arange(100.0) / 1e4, np.zeros(100), "do not vary"),
        (np.sin(np.arange(100.0)), np.sin(np.arange(100.0)), "do not differ"),
        (np.sin(np.arange(100.0)), 0.8 * np.sin(np.arange(100.0)), "do not differ"),
        (np.sin(np.arange(19.0)), np.cos(np.arange(19.0)), "19 sessions"),
        (np.array([0.1]), np.array([0.1]), "do not vary"),
    ],
)
def test_degenerate_arms_have_no_p_value(baseline: np.ndarray, candidate: np.ndarray, says: str) -> None:
    for run in (sharpe_difference_test, growth_at_es_test):
        test = run(baseline, candidate, n_boot=99, seed=1)
        assert test.p_value is None
        assert test.p_worse is None
        assert test.problem is not None
    assert says in (sharpe_difference_test(baseline, candidate, n_boot=99, seed=1).problem or "")


@pytest.mark.parametrize(
    ("baseline", "candidate", "says"),
    [
        ([0.1, 0.2], [0.1], "not aligned"),
        ([], [], "no sessions"),
        ([0.1, float("nan")], [0.1, 0.2], "baseline: 1 of 2 values"),
        ([0.1, 0.2], [0.1, float("inf")], "candidate: 1 of 2 values"),
        ([0.1, 0.2], [0.1, 1e300], "candidate: 1 of 2 values"),
        ([[0.1], [0.2]], [0.1, 0.2], "shape"),
        (0.1, 0.2, "shape"),
        ([0.1, [0.2]], [0.1, 0.2], "ragged"),
        (["a", "b"], [0.1, 0.2], "real numbers"),
        ([True, False], [0.1, 0.2], "real numbers"),
        ([0.1, None], [0.1, 0.2], "real numbers"),
        ([0.1j, 0.2], [0.1, 0.2], "real numbers"),
        (np.ma.masked_array([0.1, 0.2], mask=[True, False]), [0.1, 0.2], "masked"),
    ],
)
def test_malformed_arms_are_errors_that_name_the_arm(baseline: object, candidate: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        sharpe_difference_test(baseline, candidate, n_boot=99, seed=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_seeds_are_whole_numbers(seed: object) -> None:
    b, c = _arms(60)
    with pytest.raises(DataError, match="seed"):
        sharpe_difference_test(b, c, n_boot=99, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_boot", [98, 0, 999.0, True])
def test_resamples_are_at_least_99(n_boot: object) -> None:
    b, c = _arms(60)
    with pytest.raises(DataError, match="n_boot"):
        sharpe_difference_test(b, c, n_boot=n_boot, seed=1)  # type: ignore[arg-type]


def test_same_seed_same_bits_and_another_seed_others() -> None:
    b, c = _arms()
    one = sharpe_difference_test(b, c, n_boot=999, seed=1)
    assert one == sharpe_difference_test(b.copy(), list(c), n_boot=999, seed=1)
    assert one.interval != sharpe_difference_test(b, c, n_boot=999, seed=2).interval


_BITS = """
import numpy as np
from policyengine.evidence import judge
rng = np.random.default_rng(0)
b = 0.01 * rng.standard_t(4, 300)
trials = 0.01 * rng.standard_normal((300, 3))
print(repr(judge(b, 0.7 * b + 0.003 * rng.standard_normal(300) + 0.0004, trials=trials, n_boot=499, seed=7)))
"""


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    def run(threads: str) -> str:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        return subprocess.run([sys.executable, "-c", _BITS], env=environment, capture_output=True, text=True, check=True).stdout

    assert run("1") == run("2") != ""


@pytest.mark.parametrize("n", [60, 250, 500])
def test_interval_of_the_return_difference_covers(n: int) -> None:
    drifts = solve_drifts((np.ones(3), TILT), (1.0, 1.5))
    truth = 252 * (book_moments(drifts, TILT)[0] - book_moments(drifts, np.ones(3))[0])
    reps = 300
    sample = tilted(np.random.default_rng([8, n]), reps, n, drifts, TILT)
    baseline, candidate = sample.baseline.sum(axis=2), sample.candidate.sum(axis=2)
    covered = 0
    for i in range(reps):
        interval = mean_difference_interval(baseline[i], candidate[i], gate=GATE, n_boot=399, seed=i)
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    slack = 3 * (0.95 * 0.05 / reps) ** 0.5
    assert 0.925 - slack <= covered / reps <= 0.975 + slack


def test_no_interval_without_a_difference() -> None:
    b, _ = _arms()
    assert mean_difference_interval(b, b, gate=GATE, n_boot=99, seed=1) is None
