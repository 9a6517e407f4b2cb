"""Which signal counts where several sources speak of one instrument.

Sources are heard in the order of `Source`: time series first, machine learning second, the language model only where both are silent. Each
source's last word on an instrument lives for `max_age_sessions` sessions, or until its next word on it; HOLD ends it. Of several words of
one source for one decision the last counts, by instant and then by id. Where a source of lower rank holds the opposite direction the words
conflict: under `first` the higher rank counts all the same, under `silence` nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.forecasts import Silence, Source

Ints = NDArray[np.int32]
Codes = NDArray[np.int8]
Bools = NDArray[np.bool_]

SOURCES = tuple(Source)
NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """The words of one source, (T, N): `row` of the signal it gave at this session, -1 where it gave none; `said`, why not (`Silence`).

    A source says something of an instrument where it has an opinion, HOLD and what stays below a threshold included.
    """

    source: Source
    row: Ints
    said: Codes

    @property
    def spoken(self) -> Bools:
        """Where it has an opinion: its former word ends there."""
        spoken: Bools = (self.said == Silence.SPEAKS) | (self.said >= Silence.HOLD)
        return spoken


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routing:
    """What became of every word, (T, N).

    `chosen` is the index in `Source` of the source that counts, -1 for none; `conflict` is where words in force had opposite directions.
    Of each source that was heard, `said` is what it said at the session itself (`Silence`), `held` where a word of it was in force.
    """

    chosen: Codes
    conflict: Bools
    said: Mapping[Source, Codes]
    held: Mapping[Source, Bools]


def route(heard: Sequence[Heard], direction: Codes, *, max_age: int, conflict: Literal["first", "silence"]) -> tuple[Ints, Routing]:
    """Choose among `heard`, in the order of `Source`; `direction` (S,) of each row, 1 or -1.

    Returns the row of the signal that counts, (T, N), -1 for none, and how it came to that.
    """
    ranked = sorted(heard, key=lambda one: SOURCES.index(one.source))
    alive = [carried(one, max_age) for one in ranked]
    shape = ranked[0].row.shape
    in_force, chosen = np.full(shape, NOBODY, dtype=np.int32), np.full(shape, NOBODY, dtype=np.int8)
    signs = [np.where(rows >= 0, np.append(direction, 0)[rows], 0) for rows in alive]
    opposed = np.any([sign > 0 for sign in signs], axis=0) & np.any([sign < 0 for sign in signs], axis=0)
    for one, rows in zip(reversed(ranked), reversed(alive), strict=True):
        speaks = rows >= 0
        in_force[speaks] = rows[speaks]
        chosen[speaks] = SOURCES.index(one.source)
    if conflict == "silence":
        in_force[opposed], chosen[opposed] = NOBODY, NOBODY
    return in_force, Routing(
        chosen=chosen,
        conflict=opposed,
        said={one.source: one.said for one in ranked},
        held={one.source: rows >= 0 for one, rows in zip(ranked, alive, strict=True)},
    )


def carried(one: Heard, max_age: int) -> Ints:
    """The row that a source last gave of each instrument, for at most `max_age` sessions, the one on which it gave it included."""
    session = np.arange(one.row.shape[0])[:, None]
    last = np.maximum.accumulate(np.where(one.spoken, session, -1), axis=0)
    lives = (last >= 0) & (session - last < max_age)
    return np.where(lives, np.take_along_axis(one.row, np.maximum(last, 0), axis=0), NOBODY).astype(np.int32)


def quiet(heard: Sequence[Heard], max_age: int) -> Bools:
    """Where none of `heard` has a signal in force, (T, N)."""
    silent: Bools = np.all([carried(one, max_age) < 0 for one in heard], axis=0)
    return silent
