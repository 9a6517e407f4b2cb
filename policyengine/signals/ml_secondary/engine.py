"""Opinions of the trees: walk-forward, each session by the last model fitted before it, or by one model that is named."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.market.panel import PricePanel
from policyengine.signals.forecasts import Opinions, Silence
from policyengine.signals.ml_secondary.features import feature_hash, features
from policyengine.signals.ml_secondary.stored import Stored, Training, check_fits, read_model, settings_of, write_model
from policyengine.signals.ml_secondary.training import (
    Fitted,
    Rows,
    confidence,
    fit,
    fit_sessions,
    library_versions,
    targets,
    training_rows,
)
from policyengine.signals.ml_secondary.trees import predicted
from policyengine.signals.returns import FLAT
from policyengine.spec.ml_secondary import GradientBoosting, NamedModel
from policyengine.spec.root import digest

Floats = NDArray[np.float64]
Speakers = Iterator[tuple[slice, Fitted | Silence]]
"""Sessions, and the model that speaks on them or why none does. Sessions that are in no slice have none yet."""


def opinions(
    spec: GradientBoosting,
    panel: PricePanel,
    volatility: Floats,
    *,
    models: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Opinions:
    """Opinions (T, N) on every bar of the panel; row t knows sessions up to t only, its model included.

    `volatility` (T, N) is of one session's return, a fraction; NaN where it is unknown. Fits are kept in the folder `models` and used
    again when settings, data and libraries are the same; one that differs, is torn or altered is made again. `progress` is told
    (done, total) after each fit.

    Silent, the first that applies: without a bar, or where its close is not a number; without volatility, or before the first feature
    is known; where nothing moves; at a price of 0, from which there is no return; without a model; and up to the embargo after the last
    target of a model that is named.

    Raises:
        ConfigError: the extra is not installed.
        DataError: `spec.model` cannot be read, is another file, or was trained otherwise.
        OutputError: a model cannot be written.
    """
    panel = replace(panel, fresh=panel.fresh & np.isfinite(panel.close))
    known = _Known(spec, panel, volatility)
    silence = _silence(panel, volatility, known.x)
    silence[silence == Silence.SPEAKS] = Silence.NOT_FITTED
    expected, sure = np.full(silence.shape, np.nan), np.full(silence.shape, np.nan)
    speakers = _walk(spec, panel, known, models, progress) if spec.model is None else _named(spec, spec.model, panel)
    for rows, speaker in speakers:
        asked = silence[rows] == Silence.NOT_FITTED
        if isinstance(speaker, Silence):
            silence[rows][asked] = speaker
            continue
        said = speaker.slope * predicted(speaker.trees, known.x[rows][asked])
        expected[rows][asked] = said
        sure[rows][asked] = confidence(speaker.errors, said)
        silence[rows][asked] = Silence.SPEAKS
    spread = np.where(silence == Silence.SPEAKS, volatility * math.sqrt(spec.horizon_sessions), np.nan)
    return Opinions(expected_return=expected * spread, predicted_volatility=spread, confidence=sure, silence=silence)


class _Known:
    """Features (T, N, F) and targets (T, N) of a panel."""

    def __init__(self, spec: GradientBoosting, panel: PricePanel, volatility: Floats) -> None:
        usable = np.where(np.isfinite(volatility) & (volatility > FLAT), volatility, np.nan)
        self.x = features(spec.spans, panel.close, panel.fresh, usable)
        self.y = targets(spec, panel.close, panel.fresh, usable)

    def rows(self, of: range) -> Rows:
        """The rows of the sessions `of` that have a target and a feature."""
        x, y = self.x[of.start : of.stop], self.y[of.start : of.stop]
        has = ~np.isnan(y) & ~np.isnan(x).all(axis=2)
        return Rows(x=x[has], y=y[has], instrument=np.nonzero(has)[1])

    def digest(self, first: int, last: int) -> str:
        """SHA-256 of features and targets of the rows `first` to `last`."""
        made = hashlib.sha256()
        for part in (self.x, self.y):
            made.update(np.ascontiguousarray(part[first : last + 1], dtype="<f8").data)
        return made.hexdigest()


def _silence(panel: PricePanel, volatility: Floats, x: Floats) -> NDArray[np.int8]:
    reasons = (
        (~panel.fresh, Silence.NO_BAR),
        (~np.isfinite(volatility), Silence.SHORT_HISTORY),
        (volatility <= FLAT, Silence.CONSTANT),
        (panel.close == 0.0, Silence.UNUSABLE_PRICE),
        (np.isnan(x).all(axis=2), Silence.SHORT_HISTORY),
    )
    return np.select([where for where, _ in reasons], [why for _, why in reasons], Silence.SPEAKS).astype(np.int8)


def _walk(spec: GradientBoosting, panel: PricePanel, known: _Known, models: Path, progress: Callable[[int, int], None] | None) -> Speakers:
    """Each fit of the schedule with the sessions until the next, from the folder where it stands there."""
    settings, versions, hashed = settings_of(spec), library_versions(), feature_hash(spec.spans)
    name = digest([settings, panel.symbols])[:16]
    schedule = fit_sessions(spec, panel.sessions.size)
    for k, session in enumerate(schedule):
        train, fold = training_rows(spec, session)
        training = Training(
            spec_digest=digest(settings),
            feature_hash=hashed,
            versions=versions,
            symbols=panel.symbols,
            first_row=_day(panel, train.start),
            last_row=_day(panel, fold.stop - 1),
            last_target=_day(panel, fold.stop - 1 + spec.horizon_sessions),
            fitted_at=_day(panel, session),
            data_hash=known.digest(train.start, fold.stop - 1),
        )
        path = models / f"{training.fitted_at}_{name}.json"
        model = _kept(path, training)
        if model is None:
            model = fit(spec.trees, known.rows(train), known.rows(fold))
            if model is not None:
                write_model(path, Stored(settings=settings, training=training, fitted=model))
        yield slice(session, session + spec.refit_sessions), Silence.NOT_FITTED if model is None else model
        if progress is not None:
            progress(k + 1, len(schedule))


def _kept(path: Path, training: Training) -> Fitted | None:
    """The model in the file, if it is whole and was made from exactly this."""
    try:
        stored = read_model(path)
    except DataError:
        return None
    return stored.fitted if stored.training == training else None


def _named(spec: GradientBoosting, model: NamedModel, panel: PricePanel) -> Speakers:
    """The named model, on the sessions that it has neither trained on nor, through its targets, seen the outcome of.

    Before its first row it is not there yet: it would speak of days whose future it knows.
    """
    path = Path(model.path)
    stored = read_model(path, model.sha256)
    check_fits(stored, spec, str(path))
    trained = stored.training
    first = int(np.searchsorted(panel.sessions, np.datetime64(trained.first_row)))
    after = int(np.searchsorted(panel.sessions, np.datetime64(trained.last_target), side="right")) + spec.embargo_sessions
    yield slice(first, after), Silence.TRAINED_ON
    yield slice(after, None), stored.fitted


def _day(panel: PricePanel, session: int) -> date:
    return date.fromisoformat(str(panel.sessions[session].astype("datetime64[D]")))
