"""The terminal's account of a trading run: what was done, where the account stands, what is wanted next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policyengine.execution.broker import Fill
from policyengine.reporting.terminal import ascii_text, item

ORDER_COLUMNS = ("session", "client_order_id", "symbol", "side", "ordered", "filled", "price", "cost", "realized", "refusal", "signal_id")
SHOWN_SESSIONS = 8
SHOWN_TARGETS = 40


def order_row(fill: Fill, signal_id: str | None) -> dict[str, Any]:
    """One order, what became of it, and the signal that it follows."""
    order = fill.order
    return {
        "session": order.session.isoformat(),
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": "BUY" if order.quantity > 0.0 else "SELL",
        "ordered": order.quantity,
        "filled": fill.quantity,
        "price": fill.price,
        "cost": fill.cost,
        "realized": fill.realized,
        "refusal": None if fill.refusal is None else fill.refusal.value,
        "signal_id": signal_id,
    }


def lines(record: Mapping[str, Any], *, source: str, folder: str) -> Iterator[str]:
    """What a run of task=trade says."""
    yield f"trade     account {record['account']} (paper)   {record['state']}: {ascii_text(record['policy'])} sizes   data {source}"
    if record["halted"] is not None:
        yield from item(record["state"].upper(), record["halted"])
    yield from _session_lines(record["sessions"])
    yield ""
    gain = record["nav"] - record["capital"]
    yield f"NAV       {record['nav']:,.2f} {record['base_currency']} on {record['as_of']}, {gain:+,.2f} since the account began"
    yield f"          cash {record['cash']:,.2f}, costs {record['cost']:,.2f}, interest {record['interest']:,.2f}"
    for cut in record["haircuts"]:
        yield from item(f"haircut {cut['symbol']}", f"{cut['amount']:,.2f}: last priced {cut['age_days']} days ago")
    yield ""
    yield from _bucket_lines(record["buckets"])
    yield ""
    yield from _sleeve_lines(record["sleeves"])
    yield ""
    yield from _target_lines(record["targets"])
    for limit in record["binding"]:
        gone = f"; nothing is left of {', '.join(limit['shrunk_to_zero'])}" if limit["shrunk_to_zero"] else ""
        yield from item("binds", f"{_written(limit['origin'])}{gone}")
    for limit in record["unmet"]:
        yield from item("unmet", f"{_written(limit['origin'])}: {limit['reason']}")
    if record["quant_gate"] is not None:
        yield from item("no new entries", record["quant_gate"])
    for alert in record["alerts"]:
        yield from item(f"alert {alert['check']}", f"{alert['count']:,} x {alert['rule']}")
    yield f"orders    {folder}/orders.csv"
    yield "next      the targets are traded at the next session's prices: run again when it has closed"


def _session_lines(sessions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not sessions:
        yield "sessions  none is due; nothing was done"
        return
    if len(sessions) > SHOWN_SESSIONS:
        yield f"... {len(sessions) - SHOWN_SESSIONS} sessions before"
    for one in sessions[-SHOWN_SESSIONS:]:
        waiting = "; ".join(f"{len(names)} {reason.replace('_', ' ')}" for reason, names in one["waiting"].items())
        held = "" if one["limits_held"] else "   LIMIT EXCEEDED by a name that cannot trade"
        yield f"{one['session']}  traded {one['traded']:>14,.2f}  cost {one['cost']:>9,.2f}  NAV {one['nav']:>16,.2f}{held}"
        if waiting:
            yield f"            waits: {waiting}"


def _sleeve_lines(sleeves: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'sleeve':<14}{'base':>8}{'budget':>8}{'spends':>8}"
    for one in sleeves:
        idle = "   no signal: it spends nothing" if one["allocated_frac"] == 0.0 else ""
        yield f"{one['sleeve']:<14}{_percent(one['base_frac'])}{_percent(one['effective_frac'])}{_percent(one['allocated_frac'])}{idle}"


def _target_lines(targets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'name':<14}{'bucket':<8}{'held':>8}{'desired':>9}{'allocated':>11}{'target':>8}"
    for one in targets[:SHOWN_TARGETS]:
        shares = (one["held_frac"], one["desired_frac"], one["allocated_frac"], one["target_frac"])
        widths = (8, 9, 11, 8)
        numbers = "".join(f"{100.0 * share:>{width - 1}.2f}%" for share, width in zip(shares, widths, strict=True))
        yield f"{ascii_text(one['symbol'])[:13]:<14}{one['bucket']:<8}{numbers}"
    if len(targets) > SHOWN_TARGETS:
        yield f"... {len(targets) - SHOWN_TARGETS} more are in trade.json"


def _bucket_lines(buckets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What each bucket holds against its limits."""
    for one in buckets:
        floor = "" if one["min_frac"] is None else f"   floor {100.0 * one['min_frac']:.0f}%, cash counts"
        most = "" if one["max_frac"] is None else f"   at most {100.0 * one['max_frac']:.0f}%"
        yield f"{one['bucket']:<14}{_percent(one['held_frac'])}{floor or most}"


def _written(origin: Sequence[Any]) -> str:
    """Where a limit is written, and for whom."""
    path, value, symbol = origin
    return f"{path} {value:g}" + ("" if symbol is None else f" ({symbol})")


def _percent(share: float | None) -> str:
    return f"{'-':>8}" if share is None else f"{100.0 * share:>7.2f}%"
