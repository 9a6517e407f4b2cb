"""The alerts as rules for Prometheus, with the thresholds of a `MonitorSpec`; `shipped/rules.yml` is this for the shipped one.

A comparison with NaN is false in PromQL, and a metric that is absent compares with nothing: what is not known has a rule of its own, or a
clause with `unless`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from policyengine.monitoring.alerts import AHEAD, RULES, WHOLE
from policyengine.records import TOLERANCE
from policyengine.spec.monitor import MonitorSpec

SHIPPED = Path(__file__).with_name("shipped")
"""Files for Prometheus and Grafana, as they come with the package."""
_SAME = "on (account, instance, job)"
_ACTS = 'policyengine_rollout_state{state=~"canary|live"} == 1'
_ROLLED = 'policyengine_rollout_state{state!="off"} == 1'


def alert_name(name: str) -> str:
    """`safe_below_floor` as Prometheus has it: PolicyengineSafeBelowFloor."""
    return "Policyengine" + "".join(part.capitalize() for part in name.split("_"))


def prometheus_rules(spec: MonitorSpec) -> str:
    """The file of rules, in YAML."""
    lines = [
        "# Generated from the thresholds of conf/monitor/default.yaml; docs/monitoring.md says how to make your own.",
        "groups:",
        "  - name: policyengine",
        "    rules:",
    ]
    expressions, waits = _expressions(spec), _waits(spec)
    for rule in RULES:
        lines += [
            f"      - alert: {alert_name(rule.name)}",
            f"        expr: {json.dumps(expressions[rule.name])}",
            f"        for: {waits[rule.name]}s",
            f"        labels: {{alert: {rule.name}}}",
            f"        annotations: {{summary: {json.dumps(rule.summary)}}}",
        ]
    return "\n".join(lines) + "\n"


def _waits(spec: MonitorSpec) -> dict[str, int]:
    """Seconds that each must hold. A page that is absent gets the time of a restart."""
    waits = {rule.name: round(rule.wait(spec).total_seconds()) for rule in RULES}
    return {**waits, "snapshot_absent": round(60.0 * spec.gap_minutes)}


def _expressions(spec: MonitorSpec) -> Mapping[str, str]:
    stale, ahead, expiry = 3600.0 * spec.stale_hours, AHEAD.total_seconds(), 3600.0 * spec.expiry_hours
    not_a_number = " or ".join(
        f"{metric} != {metric}"
        for metric in ("policyengine_bucket_nav_frac", "policyengine_risk_nav_frac", "policyengine_exposure_sum_frac")
    )
    return {
        "snapshot_absent": "absent(policyengine_snapshot_age_seconds) or policyengine_snapshot_readable == 0",
        "snapshot_stale": f"policyengine_snapshot_age_seconds > {stale:g} or policyengine_snapshot_age_seconds < -{ahead:g}",
        "safe_below_floor": (
            f'policyengine_bucket_nav_frac{{bucket="safe"}} < policyengine_bucket_min_frac{{bucket="safe"}} - {TOLERANCE:g} '
            'or (policyengine_bucket_min_frac{bucket="safe"} unless policyengine_bucket_nav_frac)'
        ),
        "risk_above_maximum": (
            f"policyengine_risk_nav_frac > policyengine_risk_max_frac + {TOLERANCE:g} "
            "or (policyengine_risk_max_frac unless policyengine_risk_nav_frac)"
        ),
        "reject_rate_jump": (
            f"policyengine_reject_jump_frac > {spec.reject_jump_frac + TOLERANCE:.10g} "
            f"and {_SAME} policyengine_reject_jump_orders >= {spec.reject_orders_min}"
        ),
        "exposure_not_whole": (
            f"abs(policyengine_exposure_sum_frac - 1) > {WHOLE + TOLERANCE:.10g} or {not_a_number} "
            "or (policyengine_snapshot_readable == 1 unless on (instance, job) policyengine_exposure_sum_frac)"
        ),
        "quant_gate_active": "policyengine_quant_gate_active == 1",
        "evidence_expiring": (
            f"(policyengine_permit_expires_timestamp_seconds - time() < {expiry:g} and {_SAME} ({_ACTS})) "
            f'or policyengine_rollout_state{{state="expired"}} == 1 '
            f"or ({_ACTS} unless {_SAME} policyengine_permit_expires_timestamp_seconds)"
        ),
        "audit_broken": f"policyengine_audit_broken == 1 or ({_ROLLED} unless {_SAME} policyengine_audit_broken)",
        "canary_bound_crossed": (
            f'policyengine_canary_crossed == 1 or policyengine_rollout_state{{state="paused"}} == 1 '
            f"or ({_ACTS} unless {_SAME} policyengine_canary_crossed)"
        ),
        "kill_engaged": (
            f'policyengine_kill_engaged == 1 or policyengine_rollout_state{{state="killed"}} == 1 '
            f"or ({_ROLLED} unless {_SAME} policyengine_kill_engaged)"
        ),
    }
