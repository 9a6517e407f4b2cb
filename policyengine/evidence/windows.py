"""Evaluation windows on a calendar of sessions, and which of them count as independent."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError, DataError
from policyengine.records import Window
from policyengine.spec.window import ExplicitWindows, RollingWindows, TrailingWindow, WindowSpec

Sessions = NDArray[np.datetime64]
SATURDAY = 5
LONGEST_HOLIDAY_DAYS = 4
"""A month whose first session comes later than this is not whole."""


def as_of(spec: WindowSpec, sessions: Sessions) -> date:
    """Last calendar day that is evaluated: as configured, or the last session.

    Raises:
        ConfigError: the configured day lies outside the source's sessions.
    """
    first, last = _day(sessions[0]), _day(sessions[-1])
    if spec.as_of is None:
        return last
    if not first <= spec.as_of <= last:
        raise ConfigError("window.as_of", f"{spec.as_of} is outside the source's sessions, {first} to {last}")
    return spec.as_of


def windows(spec: WindowSpec, sessions: Sessions, end: date) -> tuple[Window, ...]:
    """The windows to evaluate up to and including day `end`, in order of their end.

    Raises:
        DataError: a window holds no session, or the source is too short for any.
    """
    first = _day(sessions[0])
    match spec:
        case TrailingWindow():
            result = [Window(label=f"{spec.days}d", start_date=end - timedelta(days=spec.days - 1), end_date=end)]
        case RollingWindows():
            result = list(_periods(spec, first, end))
        case ExplicitWindows():
            result = [Window(label=r.label, start_date=r.start_date, end_date=r.end_date) for r in spec.ranges]
    if not result:
        raise DataError("window", f"no whole {getattr(spec, 'period', 'window')} lies between {first} and {end}")
    for window in result:
        if span(window, sessions).size == 0:
            raise DataError(
                f"window {window.label}", f"no session from {window.start_date} to {window.end_date}; sessions run {first} to {end}"
            )
        if window.start_date < first and isinstance(spec, TrailingWindow):
            raise DataError(f"window {window.label}", f"starts {window.start_date}, before the first session {first}")
    return tuple(sorted(result, key=lambda w: (w.end_date, w.start_date, w.label)))


def span(window: Window, sessions: Sessions) -> NDArray[np.int64]:
    """Indices of the sessions inside `window`."""
    days = sessions.astype("datetime64[D]")
    return np.flatnonzero((days >= np.datetime64(window.start_date)) & (days <= np.datetime64(window.end_date)))


def independent(candidates: Iterable[Window]) -> tuple[Window, ...]:
    """The largest set of pairwise non-overlapping windows, chosen earliest end first."""
    chosen: list[Window] = []
    for window in sorted(candidates, key=lambda w: (w.end_date, w.start_date, w.label)):
        if not chosen or window.start_date > chosen[-1].end_date:
            chosen.append(window)
    return tuple(chosen)


def overlapping(candidates: Sequence[Window]) -> bool:
    """Whether any two windows share a day."""
    return len(independent(candidates)) < len(candidates)


def _periods(spec: RollingWindows, first: date, end: date) -> Iterable[Window]:
    months = 1 if spec.period == "month" else 3
    year, month = first.year, (first.month - 1) // months * months + 1
    while True:
        last_month = month + months - 1
        start = date(year, month, 1)
        stop = date(year, last_month, calendar.monthrange(year, last_month)[1])
        if any((end + timedelta(days=n + 1)).weekday() < SATURDAY for n in range((stop - end).days)):
            return
        label = f"{year}-{month:02d}" if months == 1 else f"{year}-Q{(month + 2) // 3}"
        if (first - start).days <= LONGEST_HOLIDAY_DAYS:
            yield Window(label=label, start_date=start, end_date=stop)
        year, month = (year, month + months) if month + months <= 12 else (year + 1, 1)


def _day(session: np.datetime64) -> date:
    value: date = session.astype("datetime64[D]").item()
    return value
