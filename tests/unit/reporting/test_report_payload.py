"""The payload: what a run stored and nothing else, unknown where it stored nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from policyengine.errors import DataError
from policyengine.evidence.artifact import facts_of
from policyengine.evidence.gate import decide
from policyengine.records import Bucket, Stage
from policyengine.reporting.legacy import LEGACY_KEYS
from policyengine.reporting.names import PAYLOAD
from policyengine.reporting.payload import payload, write_payload
from policyengine.reporting.report import write_report
from policyengine.reporting.report.page import render
from policyengine.reporting.series import lines, numbers
from policyengine.spec.bind import bind
from policyengine.spec.gate import GateSpec
from tests.conftest import ROOT
from tests.serving import snapshot

SCHEMA = json.loads((ROOT / "docs" / "dashboard.schema.json").read_text())
Copy = Callable[[Path], Path]


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a stored JSON file as `change` does to its value in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def sessions(folder: Path, nav: dict[str, list[float]], **fractions: list[float]) -> None:
    """Store so many first sessions of the sample as these NAVs and fractions; a bucket that is not given holds nothing."""
    size = len(nav["baseline"])
    table = pq.read_table(folder / "exposure.parquet").slice(0, size)
    days = table.column("session")
    columns: dict[str, Any] = {"session": days}
    for arm in ("baseline", "candidate"):
        columns[f"{arm}_nav"] = nav[arm]
        columns |= {f"{arm}_{bucket}_frac": fractions.get(bucket.value, [0.0] * size) for bucket in Bucket}
    pq.write_table(pa.table(columns), folder / "exposure.parquet")
    last = str(days[-1].as_py().date())
    edit(folder / "evidence.json", lambda made: made["sample"].update(end_date=last, sessions=size))


@pytest.mark.parametrize("kind", ["replayed", "ledger", "untraded"])
def test_every_kind_of_run_fits_the_documented_schema(kind: str, request: pytest.FixtureRequest, copy: Copy) -> None:
    folder = copy(request.getfixturevalue(kind))
    Draft202012Validator.check_schema(SCHEMA)
    made = json.loads(write_payload(folder).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(SCHEMA).iter_errors(made)] == []
    assert made == payload(folder)


def test_the_document_names_every_key_and_no_other(replayed: Path) -> None:
    text = (ROOT / "docs" / "dashboard.md").read_text().split("## dashboard_data.json")[1]
    named = {name for cell in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(payload(replayed)) == set(SCHEMA["properties"])


def test_what_is_shown_agrees_with_itself_and_with_the_artifact(replayed: Path) -> None:
    made = payload(replayed)
    artifact = json.loads((replayed / "evidence.json").read_text())
    verdict = json.loads((replayed / "verdict.json").read_text())
    assert made["verdict"] == verdict
    assert made["verdict"]["verdict"] == "PROMOTE"
    for arm in ("baseline", "candidate"):
        held = made["exposure"][arm]
        for parts in zip(*(held[name] for name in ("safe", "core", "spec", "other", "cash")), strict=True):
            assert math.fsum(parts) == pytest.approx(1.0, abs=1e-11)
        assert {line["name"]: line["frac"] for line in made["risk"][arm]["lines"]} == {name: column[-1] for name, column in held.items()}
        assert made["equity"][arm][-1] == made["nav"][arm]
        assert max(made["drawdown"][arm]) == pytest.approx(artifact["pooled"][arm]["max_drawdown"], abs=1e-11)
        product = math.prod(1.0 + month[arm] for month in made["months"])
        assert product - 1.0 == pytest.approx(artifact["pooled"][arm]["total_return_pct"] / 100.0, abs=1e-9)
        for bucket in Bucket:
            total = math.fsum(row[arm] for row in made["pnl_by_bucket_and_month"] if row["bucket"] == bucket)
            assert total == pytest.approx(artifact["pooled"][arm][f"realized_pnl_{bucket}"], abs=1e-6)
    assert made["alerts"] == []
    assert [row["window"] for row in made["evidence"]["rows"] if row["counts"] == "yes"] == artifact["independent_windows"]
    assert made["evidence"]["all"]["d_return_interval"] == artifact["test"]["reported"]["mean_difference_interval"]
    for row in (made["pooled"], *made["evidence"]["rows"]):
        low, high = row["d_return_interval"]
        assert (low + high) / 2.0 == pytest.approx(row["delta"]["total_return_pct"], abs=1e-9)
    assert [row["d_return_interval"] for row in made["evidence"]["rows"]] == [row["d_return_interval"] for row in artifact["windows"]]
    for arm, of in made["reject_rate"]["by_bucket"].items():
        requests, rejects = (sum(bucket[name] for bucket in of.values()) for name in ("requests", "rejects"))
        assert requests > 1_000
        assert rejects / requests == pytest.approx(artifact["pooled"][arm]["reject_rate"], abs=1e-12)


def test_effective_confidence_is_base_times_multiplier(replayed: Path) -> None:
    made = payload(replayed)
    assert made["trades"]["shown"] == 500 == len(made["trades"]["rows"])
    assert made["trades"]["count"] == pq.read_metadata(replayed / "trades.parquet").num_rows
    for trade in made["trades"]["rows"]:
        assert trade["effective_confidence"] == pytest.approx(trade["base_confidence"] * trade["multiplier"])
        expected = 1.0 if trade["arm"] == "baseline" or trade["bucket"] == "core" else 0.3
        assert trade["multiplier"] == pytest.approx(expected)
    assert sum(row["signals"] for row in made["confidence"]) == pq.read_metadata(replayed / "signals.parquet").num_rows


def test_orders_by_bucket_by_hand(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    table = pq.read_table(folder / "exposure.parquet").slice(0, 3).to_pydict()
    for bucket, requests, rejects in (("core", [5, 0, 3], [1, 0, 1]), ("spec", [0, 2, 0], [0, 0, 0]), ("safe", [0] * 3, [0] * 3)):
        table |= {f"candidate_{bucket}_requests": requests, f"candidate_{bucket}_rejects": rejects}
    pq.write_table(pa.table(table), folder / "exposure.parquet")
    assert payload(folder)["reject_rate"]["by_bucket"]["candidate"] == {
        "safe": {"requests": 0, "rejects": 0, "rate": None},
        "core": {"requests": 8, "rejects": 2, "rate": 0.25},
        "spec": {"requests": 2, "rejects": 0, "rate": 0.0},
        "other": {"requests": 0, "rejects": 0, "rate": None},
    }
    edit(folder / "evidence.json", lambda made: made["sample"].update(start_date="2015-01-02"))
    assert payload(folder)["reject_rate"]["by_bucket"]["candidate"]["core"] == {"requests": 3, "rejects": 1, "rate": pytest.approx(1 / 3)}


def test_a_run_of_before_intervals_and_orders_by_bucket_were_stored_has_none(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    table = pq.read_table(folder / "exposure.parquet")
    pq.write_table(table.select([name for name in table.column_names if "_re" not in name]), folder / "exposure.parquet")

    def older(made: dict[str, Any]) -> None:
        for row in (made["pooled"], *made["windows"]):
            del row["d_return_interval"]

    edit(folder / "evidence.json", older)
    made = json.loads(write_payload(folder).read_text())
    assert [e.message for e in Draft202012Validator(SCHEMA).iter_errors(made)] == []
    assert made["reject_rate"]["by_bucket"] is made["pooled"]["d_return_interval"] is None
    assert {row["d_return_interval"] for row in made["evidence"]["rows"]} == {None}
    assert "by bucket, all sessions" not in render(made)


def test_no_interval_of_a_window_decides_anything(replayed: Path) -> None:
    artifact = json.loads((replayed / "evidence.json").read_text())
    gate = bind(GateSpec, artifact["config"]["gate"], "gate")
    before = decide(facts_of(artifact, Stage.CANARY), gate)
    for row in artifact["windows"]:
        row["d_return_interval"] = [-90.0, -80.0]
    assert decide(facts_of(artifact, Stage.CANARY), gate) == before


def test_drawdown_and_months_by_hand(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    up, down = [1_100_000.0, 1_045_000.0, 1_210_000.0], [1_000_000.0, 900_000.0, 990_000.0]
    sessions(folder, {"baseline": down, "candidate": up}, core=[0.1, 0.1, 0.1])
    made = payload(folder)
    assert made["drawdown"]["candidate"] == [0.0, 0.05, 0.0]
    assert made["drawdown"]["baseline"] == [0.0, 0.1, 0.01]
    (month,) = made["months"]
    assert month == {"month": "2015-01", "baseline": -0.01, "candidate": 0.21, "d_return": 0.22}
    assert made["exposure"]["candidate"]["safe_weight"] == [0.9, 0.9, 0.9]


def test_a_sample_that_begins_later_opens_at_the_nav_before_it(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    stored = pq.read_table(folder / "exposure.parquet").to_pydict()
    edit(folder / "evidence.json", lambda made: made["sample"].update(start_date="2016-01-01"))
    made = payload(folder)
    before = [nav for day, nav in zip(stored["session"], stored["candidate_nav"], strict=True) if day.year < 2016]
    assert made["nav"]["opening"]["candidate"] == pytest.approx(before[-1])
    assert made["equity"]["day"][0] == "2016-01-01"
    assert made["months"][0]["month"] == "2016-01"
    assert all(row["month"] >= "2016" for row in made["pnl_by_bucket_and_month"])


def test_a_ledger_knows_no_positions_and_says_so(ledger: Path) -> None:
    made = payload(ledger)
    artifact = json.loads((ledger / "evidence.json").read_text())
    for key in ("risk", "exposure", "confidence", "signals", "reconciliation", "sleeves"):
        assert made[key] is None
    assert made["nav"]["basis"] == "closed trade"
    assert made["reject_rate"] == {"baseline": None, "candidate": None, "by_bucket": None}
    for arm in ("baseline", "candidate"):
        assert made["nav"][arm] - 1_000_000 == pytest.approx(artifact["pooled"][arm]["total_profit"])
        assert max(made["drawdown"][arm]) == pytest.approx(artifact["pooled"][arm]["max_drawdown"])
    assert made["trades"]["count"] == 800
    first, second = made["trades"]["rows"][:2]
    assert (first["arm"], second["arm"], first["trade_id"]) == ("baseline", "candidate", second["trade_id"])
    assert second["realized_pnl"] == pytest.approx(0.85 * first["realized_pnl"])  # multiplier of bucket other
    assert first["quantity"] is None
    assert made["trade_events"][0]["action"] is None


def test_a_ledgers_curve_opens_after_what_was_closed_before_its_sample(ledger: Path, copy: Copy) -> None:
    folder = copy(ledger)
    whole = payload(folder)
    edit(folder / "evidence.json", lambda made: made["sample"].update(start_date="2020-06-01"))
    later = payload(folder)
    assert later["equity"]["candidate"][-1] == pytest.approx(whole["equity"]["candidate"][-1])
    at = whole["equity"]["day"].index("2020-06-01")
    assert later["nav"]["opening"]["candidate"] == pytest.approx(whole["equity"]["candidate"][at - 1])


def test_without_trades_there_is_nothing_and_not_zero(untraded: Path) -> None:
    made = payload(untraded)
    assert made["trades"] == {"count": 0, "stored": 0, "shown": 0, "rows": []}
    assert made["pnl_by_bucket_and_month"] == made["confidence"] == made["signals"] == made["trade_events"] == []
    assert made["evidence"]["all"] is None
    assert made["reject_rate"]["candidate"] is None
    assert [row["counts"] for row in made["evidence"]["rows"]] == ["few"]


def test_an_unknown_fraction_is_null_wherever_it_enters_and_no_alert_is_made_of_it(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    sessions(folder, {"baseline": [1e6, 1e6], "candidate": [1e6, math.nan]}, core=[0.1, math.nan], spec=[0.05, 0.3])
    made = payload(folder)
    found = {line["name"]: line for line in made["risk"]["candidate"]["lines"]}
    for name in ("core", "risk", "gross", "cash", "safe_weight"):
        assert found[name]["frac"] is None
        assert found[name]["headroom"] is None
    assert made["nav"]["candidate"] is None
    assert made["drawdown"]["candidate"] == [0.0, None]
    assert {a["name"] for a in made["alerts"]} == {"spec_above_max"}


def test_an_alert_violates_its_limit_and_what_is_at_its_limit_makes_none(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    sessions(folder, {"baseline": [1e6], "candidate": [1e6]}, core=[0.2], spec=[0.05])
    assert payload(folder)["alerts"] == []
    sessions(folder, {"baseline": [1e6], "candidate": [1e6]}, core=[0.2 + 1e-8], spec=[0.1])
    edit(folder / "evidence.json", lambda made: made.update(breaches=2))
    edit(
        folder / "verdict.json",
        lambda made: made.update(findings=[{"check": "naive_times", "severity": "alert", "count": 3, "rule": "no zone", "rows": []}]),
    )
    found = payload(folder)["alerts"]
    assert [(a["name"], a["arm"]) for a in found] == [
        ("naive_times", None),
        ("limits_breached", None),
        ("safe_weight_below_floor", "baseline"),
        ("core_above_max", "baseline"),
        ("risk_above_max", "baseline"),
        ("safe_weight_below_floor", "candidate"),
        ("core_above_max", "candidate"),
        ("risk_above_max", "candidate"),
    ]
    for alert in found:
        assert {">": alert["observed"] > alert["limit"], "<": alert["observed"] < alert["limit"]}[alert["operator"]]


def test_limits_that_are_off_bound_nothing(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    sessions(folder, {"baseline": [1e6], "candidate": [1e6]}, spec=[0.9])
    edit(folder / "evidence.json", lambda made: made["config"]["candidate"]["limits"].update(enabled=False))
    made = payload(folder)
    assert all(line["max_frac"] is None and line["headroom"] is None for line in made["risk"]["candidate"]["lines"])
    assert {a["arm"] for a in made["alerts"]} == {"baseline"}


def test_headroom_that_the_stored_exposure_cannot_tell_is_unknown(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)

    def hedge(made: dict[str, Any]) -> None:
        made["config"]["universe"]["instruments"]["C2"]["sleeve"] = "tail_hedge"

    edit(folder / "evidence.json", hedge)
    unknown = {line["name"] for line in payload(folder)["risk"]["candidate"]["lines"] if line["headroom"] is None}
    assert unknown == {"core", "risk", "gross", "cash"}
    edit(folder / "evidence.json", lambda made: made["config"]["execution"].update(allow_short=True))
    unknown = {line["name"] for line in payload(folder)["risk"]["candidate"]["lines"] if line["headroom"] is None}
    assert unknown == {"core", "risk", "gross", "cash", "safe", "safe_weight"}


def test_what_limits_took_is_as_it_was_stored(replayed: Path) -> None:
    made = payload(replayed)["reconciliation"]
    stored = pq.read_table(replayed / "reconciliation.parquet").to_pydict()
    own = [i for i, arm in enumerate(stored["arm"]) if arm == "candidate"]
    for step in ("desired", "allocated", "projected"):
        assert made["candidate"][step] == pytest.approx([stored[f"{step}_gross_frac"][i] for i in own])
    assert len(made["day"]) == len(own)
    budgets = {line["name"]: line["budget_frac"] for line in payload(replayed)["sleeves"]["candidate"]["lines"]}
    body = payload(replayed)
    for arm in ("baseline", "candidate"):
        gross = next(line["frac"] for line in body["risk"][arm]["lines"] if line["name"] == "gross")
        assert sum(line["frac"] for line in body["sleeves"][arm]["lines"]) == pytest.approx(gross, abs=1e-11)
        assert all(market["headroom"] == pytest.approx(market["max_frac"] - market["frac"]) for market in body["risk"][arm]["markets"])
    assert budgets["ts_core"] == pytest.approx(stored["budget_ts_core_frac"][own[-1]])


def test_a_run_of_before_reconciliation_was_stored_shows_none(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    (folder / "reconciliation.parquet").unlink()
    made = payload(folder)
    assert made["reconciliation"] is None
    assert made["sleeves"] is None


def test_older_dashboards_find_their_keys(replayed: Path) -> None:
    made = payload(replayed)
    assert set(LEGACY_KEYS) <= set(made)
    assert made["meta"]["payload_required_sections"] == list(LEGACY_KEYS)
    assert made["pnl"]["pct"] == pytest.approx(made["pnl"]["absolute"] / 1_000_000)
    assert len(made["signals"]) == 50
    assert {e["event_type"] for e in made["trade_events"]} >= {"ENTRY", "EXIT_PROFIT", "EXIT_LOSS"}
    for event in made["trade_events"]:
        assert (event["event_type"] == "EXIT_LOSS") == (event["realized_pnl"] < 0.0)
    assert made["meta"]["ticker_buckets"]["C2"] == "core"


def test_a_password_of_the_source_is_not_passed_on(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    source = {"kind": "postgres", "uri": "postgresql://me:secret@db/ledger", "views": {"prices": "SELECT 1"}, "checks": {}}
    edit(folder / "evidence.json", lambda made: made["config"].update(source=source))
    made = payload(folder)
    assert made["meta"]["data_origin"] == "postgres postgresql://me@db/ledger"
    assert "secret" not in json.dumps(made)


def test_the_digest_is_of_the_artifact_as_it_lies_there(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    before = payload(folder)
    write_payload(folder)
    assert payload(folder)["provenance"]["files"] == before["provenance"]["files"]  # what reporting leaves is no input
    assert PAYLOAD not in before["provenance"]["files"]
    edit(folder / "evidence.json", lambda made: made.update(notes=["changed"]))
    assert payload(folder)["meta"]["digest"] != before["meta"]["digest"]


@pytest.mark.parametrize(
    ("break_it", "place", "rule"),
    [
        (lambda f: (f / "evidence.json").unlink(), "copy", "holds no run: evidence.json is not there"),
        (lambda f: (f / "evidence.json").rename(f / "sweep.json"), "copy", "is a sweep; give the folder of one of its jobs"),
        (lambda f: (f / "verdict.json").unlink(), "verdict.json", "does not exist"),
        (lambda f: (f / "evidence.json").write_text("[]"), "evidence.json", "is not a mapping"),
        (lambda f: (f / "evidence.json").write_text('{"schema": 1}'), "evidence.json", "stage None is none of shadow, canary, live"),
        (lambda f: edit(f / "evidence.json", lambda made: made.pop("windows")), "evidence.windows", "is required and not given"),
        (
            lambda f: edit(f / "evidence.json", lambda made: made["config"].pop("universe")),
            "copy",
            "lacks what a report is drawn from: KeyError",
        ),
        (lambda f: edit(f / "verdict.json", lambda made: made.update(verdict="REJECT")), "verdict.json", "says verdict 'REJECT' where"),
        (lambda f: (f / "trades.parquet").write_bytes(b"PAR1torn"), "trades.parquet", "is not a Parquet file that can be read"),
    ],
)
def test_what_cannot_be_read_is_named(break_it: Callable[[Path], object], place: str, rule: str, replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    break_it(folder)
    with pytest.raises(DataError) as caught:
        payload(folder)
    assert caught.value.place.endswith(place)
    assert rule in caught.value.rule


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        payload(tmp_path / "none")


def test_lines_by_hand() -> None:
    held = {Bucket.SAFE: np.array([0.5]), Bucket.CORE: np.array([0.2]), Bucket.SPEC: np.array([0.05]), Bucket.OTHER: np.array([0.0])}
    found = {name: round(float(value[0]), 12) for name, value in lines(held).items()}
    assert found == {"safe_weight": 0.75, "safe": 0.5, "core": 0.2, "spec": 0.05, "other": 0.0, "risk": 0.25, "gross": 0.75, "cash": 0.25}


def test_numbers_that_are_not_finite_are_none() -> None:
    assert numbers(np.array([1.0, np.nan, np.inf])) == [1.0, None, None]


def test_with_an_account_the_payload_holds_its_snapshot_and_the_page_shows_it(replayed: Path, copy: Copy) -> None:
    folder, one = copy(replayed), snapshot()
    page = write_report(folder, one).read_text()
    made = json.loads((folder / PAYLOAD).read_text())
    assert [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(SCHEMA).iter_errors(made)] == []
    assert made["account"]["nav"] == 1_000_000.0
    assert made["permit"]["stage"] == "shadow"
    assert made["quant_gate"] == {"active": False, "since": None, "reason": None, "disabled": []}
    assert made["risk_scale"]["as_of"] == "2026-01-02"
    (line,) = made["risk_scale"]["sleeves"]
    assert (line["sleeve"], line["scale"], line["realised_vol"], line["target_vol"], line["drawdown"]) == ("ts_core", 0.8, 0.2, 0.16, 0.03)
    assert page.index('class="verdict') < page.index('id="now"') < page.index('id="matrix"')
    assert payload(folder)["account"] is payload(folder)["permit"] is payload(folder)["risk_scale"] is None


def test_data_that_were_made_up_are_said_to_be(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    assert payload(folder)["meta"]["synthetic"] is False
    edit(folder / "evidence.json", lambda made: made["config"]["source"].update(synthetic=True))
    assert payload(folder)["meta"]["synthetic"] is True
    assert payload(folder)["meta"]["data_origin"].endswith(" (synthetic)")
    edit(folder / "evidence.json", lambda made: made["config"]["source"].pop("synthetic"))
    assert payload(folder)["meta"]["synthetic"] is None
