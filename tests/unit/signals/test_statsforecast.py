from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from policyengine.signals.forecasts import Opinions, Silence
from policyengine.signals.kept import Kept
from policyengine.signals.ts_core import forecast
from tests import engines

pytestmark = pytest.mark.statsforecast
MODELS = ("AutoARIMA", "AutoETS", "Theta")


def opinions(close: np.ndarray, model: str, **changes: object) -> Opinions:
    from policyengine.signals import statsforecast_engine

    engine = engines.statsforecast(model=model, **changes)
    return statsforecast_engine.opinions(engine, close, np.ones(close.shape, dtype=bool))


@pytest.mark.parametrize("model", MODELS)
def test_expects_what_the_library_forecasts_of_the_level(model: str) -> None:
    """At a fit: the library's own prediction of the sum of returns, less where it stands."""
    from policyengine.signals.statsforecast_engine import _MODELS

    close = engines.walk(3, 80, 1)
    made = opinions(close, model)
    change = np.diff(close[:, 0]) / close[:-1, 0]
    for row, start in ((60, 0), (75, 0)):
        level = np.append(0.0, np.cumsum(change[start:row]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = _MODELS[model]().fit(level).predict(4)["mean"][-1] - level[-1]
        assert made.expected_return[row, 0] == pytest.approx(wanted, abs=1e-12)
    weights = 0.5 ** (np.arange(78, -1, -1) / 10.0)
    assert made.predicted_volatility[-1, 0] == pytest.approx(2.0 * np.sqrt(np.average(change**2, weights=weights)), rel=1e-12)


def test_theta_expects_half_of_a_straight_rise() -> None:
    """Its line of no curvature rises by the slope, the other not at all: half the slope a session, from a level that stays close."""
    rng = np.random.default_rng(3)
    change = np.tile([0.011, 0.009], 60) + rng.normal(0, 1e-5, 120)
    made = opinions(100.0 * np.cumprod(np.append(1.0, 1.0 + change))[:, None], "Theta", horizon_sessions=20)
    assert made.expected_return[-1, 0] == pytest.approx(20 * 0.01 / 2, rel=0.15)


@pytest.mark.parametrize("model", MODELS)
def test_a_trend_is_seen_and_a_fall_is_the_mirror_of_a_rise(model: str) -> None:
    rng = np.random.default_rng(8)
    change = 0.01 + rng.normal(0, 0.004, 150)
    rise = opinions(100.0 * np.cumprod(np.append(1.0, 1.0 + change))[:, None], model)
    fall = opinions(100.0 * np.cumprod(np.append(1.0, 1.0 - change))[:, None], model)
    assert (rise.expected_return[60:] > 0.0).mean() > 0.9
    assert (fall.expected_return[60:] < 0.0).mean() > 0.9


@pytest.mark.parametrize("model", MODELS)
def test_each_symbol_that_cannot_be_judged_has_its_reason_and_leaves_the_others_theirs(model: str) -> None:
    engine = engines.statsforecast(model=model, calibration=None)
    symbols, close, fresh = engines.sample(160)
    made = forecast(engine, close, fresh, cost_frac=0.0)
    last = dict(zip(symbols, (Silence(code) for code in made.silence[-1].tolist()), strict=True))
    assert last["constant"] is Silence.CONSTANT
    assert last["ended"] is last["never"] is Silence.NO_BAR
    assert last["short"] is Silence.SHORT_HISTORY
    for symbol in ("fine", "negative", "late"):
        assert np.isfinite(made.expected_return[-1, symbols.index(symbol)]), symbol
    assert made.silence[150:152, symbols.index("zero")].tolist() == [Silence.UNUSABLE_PRICE, Silence.UNUSABLE_PRICE]
    for i in range(len(symbols)):
        alone = forecast(engine, close[:, [i]], fresh[:, [i]], cost_frac=0.0)
        for name in engines.FIELDS:
            assert getattr(alone, name)[:, 0].tobytes() == getattr(made, name)[:, i].tobytes(), (symbols[i], name)


@pytest.mark.parametrize("model", ["AutoETS", "Theta"])
def test_a_model_that_cannot_be_fitted_or_applied_says_nothing(model: str) -> None:
    from policyengine.signals import statsforecast_engine as engine

    change = np.random.default_rng(1).normal(0, 0.01, 60)
    spec = engines.statsforecast(model=model, horizon_sessions=1)
    assert engine.horizon_return(spec, change[:2], change[2:5]) is None, "too few for the library"
    assert math.isnan(engine._ahead(object(), change, 1)), "no model"
    assert np.isfinite(engine.horizon_return(spec, change, change[:3])).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_lost_its_footing_is_not_heard(model: str) -> None:
    """One return of 10^90 after a fit: whatever the level is then taken to do, no such move was ever seen."""
    change = np.random.default_rng(1).normal(0.001, 0.01, 130)
    change[100] = 1e90
    made = opinions(100.0 * np.cumprod(np.append(1.0, 1.0 + change))[:, None], model)
    loud = np.abs(made.expected_return) > 1.0
    assert not loud[61:101].any()
    assert (made.silence[101:105] == Silence.NOT_FITTED).all() or (made.expected_return[101:105] == 0.0).all()
    assert (np.isnan(made.expected_return) == (made.silence != Silence.SPEAKS)).all()


def test_is_kept(tmp_path: Path) -> None:
    close = engines.walk(3, 90, 2)
    fresh = np.ones(close.shape, dtype=bool)
    kept, done = Kept(folder=tmp_path), []
    first = forecast(engines.statsforecast(), close, fresh, cost_frac=0.0, kept=kept, progress=lambda *told: done.append(told))
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert (len(stamps), done) == (2, [(1, 2), (2, 2)])
    engines.same(forecast(engines.statsforecast(), close, fresh, cost_frac=0.0, kept=kept), first, 90)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps


def test_leaves_the_warnings_of_others_alone() -> None:
    close = engines.walk(3, 70, 1)
    before = list(warnings.filters)
    forecast(engines.statsforecast(model="AutoARIMA"), close, np.ones(close.shape, dtype=bool), cost_frac=0.0)
    assert list(warnings.filters) == before
