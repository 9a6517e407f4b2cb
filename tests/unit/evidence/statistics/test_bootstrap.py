"""Block sums and studentised statistics against resamples that are gathered in full."""

import numpy as np
import pytest

from policyengine.evidence.statistics.bootstrap import (
    Blocks,
    block_sums,
    circular_sums,
    mirrored,
    p_value,
    studentised_means,
    studentised_sharpe_differences,
)
from policyengine.evidence.statistics.influence import standardised
from policyengine.spec.significance import BootstrapScheme

CIRCULAR, STATIONARY, WEEK = BootstrapScheme.CIRCULAR, BootstrapScheme.STATIONARY, BootstrapScheme.WEEK


def test_circular_sums_by_hand() -> None:
    assert circular_sums(np.array([1.0, 2.0, 3.0, 4.0]), 3).tolist() == [6.0, 9.0, 8.0, 7.0]
    assert circular_sums(np.array([1.0, 2.0]), 1).tolist() == [1.0, 2.0]


def test_sharpe_statistics_equal_ledoit_and_wolf_written_out() -> None:
    rng = np.random.default_rng(1)
    n, length, n_boot = 62, 5, 40
    b = 0.01 * rng.standard_t(4, n) + 0.001
    c = 0.5 * b + 0.005 * rng.standard_normal(n)
    z_b, z_c = standardised(b), standardised(c)
    assert z_b is not None
    assert z_c is not None
    blocks = Blocks(scheme=CIRCULAR, n=n, length=length)
    ours = studentised_sharpe_differences(*z_b, *z_c, blocks, n_boot, np.random.default_rng(7))
    starts = np.random.default_rng(7).integers(0, n, size=(n_boot, n // length))
    for t_star, start in zip(ours, starts, strict=True):
        rows = (start[:, None] + np.arange(length)).ravel() % n
        rb, rc = b[rows], c[rows]
        moments = np.array([rb.mean(), rc.mean(), (rb**2).mean(), (rc**2).mean()])
        variances = moments[2:] - moments[:2] ** 2
        difference = moments[1] / variances[1] ** 0.5 - moments[0] / variances[0] ** 0.5
        slope = np.array(
            [
                -moments[2] / variances[0] ** 1.5,
                moments[3] / variances[1] ** 1.5,
                0.5 * moments[0] / variances[0] ** 1.5,
                -0.5 * moments[1] / variances[1] ** 1.5,
            ]
        )
        y = np.column_stack([rb, rc, rb**2, rc**2]) - moments
        zeta = y.reshape(-1, length, 4).sum(axis=1) / length**0.5
        psi = zeta.T @ zeta / zeta.shape[0]
        se = (slope @ psi @ slope / rows.size) ** 0.5
        assert t_star == pytest.approx((difference - (z_c[1] - z_b[1])) / se, rel=1e-8)


@pytest.mark.parametrize("scheme", [CIRCULAR, STATIONARY, WEEK])
def test_means_are_studentised_by_block_sums(scheme: BootstrapScheme) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(40)
    edges = np.array([0, 3, 8, 13, 18, 25, 32, 40]) if scheme is WEEK else None
    blocks = Blocks(scheme=scheme, n=40, length=5, edges=edges)
    t_star = studentised_means(x, blocks, 50, np.random.default_rng(3))
    centred = x - x.mean()
    ((sums,), lengths) = next(block_sums([centred], blocks, 50, np.random.default_rng(3)))
    lengths = np.broadcast_to(lengths, sums.shape)
    for i in range(50):
        total = lengths[i].sum()
        mean = sums[i].sum() / total
        se = np.sqrt(np.sum((sums[i] - lengths[i] * mean) ** 2)) / total
        assert t_star[i] == pytest.approx(mean / se)


def test_stationary_blocks_cover_exactly_n_sessions_with_the_wanted_mean() -> None:
    blocks = Blocks(scheme=STATIONARY, n=100, length=5)
    ones = np.ones(100)
    (sums,), lengths = next(block_sums([ones], blocks, 500, np.random.default_rng(4)))
    assert np.array_equal(sums, lengths)
    assert np.sum(lengths, axis=1).tolist() == [100.0] * 500
    assert 100 * 500 / np.count_nonzero(lengths) == pytest.approx(5.0, rel=0.05)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(5).standard_normal(50)
    blocks = Blocks(scheme=CIRCULAR, n=50, length=5)
    whole = studentised_means(x, blocks, 300, np.random.default_rng(6))
    monkeypatch.setattr("policyengine.evidence.statistics.bootstrap.CELLS_PER_CHUNK", 70)
    assert np.array_equal(studentised_means(x, blocks, 300, np.random.default_rng(6)), whole)


def test_p_value_counts_ties_and_itself() -> None:
    t_star = np.array([-1.0, 0.0, 1.0, 2.0])
    assert p_value(t_star, 1.0) == pytest.approx(3 / 5)
    assert p_value(t_star, 3.0) == pytest.approx(1 / 5)
    assert p_value(mirrored(t_star), 1.0) == pytest.approx(2 / 5)


def test_a_resample_without_variation_counts_against_everyone() -> None:
    x = np.zeros(40)
    x[0] = 1.0
    t_star = studentised_means(x, Blocks(scheme=CIRCULAR, n=40, length=5), 400, np.random.default_rng(8))
    flat = int(np.count_nonzero(np.isinf(t_star)))
    assert flat > 0
    assert p_value(t_star, 1e9) >= (1 + flat) / 401
    assert p_value(mirrored(t_star), 1e9) >= (1 + flat) / 401
