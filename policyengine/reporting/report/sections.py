"""The parts of a report below the first screen, from the payload alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from policyengine.records import TOLERANCE, Arm
from policyengine.reporting.markup import PROSE, facts, folded, section, table
from policyengine.reporting.names import SAFE_WEIGHT
from policyengine.reporting.report.figures import Figure, arm_labels
from policyengine.reporting.report.svg import svg_of
from policyengine.reporting.text import UNKNOWN, between, count, esc, level, money, number, percent, plural, points

Payload = Mapping[str, Any]
FIRST_WINDOWS = 8
LINES = {SAFE_WEIGHT: "safe weight", "safe": "safe instruments"}


def alerts(body: Payload) -> str:
    """Each alert with what it saw; nothing where there is none."""
    found = body["alerts"]
    if not found:
        return ""
    rows = [(a["name"], a["arm"] or "both", f"{a['observed']:.6g} {a['operator']} {a['limit']:.6g}", a["reason"]) for a in found]
    return section("alerts", "Alerts", table(("alert", "arm", "because", "in words"), rows, label="Alerts", texts=PROSE))


def matrix(body: Payload) -> str:
    """Candidate less baseline by window, the whole sample first and then the latest."""
    rows = [_window(row) for row in reversed(body["evidence"]["rows"])]
    measures = (
        "d return pp",
        f"{level(body['evidence']['confidence'])} interval",
        "d max DD pp",
        "d Sharpe",
        "d profit factor",
        "trades",
        "losers",
    )
    columns = ("window", *measures, "sessions", "counts", "from", "to")
    caption = "Candidate less baseline. Trades that closed a position, and losers among them, of the arm that has fewer."
    shown = table(columns, [_pooled(body), *rows[:FIRST_WINDOWS]], label="Evidence matrix", caption=caption, first_is_total=True)
    if len(rows) > FIRST_WINDOWS:
        shown += folded(f"All {len(rows)} windows", table(columns, rows, label="All windows"))
    errors = [(row["window"], row["error"]) for row in body["evidence"]["rows"] if row["error"] is not None]
    told = (
        '<p class="note">A window counts if both arms meet the floors on trades and losers and no earlier one overlaps it: yes, few, '
        "overlap, or error. Intervals are those of d return, and decide nothing. All measures of all windows are in matrix.csv.</p>"
    )
    return section("matrix", "Evidence matrix", shown + told + (facts(errors) if errors else ""))


def risk(body: Payload) -> str:
    """What is held against its limits."""
    now = body["risk"]
    if now is None:
        return section(
            "risk", "Risk now", '<p class="note">Positions are unknown to this kind of evidence, so nothing can be said of limits.</p>'
        )
    candidate, baseline = (now[arm.value] for arm in (Arm.CANDIDATE, Arm.BASELINE))
    rows = [_line(line, other) for line, other in zip(candidate["lines"], baseline["lines"], strict=True)]
    columns = ("part of NAV", "candidate", "baseline", "floor", "maximum", "headroom pp", "state")
    caption = f"At the close of {now['as_of']}. Safe weight is cash and safe instruments, risk all else, gross all instruments."
    shown = table(columns, rows, label="Risk now", caption=caption if candidate["limits_enabled"] else f"{caption} Limits are off.")
    if candidate["markets"]:
        caps = ", ".join(f"{m['market']} {percent(m['frac'], 1)} of at most {percent(m['max_frac'], 0)}" for m in candidate["markets"])
        shown += f'<p class="note">By market, of the candidate: {esc(caps)}.</p>'
    return section("risk", "Risk now", f'<div class="beside"><div>{shown}</div><div>{_sleeves(body)}{_bound(body)}</div></div>')


def pictures(made: Sequence[Figure], body: Payload) -> str:
    """All figures, each with its table folded below."""
    first, second = arm_labels(body)
    key = f'<p class="key"><span>{esc(second)}: the candidate, solid</span><span>{esc(first)}: the baseline, dashed</span></p>'
    return section("pictures", "Pictures", key + f'<div class="figures">{"".join(map(_figure, made))}</div>')


def trades(body: Payload) -> str:
    """The last trades, and where all of them are."""
    found = body["trades"]
    title = "Trades"
    if found is None or found["count"] == 0:
        return section("trades", title, f'<p class="note">{"The run stored no trades." if found is None else "Nothing was traded."}</p>')
    used = [column for column in _TRADE_COLUMNS if any(row[column[1]] is not None for row in found["rows"])]
    rows = [tuple(shown(row[name]) for _, name, shown in used) for row in reversed(found["rows"])]
    shown = table([label for label, _, _ in used], rows, label="Trades", texts=sum(name in _TRADE_TEXTS for _, name, _ in used))
    stored = "all" if found["stored"] == found["count"] else f"the last {found['stored']:,}"
    where = (
        f"<p>The last {found['shown']:,} of {found['count']:,} of both arms, the latest first; {stored} are in "
        '<a href="trades.csv">trades.csv</a>.<span class="printed"> The first 40 are printed.</span></p>'
    )
    return section("trades", title, where + folded(f"{found['shown']:,} trades", shown, opened=True))


def differences(body: Payload) -> str:
    """What the candidate changes of the baseline's configuration; everything else is common."""
    found = body["config_differences"]
    if not found:
        return section("differences", "Differences from the baseline", '<p class="note">None: both arms are configured alike.</p>')
    rows = [(d["path"], json.dumps(d["baseline"]), json.dumps(d["candidate"])) for d in found]
    return section(
        "differences", "Differences from the baseline", table(("setting", *arm_labels(body)), rows, label="Differences", texts=3)
    )


def provenance(body: Payload) -> str:
    """Where every input came from."""
    meta, of = body["meta"], body["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in (of["versions"] or {}).items())
    pairs = [
        ("run", f"{meta['run_id']}, made {meta['created_at']}"),
        ("data", meta["data_origin"]),
        ("sample", f"{meta['start_date']} to {meta['as_of']}, {meta['sessions']:,} sessions"),
        ("evidence", f"{meta['kind'].replace('_', ' ')} for stage {meta['stage']}, seed {of['seed']}"),
        ("program", f"policyengine {of['version']}, Python {of['python'] or UNKNOWN}; {versions or 'versions were not kept'}"),
        ("seconds", number(of["seconds"])),
        ("decision time", UNKNOWN if of["runtime_rise"] is None else f"{points(of['runtime_rise'], scale=100.0)}% against the baseline's"),
        ("trial log", f"{plural(of['trial_log']['count'], 'record')}, head {of['trial_log']['hash']}"),
        *((f"{name} hash", digest) for name, digest in sorted(of["hashes"].items())),
        *((name.replace("_", " "), count(n)) for name, n in sorted(of["counts"].items())),
    ]
    selects = "".join(f"<h3>{esc(view)}</h3><pre>{esc(sql)}</pre>" for view, sql in sorted(of["source"]["selects"].items()))
    files = table(("file", "SHA-256"), sorted(of["files"].items()), label="Files of the run", texts=2)
    checks = table(("data check", "if it does not hold"), sorted(of["checks"].items()), label="Data checks", texts=2)
    shown = facts(pairs) + folded("Files of the run", files) + folded("SELECTs of the source", selects) + folded("Data checks", checks)
    return section("provenance", "Provenance", shown)


def _window(row: Mapping[str, Any]) -> tuple[str, ...]:
    measures = [UNKNOWN] * 7 if row["error"] is not None else _measures(row)
    return (row["window"], *measures, count(row["sessions"]), row["counts"], row["start_date"], row["end_date"])


def _pooled(body: Payload) -> tuple[str, ...]:
    meta = body["meta"]
    return ("all", *_measures(body["pooled"]), count(meta["sessions"]), "", meta["start_date"], meta["as_of"])


def _measures(row: Mapping[str, Any]) -> tuple[str, ...]:
    delta = row["delta"]
    return (
        points(delta["total_return_pct"]),
        between(row["d_return_interval"]),
        points(delta["max_drawdown"], scale=100.0),
        points(delta["sharpe"]),
        points(delta["profit_factor"]),
        *(_fewer(row, name) for name in ("total_trades", "losing_trades")),
    )


def _fewer(row: Mapping[str, Any], name: str) -> str:
    known = [row[arm.value][name] for arm in Arm]
    return UNKNOWN if None in known else count(min(known))


def _line(line: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    room = line["headroom"]
    bounded = line["min_frac"] is not None or line["max_frac"] is not None
    state = "no limit" if not bounded else "unknown" if room is None else "within" if room >= -TOLERANCE else "beyond"
    bounds = (percent(line[name]) for name in ("min_frac", "max_frac"))
    return (LINES.get(line["name"], line["name"]), percent(line["frac"]), percent(other["frac"]), *bounds, points(room, scale=100.0), state)


def _bound(body: Payload) -> str:
    """Which limits took something, at how many decisions."""
    found = body["reconciliation"]
    if found is None:
        return ""
    times = {arm: found["summary"][arm.value]["bound_sessions"] for arm in Arm}
    names = sorted({name for of in times.values() for name in of})
    if not names:
        return '<h3>Limits that bound</h3><p class="note">None did.</p>'
    now = found[Arm.CANDIDATE.value]["bound_now"]
    counts = {name: (count(times[arm].get(name, 0)) for arm in (Arm.CANDIDATE, Arm.BASELINE)) for name in names}
    rows = [(name, *counts[name], "yes" if name in now else "no") for name in names]
    caption = f"Decisions, of {found['summary'][Arm.CANDIDATE.value]['decisions']:,}, at which a limit left less than was allocated."
    return "<h3>Limits that bound</h3>" + table(("limit", "candidate", "baseline", "now"), rows, label="Limits that bound", caption=caption)


def _sleeves(body: Payload) -> str:
    """Budgets now, and their bounds."""
    found = body["sleeves"]
    if found is None:
        return ""
    bounds = ("base_nav_frac", "min_nav_frac", "max_nav_frac")
    pairs = zip(found[Arm.CANDIDATE.value]["lines"], found[Arm.BASELINE.value]["lines"], strict=True)
    rows = [
        (
            line["name"].replace("_", " "),
            *map(percent, (line["frac"], other["frac"], line["budget_frac"], other["budget_frac"], *(line[name] for name in bounds))),
        )
        for line, other in pairs
    ]
    off = "" if found[Arm.CANDIDATE.value]["enabled"] else " Sleeves are off: all signals share one budget."
    caption = f"Fractions of NAV at the close of {found['as_of']}: what each arm holds, and what it may charge at the decision then.{off}"
    columns = ("sleeve", "candidate holds", "baseline", "candidate may", "baseline", "base", "min", "max")
    return "<h3>Sleeve budgets</h3>" + table(columns, rows, label="Sleeve budgets", caption=caption)


def _figure(one: Figure) -> str:
    caption = f"<figcaption><h3>{esc(one.title)}</h3><p>{esc(one.description)}</p></figcaption>"
    if one.spec is None:
        return f'<figure id="{one.key}">{caption}</figure>'
    drawn = svg_of(one.spec, key=f"fig-{one.key}", title=one.title, description=one.description)
    data = table(one.columns, one.rows, label=f"Data of: {one.title}", caption=one.note)
    return f'<figure id="{one.key}">{caption}{drawn}{folded(f"Table: {one.title}", data)}</figure>'


def _side(quantity: float | None) -> str:
    return UNKNOWN if quantity is None else "BUY" if quantity > 0.0 else "SELL"


def _text(value: str | None) -> str:
    return UNKNOWN if value is None else value


_TRADE_TEXTS = ("traded_at", "arm", "symbol", "bucket")
_TRADE_COLUMNS = (
    ("when", "traded_at", lambda at: at.removesuffix("T00:00:00.000000")),
    ("arm", "arm", _text),
    ("symbol", "symbol", _text),
    ("bucket", "bucket", _text),
    ("side", "quantity", _side),
    ("quantity", "quantity", lambda q: UNKNOWN if q is None else number(abs(q), 4)),
    ("price", "price", lambda p: number(p, 4)),
    ("cost", "cost", money),
    ("realised P&L", "realized_pnl", money),
    ("base conf.", "base_confidence", number),
    ("effective", "effective_confidence", number),
    ("multiplier", "multiplier", number),
)
