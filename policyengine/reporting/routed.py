"""The terminal's account of the signals: who spoke, who counted, and why nobody did."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policyengine.signals.routing import SILENCES

WIDTH = 80


def routing_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each source and sleeve, in instruments times sessions, and under each source why it was silent, most often first."""
    yield f"{'routing':<9} {'sleeve':<14}{'asked':>10}{'speaks':>10}{'in force':>10}{'counts':>10}{'outranked':>11}"
    for source in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == source]
        for row in own:
            counts = "".join(f"{row[name]:>10,}" for name in ("asked", "speaks", "in_force", "counts"))
            yield f"{source:<9} {row['sleeve']:<14}{counts}{row['outranked']:>11,}"
        yield from _wrapped(f"{source} silent", _reasons(own))


def no_trade_lines(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> Iterator[str]:
    """Why no trade came about: what kept signals from being given, and orders from being sent. `counts` are those of the evidence."""
    yield from _wrapped("no trade  signals", _reasons(rows))
    prefix = "rejects_"
    held = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix) and count}
    yield from _wrapped("no trade  orders", held)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = {name: sum(row[name] for row in rows) for name in SILENCES if name != "no_bar"}
    return {name: count for name, count in sorted(found.items(), key=lambda pair: -pair[1]) if count}


def _wrapped(name: str, reasons: Mapping[str, int]) -> list[str]:
    told = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in reasons.items()) or "none"
    return textwrap.wrap(f"{name}: {told}", WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
