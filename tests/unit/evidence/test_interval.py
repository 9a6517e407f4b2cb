"""The interval of a window's return difference: what it is centred on, how wide it is, how often it covers, and when there is none."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.evidence.interval import LEAST_SESSIONS, return_difference_interval
from policyengine.evidence.metrics import ArmSeries, Floats, TradeSums, measure
from policyengine.evidence.statistics.longrun import long_run_variance

NO_TRADES = np.zeros(0, dtype=np.int64)
Z = NormalDist().inv_cdf(0.975)


def arm(log_returns: Floats, capital: float = 1_000.0) -> ArmSeries:
    """An arm that earns these log returns."""
    n = log_returns.size
    return ArmSeries(
        name="arm",
        sessions=np.datetime64("2020-01-01") + np.arange(n),
        nav=capital * np.exp(np.cumsum(log_returns)),
        capital=capital,
        rate=np.zeros(n),
        periods_per_year=252.0,
        trades=TradeSums.of_trades(n, session=NO_TRADES, bucket=NO_TRADES, pnl=np.zeros(0)),
    )


def interval(baseline: Floats, candidate: Floats, confidence: float = 0.95) -> tuple[float, float] | None:
    return return_difference_interval(arm(baseline), arm(candidate), confidence=confidence)


def two(seed: int, n: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0005, 0.01, n)
    return common, 0.7 * common + rng.normal(0.0002, 0.003, n)


def test_against_a_baseline_that_stands_still_it_is_the_candidates_own_error_at_its_end() -> None:
    """The candidate doubles: a log return that is off by e moves its total return by 2 e."""
    noise = np.random.default_rng(0).normal(0.0, 0.01, 250)
    returns = noise - noise.mean() + math.log(2.0) / 250
    found = interval(np.zeros(250), returns)
    assert found is not None
    half = 100.0 * Z * 2.0 * math.sqrt(250 * float(long_run_variance(returns[:, None])[0]))
    assert found == pytest.approx((100.0 - half, 100.0 + half))


@given(st.integers(0, 1_000), st.integers(LEAST_SESSIONS, 80))
def test_it_is_centred_on_the_difference_that_is_shown(seed: int, n: int) -> None:
    baseline, candidate = two(seed, n)
    found = interval(baseline, candidate)
    assert found is not None
    shown = [measure(arm(returns))["total_return_pct"] for returns in (baseline, candidate)]
    assert None not in shown
    assert sum(found) / 2.0 == pytest.approx(shown[1] - shown[0], abs=1e-9)  # type: ignore[operator]
    assert found[0] < found[1]
    low, high = interval(candidate, baseline) or (math.nan, math.nan)
    assert (-high, -low) == pytest.approx(found)


def test_more_confidence_is_wider_by_the_normal_quantile() -> None:
    baseline, candidate = two(1, 60)
    wide, narrow = (found[1] - found[0] for c in (0.99, 0.8) if (found := interval(baseline, candidate, c)) is not None)
    assert wide / narrow == pytest.approx(NormalDist().inv_cdf(0.995) / NormalDist().inv_cdf(0.9))


def test_it_does_not_depend_on_the_size_of_the_book() -> None:
    baseline, candidate = two(2, 60)
    small, large = (
        return_difference_interval(arm(baseline, capital), arm(candidate, capital), confidence=0.95) for capital in (1_000.0, 1_000_000.0)
    )
    assert small == pytest.approx(large)


def test_there_is_none_where_little_or_nothing_differs() -> None:
    baseline, candidate = two(3, LEAST_SESSIONS)
    assert interval(baseline, candidate) is not None
    assert interval(baseline[1:], candidate[1:]) is None
    assert interval(baseline, baseline) is None
    assert interval(np.full(60, 0.001), np.full(60, 0.002)) is None  # apart, and never by another step


def test_there_is_none_of_an_arm_that_lost_its_capital() -> None:
    baseline, candidate = (arm(returns) for returns in two(4, 60))
    candidate.nav[30] = -1.0
    assert return_difference_interval(baseline, candidate, confidence=0.95) is None


def shocks(kind: str, rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Of unit variance: an AR(1) of 0.15, or Student's t with 4 degrees of freedom."""
    if kind == "t(4)":
        return np.asarray(rng.standard_t(4, shape) / math.sqrt(2.0))
    drawn = rng.standard_normal((shape[0], shape[1] + 30))
    for t in range(1, drawn.shape[1]):
        drawn[:, t] = 0.15 * drawn[:, t - 1] + math.sqrt(1.0 - 0.15**2) * drawn[:, t]
    return drawn[:, 30:]


@pytest.mark.parametrize("kind", ["AR(1)", "t(4)"])
@pytest.mark.parametrize(("n", "drift"), [(LEAST_SESSIONS, 0.0003), (60, 0.0003), (250, 0.0003), (1000, 0.0012)])
def test_it_covers_about_as_often_as_it_says(kind: str, n: int, drift: float) -> None:
    """The last case triples capital: an interval of the plain sum of daily differences covers there in less than half of the samples."""
    rng, samples = np.random.default_rng(5), 600
    common, own = (shocks(kind, rng, (samples, n)) for _ in range(2))
    baseline, candidate = drift / 2.0 + 0.010 * common, drift + 0.007 * common + 0.002 * own
    truth = 100.0 * (math.exp(n * drift) - math.exp(n * drift / 2.0))
    found = [interval(baseline[i], candidate[i]) for i in range(samples)]
    covered = sum(one is not None and one[0] <= truth <= one[1] for one in found) / samples
    assert 0.90 <= covered <= 0.98
