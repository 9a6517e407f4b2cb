"""The decision: each verdict, each criterion's three states, and input that must never pass."""

import warnings

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence import judge
from policyengine.evidence.statistics.criteria import DRAWDOWN, PRIMARY, session_profit_factor, total_return
from policyengine.evidence.statistics.judge import Judgement
from policyengine.records import Criterion, Status, Verdict
from policyengine.spec.significance import BootstrapScheme, EffectKind, SignificanceSpec


def _real(n: int = 500, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A candidate that is plainly better at less risk."""
    rng = np.random.default_rng(seed)
    b = 0.01 * rng.standard_normal(n) + 0.0002
    return b, 0.7 * b + 0.002 * rng.standard_normal(n) + 0.0008


def _status(judgement: Judgement, name: str) -> Status:
    return next(c.status for c in (*judgement.criteria, *judgement.harm) if c.name == name)


def _floor(name: str, status: Status, *, hard: bool = True) -> Criterion:
    return Criterion(name=name, status=status, hard=hard, observed=None, operator=">=", threshold=30.0, reason="given")


def test_promotes_what_is_better() -> None:
    b, c = _real()
    found = judge(b, c, seed=1, n_boot=499)
    assert found.verdict is Verdict.PROMOTE
    assert all(k.status is Status.PASS for k in found.criteria)
    assert [k.name for k in found.criteria] == ["sample_size", "significance", "spans", "materiality", "drawdown_guard", PRIMARY, DRAWDOWN]
    assert found.headline.startswith("PROMOTE: Sharpe difference +")
    assert found.reported.missing is not None
    assert found.reported.missing.sessions >= 0


def test_rejects_the_swapped_arms_and_says_the_harm() -> None:
    b, c = _real()
    found = judge(c, b, seed=1, n_boot=499)
    assert found.verdict is Verdict.REJECT
    assert all(k.status is Status.PASS for k in found.harm)
    assert found.headline.startswith("REJECT: Sharpe difference of baseline over candidate +")
    harm = next(k for k in found.harm if k.name == "harm_materiality")
    assert harm.observed is not None
    assert harm.interval is not None
    assert harm.interval[0] < harm.observed < harm.interval[1]
    assert found.test.p_worse == judge(b, c, seed=1, n_boot=499).test.p_value


def test_lower_return_is_said_in_the_headline() -> None:
    rng = np.random.default_rng(2)
    b = 0.01 * rng.standard_normal(500) + 0.001
    c = 0.3 * b + 0.00015 + 0.0002 * rng.standard_normal(500)
    found = judge(b, c, seed=1, n_boot=499)
    assert found.verdict is Verdict.PROMOTE
    assert total_return(c) < total_return(b)
    assert "total return is lower by" in found.headline


def test_better_at_more_risk_is_told_to_rescale() -> None:
    b, c = _real()
    found = judge(b, 3.0 * c, seed=1, n_boot=499)
    assert found.verdict is Verdict.INCONCLUSIVE
    drawdown = next(k for k in found.criteria if k.name == DRAWDOWN)
    assert drawdown.status is Status.FAIL
    assert f"rescale by sd_b/sd_c = {b.std() / (3 * c.std()):.3f}" in drawdown.reason


def test_levels_of_looks_and_short_samples() -> None:
    b, c = _real(100)
    assert judge(b, c, seed=1, n_boot=499, alpha=0.018).alpha == pytest.approx(0.0144)
    assert judge(*_real(120), seed=1, n_boot=499).alpha == 0.05
    assert judge(b, c, seed=1, n_boot=499, gate=SignificanceSpec(alpha=0.01)).alpha == pytest.approx(0.008)


@pytest.mark.parametrize("status", [Status.FAIL, Status.MISSING])
def test_one_hard_floor_that_does_not_pass_is_enough(status: Status) -> None:
    b, c = _real()
    found = judge(b, c, seed=1, n_boot=499, floors=(_floor("trades", status),))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"trades {status.value} (given)" in found.headline
    assert judge(b, c, seed=1, n_boot=499, floors=(_floor("trades", status, hard=False),)).verdict is Verdict.PROMOTE


def test_given_floors_replace_those_of_the_arrays() -> None:
    b, c = _real()
    found = judge(b, c, seed=1, n_boot=499, floors=(_floor(PRIMARY, Status.FAIL), _floor(DRAWDOWN, Status.PASS)))
    assert [k.reason for k in found.criteria if k.name in (PRIMARY, DRAWDOWN)] == ["given", "given"]
    assert found.verdict is Verdict.INCONCLUSIVE


def test_rejection_needs_a_measured_improvement_floor() -> None:
    b, c = _real()
    assert judge(c, b, seed=1, n_boot=499, floors=(_floor(PRIMARY, Status.MISSING),)).verdict is Verdict.INCONCLUSIVE
    assert judge(c, b, seed=1, n_boot=499, floors=(_floor(PRIMARY, Status.FAIL),)).verdict is Verdict.REJECT


def test_selection_stops_the_best_of_many() -> None:
    rng = np.random.default_rng(4)
    b = 0.01 * rng.standard_normal(250)
    trials = 0.8 * b[:, None] + 0.004 * rng.standard_normal((250, 40))
    sharpe = trials.mean(axis=0) / trials.std(axis=0)
    best = int(np.argmax(sharpe))
    others = np.delete(trials, best, axis=1)
    alone, among = (judge(b, trials[:, best], trials=t, seed=1, n_boot=499) for t in (None, others))
    assert _status(alone, "significance") is Status.PASS
    assert _status(among, "selection") is Status.FAIL
    assert among.n_trials == 40
    assert among.verdict is Verdict.INCONCLUSIVE
    assert among.reported.dsr is not None
    assert alone.reported.dsr is None


def test_selection_keeps_what_is_good_and_counts_unaligned_trials() -> None:
    b, c = _real()
    rng = np.random.default_rng(5)
    trials = 0.8 * b[:, None] + 0.004 * rng.standard_normal((500, 5))
    found = judge(b, c, trials=trials, seed=1, n_boot=499)
    assert found.verdict is Verdict.PROMOTE
    assert judge(b, c, trials=trials, total_trials=10_000, seed=1, n_boot=499).verdict is Verdict.INCONCLUSIVE
    lone = judge(b, c, total_trials=2, seed=1, n_boot=499)
    assert lone.selection is not None
    assert lone.selection.candidate_p == pytest.approx(2 * lone.selection.p_values[0])


def test_spa_is_reported_when_asked_for_and_decides_nothing() -> None:
    b, c = _real()
    trials = 0.8 * b[:, None] + 0.004 * np.random.default_rng(5).standard_normal((500, 2))
    asked = judge(b, c, trials=trials, seed=1, n_boot=199, report_superior=True)
    assert asked.reported.superior_predictive_ability is not None
    unasked = judge(b, c, trials=trials, seed=1, n_boot=199)
    assert (asked.criteria, asked.selection) == (unasked.criteria, unasked.selection)
    assert judge(b, b, trials=trials, seed=1, n_boot=199, report_superior=True).reported.superior_predictive_ability is None


def test_growth_effect_and_calendar_blocks() -> None:
    b, c = _real()
    days = np.datetime64("2024-01-01") + np.arange(500)
    gate = SignificanceSpec(effect=EffectKind.GROWTH_AT_ES, scheme=BootstrapScheme.WEEK)
    assert judge(b, c, seed=1, n_boot=499, gate=gate, sessions=days).verdict is Verdict.PROMOTE
    short = judge(b[:119], c[:119], seed=1, n_boot=499, gate=gate, sessions=days[:119])
    assert short.verdict is Verdict.INCONCLUSIVE
    assert _status(short, "significance") is Status.MISSING


_T = np.arange(250.0)
_B = 0.01 * np.sin(_T * _T)
_UP = np.abs(_B) + 0.001


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [
        (_B, _B),
        (_B, 0.8 * _B),
        (_B, 1.25 * _B),
        (_B, -_B * 0),
        (np.zeros(250), np.zeros(250)),
        (np.zeros(250), _B),
        (np.full(250, 0.001), _B),
        (_B, np.full(250, 0.001)),
        (_UP, 1.1 * _UP + 0.001 * np.cos(_T * _T) ** 2),
        (_B, _UP),
        (_B[:59], (_B + 0.002)[:59]),
        (_B[:1], _B[:1]),
        (_B[:19], (_B + 0.01)[:19]),
        (_B, np.where(_T == 5, 0.5, 0.0)),
        (_B, np.where(_T == 5, -1.0, _B)),
        (_B * 1e-12, _B * 1e-12 + 1e-13),
    ],
    ids=[
        "identical",
        "scaled down",
        "scaled up",
        "candidate never trades",
        "nobody trades",
        "baseline never trades",
        "constant baseline",
        "constant candidate",
        "no losses in either",
        "no losses in the candidate",
        "59 sessions",
        "one session",
        "19 sessions",
        "one lucky session",
        "ruin",
        "rounding",
    ],
)
def test_degenerate_arms_are_inconclusive_without_a_warning(baseline: np.ndarray, candidate: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for effect in EffectKind:
            found = judge(baseline, candidate, seed=1, n_boot=99, gate=SignificanceSpec(effect=effect))
            assert found.verdict is not Verdict.PROMOTE
            open_ones = [c for c in found.criteria if c.status is not Status.PASS]
            assert open_ones
            assert all(c.reason for c in found.criteria)
            assert found.verdict is Verdict.INCONCLUSIVE or all(c.status is Status.PASS for c in found.harm)


def test_window_without_losses_is_missing_not_infinite() -> None:
    found = judge(_B, _UP, seed=1, n_boot=99)
    assert _status(found, PRIMARY) is Status.MISSING
    assert session_profit_factor(_UP) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"trials": np.zeros((249, 2))}, "trials: have 249 sessions"),
        ({"trials": np.zeros(250)}, "trials: has shape"),
        ({"trials": np.full((250, 1), np.nan)}, "trials: 250 of 250"),
        ({"total_trials": 0}, "total_trials"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 0.51}, "alpha"),
        ({"n_boot": 98}, "n_boot"),
        ({"periods_per_year": 0.0}, "periods_per_year"),
        ({"seed": -1}, "seed"),
        ({"gate": SignificanceSpec(scheme=BootstrapScheme.MONTH)}, "sessions"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], says: str) -> None:
    b, c = _real(250)
    with pytest.raises(DataError, match=f"^{says}"):
        judge(b, c, **({"seed": 1, "n_boot": 99} | arguments))  # type: ignore[arg-type]


def test_inputs_are_left_alone() -> None:
    b, c = _real(250)
    kept = b.copy(), c.copy()
    for array in (b, c):
        array.setflags(write=False)
    judge(b, c, trials=np.column_stack([b, c]), seed=1, n_boot=99)
    assert np.array_equal(b, kept[0])
    assert np.array_equal(c, kept[1])
