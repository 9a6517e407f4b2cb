"""A fitted model that is named in the configuration: where it may speak, and what it is refused for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.signals.forecasts import Silence
from policyengine.spec.ml_secondary import GradientBoosting, NamedModel
from tests.boosting import ENGINE, bits, cut, files, panel_of, said, walk

PANEL = panel_of(walk(np.random.default_rng(1), 260, 5))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model fitted at session 145: rows 0 to 139, targets up to session 142."""
    folder = tmp_path_factory.mktemp("models")
    said(PANEL, folder)
    return files(folder)[1]


def naming(path: Path, spec: GradientBoosting = ENGINE) -> GradientBoosting:
    return replace(spec, model=NamedModel(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()))


def test_it_speaks_only_after_its_targets_and_the_embargo(fitted: Path, tmp_path: Path) -> None:
    made = said(PANEL, tmp_path / "unused", naming(fitted))
    assert set(made.silence[10:145].flat) == {Silence.TRAINED_ON}
    assert set(made.silence[145:].flat) == {Silence.SPEAKS}
    assert np.isnan(made.expected_return[:145]).all()
    assert not (tmp_path / "unused").exists(), "nothing is trained"


def test_where_it_may_speak_it_says_what_it_said_in_the_walk(fitted: Path, tmp_path: Path) -> None:
    walked, named = said(PANEL, fitted.parent), said(PANEL, tmp_path, naming(fitted))
    assert named.expected_return[145:195].tobytes() == walked.expected_return[145:195].tobytes()
    assert named.confidence[145:195].tobytes() == walked.confidence[145:195].tobytes()


def test_on_days_before_its_training_there_is_no_model_yet(fitted: Path, tmp_path: Path) -> None:
    """It knows what came after them."""
    earlier = replace(PANEL, sessions=PANEL.sessions - 100)
    made = said(earlier, tmp_path, naming(fitted))
    assert set(made.silence[10:100].flat) == {Silence.NOT_FITTED}
    assert set(made.silence[100:245].flat) == {Silence.TRAINED_ON}
    assert set(made.silence[245:].flat) == {Silence.SPEAKS}


@pytest.mark.parametrize(("end", "why"), [(145, Silence.TRAINED_ON), (60, Silence.TRAINED_ON)])
def test_on_nothing_but_its_training_data_it_is_silent(fitted: Path, end: int, why: Silence, tmp_path: Path) -> None:
    assert set(said(cut(PANEL, slice(0, end)), tmp_path, naming(fitted)).silence[10:].flat) == {why}


def test_a_longer_embargo_is_obeyed_only_if_it_was_trained_with_it(fitted: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"was trained with embargo_sessions 2; signals\.ml_secondary\.embargo_sessions is 4"):
        said(PANEL, tmp_path, naming(fitted, replace(ENGINE, embargo_sessions=4)))


def test_other_instruments_may_be_asked_of_it(fitted: Path, tmp_path: Path) -> None:
    other = panel_of(walk(np.random.default_rng(9), 200, 2))
    made = said(other, tmp_path, naming(fitted))
    assert set(made.silence[145:].flat) == {Silence.SPEAKS}


def test_thresholds_may_change_after_training(fitted: Path, tmp_path: Path) -> None:
    other = replace(ENGINE, thresholds=replace(ENGINE.thresholds, edge_min=1.0))
    assert bits(said(PANEL, tmp_path, naming(fitted, other))) == bits(said(PANEL, tmp_path, naming(fitted)))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("spans", (1, 3, 9), r"was trained with spans \[1, 3, 8\]; signals\.ml_secondary\.spans is \[1, 3, 9\]"),
        ("horizon_sessions", 2, r"was trained with horizon_sessions 3; signals\.ml_secondary\.horizon_sessions is 2"),
        ("trees", replace(ENGINE.trees, seed=7), r"was trained with trees\.seed 1; signals\.ml_secondary\.trees\.seed is 7"),
    ],
)
def test_one_trained_otherwise_is_refused(fitted: Path, name: str, value: object, rule: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rule) as refused:
        said(PANEL, tmp_path, naming(fitted, replace(ENGINE, **{name: value})))
    assert refused.value.place == str(fitted)


def test_another_file_under_the_name_is_refused(fitted: Path, tmp_path: Path) -> None:
    spec = replace(ENGINE, model=NamedModel(path=str(fitted), sha256="0" * 64))
    with pytest.raises(DataError, match=rf"has SHA-256 [0-9a-f]{{64}}; signals\.ml_secondary\.model\.sha256 is {'0' * 64}"):
        said(PANEL, tmp_path, spec)
