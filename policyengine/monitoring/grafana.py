"""A dashboard for Grafana over the metrics; `shipped/grafana.json` is what this makes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["percentunit", "none", "s", "bool", "dateTimeAsIso"]
COLUMNS, WIDTH, HEIGHT = 3, 8, 7
_OF = 'account=~"$account"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart: queries in PromQL, each with what its series are called."""

    title: str
    unit: Unit
    queries: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat"] = "timeseries"


def _one(title: str, metric: str, called: str, unit: Unit = "none", labels: str = "") -> Panel:
    return Panel(title=title, unit=unit, queries=((f"{metric}{{{_OF}{labels}}}", called),))


PANELS = (
    Panel(title="Alerts that fire", unit="none", queries=(("policyengine_alert_firing", "{{alert}}"),), kind="stat"),
    Panel(title="State of the rollout", unit="none", queries=((f"policyengine_rollout_state{{{_OF}}} == 1", "{{state}}"),), kind="stat"),
    Panel(title="Age of the snapshot", unit="s", queries=((f"policyengine_snapshot_age_seconds{{{_OF}}}", "{{account}}"),), kind="stat"),
    _one("NAV", "policyengine_nav_amount", "{{account}} {{currency}}"),
    Panel(
        title="Safe weight and its floor",
        unit="percentunit",
        queries=(
            (f'policyengine_bucket_nav_frac{{{_OF},bucket="safe"}}', "safe"),
            (f'policyengine_bucket_min_frac{{{_OF},bucket="safe"}}', "floor"),
        ),
    ),
    Panel(
        title="Risk weight and its maximum",
        unit="percentunit",
        queries=((f"policyengine_risk_nav_frac{{{_OF}}}", "risk"), (f"policyengine_risk_max_frac{{{_OF}}}", "maximum")),
    ),
    _one("Buckets", "policyengine_bucket_nav_frac", "{{bucket}}", "percentunit"),
    _one("Sleeve budgets", "policyengine_sleeve_effective_frac", "{{sleeve}}", "percentunit"),
    _one("Risk scale", "policyengine_risk_scale_ratio", "{{sleeve}}"),
    _one("Trade P&L by bucket, 20 sessions", "policyengine_trade_pnl_amount", "{{bucket}}", labels=',span="rolling"'),
    _one("Reject rate by bucket, 20 sessions", "policyengine_orders_rejected_frac", "{{bucket}}", "percentunit", ',span="rolling"'),
    _one("Turnover", "policyengine_turnover_ratio", "{{span}}", "percentunit", ',span=~"session|rolling"'),
    _one("Costs, bps of NAV", "policyengine_cost_bps", "{{span}}", labels=',span=~"session|rolling"'),
    _one("d return of the evidence", "policyengine_evidence_delta_return_frac", "{{span}}", "percentunit"),
    _one("d maximum drawdown of the evidence", "policyengine_evidence_delta_max_drawdown_frac", "{{span}}", "percentunit"),
    _one("Profit factor of the evidence", "policyengine_evidence_profit_factor_ratio", "{{arm}} {{span}}"),
    Panel(
        title="Canary against its control, a day",
        unit="percentunit",
        queries=tuple((f"policyengine_canary_difference_{part}_frac{{{_OF}}}", part) for part in ("lower", "mean", "upper")),
    ),
    Panel(
        title="Evidence runs out in",
        unit="s",
        queries=((f"policyengine_permit_expires_timestamp_seconds{{{_OF}}} - time()", "{{account}}"),),
        kind="stat",
    ),
    Panel(
        title="Kill switch, quant gate, audit: 1 needs a human",
        unit="none",
        queries=(
            (f"policyengine_kill_engaged{{{_OF}}}", "kill"),
            (f"policyengine_quant_gate_active{{{_OF}}}", "quant gate"),
            (f"policyengine_audit_broken{{{_OF}}}", "audit"),
        ),
    ),
    _one("Audit lag", "policyengine_audit_lag_seconds", "{{account}}", "s"),
)


def grafana_dashboard() -> str:
    """The dashboard as Grafana imports it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    made = {
        "title": "policyengine",
        "uid": "policyengine",
        "schemaVersion": 38,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-30d", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "account",
                    "type": "query",
                    "datasource": source,
                    "query": "label_values(policyengine_snapshot_age_seconds, account)",
                    "refresh": 2,
                    "includeAll": True,
                    "allValue": ".*",
                    "multi": True,
                },
            ]
        },
        "panels": [_panel(i, panel, source) for i, panel in enumerate(PANELS)],
    }
    return json.dumps(made, indent=1) + "\n"


def _panel(i: int, panel: Panel, source: dict[str, str]) -> dict[str, Any]:
    return {
        "id": i + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": source,
        "gridPos": {"x": WIDTH * (i % COLUMNS), "y": HEIGHT * (i // COLUMNS), "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": called, "datasource": source}
            for n, (expr, called) in enumerate(panel.queries)
        ],
    }
