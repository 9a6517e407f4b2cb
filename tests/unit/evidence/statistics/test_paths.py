"""Resampled paths against paths that are built in full, and against arch."""

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence.statistics import paths
from policyengine.evidence.statistics.drawdown import max_drawdown
from policyengine.evidence.statistics.paths import path_differences


def _arms(n: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = 0.01 * rng.standard_t(4, n) + 0.0005
    return b, 0.6 * b + 0.004 * rng.standard_normal(n)


def _sessions(b: np.ndarray, c: np.ndarray, mean_block: int, rows: int, seed: int) -> np.ndarray:
    """The sessions (n, rows) that one chunk draws, before the end is joined to the start."""
    drawn = paths._Paths(b, c, mean_block, True).draw(rows, np.random.default_rng(seed))
    return np.asarray(drawn % b.size)


@pytest.mark.parametrize("matched", [True, False])
def test_equal_to_paths_built_in_full(matched: bool) -> None:
    b, c = _arms()
    found = path_differences(b, c, mean_block=6, n_boot=64, rng=np.random.default_rng(1), matched=matched)
    for i, rows in enumerate(_sessions(b, c, 6, 64, 1).T):
        rb, rc = b[rows], c[rows]
        scale = rb.std() / rc.std() if matched else 1.0
        assert found.max_drawdown[i] == pytest.approx(max_drawdown(scale * rc) - max_drawdown(rb), abs=1e-12)
        assert found.total_return[i] == pytest.approx(np.prod(1 + rc) - np.prod(1 + rb), abs=1e-12)
        factors = [x[x > 0].sum() / -x[x < 0].sum() for x in (rb, rc)]
        assert found.profit_factor[i] == pytest.approx(factors[1] - factors[0])


def test_blocks_have_the_wanted_mean_and_sessions_are_uniform() -> None:
    b, c = _arms(50)
    sessions = _sessions(b, c, 5, 2000, 2)
    follows = np.mean((sessions[1:] - sessions[:-1]) % 50 == 1)
    assert follows == pytest.approx(1 - 0.2 + 0.2 / 50, abs=0.005)
    counts = np.bincount(sessions.ravel(), minlength=50)
    assert counts.min() > 0.9 * counts.mean()
    assert counts.max() < 1.1 * counts.mean()


def test_pure_scaling_is_nothing_at_equal_volatility() -> None:
    b, _ = _arms()
    assert float(np.max(np.abs(path_differences(b, 0.3 * b, mean_block=5, n_boot=99, rng=np.random.default_rng(1)).max_drawdown))) < 1e-12


def test_same_distribution_as_arch() -> None:
    from arch.bootstrap import StationaryBootstrap

    b, c = _arms(120, 3)

    def statistics(rb: np.ndarray, rc: np.ndarray) -> np.ndarray:
        return np.array([np.prod(1 + rc) - np.prod(1 + rb), max_drawdown(rb.std() / rc.std() * rc) - max_drawdown(rb)])

    theirs = StationaryBootstrap(7, b, c, seed=4).apply(statistics, 2000)
    ours = path_differences(b, c, mean_block=7, n_boot=4000, rng=np.random.default_rng(5))
    for mine, other in ((ours.total_return, theirs[:, 0]), (ours.max_drawdown, theirs[:, 1])):
        wanted = np.quantile(other, [0.05, 0.5, 0.95])
        assert np.quantile(mine, [0.05, 0.5, 0.95]) == pytest.approx(wanted, abs=0.12 * (wanted[2] - wanted[0]))


def test_long_samples_use_wide_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 1 << 15
    b = 0.001 * np.sin(np.arange(n, dtype=np.float64))
    sessions = paths._Paths(b, 0.5 * b, 100, True).draw(2, np.random.default_rng(1))
    assert sessions.dtype == np.int64
    follows = np.mean((sessions[1:] - sessions[:-1]) % n == 1)
    assert follows == pytest.approx(0.99, abs=0.003)


def test_ruin_is_a_drawdown_of_one() -> None:
    b, c = _arms()
    c = c.copy()
    c[:30] = -1.5
    found = path_differences(b, c, mean_block=5, n_boot=99, rng=np.random.default_rng(1), matched=False)
    assert np.all(found.total_return < 0)
    assert float(np.max(found.max_drawdown)) <= 1.0
    assert float(np.mean(found.max_drawdown)) > 0.5


def test_a_candidate_that_does_not_move_is_the_worst_case_not_a_pass() -> None:
    b, _ = _arms()
    c = np.zeros(b.size)
    c[0] = 0.01
    found = path_differences(b, c, mean_block=20, n_boot=200, rng=np.random.default_rng(1))
    flat = found.max_drawdown == 1.0
    assert 0 < int(np.count_nonzero(flat)) < 200
    assert np.all(np.isnan(found.profit_factor))


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    b, c = _arms()
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(paths, "_THREADS", threads)
        one = path_differences(b, c, mean_block=6, n_boot=9_999, rng=np.random.default_rng(1))
        found.append((one.total_return.tobytes(), one.max_drawdown.tobytes(), one.profit_factor.tobytes()))
    assert found[0] == found[1] == found[2]


def test_absurd_returns_raise_no_warning() -> None:
    b = np.full(400, 900.0)
    b[::7] = -0.5
    found = path_differences(b, -b, mean_block=5, n_boot=99, rng=np.random.default_rng(1))
    assert np.all(np.isfinite(found.total_return))
    assert np.all(np.isfinite(found.max_drawdown))


def test_too_many_sessions_are_refused() -> None:
    with pytest.raises(DataError, match="more than can be resampled"):
        path_differences(np.zeros(100_000), np.zeros(100_000), mean_block=25_000, n_boot=99, rng=np.random.default_rng(1))
