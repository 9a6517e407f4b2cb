"""A snapshot in Prometheus' text format. What is not known is absent, and no number is NaN; docs/monitoring.md lists the metrics.

Labels are an account, and what the program itself names: buckets, sleeves, states, codes, spans. Never a symbol.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from policyengine.errors import DataError
from policyengine.monitoring.alerts import reject_jump
from policyengine.monitoring.snapshot import STATES, Figures, Snapshot, Span, bound_snapshot, instant_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(snapshot: Mapping[str, Any] | None, *, read_at: datetime, alerts: Mapping[str, bool] | None = None) -> bytes:
    """What a scrape gets: of `snapshot` as it is stored, None where there is none, as of the aware instant `read_at`.

    `alerts` says of each alert whether it fires, as `watch.firing` gives it. A snapshot that is none of this version is as none.
    """
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - an extra

    registry = CollectorRegistry()
    found: Snapshot | None = None
    if snapshot is not None:
        try:
            found = bound_snapshot(snapshot, "snapshot")
        except DataError:
            found = None
    page = _Page(registry)
    page.put("snapshot_readable", "Whether there is a snapshot that can be read", float(found is not None))
    if found is not None:
        page.labels = {"account": found.account}
        _account(page, found, read_at)
        _sleeves(page, found)
        _done(page, found)
        _evidence(page, found)
        _rollout(page, found, read_at)
    for name, fires in sorted((alerts or {}).items()):
        page.put("alert_firing", "Whether task=monitor says that an alert fires", float(fires), alert=name)
    return generate_latest(registry)


class _Page:
    """The gauges of one answer; `labels` stand on all that follow."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._gauges: dict[str, Any] = {}
        self.labels: dict[str, str] = {}

    def put(self, name: str, what: str, value: float | None, **labels: str) -> None:
        """One sample; none where the value is not known."""
        from prometheus_client import Gauge  # noqa: PLC0415

        if value is None:
            return
        every = {**self.labels, **labels}
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"policyengine_{name}", what, tuple(every), registry=self._registry)
        gauge = self._gauges[name]
        (gauge.labels(**every) if every else gauge).set(value)


def _account(page: _Page, one: Snapshot, read_at: datetime) -> None:
    page.put("snapshot_age_seconds", "Since task=trade published the snapshot", one.age(read_at) / timedelta(seconds=1))
    page.put("nav_amount", "Net asset value in base currency", one.nav, currency=one.currency)
    page.put("cash_amount", "Cash in base currency", one.cash, currency=one.currency)
    page.put("exposure_sum_frac", "Signed holdings and cash as fractions of NAV, which make 1", one.exposure_sum())
    for line in one.buckets:
        page.put("bucket_nav_frac", "What a bucket holds; cash counts as safe", line.held_frac, bucket=line.bucket)
        page.put("bucket_min_frac", "Floor of a bucket", line.min_frac, bucket=line.bucket)
        page.put("bucket_max_frac", "Maximum of a bucket", line.max_frac, bucket=line.bucket)
        page.put("bucket_headroom_frac", "What is left to the limit of a bucket", line.headroom_frac, bucket=line.bucket)
    page.put("risk_nav_frac", "What counts against the risk maximum", one.risk.held_frac)
    page.put("risk_max_frac", "Risk maximum", one.risk.max_frac)
    page.put("minima_unmet", "Minima that only buying could meet", float(len(one.unmet)))


def _sleeves(page: _Page, one: Snapshot) -> None:
    for line in one.sleeves:
        page.put("sleeve_base_frac", "Base budget of a sleeve", line.base_frac, sleeve=line.sleeve)
        page.put("sleeve_effective_frac", "Budget of a sleeve after its risk scale", line.effective_frac, sleeve=line.sleeve)
        page.put("sleeve_allocated_frac", "What a sleeve spends", line.allocated_frac, sleeve=line.sleeve)
        page.put("risk_scale_ratio", "Factor on the base budget of a sleeve", line.scale, sleeve=line.sleeve)
        page.put("sleeve_realised_volatility_frac", "Realised volatility of a sleeve a year", line.realised_vol, sleeve=line.sleeve)
        page.put("sleeve_target_volatility_frac", "Volatility that a sleeve aims at", line.target_vol, sleeve=line.sleeve)
        page.put("sleeve_drawdown_frac", "Fall of a sleeve from its peak", line.drawdown, sleeve=line.sleeve)


def _done(page: _Page, one: Snapshot) -> None:
    spans: dict[str, Span | None] = {
        "session": one.done.session,
        "rolling": one.done.rolling,
        "since_mode": one.done.since_mode,
        "before_mode": one.done.before_mode,
    }
    for name, span in spans.items():
        if span is None:
            continue
        page.put("turnover_ratio", "Sum traded over mean NAV", span.turnover_frac, span=name)
        page.put("cost_bps", "Costs over mean NAV", span.cost_bps, span=name)
        page.put("trade_profit_factor_ratio", "Gains over losses of closed trades", span.profit_factor, span=name)
        for done in span.buckets:
            labels = {"bucket": done.bucket.value, "span": name}
            page.put("orders", "Orders wanted", float(done.orders), **labels)
            page.put("orders_rejected", "Orders refused or held back", float(done.rejects), **labels)
            page.put("orders_rejected_frac", "Orders refused or held back, of those wanted", done.reject_frac, **labels)
            page.put("trade_pnl_amount", "Realised P&L of closed trades in base currency", done.realized_pnl, **labels)
    jump, orders = reject_jump(one)
    page.put("reject_jump_frac", "Rise of the reject rate since the mode changed", jump)
    page.put("reject_jump_orders", "Orders since the mode changed", None if jump is None else float(orders))


def _evidence(page: _Page, one: Snapshot) -> None:
    if one.evidence is None:
        return
    spans: dict[str, Figures | None] = {"sample": one.evidence.sample, "window": one.evidence.window}
    for name, of in spans.items():
        if of is None:
            continue
        page.put("evidence_delta_return_frac", "Total return, candidate less baseline", of.d_return_frac, span=name)
        page.put("evidence_delta_max_drawdown_frac", "Maximum drawdown, candidate less baseline", of.d_max_drawdown_frac, span=name)
        page.put("evidence_profit_factor_ratio", "Profit factor of an arm", of.profit_factor, span=name, arm="candidate")
        page.put("evidence_profit_factor_ratio", "Profit factor of an arm", of.baseline_profit_factor, span=name, arm="baseline")
    page.put("evidence_promotes", "Whether the verdict is PROMOTE", float(one.evidence.verdict == "PROMOTE"))


def _rollout(page: _Page, one: Snapshot, read_at: datetime) -> None:
    for state in STATES:
        page.put("rollout_state", "Whether the rollout is in a state", float(one.state == state), state=state)
    permit, kill, audit, canary = one.permit, one.kill, one.audit, one.canary
    page.put("permit_held", "Whether the stage holds a permit", float(permit is not None and permit.refusal is None))
    if permit is not None and permit.refusal is not None:
        page.put("permit_refused", "A permit was refused, by code", 1.0, code=permit.refusal)
    if permit is not None and permit.expires_at is not None:
        at = instant_of("permit.expires_at", permit.expires_at)
        page.put("permit_expires_timestamp_seconds", "When the evidence of the stage runs out", at.timestamp())
    if one.quant_gate is not None:
        page.put("quant_gate_active", "Whether the quant gate holds sizes back", float(one.quant_gate.active))
        page.put("quant_gate_disabled", "Instruments that the quant gate disables", float(len(one.quant_gate.disabled)))
    if kill is not None:
        page.put("kill_engaged", "Whether the kill switch is engaged", float(kill.engaged))
    if audit is not None:
        page.put("audit_broken", "Whether the audit log does not verify", float(audit.broken is not None))
        page.put("audit_records", "Records in the audit log", None if audit.records is None else float(audit.records))
        if audit.recorded_at is not None:
            lag = (read_at - instant_of("audit.recorded_at", audit.recorded_at)) / timedelta(seconds=1)
            page.put("audit_lag_seconds", "Since the last record of the audit log", lag)
    if canary is not None:
        page.put("canary_crossed", "Whether the stage must pause", float(canary.why is not None))
        page.put("canary_difference_mean_frac", "Mean daily return difference, candidate less baseline", canary.mean)
        page.put("canary_difference_lower_frac", "Lower bound of it", canary.lower)
        page.put("canary_difference_upper_frac", "Upper bound of it", canary.upper)
        page.put("canary_loss_frac", "Loss of NAV against the baseline", canary.loss_frac)
