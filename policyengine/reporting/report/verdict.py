"""The first screen: the verdict and its reasons as verdict.json has them, what is missing, and the figures that matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policyengine.records import Arm, Verdict
from policyengine.reporting import terminal
from policyengine.reporting.markup import PROSE, facts, folded, table, tile
from policyengine.reporting.names import SAFE_WEIGHT
from policyengine.reporting.text import UNKNOWN, between, count, esc, level, number, percent, plural, points, short

Payload = Mapping[str, Any]

MARK = {Verdict.PROMOTE: "\N{BLACK UP-POINTING TRIANGLE}", Verdict.REJECT: "\N{BLACK DOWN-POINTING TRIANGLE}"}
LEAD = {Verdict.PROMOTE: "Promoted to", Verdict.REJECT: "Rejected for", Verdict.INCONCLUSIVE: "Not promoted to"}


def verdict(body: Payload) -> str:
    """The verdict, each open criterion with its reason, and what is to come."""
    record = body["verdict"]
    found = Verdict(record["verdict"])
    hard = [c for c in record["criteria"] if c["hard"]]
    open_ = [c for c in record["criteria"] if c["status"] != "pass"]
    number_open = sum(c["hard"] for c in open_)
    state = f"{number_open} of {plural(len(hard), 'hard criterion', 'hard criteria')} {'is' if number_open == 1 else 'are'} open"
    why = state if number_open else f"all {len(hard)} hard criteria pass"
    mark = f'<span aria-hidden="true">{MARK.get(found, chr(0x25A0))}</span>'
    reasons = "".join(f"<li>{_reason(c)}</li>" for c in open_)
    return (
        f'<section class="verdict {found}" aria-labelledby="verdict-h"><h1 id="verdict-h">{mark} {found}</h1>'
        f'<p class="lead">{LEAD[found]} {esc(record["stage"])}: {why}</p>'
        + (f'<ul class="reasons">{reasons}</ul>' if open_ else "")
        + facts(_facts(record, found))
        + folded(f"All {len(record['criteria'])} criteria" + (", and those of harm" if record["harm"] else ""), _criteria(record))
        + "</section>"
    )


def tiles(body: Payload) -> str:
    """The figures that a portfolio manager looks for."""
    shown = (_nav_tile(body), _return_tile(body), _drawdown_tile(body), _sharpe_tile(body), _safe_tile(body), _alert_tile(body))
    return f'<div class="tiles">{"".join(shown)}</div>'


def missing(record: Mapping[str, Any]) -> str:
    """How much more data would show the effect that matters."""
    test = record["test"]
    lacking = None if test is None else test["reported"]["missing"]
    if lacking is None:
        return "unknown: " + ("no look was taken" if test is None else "the test could not be made")
    effect = f"an effect of {lacking['target_effect']:+g} with power {lacking['power']:g}"
    if lacking["sessions"] == 0:
        return f"nothing: the sample is large enough to see {effect}"
    trades = "" if lacking["trades"] is None else f" and {plural(lacking['trades'], 'trade')}"
    return f"about {plural(lacking['sessions'], 'more session')}{trades} to see {effect}; it is {lacking['power_now']:.2f} now"


def next_look(look: Mapping[str, Any] | str) -> str:
    """When a verdict may be reached again."""
    if isinstance(look, str):
        return look
    if look["next_sessions"] is None:
        return "none: this was the last one planned"
    return f"at {look['next_sessions']:,} sessions, about {look['next_date']}"


def _facts(record: Mapping[str, Any], found: Verdict) -> list[tuple[str, str]]:
    look, test = record["look"], record["test"]
    pairs = []
    if test is not None and found is not Verdict.INCONCLUSIVE:
        pairs.append(("The test says", test["headline"]))
    if isinstance(look, str):
        pairs.append(("Look", f"none was taken: {look}"))
    else:
        trials = plural(look["trials"], "trial")
        pairs.append(("Look", f"{look['number']} of {look['planned']} on {look['sessions']:,} sessions, level {look['alpha']:g}, {trials}"))
        pairs.append(("Next look", next_look(look)))
    if found is Verdict.INCONCLUSIVE:
        pairs.append(("What is missing", missing(record)))
    pairs.append(("What to do", terminal.next_line(record).removeprefix("next").strip()))
    return [*pairs, *(("Note", note) for note in record["notes"])]


def _reason(criterion: Mapping[str, Any]) -> str:
    soft = "" if criterion["hard"] else " (soft)"
    status = criterion["status"]
    return f'<span class="tag {esc(status)}">{esc(criterion["name"])}</span> {esc(status)}{soft}: {esc(criterion["reason"])}'


def _criteria(record: Mapping[str, Any]) -> str:
    columns = ("criterion", "status", "kind", "observed", "must be", "interval", "reason")
    shown = table(columns, [_criterion_cells(c) for c in record["criteria"]], label="Criteria", texts=PROSE)
    if record["harm"]:
        caption = "Harm: the arms swapped and the test made again. All of these must pass for REJECT."
        shown += table(columns, [_criterion_cells(c) for c in record["harm"]], label="Criteria of harm", texts=PROSE, caption=caption)
    return shown


def _criterion_cells(c: Mapping[str, Any]) -> tuple[str, ...]:
    interval = UNKNOWN if c["interval"] is None else f"{short(c['interval'][0])} to {short(c['interval'][1])}"
    kind = "hard" if c["hard"] else "soft"
    return (c["name"], c["status"], kind, short(c["observed"]), f"{c['operator']} {short(c['threshold'])}", interval, c["reason"])


def _nav_tile(body: Payload) -> str:
    nav = body["nav"]
    if nav is None:
        return tile("NAV", UNKNOWN, "neither NAV nor closed trades were stored")
    label = f"NAV {nav['currency']}, {nav['as_of']}"
    return tile(label, count(nav["candidate"]), f"{count(nav['baseline'])} with {body['meta']['arms']['baseline']}")


def _return_tile(body: Payload) -> str:
    total = f"{points(body['pooled']['delta']['total_return_pct'])} pp"
    whole = body["evidence"]["all"]
    if whole is None or whole["d_return_a_year"] is None:
        return tile("d return, in total", total, "no interval: no test was made")
    edges = between(whole["d_return_interval"], scale=100.0)
    return tile(
        "d return, a year",
        f"{points(whole['d_return_a_year'], scale=100.0)} pp",
        f"{level(whole['confidence'])} {edges}; {total} in total",
    )


def _drawdown_tile(body: Payload) -> str:
    of = body["pooled"]
    below = f"{percent(of['candidate']['max_drawdown'])} against {percent(of['baseline']['max_drawdown'])}"
    return tile("d max drawdown", f"{points(of['delta']['max_drawdown'], scale=100.0)} pp", below)


def _sharpe_tile(body: Payload) -> str:
    of, test = body["pooled"], body["verdict"]["test"]
    against = f"{number(of['candidate']['sharpe'])} against {number(of['baseline']['sharpe'])}"
    p = None if test is None else test["test"]["p_value"]
    below = f"{against}; no test was made" if p is None else f"{against}; p {p:.4f}"
    return tile("d Sharpe", points(of["delta"]["sharpe"]), below)


def _safe_tile(body: Payload) -> str:
    if body["risk"] is None:
        return tile("Safe weight", UNKNOWN, "positions are unknown to this evidence")
    line = next(line for line in body["risk"][Arm.CANDIDATE.value]["lines"] if line["name"] == SAFE_WEIGHT)
    room = line["headroom"]
    if line["min_frac"] is None:
        return tile("Safe weight", percent(line["frac"]), "limits are off")
    below = f"floor {percent(line['min_frac'], 0)}, headroom {points(room, scale=100.0)} pp"
    return tile("Safe weight", percent(line["frac"]), below, alarm=room is not None and room < 0.0)


def _alert_tile(body: Payload) -> str:
    found = body["alerts"]
    if not found:
        return tile("Alerts", "none", "data checks and limits" if body["risk"] is not None else "data checks; limits are unknown")
    names = ", ".join(alert["name"] for alert in found[:3])
    return tile("Alerts", str(len(found)), names if len(found) <= 3 else f"{names}, ...", alarm=True)
