"""The terminal's account of the signals: who spoke, who counted, and why nobody did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policyengine.reporting.terminal import item
from policyengine.signals.routing import SILENCES


def routing_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each source and sleeve, in instruments times sessions, and under each source why it was silent, most often first."""
    yield f"{'routing':<9} {'sleeve':<14}{'asked':>10}{'speaks':>10}{'in force':>10}{'counts':>10}{'outranked':>11}"
    for source in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == source]
        for row in own:
            counts = "".join(f"{row[name]:>10,}" for name in ("asked", "speaks", "in_force", "counts"))
            yield f"{source:<9} {row['sleeve']:<14}{counts}{row['outranked']:>11,}"
        yield from item(f"{source} silent:", _told(_reasons(own)))


def no_trade_lines(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> Iterator[str]:
    """Why no trade came about: what kept signals from being given, and orders from being sent. `counts` are those of the evidence."""
    yield from item("no trade  signals:", _told(_reasons(rows)))
    prefix = "rejects_"
    held = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix) and count}
    yield from item("no trade  orders:", _told(held))


def _reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = {name: sum(row[name] for row in rows) for name in SILENCES if name != "no_bar"}
    return {name: count for name, count in sorted(found.items(), key=lambda pair: -pair[1]) if count}


def _told(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in reasons.items()) or "none"
