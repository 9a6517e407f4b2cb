from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from arch.univariate import GARCH, ZeroMean

from policyengine.signals import garch
from policyengine.signals.forecasts import Silence
from policyengine.signals.kept import Kept
from policyengine.signals.returns import returns, surprises, weighted_mean
from tests import engines


def simulated(seed: int, sessions: int) -> np.ndarray:
    """Surprises of a GARCH(1,1) with a = 0.1, b = 0.85 and a volatility of 2%."""
    rng = np.random.default_rng(seed)
    omega = 0.05 * 0.02**2
    variance, made = 0.02**2, []
    for _ in range(sessions):
        made.append(np.sqrt(variance) * rng.normal())
        variance = omega + 0.1 * made[-1] ** 2 + 0.85 * variance
    return np.array(made)


def test_variances_ahead_add_up() -> None:
    """w = 0.1, a + b = 0.5, from 0.4: 0.4 + 0.3 + 0.25."""
    assert garch.over_horizon(np.array([0.4, 0.2]), 0.1, 0.5, 3) == pytest.approx([0.95, 0.6])
    assert garch.over_horizon(np.array([0.4]), 0.1, 0.5, 1) == pytest.approx([0.4])


@pytest.mark.parametrize("dist", ["normal", "t"])
def test_forecasts_what_arch_forecasts(dist: str) -> None:
    """At the end of the training span: arch's own analytic forecast, added up; each session on, its recursion on all so far."""
    series = simulated(1, 620)
    train, later = series[:600], series[600:]
    made = garch.horizon_variance(engines.garch(dist=dist, horizon_sessions=7), train, later)
    assert made is not None
    scale = np.sqrt(np.mean(train**2))
    distribution = garch._DISTRIBUTIONS[dist]()
    fit = ZeroMean(train / scale, volatility=GARCH(p=1, q=1), distribution=distribution, rescale=False).fit(disp="off")
    assert made[0] == pytest.approx(float(fit.forecast(horizon=7).variance.to_numpy()[-1].sum()) * scale**2, rel=1e-10)
    omega, alpha, beta = fit.params.to_numpy()[:3]
    variance = fit.conditional_volatility[-1] ** 2
    for surprise in series[599:]:
        variance = omega + alpha * (surprise / scale) ** 2 + beta * variance
    total = sum(omega * sum((alpha + beta) ** j for j in range(k)) + (alpha + beta) ** k * variance for k in range(7))
    assert made[-1] == pytest.approx(total * scale**2, rel=1e-10)
    assert made.size == 21


def test_finds_the_volatility_that_made_the_prices() -> None:
    """The error of the forecast variance against the true one is less than half of that of a constant."""
    returned = simulated(4, 1500)
    close = 100.0 * np.cumprod(1.0 + returned)[:, None]
    engine = engines.garch(train_sessions=700, warmup_sessions=500, refit_sessions=100, horizon_sessions=1)
    made = garch.opinions(engine, close, np.ones(close.shape, dtype=bool))
    omega, true, variance = 0.05 * 0.02**2, [], 0.02**2
    for value in returned:
        variance = omega + 0.1 * value**2 + 0.85 * variance
        true.append(variance)
    late = slice(600, None)
    off = np.abs(made.predicted_volatility[late, 0] - np.sqrt(true[late]))
    assert off.mean() < 0.5 * np.abs(np.sqrt(true[late]) - np.mean(np.sqrt(true))).mean()


def test_the_drift_is_that_of_ewma_and_the_models_are_its_own() -> None:
    close = engines.walk(3, 150, 2)
    engine = engines.garch()
    fresh = np.ones(close.shape, dtype=bool)
    made = garch.opinions(engine, close, fresh)
    change = returns(close, fresh)
    drift = weighted_mean(change, 20.0)
    speaks = made.silence == Silence.SPEAKS
    assert speaks[60:].all()
    assert not speaks[:60].any()
    assert made.expected_return[speaks] == pytest.approx(4 * drift[speaks], rel=1e-14)
    series = surprises(change, drift)[1:, 0]
    second = garch.horizon_variance(engine, series[:75], series[75:89])
    assert second is not None
    assert made.predicted_volatility[75:90, 0] == pytest.approx(np.sqrt(second), rel=1e-14)


def test_a_model_that_cannot_be_fitted_is_a_reason_and_the_next_is_tried() -> None:
    """Prices that hardly move, but for a leap on the last session of the first training span: nothing to estimate a recursion from."""
    change = np.concatenate([1e-9 * simulated(5, 59), [1.5], simulated(2, 140)])
    close = np.column_stack([100.0 * np.cumprod(np.append(1.0, 1.0 + change)), engines.walk(3, 201, 1)[:, 0]])
    made = garch.opinions(engines.garch(dist="t", train_sessions=60), close, np.ones(close.shape, dtype=bool))
    assert (made.silence[60:75, 0] == Silence.NOT_FITTED).all()
    assert np.isnan(made.predicted_volatility[60:75, 0]).all()
    assert (made.silence[135:, 0] == Silence.SPEAKS).all()
    assert (made.silence[60:, 1] == Silence.SPEAKS).all()


def test_says_nothing_of_prices_that_stand_still_or_follow_zero() -> None:
    close = np.column_stack([np.full(90, 3.0), engines.walk(1, 90, 1)[:, 0]])
    close[80, 1] = 0.0
    made = garch.opinions(engines.garch(), close, np.ones(close.shape, dtype=bool))
    assert (made.silence[60:, 0] == Silence.CONSTANT).all()
    assert made.silence[79:83, 1].tolist() == [Silence.SPEAKS, Silence.UNUSABLE_PRICE, Silence.UNUSABLE_PRICE, Silence.SPEAKS]


def test_leaves_the_warnings_of_others_alone() -> None:
    before = list(warnings.filters)
    close = engines.walk(3, 70, 1)
    garch.opinions(engines.garch(), close, np.ones(close.shape, dtype=bool))
    assert list(warnings.filters) == before


def test_what_is_kept_is_of_the_same_series_settings_and_libraries(tmp_path: Path) -> None:
    close = engines.walk(3, 70, 2)
    fresh = np.ones(close.shape, dtype=bool)
    kept = Kept(folder=tmp_path)
    done: list[tuple[int, int]] = []
    first = garch.opinions(engines.garch(), close, fresh, kept=kept, progress=lambda *told: done.append(told))
    assert done == [(1, 2), (2, 2)]
    assert len(list(tmp_path.iterdir())) == 2
    again = garch.opinions(engines.garch(thresholds=engines.COMMON["thresholds"], calibration=None), close, fresh, kept=kept)
    assert again.predicted_volatility.tobytes() == first.predicted_volatility.tobytes()
    assert len(list(tmp_path.iterdir())) == 2, "thresholds and calibration do not make another model"
    garch.opinions(engines.garch(dist="t"), close, fresh, kept=kept)
    changed = close.copy()
    changed[-1, 0] += 1e-9
    garch.opinions(engines.garch(), changed, fresh, kept=kept)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_kept_file_that_is_torn_is_made_again(tmp_path: Path) -> None:
    close = engines.walk(3, 70, 1)
    fresh = np.ones(close.shape, dtype=bool)
    kept = Kept(folder=tmp_path)
    first = garch.opinions(engines.garch(), close, fresh, kept=kept)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:100])
    second = garch.opinions(engines.garch(), close, fresh, kept=kept)
    assert second.predicted_volatility.tobytes() == first.predicted_volatility.tobytes()
    assert path.read_bytes() == content
