"""Prices as a matrix: one row for each session, one column for each symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Calendar = Literal["core", "all"]

SESSIONS_PER_YEAR, DAYS_PER_YEAR = 252, 365
_WEEKEND_SHARE = 0.1
"""Seven-day calendars have 0.29 of their sessions on weekends, exchanges a stray one: anything between tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PricePanel:
    """Last known closes on the sessions of a calendar.

    `sessions` (T,) datetime64[D], rising; a bar belongs to the UTC date of its `priced_at`.
    `symbols` N texts, sorted by code point.
    `close` (T, N) float64 in each instrument's currency: the last close at or before the session; NaN before the first bar. A bar
    between two sessions counts in the later one, so the P&L of an instrument that trades on more days is carried there; bars after
    the last session are left out. Of several bars on one date the last counts. Never infinite; may be zero or negative.
    `fresh` (T, N) bool: a bar lies in (previous session, this session]; on the first session, on that date itself.
    `calendar_used` is `all` instead of the `core` asked for when no core instrument has a bar.
    `periods_per_year` 365 when more than a tenth of the sessions are on weekends, else 252.
    """

    sessions: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    close: NDArray[np.float64]
    fresh: NDArray[np.bool_]
    calendar_used: Calendar
    periods_per_year: int


def arrange(bars: pa.Table, symbols: tuple[str, ...], core: frozenset[str], calendar: Calendar) -> PricePanel:
    """The panel of `bars`: columns `code` (index into `symbols`), `day` (days since 1970), `close` (finite); one row a code and day."""
    code = bars["code"].to_numpy().astype(np.intp)
    day = bars["day"].to_numpy().astype(np.int64)
    close = bars["close"].to_numpy()
    is_core = np.array([symbol in core for symbol in symbols], dtype=np.bool_)
    on_core_days = day[is_core[code]]
    use_core = calendar == "core" and on_core_days.size > 0
    sessions = np.unique(on_core_days if use_core else day)
    last_bar, fresh = _last_bars(code, day, sessions, len(symbols))
    dates = sessions.astype("datetime64[D]")
    return PricePanel(
        sessions=dates,
        symbols=symbols,
        close=np.where(last_bar >= 0, close[last_bar], np.nan),
        fresh=fresh,
        calendar_used="core" if use_core else "all",
        periods_per_year=_periods_per_year(dates),
    )


def _last_bars(
    code: NDArray[np.intp], day: NDArray[np.int64], sessions: NDArray[np.int64], n: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(T, N) index of the last bar at or before each session (-1: none), and whether it came since the session before."""
    t = np.searchsorted(sessions, day, side="left")
    kept = np.flatnonzero(t < sessions.size)
    kept = kept[np.argsort(day[kept], kind="stable")]
    cell = t[kept] * n + code[kept]
    # the last of the bars that fall into one cell: first occurrence in the reversed order
    cells, reverse_at = np.unique(cell[::-1], return_index=True)
    bar = kept[::-1][reverse_at]
    last = np.full((sessions.size, n), -1, dtype=np.intp)
    last.flat[cells] = bar
    fresh = last >= 0
    fresh[0] &= day[last[0]] == sessions[0]
    since = np.where(last >= 0, np.arange(sessions.size)[:, None], 0)
    np.maximum.accumulate(since, axis=0, out=since)
    return np.take_along_axis(last, since, axis=0), fresh


def _periods_per_year(sessions: NDArray[np.datetime64]) -> int:
    weekend = ~np.is_busday(sessions)
    return DAYS_PER_YEAR if weekend.mean() > _WEEKEND_SHARE else SESSIONS_PER_YEAR
