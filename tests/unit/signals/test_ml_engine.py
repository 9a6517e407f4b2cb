from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np
import pytest

from policyengine.errors import ConfigError
from policyengine.signals.forecasts import Silence
from policyengine.signals.ml_secondary import opinions
from policyengine.signals.ml_secondary.stored import read_model
from policyengine.signals.ml_secondary.training import confidence, training_rows
from tests.boosting import ENGINE, bits, cut, files, hit_rate, panel_of, said, volatility_of, walk
from tests.conftest import ROOT

NOISE = panel_of(walk(np.random.default_rng(1), 260, 5))


def test_it_is_silent_until_the_first_fit_and_speaks_from_there(tmp_path: Path) -> None:
    made = said(NOISE, tmp_path)
    assert set(made.silence[:10].flat) == {Silence.SHORT_HISTORY}
    assert set(made.silence[10:95].flat) == {Silence.NOT_FITTED}
    assert set(made.silence[95:].flat) == {Silence.SPEAKS}
    spoken = made.silence == Silence.SPEAKS
    for field in (made.expected_return, made.predicted_volatility, made.confidence):
        assert np.array_equal(np.isfinite(field), spoken)
    assert np.allclose(made.predicted_volatility[spoken], (volatility_of(NOISE) * np.sqrt(3))[spoken], rtol=1e-15)
    assert (made.confidence[spoken] >= 0.5).all()
    assert (made.confidence[spoken] < 1.0).all()


def test_each_session_is_said_by_the_last_model_before_it(tmp_path: Path) -> None:
    made = said(NOISE, tmp_path)
    models = [read_model(path) for path in files(tmp_path)]
    assert [m.training.fitted_at.isoformat() for m in models] == [str(NOISE.sessions[t]) for t in (95, 145, 195, 245)]
    for model, start, stop in zip(models, (95, 145, 195, 245), (145, 195, 245, 260), strict=True):
        scaled = made.expected_return[start:stop] / made.predicted_volatility[start:stop]
        told = confidence(model.fitted.errors, scaled.ravel()).reshape(scaled.shape)
        assert np.allclose(told, made.confidence[start:stop], rtol=0.0, atol=1e-12)
    assert len({m.training.data_hash for m in models}) == 4


def test_a_stored_model_states_its_training(tmp_path: Path) -> None:
    said(NOISE, tmp_path)
    stated = read_model(files(tmp_path)[-1]).training
    train, fold = training_rows(ENGINE, 245)
    days = NOISE.sessions
    assert str(stated.first_row) == str(days[train.start])
    assert str(stated.last_row) == str(days[fold[-1]])
    assert str(stated.last_target) == str(days[fold[-1] + 3])
    assert stated.last_target < stated.fitted_at
    assert sorted(stated.versions) == ["numpy", "scikit-learn"]
    assert stated.symbols == NOISE.symbols


def test_it_learns_what_is_there(tmp_path: Path) -> None:
    """Each return repeats 0.6 of the one before: the sign is then right with 1/2 + asin(0.6) / pi = 0.70."""
    panel = panel_of(walk(np.random.default_rng(2), 500, 8, memory=0.6))
    spec = replace(ENGINE, horizon_sessions=1)
    made = said(panel, tmp_path, spec)
    assert 0.66 < hit_rate(made, panel, 1) < 0.74
    spoken = np.isfinite(made.confidence)
    assert made.confidence[spoken].mean() == pytest.approx(hit_rate(made, panel, 1), abs=0.05)


def test_of_noise_it_knows_no_more_than_a_coin(tmp_path: Path) -> None:
    panel = panel_of(walk(np.random.default_rng(3), 500, 12))
    made = said(panel, tmp_path, replace(ENGINE, horizon_sessions=1))
    assert abs(hit_rate(made, panel, 1) - 0.5) < 0.03
    assert np.nanmean(made.confidence) < 0.55


def test_two_runs_say_the_same_and_the_second_fits_nothing(tmp_path: Path) -> None:
    one = said(NOISE, tmp_path / "one")
    written = {path: path.stat().st_mtime_ns for path in files(tmp_path / "one")}
    again, elsewhere = said(NOISE, tmp_path / "one"), said(NOISE, tmp_path / "two")
    assert bits(one) == bits(again) == bits(elsewhere)
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path / "one")} == written
    assert [p.read_bytes() for p in files(tmp_path / "one")] == [p.read_bytes() for p in files(tmp_path / "two")]


def test_it_says_the_same_in_every_process_with_any_number_of_threads(tmp_path: Path) -> None:
    """Models, to the byte; opinions, to the bit."""
    code = (
        "import hashlib, sys; from pathlib import Path; from tests.boosting import bits, said; "
        "from tests.unit.signals.test_ml_engine import NOISE; "
        "print(hashlib.sha256(b''.join(bits(said(NOISE, Path(sys.argv[1]))))).hexdigest())"
    )
    told = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        command = [sys.executable, "-c", code, str(tmp_path / threads)]
        told.append(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout)
    assert told[0] == told[1]
    assert [p.read_bytes() for p in files(tmp_path / "1")] == [p.read_bytes() for p in files(tmp_path / "2")]
    assert len(files(tmp_path / "1")) == 4


def test_the_seed_and_nothing_else_moves_the_draw(tmp_path: Path) -> None:
    other = replace(ENGINE, trees=replace(ENGINE.trees, seed=2))
    assert bits(said(NOISE, tmp_path / "one")) != bits(said(NOISE, tmp_path / "two", other))


def test_thresholds_and_calibration_are_no_reason_to_fit_again(tmp_path: Path) -> None:
    said(NOISE, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    said(NOISE, tmp_path, replace(ENGINE, thresholds=replace(ENGINE.thresholds, edge_min=9.0)))
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == written
    said(NOISE, tmp_path, replace(ENGINE, horizon_sessions=2))
    assert len(files(tmp_path)) == 2 * len(written)


def test_progress_is_told_after_each_fit(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    said(NOISE, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_each_instrument_is_silent_for_its_own_reason_and_the_others_speak(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    close = walk(rng, 200, 8)
    close[:, 0] = 7.0  # constant
    close[:150, 1] = np.nan  # a late starter
    close[100:130, 2] = close[99, 2]  # a gap, carried
    close[160, 3] = 0.0
    close[:, 4] = 60.0 - 0.9 * np.arange(200)  # falls through zero
    close[170:, 5] = close[169, 5]  # ends
    close[:, 6] = -close[:, 6]
    close[180, 7] = 1e308  # overflows what is squared
    fresh = ~np.isnan(close)
    close[140, 2] = np.nan  # a bar that could not be put in the base currency
    fresh[100:130, 2] = fresh[170:, 5] = False
    panel = panel_of(close, fresh)
    made = said(panel, tmp_path)
    why = made.silence
    assert set(why[95:, 0]) == {Silence.CONSTANT}
    assert set(why[:150, 1]) == {Silence.NO_BAR}
    assert set(why[150:160, 1]) == {Silence.SHORT_HISTORY}
    assert set(why[160:, 1]) == {Silence.SPEAKS}
    assert set(why[100:130, 2]) == {Silence.NO_BAR}
    assert set(why[130:140, 2]) == {Silence.SPEAKS}
    assert why[140, 2] == Silence.NO_BAR
    assert set(why[141:, 2]) == {Silence.SPEAKS}
    assert why[160, 3] == Silence.UNUSABLE_PRICE
    assert set(why[161:, 3]) == {Silence.SPEAKS}
    assert set(why[95:, 4]) == {Silence.SPEAKS}
    assert set(why[170:, 5]) == {Silence.NO_BAR}
    assert set(why[95:, 6]) == {Silence.SPEAKS}
    assert set(why[95:180, 7]) == {Silence.SPEAKS}
    spoken = why == Silence.SPEAKS
    for field in (made.expected_return, made.predicted_volatility, made.confidence):
        assert np.isfinite(field[spoken]).all()
        assert np.isnan(field[~spoken]).all()


def test_prices_below_zero_mirror_prices_above(tmp_path: Path) -> None:
    """Every fall of a price is a rise of its negative: the same returns with the other sign, to learn and to say."""
    rising = panel_of(walk(np.random.default_rng(5), 300, 8, memory=0.6))
    negative = replace(rising, close=-rising.close)
    spec = replace(ENGINE, horizon_sessions=1)
    assert hit_rate(said(negative, tmp_path, spec), negative, 1) > 0.62


def test_where_nothing_is_known_nothing_is_said_or_fitted(tmp_path: Path) -> None:
    constant = panel_of(np.full((150, 3), 5.0))
    assert set(said(constant, tmp_path).silence[10:].flat) == {Silence.CONSTANT}
    nothing = panel_of(np.full((150, 3), np.nan))
    assert set(said(nothing, tmp_path).silence.flat) == {Silence.NO_BAR}
    unmeasured = opinions(ENGINE, NOISE, np.full(NOISE.close.shape, np.nan), models=tmp_path)
    assert set(unmeasured.silence.flat) == {Silence.SHORT_HISTORY}
    assert not files(tmp_path)


@pytest.mark.parametrize("sessions", [1, 3, 4, 95])
def test_a_short_panel_is_silent(sessions: int, tmp_path: Path) -> None:
    panel = cut(NOISE, slice(0, sessions))
    made = said(panel, tmp_path)
    assert not (made.silence == Silence.SPEAKS).any()
    assert not files(tmp_path)


def test_too_few_instruments_for_a_leaf_are_not_fitted(tmp_path: Path) -> None:
    spec = replace(ENGINE, trees=replace(ENGINE.trees, min_samples_leaf=5_000))
    made = said(NOISE, tmp_path, spec)
    assert set(made.silence[10:].flat) == {Silence.NOT_FITTED}
    assert not files(tmp_path)


def test_an_absent_extra_is_named_before_anything_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a search path where NumPy is installed and scikit-learn is not."""
    found = distribution("numpy").locate_file("numpy-" + version("numpy") + ".dist-info")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / Path(str(found)).name).symlink_to(Path(str(found)))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "path")])
    with pytest.raises(ConfigError, match=r"needs scikit-learn, which is not installed: pip install 'barbell-policyengine\[ml\]'"):
        said(NOISE, tmp_path / "models")
    assert not (tmp_path / "models").exists()
