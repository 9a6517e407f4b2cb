"""Properties of the gate: what no input may do."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policyengine.evidence import confidence_sequence, judge, sharpe_difference_test
from policyengine.evidence.statistics.judge import Judgement
from policyengine.records import Status, Verdict

RETURNS = st.floats(-0.5, 0.5, allow_nan=False, width=64)
QUICK = settings(max_examples=40, deadline=None)


@st.composite
def arms(draw: st.DrawFn, low: int = 1, high: int = 130) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(low, high))
    return draw(arrays(np.float64, n, elements=RETURNS)), draw(arrays(np.float64, n, elements=RETURNS))


def _decide(b: np.ndarray, c: np.ndarray) -> Judgement:
    return judge(b, c, seed=3, n_boot=99)


@QUICK
@given(arms())
def test_any_arms_get_a_verdict_that_its_criteria_explain(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = _decide(*pair)
    passed = all(c.status is Status.PASS for c in found.criteria)
    assert (found.verdict is Verdict.PROMOTE) == passed
    if found.verdict is Verdict.REJECT:
        assert all(c.status is Status.PASS for c in found.harm)
    for c in (*found.criteria, *found.harm):
        assert c.observed is None or np.isfinite(c.observed)
        assert c.interval is None or np.isfinite(c.interval).all()
        assert (c.status is Status.MISSING) or c.observed is not None


@QUICK
@given(arms(60, 130))
def test_promotion_one_way_is_never_promotion_the_other_way(pair: tuple[np.ndarray, np.ndarray]) -> None:
    verdicts = {_decide(*pair).verdict, _decide(*pair[::-1]).verdict}
    assert verdicts != {Verdict.PROMOTE}


@QUICK
@given(arms(1, 130), st.floats(0.05, 20.0))
def test_scaling_the_baseline_is_never_promoted_nor_rejected(pair: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    b = pair[0]
    assert _decide(b, factor * b).verdict is Verdict.INCONCLUSIVE
    assert _decide(factor * b, b).verdict is Verdict.INCONCLUSIVE


@QUICK
@given(arms(60, 130), st.integers(0, 2**32))
def test_more_criteria_never_promote(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    b, c = pair
    alone = judge(b, c, seed=seed, n_boot=99).verdict
    among = judge(b, c, seed=seed, n_boot=99, total_trials=3).verdict
    assert alone is Verdict.PROMOTE or among is not Verdict.PROMOTE


@QUICK
@given(arms(20, 130))
def test_p_values_are_probabilities_and_swap(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one = sharpe_difference_test(*pair, n_boot=99, seed=1)
    other = sharpe_difference_test(*pair[::-1], n_boot=99, seed=1)
    assert (one.problem is None) == (other.problem is None)
    if one.p_value is not None and one.p_worse is not None:
        assert 0.0 < one.p_value <= 1.0
        assert one.p_value + one.p_worse >= 1.0
        assert (one.p_value, one.p_worse) == (other.p_worse, other.p_value)


@QUICK
@given(arrays(np.float64, st.integers(1, 80), elements=RETURNS))
def test_confidence_sequences_hold_the_mean_so_far(x: np.ndarray) -> None:
    lower, upper = confidence_sequence(x)
    mean = np.cumsum(x) / np.arange(1, x.size + 1)
    assert np.all((lower <= mean + 1e-12) & (mean - 1e-12 <= upper))
