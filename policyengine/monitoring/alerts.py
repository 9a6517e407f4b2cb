"""What needs a human: one closed table, evaluated on a snapshot and the configured thresholds. Nothing here is kept.

Unknown never passes: a rule whose observation is None is violated, unless no limit applies. docs/monitoring.md has the table;
`rules.py` has the same for Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from policyengine.monitoring.snapshot import Alert, Snapshot, instant_of
from policyengine.records import TOLERANCE, Bucket
from policyengine.spec.monitor import MonitorSpec

WHOLE = 1e-6
"""How far signed holdings and cash may add up to something else than NAV: a snapshot holds 12 digits."""
AHEAD = timedelta(minutes=1)
"""How far a snapshot may be ahead of the clock that reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a rule observed against its limit. No limit: the rule does not apply now. Nothing observed: it cannot tell."""

    observed: float | None
    operator: Literal["<", ">"]
    limit: float | None
    why: str

    @property
    def violated(self) -> bool:
        """Whether a limit applies and is passed, or is not known to be kept."""
        if self.limit is None:
            return False
        if self.observed is None:
            return True
        kept = self.observed <= self.limit + TOLERANCE if self.operator == ">" else self.observed >= self.limit - TOLERANCE
        return not kept  # so that NaN keeps nothing


Observe = Callable[[Snapshot, MonitorSpec, datetime], Reading]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alert. It fires at once, or where `sustained` when it held for `for_minutes`; `summary` says what is wrong then."""

    name: str
    summary: str
    sustained: bool
    observe: Observe

    def wait(self, spec: MonitorSpec) -> timedelta:
        """How long it must hold."""
        return timedelta(minutes=spec.for_minutes if self.sustained else 0.0)


ABSENT = "snapshot_absent"


def evaluate(found: Snapshot | str, spec: MonitorSpec, now: datetime) -> dict[str, Reading | None]:
    """The reading of every rule, by name; `found` is a snapshot, or the reason why there is none.

    Without a snapshot `snapshot_absent` is violated and no other rule can be read: they are None.
    """
    if isinstance(found, str):
        return {ABSENT: _flag(on=True, why=found), **dict.fromkeys((rule.name for rule in RULES if rule.name != ABSENT), None)}
    return {rule.name: rule.observe(found, spec, now) for rule in RULES}


def violations(snapshot: Snapshot, spec: MonitorSpec, now: datetime) -> tuple[Alert, ...]:
    """What is beyond its limit now, however short: what a reader of the snapshot alone is told."""
    return tuple(
        Alert(name=name, observed=one.observed, operator=one.operator, limit=one.limit, why=one.why)
        for name, one in evaluate(snapshot, spec, now).items()
        if one is not None and one.violated
    )


def reject_jump(snapshot: Snapshot) -> tuple[float | None, int]:
    """By how much the reject rate rose since the mode changed, and on how many orders; None without a change or an order since.

    Where nothing was ordered before the change, all of it is a rise.
    """
    since, before = snapshot.done.since_mode, snapshot.done.before_mode
    if before is None or since.reject_frac is None:
        return None, since.orders
    return since.reject_frac - (before.reject_frac or 0.0), since.orders


def _flag(*, on: bool | None, why: str, applies: bool = True) -> Reading:
    """Something that must not be, as a number: 1 where it is."""
    return Reading(observed=None if on is None else float(on), operator=">", limit=0.0 if applies else None, why=why)


def _present(_: Snapshot, __: MonitorSpec, ___: datetime) -> Reading:
    return _flag(on=False, why="the snapshot can be read")


def _stale(snapshot: Snapshot, spec: MonitorSpec, now: datetime) -> Reading:
    """Hours since the snapshot was published; one from the future tells nothing."""
    age = snapshot.age(now)
    hours = None if age < -AHEAD else age / timedelta(hours=1)
    return Reading(observed=hours, operator=">", limit=spec.stale_hours, why=f"published at {snapshot.published_at}, in hours")


def _safe(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    line = snapshot.bucket(Bucket.SAFE)
    if line is None:
        return _flag(on=None, why="the snapshot has no line for the safe bucket")
    return Reading(observed=line.held_frac, operator="<", limit=line.min_frac, why="safe weight, cash included, against its floor")


def _risk(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    return Reading(observed=snapshot.risk.held_frac, operator=">", limit=snapshot.risk.max_frac, why="risk weight against its maximum")


def _rejects(snapshot: Snapshot, spec: MonitorSpec, _: datetime) -> Reading:
    jump, orders = reject_jump(snapshot)
    since = snapshot.done.since_mode
    applies = jump is not None and orders >= spec.reject_orders_min
    why = f"{since.rejects} of {orders} orders rejected since {since.start_date} as {since.state}; the rise is against the sessions before"
    return Reading(observed=jump, operator=">", limit=spec.reject_jump_frac if applies else None, why=why)


def _whole(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    total = snapshot.exposure_sum()
    unknown = any(line.held_frac is None for line in snapshot.buckets)
    off = None if total is None or unknown else abs(total - 1.0)
    return Reading(observed=off, operator=">", limit=WHOLE, why="distance of signed holdings and cash from the whole of NAV")


def _gate(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    gate = snapshot.quant_gate
    if gate is None:
        return _flag(on=False, why="no gate was ever written", applies=False)
    return _flag(on=gate.active, why=gate.reason or "no reason is given")


def _expiry(snapshot: Snapshot, spec: MonitorSpec, now: datetime) -> Reading:
    """Hours until the evidence that acts runs out; 0 once it has."""
    permit, hours = snapshot.permit, None
    if snapshot.state == "expired":
        hours = 0.0
    elif permit is not None and permit.expires_at is not None:
        hours = (instant_of("permit.expires_at", permit.expires_at) - now) / timedelta(hours=1)
    applies = snapshot.acts or snapshot.state == "expired"
    why = snapshot.halted or "hours until the evidence of the stage runs out"
    return Reading(observed=hours, operator="<", limit=spec.expiry_hours if applies else None, why=why)


def _audit(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    audit = snapshot.audit
    if audit is None:
        return _flag(on=None, why="there is no audit log", applies=snapshot.state != "off")
    return _flag(on=audit.broken is not None, why=audit.broken or "every record follows from the one before")


def _canary(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    """The stage that acts does harm, or cannot be compared; also once it was paused for that."""
    canary = snapshot.canary
    if snapshot.state == "paused":
        return _flag(on=True, why=snapshot.halted or "it is paused")
    if not snapshot.acts:
        return _flag(on=False, why="no stage acts", applies=False)
    if canary is None:
        return _flag(on=None, why="what the stage came to is not known")
    return _flag(on=canary.why is not None, why=canary.why or "no bound is crossed")


def _kill(snapshot: Snapshot, _: MonitorSpec, __: datetime) -> Reading:
    kill = snapshot.kill
    if snapshot.state == "killed" or (kill is not None and kill.engaged):
        return _flag(on=True, why=(None if kill is None else kill.why) or snapshot.halted or "the rollout is killed")
    if kill is None:
        return _flag(on=None, why="the kill switch was not looked at", applies=snapshot.state != "off")
    return _flag(on=False, why="released")


RULES = (
    Rule(name=ABSENT, summary="There is no snapshot, or it cannot be read", sustained=False, observe=_present),
    Rule(name="snapshot_stale", summary="The snapshot is old, or of the future", sustained=False, observe=_stale),
    Rule(name="safe_below_floor", summary="The safe weight stays below its floor", sustained=True, observe=_safe),
    Rule(name="risk_above_maximum", summary="The risk weight stays above its maximum", sustained=True, observe=_risk),
    Rule(name="reject_rate_jump", summary="More orders are rejected since the mode changed", sustained=False, observe=_rejects),
    Rule(name="exposure_not_whole", summary="Exposure is not known, or does not sum to 1", sustained=False, observe=_whole),
    Rule(name="quant_gate_active", summary="The quant gate holds sizes back", sustained=False, observe=_gate),
    Rule(name="evidence_expiring", summary="The evidence of the stage runs out, or has", sustained=False, observe=_expiry),
    Rule(name="audit_broken", summary="The audit log does not verify", sustained=False, observe=_audit),
    Rule(name="canary_bound_crossed", summary="The canary does harm, or cannot be compared", sustained=False, observe=_canary),
    Rule(name="kill_engaged", summary="The kill switch is engaged", sustained=False, observe=_kill),
)
BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}
