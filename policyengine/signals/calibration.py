"""How often an engine was right when it was about as confident, as far as could be known at each session."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.forecasts import Floats
from policyengine.spec.thresholds import CalibrationSpec


def calibrated(
    spec: CalibrationSpec, expected_return: Floats, confidence: Floats, *, horizon_sessions: int, close: Floats, fresh: NDArray[np.bool_]
) -> Floats:
    """Confidence (T, N) as the share of past forecasts with the sign right, of all instruments, in the same bin of `confidence`.

    The horizon of a forecast is counted in the instrument's own sessions, those on which it has a bar: made on its k-th, its outcome is
    the sign of the change in price until its (k + h)-th, and is known from that session on, to every instrument. An unchanged price is
    a wrong sign, and an expected return of 0 has none. With n outcomes in the bin, m of them right, an own word of c and a prior of p
    outcomes, the mean of the posterior:

        (p c + m) / (p + n)

    Forecasts of successive sessions and of instruments that move alike share much of their outcomes: n counts them all.
    """
    sessions = close.shape[0]
    number = fresh.cumsum(axis=0) - 1
    own = np.argsort(~fresh, axis=0, kind="stable")
    until = number + horizon_sessions
    asked = fresh & np.isfinite(expected_return) & (expected_return != 0.0) & (until < fresh.sum(axis=0))
    known_at = np.take_along_axis(own, np.minimum(until, sessions - 1), axis=0)
    change = np.sign(np.take_along_axis(close, known_at, axis=0) - close)
    bins = _bins(spec, confidence)
    cell = (known_at * spec.bins + bins)[asked]
    right = (change == np.sign(expected_return))[asked]
    shape = (sessions, spec.bins)
    count = np.bincount(cell, minlength=sessions * spec.bins).reshape(shape).cumsum(axis=0)
    hits = np.bincount(cell[right], minlength=sessions * spec.bins).reshape(shape).cumsum(axis=0)
    row = np.arange(sessions)[:, None]
    share: Floats = (spec.prior_outcomes * confidence + hits[row, bins]) / (spec.prior_outcomes + count[row, bins])
    return share


def _bins(spec: CalibrationSpec, confidence: Floats) -> NDArray[np.intp]:
    """The bin of each confidence, 0 where it is NaN or below 0.5."""
    place = np.where(np.isnan(confidence), 0.0, (confidence - 0.5) * 2.0 * spec.bins)
    return np.clip(place, 0, spec.bins - 1).astype(np.intp)
