"""From series to what is drawn of them: fewer points than an eye can tell from all, and rows as a chart takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

CHUNKS = 160
"""A line goes through the lowest and the highest value of so many equal spans: two dots wide each."""
EVERY_DAY = 70
"""Up to so many days a table shows each; beyond, the last of each month."""


def drawn_days(series: Iterable[Sequence[float | None]], ends: Sequence[int]) -> list[int]:
    """Indices of the days that lines go through so that they look like lines through all.

    They are the extremes of each span, both ends, `ends`, and one of each run of unknown values, at which a line breaks.
    """
    kept = set(ends)
    for values in series:
        known = np.array([np.nan if v is None else v for v in values])
        width = -(-known.size // CHUNKS)
        spans = np.full((-(-known.size // width), width), np.nan)
        spans.ravel()[: known.size] = known
        first = np.arange(spans.shape[0]) * width
        lowest = np.where(np.isnan(spans), np.inf, spans).argmin(axis=1)
        highest = np.where(np.isnan(spans), -np.inf, spans).argmax(axis=1)
        gaps = np.flatnonzero(np.diff(np.isnan(known).astype(np.int8), prepend=0) == 1)
        kept |= {0, known.size - 1, *(first + lowest).tolist(), *(first + highest).tolist(), *gaps.tolist()}
    return sorted(kept)


def table_days(days: Sequence[str]) -> list[int]:
    """Indices of the days that a table shows."""
    if len(days) <= EVERY_DAY:
        return list(range(len(days)))
    return [i for i, day in enumerate(days) if i + 1 == len(days) or days[i + 1][:7] != day[:7]]


def rows_of(series: Mapping[str, Any], kept: Sequence[int], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of `t`, `name` and `value` at the kept days of `series["day"]`, of the series under each key of `names`."""
    at = [milliseconds(series["day"][i]) for i in kept]
    return [{"t": t, "name": label, "value": series[key][i]} for key, label in names.items() for t, i in zip(at, kept, strict=True)]


def steps_of(rows: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """A step for each month from its first day; the last one is closed where the next month would begin."""
    made = [{"t": milliseconds(f"{row['month']}-01"), "value": row[name]} for row in rows]
    after = int((np.datetime64(rows[-1]["month"], "M") + 1).astype("datetime64[ms]").astype(np.int64))
    return [*made, {"t": after, "value": made[-1]["value"]}]


def milliseconds(day: str) -> int:
    """A day as charts count time."""
    return int(np.datetime64(day, "ms").astype(np.int64))
