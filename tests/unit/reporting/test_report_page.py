"""The page: harmless whatever it shows, each picture with its words and its table, and nothing that the payload does not hold."""

from __future__ import annotations

import copy as copying
import re
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.reporting.payload import payload
from policyengine.reporting.report.drawn import CHUNKS, EVERY_DAY, drawn_days, table_days
from policyengine.reporting.report.figures import figures
from policyengine.reporting.report.page import STYLE, render
from policyengine.reporting.report.verdict import missing, next_look
from policyengine.reporting.text import UNKNOWN, csv_text, esc, level, money, percent, plural, points, visible

SECTIONS = ["matrix", "risk", "pictures", "trades", "differences", "provenance"]
PICTURES = ["forest", "nav", "drawdown", "exposure", "pnl", "rejects", "confidence", "months", "steps"]


@pytest.fixture(scope="module")
def body(replayed: Path) -> dict[str, Any]:
    return payload(replayed)


@pytest.fixture(scope="module")
def page(body: dict[str, Any]) -> str:
    return render(body)


def tree(page: str) -> ET.Element:
    """The page as XML, which it is as well."""
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def text_of(page: str) -> str:
    """Everything that the page says, in order, a space between any two pieces."""
    body = tree(page).find("body")
    assert body is not None
    return " ".join(" ".join(body.itertext()).split())


def test_the_verdict_and_its_reasons_come_first_and_word_for_word(page: str, body: dict[str, Any]) -> None:
    record = body["verdict"]
    said = text_of(page)
    at = [
        said.index(part)
        for part in ("PROMOTE", "all 17 hard criteria pass", record["test"]["headline"], "d return, a year", "Evidence matrix")
    ]
    assert at == sorted(at)
    for criterion in (*record["criteria"], *record["harm"]):
        assert criterion["reason"] in said
    assert [part.get("id") for part in tree(page).iter("section") if part.get("id")] == SECTIONS


def test_the_reasons_against_stand_where_a_manager_stops(body: dict[str, Any]) -> None:
    made = copying.deepcopy(body)
    made["verdict"].update(verdict="INCONCLUSIVE", passed=False)
    first, second, *_ = made["verdict"]["criteria"]
    first.update(status="fail", reason="because of <one>")
    second.update(status="missing", hard=False, reason="because of another")
    said = text_of(render(made))
    head = said[: said.index("All 17 criteria")]
    assert "Not promoted to canary: 1 of 16 hard criteria is open" in head
    assert f"{first['name']} fail: because of <one>" in head
    assert f"{second['name']} missing (soft): because of another" in head
    assert "What is missing" in head
    assert "Next look at 1,350 sessions, about 2020-03-26" in head


def test_what_is_missing_is_said_in_sessions_and_trades() -> None:
    lacking = {"target_effect": 0.5, "power": 0.8, "power_now": 0.31, "sessions": 410, "trades": 1200}
    record = {"look": {}, "test": {"reported": {"missing": lacking}}}
    assert missing(record) == "about 410 more sessions and 1,200 trades to see an effect of +0.5 with power 0.8; it is 0.31 now"
    assert missing({"look": {}, "test": {"reported": {"missing": {**lacking, "trades": None, "sessions": 1}}}}).startswith(
        "about 1 more session to"
    )
    enough = {"look": {}, "test": {"reported": {"missing": {**lacking, "sessions": 0}}}}
    assert missing(enough) == "nothing: the sample is large enough to see an effect of +0.5 with power 0.8"
    assert missing({"look": "n", "test": None}) == "unknown: no look was taken"
    assert missing({"look": {}, "test": {"reported": {"missing": None}}}) == "unknown: the test could not be made"


def test_the_next_look() -> None:
    assert next_look({"next_sessions": 1350, "next_date": "2020-03-26"}) == "at 1,350 sessions, about 2020-03-26"
    assert next_look({"next_sessions": None, "next_date": None}) == "none: this was the last one planned"


def test_the_tiles_show_stored_numbers(page: str, body: dict[str, Any]) -> None:
    tiles = [" ".join(tile.itertext()) for tile in tree(page).iter("div") if tile.get("class", "").startswith("tile")][1:]
    whole, pooled = body["evidence"]["all"], body["pooled"]
    low, high = (100 * edge for edge in whole["d_return_interval"])
    assert f"{body['nav']['candidate']:,.0f}" in tiles[0]
    assert f"{100 * whole['d_return_a_year']:+.2f} pp" in tiles[1]
    assert f"95% {low:+.2f} to {high:+.2f}; {pooled['delta']['total_return_pct']:+.2f} pp in total" in tiles[1]
    assert f"{100 * pooled['delta']['max_drawdown']:+.2f} pp" in tiles[2]
    assert "floor 75%, headroom" in tiles[4]
    assert tiles[5] == "Alerts none data checks and limits"


def test_an_alert_is_seen_on_the_first_screen_and_explained_below(body: dict[str, Any]) -> None:
    made = copying.deepcopy(body)
    made["alerts"] = [{"name": "core_above_max", "arm": "candidate", "observed": 0.21, "operator": ">", "limit": 0.2, "reason": "too much"}]
    line = next(line for line in made["risk"]["candidate"]["lines"] if line["name"] == "safe_weight")
    line.update(frac=0.7, headroom=-0.05)
    page = render(made)
    assert page.count('class="tile alarm"') == 2
    assert "core_above_max candidate 0.21 > 0.2 too much" in text_of(page)


@pytest.mark.parametrize("kind", ["replayed", "ledger", "untraded"])
def test_every_picture_has_title_description_and_table_or_says_why_not(kind: str, request: pytest.FixtureRequest) -> None:
    made = payload(request.getfixturevalue(kind))
    root = tree(render(made))
    found = {figure.get("id"): figure for figure in root.iter("figure")}
    assert list(found) == PICTURES
    for one in figures(made):
        figure = found[one.key]
        caption = figure.find("figcaption")
        assert caption is not None
        assert [visible(part.text) for part in caption] == [one.title, one.description]
        svg = figure.find("svg")
        if one.spec is None:
            assert svg is None
            continue
        assert svg is not None
        names = {part.get("id"): part.text for part in svg if part.tag in {"title", "desc"}}
        assert [names[key] for key in str(svg.get("aria-labelledby")).split()] == [one.title, one.description]
        assert svg.get("role") == "img"
        rows = figure.findall(".//tbody/tr")
        assert [tuple(cell.text for cell in row) for row in rows] == list(one.rows)
        assert len(rows) > 0
    if kind == "replayed":
        assert all(one.spec is not None for one in figures(made))


def test_nothing_runs_and_nothing_is_loaded(page: str) -> None:
    root = tree(page)
    kinds = {element.tag for element in root.iter()}
    assert not kinds & {"script", "img", "iframe", "object", "embed", "image", "use", "foreignObject", "base", "form"}
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), (element.tag, name)
            if name.rpartition("}")[2] in {"href", "src"}:
                assert value in {"trades.csv", "data:,"}
    assert "url(" not in page
    assert "@import" not in page
    assert len([element.get("id") for element in root.iter() if element.get("id")]) == len(
        {e.get("id") for e in root.iter() if e.get("id")}
    )


def test_names_that_try_to_do_harm_are_shown_as_text(body: dict[str, Any]) -> None:
    evil = [
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "O'Neil & Co",
        "[/x]",
        '=HYPERLINK("http://x","y")',
        "a\u202eb\u2066\x00\ud800",
    ]
    made = copying.deepcopy(body)
    made["meta"]["arms"] = {"baseline": evil[0], "candidate": evil[1]}
    made["meta"]["data_origin"] = made["meta"]["currency"] = evil[5]
    for row, name in zip(made["evidence"]["rows"], evil, strict=False):
        row["window"] = name
    for trade, name in zip(made["trades"]["rows"], evil, strict=False):
        trade["symbol"] = trade["bucket"] = name
    made["verdict"]["notes"] = evil
    made["verdict"]["criteria"][0].update(name=evil[0], status="fail", reason=evil[5])
    made["config_differences"] = [{"path": name, "baseline": name, "candidate": name} for name in evil]
    made["provenance"]["source"]["selects"] = {name: name for name in evil}
    made["alerts"] = [{"name": name, "arm": None, "observed": 1, "operator": ">", "limit": 0, "reason": name} for name in evil]
    page = render(made)
    test_nothing_runs_and_nothing_is_loaded(page)
    said = text_of(page)
    for name in evil[:5]:
        assert said.count(name) >= 5
    assert said.count(r"a\u202eb\u2066\x00\ud800") >= 5
    assert not [ch for ch in page if unicodedata.category(ch)[0] == "C" and ch != "\n"]


def test_every_colour_of_a_picture_has_one_in_the_dark(page: str) -> None:
    style = STYLE.read_text()
    drawn = {value for svg in tree(page).iter("svg") for part in svg.iter() for name in ("fill", "stroke") if (value := part.get(name))}
    for colour in drawn - {"none", "transparent"}:
        for name in ("fill", "stroke"):
            assert f'svg [{name}="{colour}"]' in style, colour
    names = set(re.findall(r"var\((--[\w-]+)\)", style)) - {"--tone"}
    for theme in (style.split("@media")[0], style.split("dark)")[1].split("@media")[0], style.split("@media print")[1].split("\n}\n")[0]):
        assert names <= set(re.findall(r"(--[\w-]+):", theme))


def test_a_table_row_is_a_drawn_point(body: dict[str, Any]) -> None:
    for one in figures(body):
        if one.key in {"nav", "drawdown"}:
            assert one.spec is not None
            drawn = {(row["t"], row["name"]) for row in one.spec["datasets"]["rows"]}
            assert len(drawn) >= 2 * len(one.rows)
            days = {row[0] for row in one.rows}
            stored = body["equity"]["day"]
            kept = drawn_days((body["equity"][arm] for arm in ("baseline", "candidate")), table_days(stored))
            assert days <= {stored[i] for i in kept}


def test_each_window_has_its_interval_in_the_matrix_and_as_whiskers(body: dict[str, Any], page: str) -> None:
    made = copying.deepcopy(body)
    made["evidence"]["rows"][-2]["d_return_interval"] = None
    (forest,) = (one for one in figures(made) if one.key == "forest")
    assert forest.spec is not None
    drawn = {row["label"]: (row["low"], row["high"]) for row in forest.spec["datasets"]["intervals"]}
    known = [row for row in made["evidence"]["rows"] if row["d_return_interval"] is not None]
    assert len(known) == len(made["evidence"]["rows"]) - 1
    assert drawn.pop("all, a year")[0] == 100.0 * made["evidence"]["all"]["d_return_interval"][0]
    assert drawn == {row["window"]: tuple(row["d_return_interval"]) for row in known[-len(drawn) :]}
    told = {row[0]: row[2] for row in forest.rows}
    cells = {row[0].text: row[2].text for row in tree(render(made)).findall(".//section[@id='matrix']//tbody/tr")}
    for row in made["evidence"]["rows"]:
        interval = row["d_return_interval"]
        shown = UNKNOWN if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
        assert told[row["window"]] == cells[row["window"]] == shown
    low, high = made["pooled"]["d_return_interval"]
    assert cells["all"] == f"{low:+.2f} to {high:+.2f}"
    assert "95% interval" in text_of(page)


def test_rejects_by_bucket_are_said_beside_their_picture(body: dict[str, Any]) -> None:
    made = copying.deepcopy(body)
    of = made["reject_rate"]["by_bucket"]["candidate"]
    of["core"] = {"requests": 1234, "rejects": 1, "rate": 1 / 1234}
    of["safe"] = of["spec"] = {"requests": 0, "rejects": 0, "rate": None}
    (rejects,) = (one for one in figures(made) if one.key == "rejects")
    assert rejects.description.endswith("Of BARBELL_SIZED by bucket, all sessions: core 0.081% of 1,234.")
    of["core"] = of["safe"]
    (rejects,) = (one for one in figures(made) if one.key == "rejects")
    assert rejects.description.endswith("all sessions: no request.")


VALUES = st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1, max_size=3 * CHUNKS)


@given(VALUES)
def test_a_thinned_line_keeps_both_ends_and_every_extreme(values: list[float | None]) -> None:
    kept = drawn_days([values], [0])
    assert kept == sorted(set(kept))
    assert {0, len(values) - 1} <= set(kept) <= set(range(len(values)))
    known = [v for v in values if v is not None]
    if known:
        shown = [values[i] for i in kept]
        assert {min(known), max(known)} <= {v for v in shown if v is not None}
    drawn = {i for i in kept if values[i] is None}
    for start in (i for i, v in enumerate(values) if v is None and (i == 0 or values[i - 1] is not None)):
        assert start in drawn  # or the line would bridge what is not known


def test_a_long_line_is_thinned_and_a_short_one_is_not() -> None:
    assert drawn_days([[float(i) for i in range(CHUNKS)]], []) == list(range(CHUNKS))
    assert len(drawn_days([[float(i % 7) for i in range(5000)]], [])) <= 2 * CHUNKS + 2


def test_a_table_shows_each_day_or_the_last_of_each_month() -> None:
    few = [f"2020-01-{day:02d}" for day in range(1, 32)]
    assert table_days(few) == list(range(31))
    many = [f"2020-{month:02d}-{day:02d}" for month in range(1, 7) for day in range(1, 29)]
    assert len(many) > EVERY_DAY
    assert [many[i] for i in table_days(many)] == [f"2020-{month:02d}-28" for month in range(1, 7)]


@given(st.text())
def test_no_text_hides_anything(text: str) -> None:
    shown = visible(text)
    assert not [ch for ch in shown if ch != "\n" and unicodedata.category(ch) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert "<" not in esc(text)
    assert '"' not in esc(text)


@given(st.text(st.sampled_from("=+-@\t\r\n \uff1d\u202eax'1")))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = csv_text(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
    assert not cell.startswith(("\t", "\r", "\n"))


def test_numbers_as_people_read_them() -> None:
    assert (money(1234567.891), money(-0.004), money(None), money(1.0, "USD")) == ("1,234,567.89", "-0.00", UNKNOWN, "USD 1.00")
    assert (percent(0.12345), percent(None), percent(0.75, 0)) == ("12.35%", UNKNOWN, "75%")
    assert (level(0.95), level(0.995), level(0.9)) == ("95%", "99.5%", "90%")
    assert (points(0.5), points(-0.00313, scale=100.0), points(None), points(0.0)) == ("+0.50", "-0.31", UNKNOWN, "+0.00")
    assert (plural(1, "trial"), plural(1200, "trial"), plural(2, "criterion", "criteria")) == ("1 trial", "1,200 trials", "2 criteria")
    assert visible("O'Neil & Co \u00e9") == "O'Neil & Co \u00e9"
