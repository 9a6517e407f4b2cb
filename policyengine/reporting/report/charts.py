"""Charts as Vega-Lite, built by Altair from plain rows. Everything that differs by colour differs by dash or shape as well.

Colours are those of the light theme; the page's style sheet maps each of them to the dark one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

INK, MUTED, GRID = "#1b2026", "#57606a", "#d9dee3"
BASELINE, CANDIDATE, LIMIT = "#6a737c", "#0b5cad", "#b42318"
ARMS = ((BASELINE, (5, 3), "square"), (CANDIDATE, (1, 0), "circle"))
"""Colour, dash and shape of each arm's line."""
STEPS = ((MUTED, (2, 2), "square"), ("#b45309", (6, 2), "triangle-up"), (CANDIDATE, (1, 0), "circle"))
"""Of what was asked for, what was allocated, and what the limits left."""
Styles = Sequence[tuple[str, Sequence[int], str]]
BUCKET_COLOURS = {"safe": "#0f766e", "core": "#0b5cad", "spec": "#b45309", "other": "#7e22ce"}
BUCKET_SHAPES = {"safe": "square", "core": "circle", "spec": "triangle-up", "other": "diamond"}
WIDTH, HEIGHT = 326, 190
_STEP = 15
_CONFIG: Spec = {
    "background": None,
    "font": "sans-serif",
    "padding": 8,
    "view": {"stroke": None},
    "concat": {"spacing": 12},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 110,
    },
    "legend": {"orient": "top", "title": None, "labelColor": INK, "labelFontSize": 11, "labelLimit": 140, "symbolSize": 240, "offset": 6},
    "title": {"color": INK, "fontSize": 11, "fontWeight": "bold", "anchor": "start", "frame": "group", "offset": 4},
}


def load() -> Any:
    """Altair; 0.2 s, so only where something is drawn."""
    import altair  # noqa: PLC0415

    return altair


def lines(
    rows: Rows, names: Sequence[str], *, y: str, form: str, styles: Styles = ARMS, reverse: bool = False, marked: bool = False
) -> Spec:
    """`value` over time `t` (milliseconds) for each `name`, in its style; `marked` shows each point too."""
    alt = load()
    axis = alt.Axis(format=form, tickCount=5)
    place = {"x": _time(alt), "y": alt.Y("value", type="quantitative", title=y, axis=axis, scale=alt.Scale(zero=False, reverse=reverse))}
    line = alt.Chart(alt.NamedData("rows")).mark_line(strokeWidth=1.6).encode(**place, **_by_name(alt, names, styles))
    if not marked:
        return _finished(line.properties(width=WIDTH, height=HEIGHT), rows=rows)
    shape = alt.Shape("name", type="nominal", legend=None, scale=alt.Scale(domain=list(names), range=[shape for _, _, shape in styles]))
    colour = _by_name(alt, names, styles, legend=False)["color"]
    points = alt.Chart(alt.NamedData("rows")).mark_point(filled=True, size=20, opacity=1).encode(**place, shape=shape, color=colour)
    # Scales apart, since a legend that one layer refuses is refused for both.
    both = alt.layer(line, points).resolve_scale(color="independent", strokeDash="independent", shape="independent")
    return _finished(both.properties(width=WIDTH, height=HEIGHT), rows=rows)


def panels(panels_of: Sequence[tuple[str, Rows, Rows]], arms: Sequence[str], *, form: str) -> Spec:
    """Small lines one above another, each a title, its rows as in `lines`, and its limits: rows of `value`, `label` and time `t`."""
    alt = load()
    height = (HEIGHT + 30 - 28 * len(panels_of)) // len(panels_of) + 12
    parts = []
    for number, (title, _, limits) in enumerate(panels_of):
        last = number == len(panels_of) - 1
        line = alt.Chart(alt.NamedData(f"rows{number}")).mark_line(strokeWidth=1.4)
        quantity = alt.Y("value", type="quantitative", title=None, axis=alt.Axis(format=form, tickCount=3), scale=alt.Scale(zero=False))
        layers = [line.encode(x=_time(alt, labels=last), y=quantity, **_by_name(alt, arms, ARMS, legend=number == 0))]
        if limits:
            at, value = alt.Chart(alt.NamedData(f"limits{number}")), alt.Y("value", type="quantitative")
            label = at.mark_text(color=LIMIT, align="right", baseline="bottom", dy=-1, fontSize=10)
            layers.append(at.mark_rule(color=LIMIT, strokeDash=[2, 2]).encode(y=value))
            layers.append(label.encode(y=value, x=alt.X("t", type="temporal"), text=alt.Text("label", type="nominal")))
        parts.append(alt.layer(*layers).properties(width=WIDTH, height=height, title=title))
    data = {f"rows{n}": rows for n, (_, rows, _) in enumerate(panels_of)} | {f"limits{n}": rows for n, (_, _, rows) in enumerate(panels_of)}
    return _stacked(parts, **data)


def steps(panels_of: Sequence[tuple[str, str, Rows]], *, y: str | None, form: str) -> Spec:
    """Signed sums by month, one panel above another: each a title, a colour, and rows of `value` from time `t` on."""
    alt = load()
    height = HEIGHT if len(panels_of) == 1 else (HEIGHT + 60 - 28 * len(panels_of)) // len(panels_of)
    parts = []
    for number, (title, colour, _) in enumerate(panels_of):
        name = alt.NamedData(f"rows{number}")
        quantity = alt.Y("value", type="quantitative", title=y, axis=alt.Axis(format=form, tickCount=3 if len(panels_of) > 1 else 5))
        area = alt.Chart(name).mark_area(interpolate="step-after", color=colour, fillOpacity=0.85)
        zero = alt.Chart(alt.NamedData("once")).mark_rule(color=MUTED, strokeWidth=1).encode(y=alt.YDatum(0))
        time = _time(alt, labels=number == len(panels_of) - 1)
        layered = alt.layer(area.encode(x=time, y=quantity), zero)
        parts.append(layered.properties(width=WIDTH, height=height, **({"title": title} if title else {})))
    data = {f"rows{n}": rows for n, (_, _, rows) in enumerate(panels_of)}
    return _finished(parts[0], **data) if len(parts) == 1 else _stacked(parts, **data)


def forest(rows: Rows, *, x: str) -> Spec:
    """One row a `label`, in their order: `value` as a point (a diamond where `whole`), `low` to `high` as a line where known."""
    alt = load()
    data = alt.NamedData("rows")
    label = alt.Y("label", type="nominal", sort=None, title=None, axis=alt.Axis(grid=False, labelLimit=90))
    intervals = alt.Chart(alt.NamedData("intervals")).mark_rule(color=CANDIDATE, strokeWidth=2)
    shape = alt.Shape("whole", type="nominal", legend=None, scale=alt.Scale(domain=[False, True], range=["circle", "diamond"]))
    size = alt.Size("whole", type="nominal", legend=None, scale=alt.Scale(domain=[False, True], range=[26, 90]))
    zero = alt.Chart(alt.NamedData("once")).mark_rule(color=MUTED, strokeWidth=1).encode(x=alt.XDatum(0))
    point = alt.Chart(data).mark_point(filled=True, color=CANDIDATE, opacity=1)
    quantity = alt.X("value", type="quantitative", title=x, axis=alt.Axis(tickCount=6))
    chart = alt.layer(
        zero,
        intervals.encode(y=label, x=alt.X("low", type="quantitative"), x2=alt.X2("high")),
        point.encode(y=label, x=quantity, shape=shape, size=size),
    )
    drawn = [row for row in rows if row["low"] is not None and row["high"] is not None]
    return _finished(chart.properties(width=WIDTH - 30, height=max(60, _STEP * len(rows))), rows=rows, intervals=drawn)


def confidences(rows: Rows) -> Spec:
    """Signals by class of `base` and `effective` confidence: area says how many, shape of which `bucket`; the line is "unchanged"."""
    alt = load()
    present = [bucket for bucket in BUCKET_COLOURS if any(row["bucket"] == bucket for row in rows)]
    scale = alt.Scale(domain=[0, 1], nice=False)
    dots = alt.Chart(alt.NamedData("rows")).mark_point(filled=True, opacity=0.9)
    chart = alt.layer(
        alt.Chart(alt.NamedData("same"))
        .mark_line(color=MUTED, strokeDash=[3, 3], strokeWidth=1)
        .encode(x=alt.X("base", type="quantitative"), y=alt.Y("effective", type="quantitative")),
        dots.encode(
            x=alt.X("base", type="quantitative", title="base confidence", scale=scale, axis=alt.Axis(tickCount=5)),
            y=alt.Y("effective", type="quantitative", title="effective confidence", scale=scale, axis=alt.Axis(tickCount=5)),
            size=alt.Size("signals", type="quantitative", legend=None, scale=alt.Scale(range=[14, 260])),
            color=alt.Color("bucket", type="nominal", scale=alt.Scale(domain=present, range=[BUCKET_COLOURS[b] for b in present])),
            shape=alt.Shape("bucket", type="nominal", scale=alt.Scale(domain=present, range=[BUCKET_SHAPES[b] for b in present])),
        ),
    )
    same = [{"base": 0, "effective": 0}, {"base": 1, "effective": 1}]
    return _finished(chart.properties(width=WIDTH, height=HEIGHT), rows=rows, same=same)


def _time(alt: Any, *, labels: bool = True) -> Any:
    axis = alt.Axis(tickCount=5, grid=False, labels=labels, ticks=labels, labelSeparation=8, title=None)
    return alt.X("t", type="temporal", title=None, scale=alt.Scale(type="utc"), axis=axis)


def _by_name(alt: Any, names: Sequence[str], styles: Styles, *, legend: bool = True) -> dict[str, Any]:
    shown = {} if legend else {"legend": None}
    colours, dashes = [colour for colour, _, _ in styles], [list(dash) for _, dash, _ in styles]
    return {
        "color": alt.Color("name", type="nominal", scale=alt.Scale(domain=list(names), range=colours), **shown),
        "strokeDash": alt.StrokeDash("name", type="nominal", scale=alt.Scale(domain=list(names), range=dashes), **shown),
    }


def _stacked(parts: Sequence[Any], **data: Rows) -> Spec:
    """One part above another. Not by Altair, which takes a tenth of a second to compare them all."""
    scales = {"color": "independent", "strokeDash": "independent"}
    return _with_data({"vconcat": [part.to_dict(validate=False) for part in parts], "resolve": {"scale": scales}}, **data)


def _finished(chart: Any, **data: Rows) -> Spec:
    return _with_data(chart.to_dict(validate=False), **data)


def _with_data(spec: Spec, **data: Rows) -> Spec:
    """The chart with its data put in last: Altair would check every row of them. `once` is for marks that stand there one time."""
    sets = {"once": [{}], **{name: [dict(row) for row in rows] for name, rows in data.items()}}
    return {**spec, "config": _CONFIG, "datasets": sets}
