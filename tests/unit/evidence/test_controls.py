"""The negative controls: the process they draw from, the plain rules they fail, and a few repetitions of each."""

import math

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence.controls import CONTROLS, run_controls, simulate
from policyengine.evidence.controls.plain_rule import daily_retests, daily_t_tests, plain_promotions
from policyengine.evidence.controls.rows import ControlRow
from policyengine.evidence.controls.simulate import book_moments, bucket_drifts, convex, shocks, solve_drifts, tilted
from policyengine.evidence.controls.tilts import CUT, EVEN, TILT


def _annual(drifts: np.ndarray, book: np.ndarray) -> float:
    mean, sd = book_moments(drifts, book)
    return mean / sd * math.sqrt(252)


def test_drifts_make_both_arms_exact() -> None:
    drifts = solve_drifts((EVEN, TILT), (1.0, 1.5))
    assert (_annual(drifts, EVEN), _annual(drifts, TILT)) == pytest.approx((1.0, 1.5))


def test_cutting_a_losing_bucket_is_the_recorded_gain() -> None:
    drifts = bucket_drifts((1.2, 1.2, -1.0))
    assert [_annual(drifts, np.eye(3)[k]) for k in range(3)] == pytest.approx([1.2, 1.2, -1.0])
    assert (_annual(drifts, EVEN), _annual(drifts, CUT)) == pytest.approx((0.07, 1.10), abs=0.005)


def test_moments_of_the_process() -> None:
    x, trades = shocks(np.random.default_rng(0), 400, 500)
    assert float(np.mean(trades)) == pytest.approx(0.6, abs=0.01)
    assert float(np.var(x)) == pytest.approx(1.0, abs=0.1)
    flat = x.reshape(-1, 3)
    assert float(np.corrcoef(flat.T)[0, 1]) == pytest.approx(0.3, abs=0.03)
    assert float(np.mean(x[:, 1:] * x[:, :-1]) / np.mean(x * x)) == pytest.approx(0.15, abs=0.02)
    squares = x**2 - np.mean(x**2)
    assert float(np.mean(squares[:, 5:] * squares[:, :-5])) > 0.0


def test_noise_has_mean_one() -> None:
    sample = tilted(np.random.default_rng(1), 200, 200, np.full(3, 0.01), EVEN, 0.3)
    assert float(np.mean(sample.candidate) / np.mean(sample.baseline)) == pytest.approx(1.0, abs=0.01)


def test_convex_candidate_has_its_sharpe() -> None:
    _, candidate = convex(np.random.default_rng(2), 400, 1000, 1.5)
    assert float(candidate.mean() / candidate.std() * math.sqrt(252)) == pytest.approx(1.5, abs=0.15)


def test_plain_rule_by_hand() -> None:
    day = np.array([0.02, -0.01])
    baseline = np.tile(day, 3)[None, :, None]
    better, worse = baseline + 0.001, baseline - 0.001
    assert plain_promotions(baseline, better).tolist() == [True]
    assert plain_promotions(baseline, worse).tolist() == [False]
    assert plain_promotions(baseline, baseline).tolist() == [False]
    once = baseline.copy()
    once[0, 0] += 0.01
    assert plain_promotions(baseline, once).tolist() == [False]
    # Halving a losing book "improves" it: the rule that the gate is measured against.
    assert plain_promotions(-baseline, -0.5 * baseline).tolist() == [True]


def test_daily_rules_see_the_obvious() -> None:
    noise = np.random.default_rng(3).standard_normal((100, 2)) * 0.01
    shift = np.array([0.0, 0.02])
    assert daily_t_tests(noise - shift)[1]
    assert daily_retests(noise, noise * 0.9 + shift + 0.001 * noise[::-1], 60)[1]


def test_controls_run_count_and_hold() -> None:
    seen: list[tuple[int, int, str]] = []
    rows: list[ControlRow] = []
    found = run_controls(
        reps=20, seed=5, n_boot=99, progress=lambda *a: seen.append(a), on_row=rows.append, only=("scale", "harm", "beside_good")
    )
    assert tuple(rows) == found
    assert [r.scenario for r in found] == ["scale"] * 12 + ["harm"] * 6 + ["null beside a good trial"]
    assert seen[-1][:2] == (20 * 16, 20 * 16)
    assert [done for done, _, _ in seen] == list(range(1, 321))
    assert all(r.ok for r in found)
    assert all(r.rate == 0.0 for r in found[:12])
    assert found == run_controls(reps=20, seed=5, n_boot=99, only=("scale", "harm", "beside_good"))


def test_searches_run() -> None:
    names = ("convex", "sweep_null", "daily", "canary")
    found = run_controls(reps=20, seed=1, n_boot=99, only=names)
    assert {r.scenario for r in found} == {"convex", "sweep null", "daily re-evaluation", "canary null"}
    assert all(r.plain is not None for r in found if r.plain_bound is not None)


def test_every_control_of_the_page_is_there() -> None:
    assert len(CONTROLS) == 11
    assert sum(cells for _, cells in CONTROLS.values()) == 38


def test_tilts_run() -> None:
    found = run_controls(reps=20, seed=2, n_boot=99, only=("null_noise", "cut"))
    assert [r.measure for r in found] == ["promoted"] * 4 + ["promoted", "kept of the test's power"] * 2


@pytest.mark.parametrize("arguments", [{"reps": 19}, {"seed": -1}, {"only": ("nothing",)}])
def test_bad_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(DataError):
        run_controls(**({"reps": 20, "seed": 1} | arguments))  # type: ignore[arg-type]


def _row(rate: float, operator: str, bound: float, plain: float | None = None, plain_bound: float | None = None) -> ControlRow:
    return ControlRow(
        scenario="s",
        case="c",
        n_sessions=250,
        measure="m",
        plain_rule="p",
        plain=plain,
        plain_bound=plain_bound,
        rate=rate,
        error=0.01,
        operator=operator,
        bound=bound,
        reps=400,
    )


@pytest.mark.parametrize(
    ("row", "ok"),
    [
        (_row(0.0, "<=", 0.0), True),
        (_row(0.0025, "<=", 0.0), False),
        (_row(0.08, "<=", 0.05), True),
        (_row(0.084, "<=", 0.05), False),
        (_row(0.62, ">=", 0.70), False),
        (_row(0.64, ">=", 0.70), True),
        (_row(0.01, "<=", 0.05, 0.95, 0.90), True),
        (_row(0.01, "<=", 0.05, 0.50, 0.90), False),
    ],
)
def test_bounds_hold_up_to_monte_carlo_error_and_the_plain_rule_must_fail(row: ControlRow, ok: bool) -> None:
    assert row.ok is ok


def test_the_recorded_growth_null_is_one() -> None:
    from policyengine.evidence.statistics.influence import growth_at_es_effect

    baseline, candidate = convex(np.random.default_rng(9), 300, 2000, simulate.CONVEX_NULL_SHARPE)
    assert growth_at_es_effect(baseline.ravel(), candidate.ravel()).annualised == pytest.approx(0.0, abs=0.06)
