"""Block lengths against arch and the recorded numbers; calendar blocks by hand."""

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence.statistics.blocks import block_length, calendar_edges, optimal_block_lengths
from policyengine.spec.significance import BootstrapScheme, SignificanceSpec

GATE = SignificanceSpec()


def _autoregression(rho: float, n: int, seed: int) -> np.ndarray:
    shocks = np.random.RandomState(seed).standard_normal(n)
    x = np.zeros(n)
    for t in range(1, n):
        x[t] = rho * x[t - 1] + shocks[t]
    return x


def test_recorded_lengths() -> None:
    stationary, circular = optimal_block_lengths(_autoregression(0.3, 10_100, 0)[100:, None])
    assert stationary[0] == pytest.approx(13.635665, abs=5e-7)
    assert circular[0] == pytest.approx(15.60894, abs=5e-6)


@pytest.mark.parametrize("n", [30, 60, 121, 500])
@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.3, 0.9])
def test_equal_to_arch(n: int, rho: float) -> None:
    from arch.bootstrap import optimal_block_length

    x = np.column_stack([_autoregression(rho, n, seed) for seed in range(4)])
    theirs = optimal_block_length(x)
    stationary, circular = optimal_block_lengths(x)
    assert stationary == pytest.approx(theirs["stationary"].to_numpy(), rel=1e-9)
    assert circular == pytest.approx(theirs["circular"].to_numpy(), rel=1e-9)


def test_length_is_kept_between_five_and_a_quarter() -> None:
    rng = np.random.default_rng(0)
    assert block_length(rng.standard_normal(250), GATE) == 5
    assert block_length(rng.standard_normal(250).cumsum(), SignificanceSpec(max_block_frac=0.05)) == 12
    assert block_length(np.zeros(60), GATE) == 5
    assert block_length(_autoregression(0.3, 10_100, 0)[100:], GATE) == 16
    assert block_length(_autoregression(0.3, 10_100, 0)[100:], GATE, stationary=True) == 14


def test_many_columns_share_the_median() -> None:
    slow, quick = _autoregression(0.9, 500, 1), _autoregression(0.0, 500, 2)
    lengths = [block_length(x, GATE) for x in (slow, quick)]
    assert lengths[0] > lengths[1]
    assert block_length(np.column_stack([slow, quick, quick]), GATE) == lengths[1]


def test_weeks_begin_on_monday() -> None:
    # Thursday 2026-01-01 to Tuesday 2026-01-13, weekends left out.
    days = np.array(["2026-01-01", "2026-01-02", "2026-01-05", "2026-01-09", "2026-01-12", "2026-01-13"], dtype="datetime64[D]")
    assert calendar_edges(days, BootstrapScheme.WEEK, 6).tolist() == [0, 2, 4, 6]


def test_months() -> None:
    days = np.array(["2025-12-30", "2026-01-02", "2026-01-30", "2026-03-02"], dtype="datetime64[D]")
    assert calendar_edges(days, BootstrapScheme.MONTH, 4).tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(
    "days",
    [
        None,
        np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]"),
        np.array(["2026-01-01", "2026-01-01", "2026-01-02"], dtype="datetime64[D]"),
        np.array(["2026-01-01", "NaT", "2026-01-02"], dtype="datetime64[D]"),
    ],
)
def test_bad_dates_are_named(days: np.ndarray | None) -> None:
    with pytest.raises(DataError, match="sessions"):
        calendar_edges(days, BootstrapScheme.WEEK, 3)
