from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from policyengine.errors import ConfigError
from policyengine.signals.ml_secondary.training import (
    QUANTILES,
    SHARES,
    TARGET_LIMIT,
    Fitted,
    Rows,
    confidence,
    fit,
    fit_sessions,
    targets,
    training_rows,
)
from policyengine.signals.ml_secondary.trees import predicted
from tests.boosting import ENGINE, Floats, panel_of, volatility_of, walk

TREES = ENGINE.trees


def rows_of(x: Floats, y: Floats, instrument: int = 0) -> Rows:
    return Rows(x=x, y=y, instrument=np.full(y.size, instrument, dtype=np.intp))


def test_fits_stand_where_the_schedule_says() -> None:
    """The first once 90 rows have targets that ended before the embargo: 90 + 3 + 2."""
    assert list(fit_sessions(ENGINE, 200)) == [95, 145, 195]
    assert list(fit_sessions(ENGINE, 95)) == []
    assert training_rows(ENGINE, 95) == (range(45), range(50, 90))
    assert training_rows(ENGINE, 295) == (range(140, 245), range(250, 290))


@pytest.mark.parametrize("horizon", [1, 3, 20])
@pytest.mark.parametrize("embargo", [0, 1, 5])
def test_every_row_is_purged_and_embargoed(horizon: int, embargo: int) -> None:
    """s + horizon < t - embargo: of the fit for what is forecast, and of the training rows for the fold; no row is given away."""
    spec = replace(ENGINE, horizon_sessions=horizon, embargo_sessions=embargo)
    for session in fit_sessions(spec, 600):
        train, fold = training_rows(spec, session)
        assert fold[-1] + horizon < session - embargo <= fold[-1] + 1 + horizon
        assert train[-1] + horizon < fold[0] - embargo <= train[-1] + 1 + horizon
        assert len(fold) == spec.fold_sessions
        assert spec.warmup_sessions <= fold[-1] - train[0] + 1 <= spec.train_sessions


def test_targets_are_returns_in_standard_deviations() -> None:
    close = np.array([[100.0, -10.0], [101.0, -9.0], [102.0, -8.0], [104.0, -7.0], [110.0, -9.0]])
    made = targets(ENGINE, close, close != 0.0, np.full(close.shape, 0.05))
    unit = 0.05 * math.sqrt(3)
    assert made[0] == pytest.approx([0.04 / unit, 0.3 / unit])
    assert made[1] == pytest.approx([9.0 / 101.0 / unit, 0.0])
    assert np.isnan(made[2:]).all(), "their outcome is not there yet"


def test_targets_are_missing_where_nothing_is_known() -> None:
    nan = math.nan
    close = np.array([[nan, 1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0, 9.0]])
    fresh = np.array([[False, True, True, True, True], [True, False, False, True, True], [True, False, True, True, True], [True] * 5])
    volatility = np.full(close.shape, 0.1)
    volatility[0, 2] = nan
    spec = replace(ENGINE, horizon_sessions=2)
    made = targets(spec, close, fresh, volatility)
    assert np.isnan(made[0]).tolist() == [True, True, True, True, False], "no bar, none since, no volatility, a price of 0"
    assert made[0, 4] == TARGET_LIMIT, "a return of 7 standard deviations"
    assert np.isnan(targets(spec, close[:2], fresh[:2], volatility[:2])).all()


def test_confidence_is_one_minus_half_the_larger_errors() -> None:
    errors = np.quantile(np.arange(1.0, 1001.0), SHARES)
    assert confidence(errors, np.array([0.0, 500.0, -500.0, 800.0])) == pytest.approx([0.5, 0.75, 0.75, 0.9], abs=0.002)
    assert 0.99 < confidence(errors, np.array([1e9]))[0] < 1.0
    assert confidence(errors, np.array([1e-9]))[0] == 0.5


def test_a_model_that_the_fold_denies_expects_nothing() -> None:
    """In training y is x; in the fold it is -x, x, or half of x."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2_000, 1))
    train = rows_of(x, x[:, 0] + 0.01 * rng.normal(size=2_000))
    spec = replace(TREES, max_iter=100)
    for factor, low, high in ((-1.0, 0.0, 0.0), (1.0, 0.95, 1.0), (0.5, 0.45, 0.55)):
        fitted = fit(spec, train, rows_of(x[:500], factor * x[:500, 0]))
        assert fitted is not None
        assert low <= fitted.slope <= high


def test_one_instrument_does_not_vouch_for_the_others() -> None:
    """One that only ever rises is foretold without fail; the outcomes of the two others deny what is said of them."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=(900, 1)), np.full((300, 1), 9.0)])
    y = np.concatenate([x[:900, 0], np.full(300, 5.0)])
    instrument = np.repeat([0, 1, 2], [450, 450, 300])
    denied = np.where(instrument == 2, y, -0.3 * y)
    fitted = fit(TREES, Rows(x=x, y=y, instrument=instrument), Rows(x=x, y=denied, instrument=instrument))
    assert fitted is not None
    said = predicted(fitted.trees, x)
    assert said @ denied > 0.0, "all together would confirm the model, and so would the mean of their slopes"
    assert fitted.slope == 0.0


def test_too_few_rows_are_no_model() -> None:
    x, y = np.arange(100.0)[:, None], np.arange(100.0)
    assert fit(TREES, rows_of(x[:39], y[:39]), rows_of(x, y)) is None
    assert fit(TREES, rows_of(x, y), rows_of(x[:19], y[:19])) is None
    assert isinstance(fit(TREES, rows_of(x[:40], y[:40]), rows_of(x[:20], y[:20])), Fitted)


def test_a_feature_without_any_value_and_equal_targets_are_fitted() -> None:
    x = np.stack([np.full(60, np.nan), np.arange(60.0)], axis=1)
    fitted = fit(TREES, rows_of(x, np.ones(60)), rows_of(x, np.ones(60)))
    assert fitted is not None
    assert fitted.errors.shape == (QUANTILES,)
    assert predicted(fitted.trees, x) == pytest.approx(np.ones(60))


def test_an_unpurged_fit_would_see_the_future_and_the_purged_one_does_not() -> None:
    """Random walks, targets over 20 sessions, and a feature that says which session it is. The target of the session before is nearly
    that of this one: trained up to the eve, a model foretells what cannot be foretold; on the rows it may know, it cannot.
    """
    spec = replace(ENGINE, horizon_sessions=20)
    trees = replace(TREES, max_iter=2, learning_rate=1.0, max_leaf_nodes=50, min_samples_leaf=2, feature_frac=1.0, l2=0.0)
    session = 200
    clock = np.arange(250.0)[:, None]
    leaky, purged, came = [], [], []
    for seed in range(60):
        panel = panel_of(walk(np.random.default_rng(seed), 250, 1))
        y = targets(spec, panel.close, panel.fresh, volatility_of(panel))[:, 0]
        for end, made in ((session, leaky), (training_rows(spec, session)[1].stop, purged)):
            known = rows_of(clock[100:end], y[100:end])
            fitted = fit(trees, known, known)
            assert fitted is not None
            made.append(predicted(fitted.trees, clock[[session]])[0])
        came.append(y[session])
    assert np.corrcoef(leaky, came)[0, 1] > 0.9
    assert np.corrcoef(purged, came)[0, 1] < 0.3


@pytest.mark.parametrize("absent", ["sklearn.ensemble", "threadpoolctl"])
def test_without_the_extra_it_says_what_to_install(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)  # what Python finds of a package that is not there
    rows = rows_of(np.arange(60.0)[:, None], np.arange(60.0))
    with pytest.raises(ConfigError) as refused:
        fit(TREES, rows, rows)
    rule = f"gradient_boosting needs {absent}, which is not installed: pip install 'barbell-policyengine[ml]'"
    assert str(refused.value) == f"signals.ml_secondary.kind: {rule}"
