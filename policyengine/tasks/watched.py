"""What is watched: the snapshot that trading publishes, and what stands now of kill switch, audit log and quant gate."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from policyengine.errors import DataError, PolicyEngineError
from policyengine.evidence.artifact import read_artifact
from policyengine.execution.chain import Chain
from policyengine.monitoring.activity import done_of, sessions_of
from policyengine.monitoring.alerts import violations
from policyengine.monitoring.quant_gate import disabled, read_gate
from policyengine.monitoring.snapshot import (
    SCHEMA,
    Alert,
    Audit,
    Canary,
    Evidence,
    Figures,
    Kill,
    Permit,
    QuantGate,
    Snapshot,
    bound_snapshot,
)
from policyengine.records import Stage
from policyengine.rollout.audit_reading import coded, start_of
from policyengine.rollout.audit_records import Checkpoint
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code
from policyengine.rollout.trader import Rolled, Trader
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec
from policyengine.store import parse_json
from policyengine.tasks.rolled import audit_folder, kill_switch
from policyengine.tasks.run import Run


def snapshot_of(
    spec: Spec, run: Run, record: Mapping[str, Any], trader: Trader, rolled: Rolled | None, *, origin: str, refusal: Code | None = None
) -> Snapshot:
    """The snapshot after a run of task=trade whose record is `record`, on data at `origin`; `refusal` where it was refused to start.

    Raises:
        BrokenInvariant: no session was closed.
        DataError: the journal of the account does not verify.
    """
    state = State.OFF if rolled is None else rolled.rollout.state
    sessions = sessions_of(run.state_dir / "paper" / record["account"], spec.universe.bucket)
    now = run.now()
    made = {
        "schema": SCHEMA,
        "account": record["account"],
        "published_at": now.isoformat(),
        "as_of": record["as_of"],
        "source": {"origin": origin, "synthetic": spec.source.synthetic},
        "currency": record["base_currency"],
        **{key: record[key] for key in ("nav", "cash", "cash_frac", "mode", "state", "halted", "buckets", "risk", "sleeves")},
        "done": plain(done_of(sessions)),
        "unmet": [_unmet(limit) for limit in record["unmet"]],
        "permit": plain(_permit(state, rolled, refusal)),
        "evidence": plain(evidence_of(run.canonical)),
        "canary": plain(_canary(state, trader, rolled, acted=bool(sessions) and State(sessions[-1].state).acts)),
        "kill": None,
        "audit": None,
        "quant_gate": None,
    }
    found = now_of(bound_snapshot(_known(made), "snapshot"), spec, run)
    checks = [Alert(name=one["check"], observed=float(one["count"]), operator=">", limit=0.0, why=one["rule"]) for one in record["alerts"]]
    return replace(found, alerts=(*checks, *violations(found, spec.monitor, now)))


def now_of(snapshot: Snapshot, spec: Spec, run: Run) -> Snapshot:
    """The snapshot with what stands now of kill switch, audit log and quant gate.

    Where nothing was rolled out there is neither a switch nor a log, which is known and not amiss.
    """
    folder = audit_folder(run)
    rolled = folder.exists() or snapshot.state != "off"
    return replace(
        snapshot,
        kill=_kill(spec, run) if rolled or (run.state_dir / "kill.lock").exists() else None,
        audit=audit_of(folder) if rolled else None,
        quant_gate=_gate(spec, run.state_dir),
    )


def evidence_of(canonical: Path) -> Evidence | None:
    """What the canonical artifact says; None where there is none that can be read."""
    try:
        content = canonical.read_bytes()
        made = parse_json(content, str(canonical))
        found = read_artifact(made)
        windows = [row for row in found.windows if row.error is None]
        return Evidence(
            evidence_hash=hashlib.sha256(content).hexdigest(),
            made_at=found.created_at,
            stage=Stage(made["stage"]),
            verdict=str(made["verdict"]),
            sample=_figures(found.pooled.delta, found.pooled.candidate, found.pooled.baseline),
            window=_figures(windows[-1].delta, windows[-1].candidate, windows[-1].baseline) if windows else None,
        )
    except (OSError, DataError, KeyError, TypeError, AttributeError, ValueError):
        return None


def audit_of(folder: Path) -> Audit:
    """What the audit log holds, verified, by one walk through it; that it is not there, or broken, is said and not raised."""
    recorded_at, checkpoint_at = "", None
    try:
        with coded(folder):
            chain = Chain(folder)
            for line in chain.lines():
                kind, at = start_of(chain, line)
                recorded_at = max(recorded_at, at)
                if kind == Checkpoint.KIND:
                    checkpoint_at = at
            if chain.count == 0:
                return Audit(recorded_at=None, records=None, checkpoint_at=None, broken=f"{folder}: there is no audit log")
    except PolicyEngineError as error:
        return Audit(recorded_at=None, records=None, checkpoint_at=None, broken=str(error))
    return Audit(recorded_at=recorded_at or None, records=chain.count, checkpoint_at=checkpoint_at, broken=None)


def _kill(spec: Spec, run: Run) -> Kill:
    try:
        event = kill_switch(spec, run).current()
    except PolicyEngineError as error:
        return Kill(engaged=True, since=None, why=str(error))
    return Kill(engaged=event is not None, since=None if event is None else event.at, why=None if event is None else event.sentence)


def _gate(spec: Spec, state_dir: Path) -> QuantGate | None:
    """The gate as it is enforced: one that cannot be read is active."""
    names, why = disabled(state_dir, spec.universe)
    with suppress(DataError):
        gate = read_gate(state_dir)
        return None if gate is None else QuantGate(active=gate.active, since=gate.since, reason=gate.reason, disabled=tuple(sorted(names)))
    return QuantGate(active=True, since=None, reason=why, disabled=tuple(sorted(names)))


def _permit(state: State, rolled: Rolled | None, refusal: Code | None) -> Permit | None:
    """The permit that the stage acts under, or why it has none; None where none was asked for."""
    if rolled is None:
        return None
    held, why = rolled.rollout.permit, rolled.rollout.why
    code = refusal.name if refusal is not None else None
    if code is None and state is State.EXPIRED and why.partition(":")[0] in Code.__members__:
        code = why.partition(":")[0]
    if code is not None:
        return Permit(stage=None, evidence_hash=None, made_at=None, expires_at=None, refusal=code)
    if held is None or not state.acts:
        return None
    return Permit(
        stage=held.stage,
        evidence_hash=held.evidence_hash,
        made_at=held.made_at.isoformat(),
        expires_at=held.expires_at.isoformat(),
        refusal=None,
    )


def _canary(state: State, trader: Trader, rolled: Rolled | None, *, acted: bool) -> Canary | None:
    """What the stage that acts came to, which `acted` on the last session; of one that was paused only why; None where neither is."""
    nothing = Canary(sessions=None, mean=None, lower=None, upper=None, loss_frac=None, why=None)
    if state is State.PAUSED and rolled is not None:
        return replace(nothing, why=rolled.rollout.why)
    if not state.acts:
        return None
    if not acted:
        return replace(nothing, sessions=0)
    try:
        found = trader.comparison()
    except DataError as error:
        return replace(nothing, why=f"it cannot be compared: {error}")
    return Canary(
        sessions=found.sessions,
        mean=found.mean,
        lower=_finite(found.lower),
        upper=_finite(found.upper),
        loss_frac=_finite(found.loss_frac),
        why=found.why,
    )


def _figures(delta: Mapping[str, float | None], candidate: Mapping[str, float | None], baseline: Mapping[str, float | None]) -> Figures:
    gained = delta.get("total_return_pct")
    return Figures(
        d_return_frac=None if gained is None else gained / 100.0,
        d_max_drawdown_frac=delta.get("max_drawdown"),
        profit_factor=candidate.get("profit_factor"),
        baseline_profit_factor=baseline.get("profit_factor"),
    )


def _unmet(limit: Mapping[str, Any]) -> dict[str, Any]:
    path, value, symbol = limit["origin"]
    return {"path": path, "value": value, "symbol": symbol, "reason": limit["reason"]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _known(value: Any) -> Any:
    """`value` with None for what is not finite: unknown is null."""
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, Mapping):
        return {name: _known(part) for name, part in value.items()}
    return [_known(part) for part in value] if isinstance(value, list | tuple) else value
