"""Long-run variance against a slow reference and known processes."""

import math

import numpy as np
import pytest

from policyengine.evidence.statistics.longrun import first_autocorrelation, long_run_variance


def _reference(series: np.ndarray) -> float:
    """The formulas of Andrews 1991 and Andrews-Monahan 1992, written out with loops."""
    n = series.size
    x = [float(v) - float(np.mean(series)) for v in series]
    rho = sum(x[t] * x[t - 1] for t in range(1, n)) / sum(v * v for v in x[:-1])
    rho = max(-0.97, min(0.97, rho))
    e = [x[t] - rho * x[t - 1] for t in range(1, n)]
    root = sum(e[t] * e[t - 1] for t in range(1, n - 1)) / sum(v * v for v in e[:-1])
    bandwidth = 1.3221 * (4 * root**2 / (1 - root) ** 4 * n) ** 0.2
    total = 0.0
    for j in range(n - 1):
        covariance = sum(e[t] * e[t - j] for t in range(j, n - 1)) / (n - 1)
        angle = 6 * math.pi * j / bandwidth / 5
        weight = 1.0 if j == 0 else 3 / angle**2 * (math.sin(angle) / angle - math.cos(angle))
        total += (1 if j == 0 else 2) * weight * covariance
    return total / (1 - rho) ** 2 * n / (n - 4)


@pytest.mark.parametrize("n", [20, 61, 250])
def test_equals_the_formulas_written_out(n: int) -> None:
    x = np.random.default_rng(n).standard_t(4, n).cumsum() * 0.1 + np.random.default_rng(1).standard_normal(n)
    assert long_run_variance(x[:, None])[0] == pytest.approx(_reference(x), rel=1e-9)


def test_columns_are_independent_problems() -> None:
    x = np.random.default_rng(2).standard_normal((120, 3)) * [1.0, 5.0, 0.01]
    alone = [long_run_variance(np.ascontiguousarray(x[:, [k]]))[0] for k in range(3)]
    assert long_run_variance(x) == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(("rho", "factor"), [(0.0, 1.0), (0.5, 3.0), (-0.3, 0.7 / 1.3)])
def test_finds_the_long_run_variance_of_an_autoregression(rho: float, factor: float) -> None:
    shocks = np.random.default_rng(3).standard_normal((20_000, 8)) * math.sqrt(1 - rho**2)
    x = shocks.copy()
    for t in range(1, x.shape[0]):
        x[t] = rho * x[t - 1] + shocks[t]
    assert float(np.mean(long_run_variance(x))) == pytest.approx(factor, rel=0.05)


def test_a_constant_column_has_none_and_no_warning() -> None:
    assert long_run_variance(np.full((30, 2), 0.25)).tolist() == [0.0, 0.0]


def test_a_trend_does_not_blow_up() -> None:
    assert math.isfinite(long_run_variance(np.arange(100.0)[:, None])[0])
    assert first_autocorrelation(np.arange(1.0, 100.0)[:, None])[0] == 0.97


def test_four_sessions_are_refused() -> None:
    with pytest.raises(ValueError, match="4 sessions"):
        long_run_variance(np.ones((4, 1)))
