"""Future rows change neither what the trees said earlier nor which trees said it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.signals.forecasts import Silence
from policyengine.signals.ml_secondary.stored import read_model
from policyengine.signals.ml_secondary.training import training_rows
from tests.boosting import ENGINE, bits, cut, files, panel_of, said, walk

SESSIONS = 230


def models(folder: Path, until: str) -> dict[str, bytes]:
    """The files of the fits up to a day."""
    return {path.name: path.read_bytes() for path in files(folder) if path.name[:10] <= until}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), now=st.integers(60, SESSIONS - 2))
def test_what_comes_after_a_session_changes_nothing_up_to_it(seed: int, now: int) -> None:
    """Prices, bars and whole sessions after it: not a bit of an opinion, not a byte of a model."""
    rng = np.random.default_rng(seed)
    close = walk(rng, SESSIONS, 4)
    fresh = rng.random(close.shape) < 0.95
    changed, other = close.copy(), fresh.copy()
    changed[now + 1 :] = rng.normal(size=changed[now + 1 :].shape) * 10.0 ** rng.integers(-3, 7)
    other[now + 1 :] = rng.random(other[now + 1 :].shape) < 0.5
    panel, future = panel_of(close, fresh), panel_of(changed, other)
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / name for name in ("as_is", "changed", "ended")]
        told = [said(p, folder) for p, folder in zip((panel, future, cut(panel, slice(0, now + 1))), folders, strict=True)]
        assert bits(told[0], now + 1) == bits(told[1], now + 1) == bits(told[2], now + 1)
        today = str(panel.sessions[now])
        assert models(folders[0], today) == models(folders[1], today) == models(folders[2], today)
        assert (now >= 95) == bool(models(folders[0], today))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 12), embargo=st.integers(0, 6))
def test_a_fit_knows_nothing_from_its_embargo_on(seed: int, horizon: int, embargo: int) -> None:
    """The fit at session t: its file is the same to the byte whatever happens from t - embargo on, and another for what came before."""
    spec = replace(ENGINE, horizon_sessions=horizon, embargo_sessions=embargo)
    rng = np.random.default_rng(seed)
    close = walk(rng, 120, 4)
    session = spec.warmup_sessions + horizon + embargo
    with tempfile.TemporaryDirectory() as root:
        made = []
        for k, first in enumerate((session + 1, session - embargo, session - embargo - 1)):
            changed = close.copy()
            changed[first:] *= 1.0 + rng.random(changed[first:].shape)
            panel = panel_of(cut(panel_of(changed), slice(0, session + 1)).close)
            assert (said(panel, Path(root) / str(k), spec).silence[session] == Silence.SPEAKS).all()
            (path,) = files(Path(root) / str(k))
            made.append(path.read_bytes())
    assert made[0] == made[1]
    assert made[0] != made[2]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_trees_know_nothing_of_the_fold_that_measures_them(seed: int) -> None:
    """Whatever happens from the fold's first session less the embargo on, the trees are the same; the errors in the fold are not."""
    rng = np.random.default_rng(seed)
    close = walk(rng, 96, 4)
    train, fold = training_rows(ENGINE, 95)
    changed = close.copy()
    changed[fold.start - ENGINE.embargo_sessions :] *= 1.0 + rng.random(changed[fold.start - ENGINE.embargo_sessions :].shape)
    assert train[-1] + ENGINE.horizon_sessions == fold.start - ENGINE.embargo_sessions - 1
    with tempfile.TemporaryDirectory() as root:
        fitted = []
        for k, prices in enumerate((close, changed)):
            said(panel_of(prices), Path(root) / str(k))
            (path,) = files(Path(root) / str(k))
            fitted.append(read_model(path).fitted)
    one, two = fitted
    for name in ("roots", "feature", "threshold", "left", "right", "missing_left", "value"):
        assert getattr(one.trees, name).tobytes() == getattr(two.trees, name).tobytes(), name
    assert one.trees.start == two.trees.start
    assert one.errors.tobytes() != two.errors.tobytes()
