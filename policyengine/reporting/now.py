"""What an account left last, as a part of a page: that of a report where one was given, and above the report where it is live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from policyengine.monitoring.snapshot import Alert, Audit, BucketLine, Canary, Kill, Permit, QuantGate, SleeveLine, Snapshot
from policyengine.records import Bucket
from policyengine.reporting.markup import PROSE, facts, section, table, tile
from policyengine.reporting.text import UNKNOWN, count, money, number, percent, plural, points, short

Snapped = Snapshot | str
"""A snapshot, or why there is none."""


def now(found: Snapped, alerts: Sequence[Alert], *, account: str) -> str:
    """The section of `account`: what its snapshot says, and `alerts`, what is beyond its limit by it now."""
    if isinstance(found, str):
        return section("now", f"Now: account {account}", facts([("No snapshot", found)]))
    parts = (
        _tiles(found, alerts),
        _alerts(alerts),
        '<div class="beside"><div>',
        _buckets(found),
        "</div><div>",
        _sleeves(found.sleeves),
        "</div></div>",
        facts(_facts(found)),
    )
    return section("now", f"Now: account {account}", "".join(parts))


def age(since: timedelta) -> str:
    """How long that is, in the two largest units; what is ahead of the clock is said to be."""
    seconds = int(since.total_seconds())
    if seconds < 0:
        return f"{-seconds:,} s ahead of this clock"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{plural(days, 'day')} {hours} h ago"
    if hours:
        return f"{hours} h {minutes} min ago"
    return f"{minutes} min {rest} s ago" if minutes else f"{rest} s ago"


def _tiles(one: Snapshot, alerts: Sequence[Alert]) -> str:
    safe, risk = one.bucket(Bucket.SAFE), one.risk
    shown = (
        tile(f"NAV {one.currency}, {one.as_of}", count(one.nav), f"cash {percent(one.cash_frac)}"),
        tile("State", one.state, f"mode {one.mode}{'' if one.halted is None else ', halted'}", alarm=one.halted is not None),
        tile("Kill switch", *_kill(one.kill), alarm=one.kill is not None and one.kill.engaged),
        _limit_tile("Safe weight", safe),
        tile(
            "Risk",
            percent(risk.held_frac),
            f"maximum {percent(risk.max_frac)}, headroom {points(risk.headroom_frac, scale=100.0)} pp",
            alarm=risk.headroom_frac is not None and risk.headroom_frac < 0.0,
        ),
        tile("Alerts", count(len(alerts)) if alerts else "none", ", ".join(a.name for a in alerts[:3]), alarm=bool(alerts)),
    )
    return f'<div class="tiles">{"".join(shown)}</div>'


def _limit_tile(label: str, line: BucketLine | None) -> str:
    if line is None:
        return tile(label, UNKNOWN, "the snapshot has no line for it")
    room = line.headroom_frac
    below = f"floor {percent(line.min_frac)}, headroom {points(room, scale=100.0)} pp"
    return tile(label, percent(line.held_frac), below, alarm=room is not None and room < 0.0)


def _kill(kill: Kill | None) -> tuple[str, str]:
    if kill is None:
        return UNKNOWN, "it was not looked at"
    return ("ENGAGED", f"since {_instant(kill.since)}") if kill.engaged else ("released", "nothing is stopped")


def _alerts(alerts: Sequence[Alert]) -> str:
    if not alerts:
        return ""
    rows = [(a.name, f"{short(a.observed)} {a.operator} {short(a.limit)}", a.why) for a in alerts]
    caption = "Beyond their limits by this snapshot, however short; task=monitor says what fires."
    return "<h3>Alerts now</h3>" + table(("alert", "because", "in words"), rows, label="Alerts now", texts=PROSE, caption=caption)


def _buckets(one: Snapshot) -> str:
    rows = [
        (
            line.bucket,
            *map(percent, (line.held_frac, line.net_frac, line.min_frac, line.max_frac)),
            points(line.headroom_frac, scale=100.0),
        )
        for line in one.buckets
    ]
    rows.append(("cash", UNKNOWN, percent(one.cash_frac), UNKNOWN, UNKNOWN, UNKNOWN))
    caption = f"Fractions of NAV at {one.as_of}. Held is absolute, that of safe with cash; net with cash makes 1."
    columns = ("bucket", "held", "net", "floor", "maximum", "headroom pp")
    return "<h3>Buckets</h3>" + table(columns, rows, label="Buckets", caption=caption)


def _sleeves(lines: Sequence[SleeveLine]) -> str:
    rows = [
        (
            line.sleeve.replace("_", " "),
            *map(percent, (line.allocated_frac, line.effective_frac, line.base_frac)),
            number(line.scale),
            *map(percent, (line.realised_vol, line.target_vol, line.drawdown, line.max_drawdown)),
        )
        for line in lines
    ]
    columns = ("sleeve", "spent", "budget", "base", "scale", "volatility", "target", "drawdown", "at most")
    return "<h3>Sleeves</h3>" + table(
        columns, rows, label="Sleeves", caption="Fractions of NAV; budget is base x scale, within its bounds."
    )


def _facts(one: Snapshot) -> list[tuple[str, str]]:
    day = one.done.session
    pairs = [
        ("Permit", _permit(one.permit)),
        ("Quant gate", _gate(one.quant_gate)),
        ("Audit", _audit(one.audit)),
        ("Canary", _canary(one.canary)),
        ("Evidence", UNKNOWN if one.evidence is None else f"{one.evidence.verdict} for {one.evidence.stage}, made {one.evidence.made_at}"),
        (
            f"Done on {day.end_date}",
            f"{plural(day.orders, 'order')}, {day.rejects:,} rejected; turnover {percent(day.turnover_frac)}, costs {day.cost_bps:.2f} bps",
        ),
        *((f"Realised P&L, {b.bucket}", money(b.realized_pnl, one.currency)) for b in day.buckets if b.realized_pnl != 0.0),
        *((f"Unmet {u.path}", u.reason if u.symbol is None else f"{u.symbol}: {u.reason}") for u in one.unmet),
        ("Data", one.source.origin + (" (synthetic)" if one.source.synthetic else "")),
    ]
    return pairs if one.halted is None else [("Halted", one.halted), *pairs]


def _permit(permit: Permit | None) -> str:
    if permit is None:
        return "none is needed: the rollout is off"
    if permit.refusal is not None:
        return f"refused: {permit.refusal}"
    return f"for {permit.stage or UNKNOWN} until {_instant(permit.expires_at)}"


def _gate(gate: QuantGate | None) -> str:
    if gate is None:
        return "no gate was ever written"
    if not gate.active:
        return "not active"
    disabled = f"; disabled: {', '.join(gate.disabled)}" if gate.disabled else ""
    return f"ACTIVE since {_instant(gate.since)}: {gate.reason or 'no reason is given'}{disabled}"


def _audit(audit: Audit | None) -> str:
    if audit is None:
        return "there is no audit log"
    if audit.broken is not None:
        return f"BROKEN: {audit.broken}"
    return f"{count(audit.records)} records, the last at {_instant(audit.recorded_at)}"


def _canary(canary: Canary | None) -> str:
    if canary is None:
        return "no stage acts"
    if canary.why is not None:
        return f"must pause: {canary.why}"
    bounds = f"{short(canary.lower)} to {short(canary.upper)}"
    return f"{count(canary.sessions)} sessions, mean daily difference {short(canary.mean)}, bounds {bounds}"


def _instant(text: str | None) -> str:
    return UNKNOWN if text is None else text
