"""What an account did, session by session, from its journal alone: orders, refusals, P&L, turnover and costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.execution.chain import Chain, of_kind
from policyengine.monitoring.snapshot import BucketDone, Done, Span
from policyengine.records import Bucket
from policyengine.store import reported

ROLLING = 20
"""Sessions that a rolling figure is over: about a month."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was done in one bucket on one session: the names that an order was wanted of, those of them refused, and realised P&L."""

    asked: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    realized: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDone:
    """One closed session, in base currency."""

    session: date
    state: str
    nav: float
    traded: float
    cost: float
    buckets: Mapping[Bucket, Tally]


def sessions_of(folder: Path, bucket_of: Callable[[str], Bucket]) -> list[SessionDone]:
    """Every closed session in the journal in `folder`, in order.

    A request is an order that was sent, or a name that a guardrail held back; it is refused where that happened, or where the order filled
    not at all. Sessions closed by a version that did not keep what was held back have none.

    Raises:
        DataError: it is not the journal of an account, or does not verify.
        OutputError: it cannot be read.
    """
    found: list[SessionDone] = []
    orders: list[Mapping[str, Any]] = []
    with reported(folder):
        for record in Chain(folder).records(of_kind("order", "session")):
            try:
                if record["kind"] == "order":
                    orders.append(record)
                elif record["kind"] == "session":
                    found.append(_session(record, orders, bucket_of))
                    orders = []
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    str(folder), f"record {record.get('seq')} is not one of an account: {type(error).__name__} {error}"
                ) from error
    return found


def done_of(sessions: Sequence[SessionDone]) -> Done | None:
    """What was done in the last session, lately, and on both sides of the last change of mode; None before the first session."""
    if not sessions:
        return None
    since = len(sessions) - sum(1 for _ in _trailing(sessions))
    return Done(
        session=_span(sessions[-1:]),
        rolling=_span(sessions[-ROLLING:]),
        since_mode=_span(sessions[since:]),
        before_mode=_span(sessions[max(0, since - ROLLING) : since]) if since else None,
    )


def _trailing(sessions: Sequence[SessionDone]) -> Iterator[SessionDone]:
    """The last sessions in one state, from the end."""
    for one in reversed(sessions):
        if one.state != sessions[-1].state:
            return
        yield one


def _session(record: Mapping[str, Any], orders: Sequence[Mapping[str, Any]], bucket_of: Callable[[str], Bucket]) -> SessionDone:
    tallies = {bucket: Tally() for bucket in Bucket}
    traded, cost = [], []
    for one in orders:
        symbol, fill = one["order"]["symbol"], one["fill"]
        tally = tallies[bucket_of(symbol)]
        tally.asked.add(symbol)
        if fill["quantity"] == 0.0:
            tally.refused.add(symbol)
        else:
            traded.append(abs(fill["quantity"] * fill["price"]))
        if fill["closed"] != 0.0:
            tally.realized.append(fill["realized"])
        cost.append(fill["cost"])
    payload = record["payload"]
    for symbol in payload.get("held_back", ()):
        tallies[bucket_of(symbol)].asked.add(symbol)
        tallies[bucket_of(symbol)].refused.add(symbol)
    return SessionDone(
        session=date.fromisoformat(record["session"]),
        state=payload["state"],
        nav=payload["nav"],
        traded=math.fsum(traded),
        cost=math.fsum(cost),
        buckets=tallies,
    )


def _span(sessions: Sequence[SessionDone]) -> Span:
    nav = math.fsum(one.nav for one in sessions) / len(sessions)
    states = {one.state for one in sessions}
    buckets = tuple(_bucket(bucket, [one.buckets[bucket] for one in sessions]) for bucket in Bucket)
    realized = [pnl for one in sessions for tally in one.buckets.values() for pnl in tally.realized]
    lost = -math.fsum(pnl for pnl in realized if pnl < 0.0)
    orders, rejects = sum(b.orders for b in buckets), sum(b.rejects for b in buckets)
    return Span(
        state=states.pop() if len(states) == 1 else None,
        start_date=sessions[0].session,
        end_date=sessions[-1].session,
        sessions=len(sessions),
        turnover_frac=math.fsum(one.traded for one in sessions) / nav,
        cost_bps=10_000.0 * math.fsum(one.cost for one in sessions) / nav,
        profit_factor=math.fsum(pnl for pnl in realized if pnl > 0.0) / lost if lost > 0.0 else None,
        reject_frac=rejects / orders if orders else None,
        orders=orders,
        rejects=rejects,
        buckets=buckets,
    )


def _bucket(bucket: Bucket, tallies: Sequence[Tally]) -> BucketDone:
    orders, rejects = sum(len(t.asked) for t in tallies), sum(len(t.refused) for t in tallies)
    return BucketDone(
        bucket=bucket,
        orders=orders,
        rejects=rejects,
        reject_frac=rejects / orders if orders else None,
        realized_pnl=math.fsum(pnl for t in tallies for pnl in t.realized),
    )
