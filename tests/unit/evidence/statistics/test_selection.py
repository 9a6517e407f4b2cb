"""Selection among trials: the stepdown by hand, its symmetries, and the recorded SPA."""

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence.statistics.selection import adjusted_p_values, stepm, superior_predictive_ability
from policyengine.evidence.statistics.significance import sharpe_difference_test
from policyengine.spec.significance import EffectKind, SignificanceSpec


def _trials(n: int = 250, count: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = 0.01 * rng.standard_normal(n)
    return b, 0.8 * b[:, None] + 0.004 * rng.standard_normal((n, count))


def test_stepdown_by_hand() -> None:
    t = np.array([1.0, 3.0, 2.0])
    t_star = np.array([[0.0, 3.5, 0.0], [1.5, 0.0, 0.0], [0.0, 0.0, 2.5], [0.0, 0.0, 0.0]])
    # 3 against the maximum of all: 1 of 4; 2 against columns {1.0, 2.0}: 1 of 4; 1 against its own column: 1 of 4.
    assert adjusted_p_values(t, t_star) == pytest.approx([2 / 5, 2 / 5, 2 / 5])
    t_star[:, 0] = [0.0, 1.5, 1.2, 0.0]
    assert adjusted_p_values(t, t_star) == pytest.approx([3 / 5, 2 / 5, 2 / 5])


def test_p_never_falls_along_the_steps() -> None:
    t = np.array([2.0, 1.9])
    t_star = np.array([[2.5, 0.0], [2.5, 0.0], [0.0, 0.0]])
    assert adjusted_p_values(t, t_star).tolist() == [0.75, 0.75]


def test_adjusted_is_never_below_unadjusted_and_alone_they_agree() -> None:
    b, trials = _trials()
    many = stepm(b, trials, seed=1, n_boot=499)
    assert np.all(np.array(many.p_values) >= np.array(many.unadjusted))
    one = stepm(b, trials[:, :1], seed=1, n_boot=499)
    assert one.p_values == one.unadjusted


def test_the_set_does_not_depend_on_who_asks() -> None:
    b, trials = _trials()
    order = [3, 0, 1, 2, 5, 4]
    forward, other = stepm(b, trials, seed=1, n_boot=499), stepm(b, trials[:, order], seed=1, n_boot=499)
    assert other.p_values == pytest.approx([forward.p_values[k] for k in order])


def test_a_good_trial_is_found_and_does_not_lift_its_neighbours() -> None:
    b, trials = _trials()
    trials = trials.copy()
    trials[:, 2] += 0.002
    found = stepm(b, trials, seed=1, n_boot=999)
    assert found.p_values[2] <= 0.01
    assert np.min(np.delete(found.p_values, 2)) > 0.05


def test_trials_that_cannot_be_aligned_count_by_bonferroni() -> None:
    b, trials = _trials()
    aligned, more = stepm(b, trials, seed=1, n_boot=499), stepm(b, trials, seed=1, n_boot=499, total_trials=9)
    assert more.candidate_p == pytest.approx(min(1.0, aligned.candidate_p * 9 / 6))
    with pytest.raises(DataError, match="total_trials"):
        stepm(b, trials, seed=1, n_boot=499, total_trials=5)


def test_trials_without_an_effect_are_counted_and_never_chosen() -> None:
    b, trials = _trials()
    padded = np.column_stack([trials, np.zeros(b.size), 0.5 * b, b])
    found = stepm(b, padded, seed=1, n_boot=499)
    assert found.p_values[-3:] == (1.0, 1.0, 1.0)
    assert found.aligned == 9
    assert stepm(b, padded[:, -3:], seed=1, n_boot=499).p_values == (1.0, 1.0, 1.0)


def test_one_strategy_is_close_to_the_test_itself() -> None:
    b, trials = _trials()
    alone = sharpe_difference_test(b, trials[:, 0], n_boot=1999, seed=1).p_value
    assert stepm(b, trials[:, :1], seed=1, n_boot=1999).candidate_p == pytest.approx(alone, abs=0.03)


def test_growth_effect_is_selected_on_as_well() -> None:
    b, trials = _trials(300)
    found = stepm(b, trials, seed=1, n_boot=299, gate=SignificanceSpec(effect=EffectKind.GROWTH_AT_ES))
    assert all(0 < p <= 1 for p in found.p_values)


@pytest.mark.parametrize(
    "trials", [np.zeros((10, 2)), np.full((250, 2), np.nan), np.zeros(250), np.zeros((250, 0)), np.full((250, 1), "x")]
)
def test_malformed_trials_are_errors(trials: np.ndarray) -> None:
    with pytest.raises(DataError, match="trials"):
        stepm(np.sin(np.arange(250.0)), trials, seed=1, n_boot=99)


def test_recorded_superior_predictive_ability() -> None:
    losses = np.random.default_rng(0).standard_normal((250, 100))
    p = superior_predictive_ability(-losses, block_sessions=5, seed=0)
    assert p == pytest.approx((0.441, 0.593, 0.600), abs=5e-4)


def test_without_arch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "arch.bootstrap", None)
    with pytest.raises(DataError, match="arch: is not installed"):
        superior_predictive_ability(np.zeros((30, 2)), block_sessions=5, seed=0)
