"""The files for Prometheus and Grafana are what the thresholds and the metrics make them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from policyengine.monitoring.alerts import RULES
from policyengine.monitoring.grafana import PANELS, grafana_dashboard
from policyengine.monitoring.metrics import exposition
from policyengine.monitoring.rules import SHIPPED, alert_name, prometheus_rules
from tests.conftest import ROOT, composed_spec
from tests.watched import NOW, stored

METRICS = set(re.findall(r"^# TYPE (\w+) ", exposition(stored(), read_at=NOW, alerts={"kill_engaged": True}).decode(), flags=re.MULTILINE))


def rules(*overrides: str) -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(prometheus_rules(composed_spec(*overrides).monitor))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_the_shipped_rules_have_the_shipped_thresholds() -> None:
    assert (SHIPPED / "rules.yml").read_text() == prometheus_rules(composed_spec().monitor)


def test_there_is_a_rule_for_each_alert() -> None:
    assert [(one["alert"], one["labels"]["alert"]) for one in rules()] == [(alert_name(rule.name), rule.name) for rule in RULES]


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("monitor.stale_hours=2", {"snapshot_stale"}),
        ("monitor.for_minutes=3", {"safe_below_floor", "risk_above_maximum"}),
        ("monitor.reject_jump_frac=0.2", {"reject_rate_jump"}),
        ("monitor.reject_orders_min=7", {"reject_rate_jump"}),
        ("monitor.expiry_hours=1", {"evidence_expiring"}),
        ("monitor.gap_minutes=1", {"snapshot_absent"}),
        ("monitor.attempts=1", set()),
    ],
)
def test_a_threshold_changes_its_rule(override: str, changed: set[str]) -> None:
    pairs = zip(rules(), rules(override), strict=True)
    assert {one["labels"]["alert"] for one, other in pairs if one != other} == changed


def test_every_metric_in_a_rule_or_a_panel_is_one() -> None:
    used = {name for one in rules() for name in re.findall(r"policyengine_\w+", one["expr"])}
    used |= {name for panel in PANELS for expr, _ in panel.queries for name in re.findall(r"policyengine_\w+", expr)}
    assert used <= METRICS
    assert len(used) > 25


def test_the_shipped_dashboard_is_made_from_its_panels() -> None:
    assert (SHIPPED / "grafana.json").read_text() == grafana_dashboard()
    made = json.loads(grafana_dashboard())
    assert len({panel["id"] for panel in made["panels"]}) == len(PANELS)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in made["panels"]]
    assert len(set(places)) == len(places)
    assert max(x + p["gridPos"]["w"] for p in made["panels"] for x in [p["gridPos"]["x"]]) == 24


def test_the_snippet_in_the_document_holds() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "monitoring.md").read_text(), flags=re.DOTALL)
    exec(compile(block, "docs/monitoring.md", "exec"), {})  # the document's own assertion


def test_every_alert_and_setting_is_documented() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    table = text.split("## Alerts")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [rule.name for rule in RULES]
    spec = composed_spec().monitor
    for name in re.findall(r"`monitor\.(\w+)`", text):
        assert hasattr(spec, name), name
