"""The routing table: of each source and sleeve, how often it spoke, counted or was outranked, and why it was silent; and every choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.signals.forecasts import Silence, Source
from policyengine.signals.router import SOURCES, Routing
from policyengine.store import Words

SILENCES = tuple(one.name.lower() for one in Silence if one is not Silence.SPEAKS)
COLUMNS = ("source", "sleeve", "asked", "speaks", "in_force", "counts", "outranked", "conflicts", *SILENCES)


def routing_table(routing: Routing, charged: Mapping[Source, Sequence[str]]) -> dict[str, list[Any]]:
    """`routing_rows` as columns."""
    rows = list(routing_rows(routing, charged))
    return {name: [row[name] for row in rows] for name in COLUMNS}


def routing_rows(routing: Routing, charged: Mapping[Source, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """A row for each source that was heard and each sleeve it is charged to, in sessions times instruments.

    `charged` has for each source the sleeve of each instrument, (N,). `asked` is where there was a price; of these the source `speaks`, or
    was silent for one of `SILENCES`. A word stays `in_force` for some sessions: there it `counts`, or was `outranked` by a source before
    it, or by the rule for conflicts; `conflicts` are those with an opposite word in force.
    """
    for source, said in routing.said.items():
        names = np.array(charged[source], dtype=object)
        for sleeve in sorted(set(charged[source])):
            at = names == sleeve
            codes, held = said[:, at], routing.held[source][:, at]
            counts = routing.chosen[:, at] == SOURCES.index(source)
            yield {
                "source": source.value,
                "sleeve": sleeve,
                "asked": int((codes != Silence.NO_BAR).sum()),
                "speaks": int((codes == Silence.SPEAKS).sum()),
                "in_force": int(held.sum()),
                "counts": int(counts.sum()),
                "outranked": int((held & ~counts).sum()),
                "conflicts": int((held & routing.conflict[:, at]).sum()),
                **{one.name.lower(): int((codes == one).sum()) for one in Silence if one is not Silence.SPEAKS},
            }


def choices(routing: Routing, sessions: NDArray[np.datetime64], symbols: tuple[str, ...]) -> dict[str, object]:
    """Every choice as columns, (C,): the sessions and instruments on which there was a price or a word was in force.

    `chosen` names the source that counts, null where none does; for each source that was heard what it said at that session, SPEAKS or why
    it was silent; `conflict` is where words in force were opposed.
    """
    told = np.any([*routing.held.values(), *(said != Silence.NO_BAR for said in routing.said.values())], axis=0)
    session, instrument = np.nonzero(told)
    at = (session, instrument)
    return {
        "session": sessions[session].astype("datetime64[s]"),
        "symbol": Words(codes=instrument, words=symbols),
        "chosen": Words(codes=routing.chosen[at], words=(*(source.value for source in SOURCES), None)),
        **{source.value.lower(): Words(codes=said[at], words=tuple(one.name for one in Silence)) for source, said in routing.said.items()},
        "conflict": routing.conflict[at],
    }
