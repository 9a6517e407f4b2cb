"""Models fitted to one instrument at a time, again and again through its history, and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import policyengine
from policyengine.signals.forecasts import Floats, Silence
from policyengine.signals.kept import Kept
from policyengine.signals.returns import FLAT, silences
from policyengine.spec.bind import plain
from policyengine.spec.ts_core import FittedEngine

Carry = Callable[[Floats, Floats], Floats | None]
"""(train, later) -> a forecast after the last of `train` and one after each of `later`, NaN where there is none.

The model knows `train` only; a forecast knows nothing that comes after it. None where no model could be fitted.
"""

Progress = Callable[[int, int], None]


class Fitted(NamedTuple):
    """Forecasts (T, N) and why there is none, (T, N); NaN exactly where `silence` is not SPEAKS."""

    forecast: Floats
    silence: NDArray[np.int8]


def fitted(
    engine: FittedEngine,
    carry: Carry,
    values: Floats,
    close: Floats,
    fresh: NDArray[np.bool_],
    *,
    versions: Mapping[str, str],
    kept: Kept | None,
    progress: Progress | None,
) -> Fitted:
    """Walk each instrument's `values` (T, N), NaN on sessions without one, with models of `engine` that `carry` fits.

    What was `kept` of the same values, settings and `versions` of libraries is not done again.
    """
    count = np.isfinite(values).cumsum(axis=0)
    silence = silences(close, fresh, short=count < engine.warmup_sessions, flat=np.zeros(close.shape, dtype=np.bool_))
    # a bar after a price of 0 has no return, and so nothing to forecast from
    silence[(silence == Silence.SPEAKS) & np.isnan(values)] = Silence.UNUSABLE_PRICE
    forecast = np.full(close.shape, np.nan)
    settings = _settings(engine, versions)
    names = close.shape[1]
    for i in range(names):
        rows = np.flatnonzero(np.isfinite(values[:, i]))
        made = _once(engine, carry, values[rows, i], settings, kept)
        speaks = silence[rows, i] == Silence.SPEAKS
        silence[rows[speaks], i] = made.silence[speaks]
        forecast[rows[speaks], i] = made.forecast[speaks]
        if progress is not None:
            progress(i + 1, names)
    return Fitted(forecast, silence)


def _once(engine: FittedEngine, carry: Carry, series: Floats, settings: bytes, kept: Kept | None) -> Fitted:
    """The walk over one instrument's values (K,), from what was kept or done now."""
    if kept is None:
        return _walk(engine, carry, series)
    name = hashlib.sha256(settings + series.tobytes()).hexdigest()
    stored = kept.load(name)
    if stored is not None:
        return Fitted(stored["forecast"], stored["silence"])
    made = _walk(engine, carry, series)
    kept.save(name, made._asdict())
    return made


def _walk(engine: FittedEngine, carry: Carry, series: Floats) -> Fitted:
    """One forecast after each of the values (K,); a model that could not be fitted is missed until the next is due."""
    forecast = np.full(series.size, np.nan)
    silence = np.full(series.size, Silence.SHORT_HISTORY, dtype=np.int8)
    for seen in range(engine.warmup_sessions, series.size + 1, engine.refit_sessions):
        train = series[max(0, seen - engine.train_sessions) : seen]
        later = series[seen : seen + engine.refit_sessions - 1]
        served = slice(seen - 1, seen + later.size)
        if np.ptp(train) <= FLAT:
            silence[served] = Silence.CONSTANT
            continue
        made = carry(train, later)
        if made is None:
            silence[served] = Silence.NOT_FITTED
            continue
        known = np.isfinite(made)
        forecast[served] = np.where(known, made, np.nan)
        silence[served] = np.where(known, Silence.SPEAKS, Silence.NOT_FITTED)
    return Fitted(forecast, silence)


def _settings(engine: FittedEngine, versions: Mapping[str, str]) -> bytes:
    """Everything but the values that decides a walk; what only `finish` reads does not."""
    unread = ("thresholds", "calibration", "regimes")
    settings = {key: value for key, value in plain(engine).items() if key not in unread}
    libraries = {"policyengine": policyengine.__version__, "numpy": np.__version__, **versions}
    return json.dumps([settings, libraries], sort_keys=True).encode() + b"\0"
