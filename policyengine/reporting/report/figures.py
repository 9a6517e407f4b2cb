"""The pictures of a report: each with a title, a description, and the table of what is drawn. From the payload alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policyengine.records import Arm, Bucket
from policyengine.reporting.names import SAFE_WEIGHT, STEPS
from policyengine.reporting.report import charts
from policyengine.reporting.report.drawn import drawn_days, milliseconds, rows_of, steps_of, table_days
from policyengine.reporting.text import between, count, level, money, percent, plural, points, visible

Payload = Mapping[str, Any]
FOREST_ROWS = 14
MARKED = 40
"""Up to so many points of a line are marked one by one; a line through a single one would not show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One picture and its table; `note` says what that shows. `spec` is None where there is nothing to draw: the description says why."""

    key: str
    title: str
    description: str
    spec: charts.Spec | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def figures(body: Payload) -> list[Figure]:
    """Every picture, in the order of the report."""
    arms = arm_labels(body)
    return [
        _forest(body),
        _curve(body, arms, key="nav", of="equity", title=f"NAV of both arms, {visible(body['meta']['currency'])}", form="~s", shown=money),
        _curve(body, arms, key="drawdown", of="drawdown", title="Drawdown of both arms", form=".1%", shown=percent),
        _exposure(body, arms),
        _pnl(body, arms),
        _rejects(body, arms),
        _confidence(body),
        _months(body, arms),
        _steps(body, arms),
    ]


def arm_labels(body: Payload) -> tuple[str, str]:
    """What the arms are called in pictures: their names, told apart where they are the same."""
    names = [visible(body["meta"]["arms"][arm.value]) for arm in Arm]
    same = names[0] == names[1]
    first, second = (f"{name} ({arm})" if same else name for name, arm in zip(names, Arm, strict=True))
    return first, second


def _forest(body: Payload) -> Figure:
    key, title = "forest", "d return by window, pp"
    windows = [
        _effect(row["window"], row["delta"]["total_return_pct"], row["d_return_interval"])
        for row in body["evidence"]["rows"]
        if row["error"] is None
    ]
    whole = _whole(body)
    drawn = [*whole, *windows[-FOREST_ROWS:]]
    if not drawn:
        return _nothing(key, title, "No window was evaluated.")
    diamond = " The diamond is the mean a year over all judged sessions." if whole else ""
    sure = level(body["evidence"]["confidence"])
    few = "" if len(windows) <= FOREST_ROWS else f" The latest {FOREST_ROWS} of {len(windows)} windows."
    return Figure(
        key=key,
        title=title,
        description=f"Candidate less baseline, with {sure} intervals; right of 0 the candidate earned more.{few}{diamond}",
        spec=charts.forest(drawn, x="pp"),
        columns=("window", "d return pp", f"{sure} interval"),
        rows=tuple((row["label"], points(row["value"]), _interval(row)) for row in (*whole, *windows)),
        note="All windows.",
    )


def _whole(body: Payload) -> list[dict[str, Any]]:
    """The mean return difference a year as a row of the forest; none without a test."""
    whole = body["evidence"]["all"]
    if whole is None or whole["d_return_a_year"] is None:
        return []
    interval = None if whole["d_return_interval"] is None else [100.0 * edge for edge in whole["d_return_interval"]]
    return [_effect("all, a year", 100.0 * whole["d_return_a_year"], interval, whole=True)]


def _effect(label: str, value: float, interval: Sequence[float] | None, *, whole: bool = False) -> dict[str, Any]:
    """A row of the forest; without an interval it has no whiskers."""
    low, high = (None, None) if interval is None else interval
    return {"label": visible(label), "value": value, "low": low, "high": high, "whole": whole}


def _interval(row: Mapping[str, Any]) -> str:
    return between(None if row["low"] is None else (row["low"], row["high"]))


def _curve(
    body: Payload, arms: tuple[str, str], *, key: str, of: str, title: str, form: str, shown: Callable[[float | None], str]
) -> Figure:
    series = body[of]
    if series is None or body["nav"] is None:
        return _nothing(key, title, "The run stored neither NAV nor closed trades.")
    fall = of == "drawdown"
    basis = "at each session's close" if body["nav"]["basis"] == "session" else "on days with a closed trade: a ledger tells no more"
    ends = table_days(series["day"])
    kept = drawn_days((series[arm] for arm in Arm), ends)
    drawn = rows_of(series, kept, _keyed(arms))
    unit = "" if fall else visible(body["nav"]["currency"])
    what = "Fall from the running peak of NAV, 0 at the top" if fall else "Net asset value"
    return Figure(
        key=key,
        title=title,
        description=f"{what}, {basis}; {arms[1]} solid, {arms[0]} dashed.",
        spec=charts.lines(drawn, arms, y=unit, form=form, reverse=fall, marked=len(kept) <= MARKED),
        columns=("day", *arms),
        rows=tuple((series["day"][i], *(shown(series[arm][i]) for arm in Arm)) for i in ends),
        note=_days_note(series["day"], ends),
    )


def _days_note(days: Sequence[str], ends: Sequence[int]) -> str:
    if len(ends) == len(days):
        return "Every day that is drawn."
    return f"The last day of each month. The line keeps the extremes of all {len(days):,} days, which are in dashboard_data.json."


def _exposure(body: Payload, arms: tuple[str, str]) -> Figure:
    key, title = "exposure", "Bucket exposure with its limits"
    held = body["exposure"]
    if held is None:
        return _nothing(key, title, "Positions are unknown to this kind of evidence.")
    days = held["day"]
    other = any(value for arm in Arm for value in held[arm.value]["other"])
    names = [SAFE_WEIGHT, "core", "spec", *(["other"] if other else []), "risk"]
    limits = {line["name"]: line for line in body["risk"][Arm.CANDIDATE.value]["lines"]}
    ends = table_days(days)
    last = milliseconds(days[-1])
    made = []
    for name in names:
        one = {"day": days, **{arm.value: held[arm.value][name] for arm in Arm}}
        rows = rows_of(one, drawn_days((one[arm.value] for arm in Arm), ends), _keyed(arms))
        made.append((name.replace("_", " "), rows, _limit_rows(limits[name], last)))
    return Figure(
        key=key,
        title=title,
        description=(
            f"Fractions of NAV at each session's close, absolute; {arms[1]} solid, {arms[0]} dashed, the candidate's limits dotted."
        ),
        spec=charts.panels(made, arms, form=".0%"),
        columns=("day", *(f"{name.replace('_', ' ')}, {label}" for name in names for label in arms)),
        rows=tuple((days[i], *(percent(held[arm.value][name][i]) for name in names for arm in Arm)) for i in ends),
        note=_days_note(days, ends),
    )


def _limit_rows(line: Mapping[str, Any], last: int) -> list[dict[str, Any]]:
    """The limits that the drawn fraction can be held against."""
    if line["frac"] is not None and line["headroom"] is None:
        return []
    bounds = (("max", line["max_frac"]), ("floor", line["min_frac"]))
    return [{"value": bound, "label": f"{name} {100 * bound:g}%", "t": last} for name, bound in bounds if bound is not None]


def _pnl(body: Payload, arms: tuple[str, str]) -> Figure:
    key, title = "pnl", "Realised P&L by bucket and month"
    rows = body["pnl_by_bucket_and_month"]
    if not rows:
        return _nothing(key, title, "No trade closed." if rows is not None else "The run stored no trades.")
    by_bucket = {bucket.value: [row for row in rows if row["bucket"] == bucket] for bucket in Bucket}
    used = [name for name, of in by_bucket.items() if any(row[arm] for row in of for arm in Arm)] or ["core"]
    months = [row["month"] for row in by_bucket[used[0]]]
    panels = [(name, charts.BUCKET_COLOURS[name], steps_of(by_bucket[name], Arm.CANDIDATE.value)) for name in used]
    currency = visible(body["meta"]["currency"])
    return Figure(
        key=key,
        title=f"{title}, {currency}",
        description=f"Net profit or loss of trades closed in each month by {arms[1]}, one panel a bucket; {arms[0]} is in the table.",
        spec=charts.steps(panels, y=None, form="~s"),
        columns=("month", *(f"{name}, {label}" for name in used for label in arms)),
        rows=tuple((months[i], *(money(by_bucket[name][i][arm]) for name in used for arm in Arm)) for i in range(len(months))),
        note="Every month.",
    )


def _rejects(body: Payload, arms: tuple[str, str]) -> Figure:
    key, title = "rejects", "Reject rate by window"
    rows = [row for row in body["evidence"]["rows"] if row["error"] is None]
    made = [
        {"t": milliseconds(row["end_date"]), "name": label, "value": row[arm.value]["reject_rate"]}
        for row in rows
        for arm, label in zip(Arm, arms, strict=True)
    ]
    drawn = [row for row in made if row["value"] is not None]
    if not drawn:
        return _nothing(key, title, "Order requests were not recorded." if rows else "No window was evaluated.")
    return Figure(
        key=key,
        title=title,
        description=(
            f"Share of order requests that a guardrail refused, at each window's last day; {arms[1]} solid, {arms[0]} dashed."
            f"{_rejects_by_bucket(body, arms)}"
        ),
        spec=charts.lines(drawn, arms, y="", form=".2~%", marked=len(rows) <= MARKED),
        columns=("window", *arms),
        rows=tuple((visible(row["window"]), *(percent(row[arm.value]["reject_rate"], 3) for arm in Arm)) for row in rows),
        note="All windows.",
    )


def _rejects_by_bucket(body: Payload, arms: tuple[str, str]) -> str:
    """The rates of the candidate over the whole sample in words, where they were stored."""
    found = body["reject_rate"]["by_bucket"]
    if found is None:
        return ""
    asked = [(bucket, of) for bucket in Bucket if (of := found[Arm.CANDIDATE.value][bucket])["requests"]]
    said = ", ".join(f"{bucket} {percent(of['rate'], 3)} of {count(of['requests'])}" for bucket, of in asked)
    return f" Of {arms[1]} by bucket, all sessions: {said or 'no request'}."


def _confidence(body: Payload) -> Figure:
    key, title = "confidence", "Base against effective confidence"
    rows = body["confidence"]
    if not rows:
        return _nothing(key, title, "No actionable signal." if rows is not None else "The run stored no signals.")
    made = [{**row, "base": row["base_from"], "effective": row["effective_from"]} for row in rows]
    total = sum(row["signals"] for row in rows)
    return Figure(
        key=key,
        title=title,
        description=(
            f"What the candidate's overlay made of {plural(total, 'signal')}: larger marks are more signals, the dashed line is unchanged "
            "confidence, below it the overlay cut."
        ),
        spec=charts.confidences(made),
        columns=("bucket", "base from", "effective from", "signals"),
        rows=tuple((row["bucket"], f"{row['base_from']:.2f}", f"{row['effective_from']:.2f}", count(row["signals"])) for row in rows),
        note="Signals counted in classes of 0.05; each class is named by its lower end.",
    )


def _months(body: Payload, arms: tuple[str, str]) -> Figure:
    key, title = "months", "d return by month, pp"
    months = body["months"]
    if not months:
        return _nothing(key, title, "No NAV was stored.")
    made = steps_of([{**row, "pp": None if row["d_return"] is None else 100.0 * row["d_return"]} for row in months], "pp")
    return Figure(
        key=key,
        title=title,
        description="Return of the candidate in each calendar month less that of the baseline, from NAV at the ends of months.",
        spec=charts.steps([("", charts.CANDIDATE, made)], y="pp", form="~f"),
        columns=("month", *(f"{label}, %" for label in arms), "d return pp"),
        rows=tuple(
            (
                row["month"],
                points(row["baseline"], scale=100.0),
                points(row["candidate"], scale=100.0),
                points(row["d_return"], scale=100.0),
            )
            for row in months
        ),
        note="Every month; the first and the last may be parts of one.",
    )


def _steps(body: Payload, arms: tuple[str, str]) -> Figure:
    key, title = "steps", "Asked, allocated, kept"
    found = body["reconciliation"]
    if found is None:
        return _nothing(key, title, "The run stored no reconciliation.")
    series, days = found[Arm.CANDIDATE.value], found["day"]
    ends = table_days(days)
    kept = drawn_days((series[step] for step in STEPS), ends)
    names = dict(zip(STEPS, ("asked", "allocated", "kept"), strict=True))
    return Figure(
        key=key,
        title=title,
        description=f"Gross weight of {arms[1]} as signals ask, after sizing and budgets, and what the limits leave, fractions of NAV.",
        spec=charts.lines(
            rows_of({"day": days, **series}, kept, names),
            list(names.values()),
            y="",
            form=".0%",
            styles=charts.STEPS,
            marked=len(kept) <= MARKED,
        ),
        columns=("day", *names.values(), "L1 drift"),
        rows=tuple((days[i], *(percent(series[step][i]) for step in (*STEPS, "l1_drift"))) for i in ends),
        note=_days_note(days, ends),
    )


def _nothing(key: str, title: str, why: str) -> Figure:
    return Figure(key=key, title=title, description=why, spec=None, columns=(), rows=())


def _keyed(arms: Sequence[str]) -> dict[str, str]:
    return {arm.value: label for arm, label in zip(Arm, arms, strict=True)}
