"""What goes on record of an account's decisions: the two policies, what a session's sizes follow from, and each decision."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import date

import numpy as np

from policyengine.allocation.constraints import Constraints, bound
from policyengine.allocation.cycle import Cycle, Decision
from policyengine.allocation.scaler import RiskState
from policyengine.allocation.sleeves import SLEEVES
from policyengine.evidence.artifact import code_hash
from policyengine.execution.broker import Fill
from policyengine.market.panel import PricePanel
from policyengine.records import Arm
from policyengine.rollout.acting import Acting
from policyengine.rollout.audit import Recorded
from policyengine.rollout.audit_records import Basis, InForce, Intent, Measured, Outcome, Policy, decision_id_of
from policyengine.rollout.modes import State
from policyengine.signals.stream import Stream
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec


class Recording:
    """Puts into records what `cycle` decides of its two policies for one account, and what of it `acting` acts on."""

    def __init__(self, spec: Spec, panel: PricePanel, stream: Stream, cycle: Cycle, acting: Acting, *, account: str) -> None:
        self._universe, self._stream, self._cycle, self._acting = spec.universe, stream, cycle, acting
        self._sessions: list[date] = panel.sessions.astype("datetime64[D]").tolist()
        self._periods_per_year, self._account = panel.periods_per_year, account
        self._texts = {arm: json.dumps(plain(spec.policy(arm)), sort_keys=True, separators=(",", ":")) for arm in Arm}
        self._policies = {arm: spec.policy_hash(arm) for arm in Arm}
        self._config, self._code = spec.config_hash(), code_hash()

    def policies(self, recorded_at: str) -> list[Policy]:
        """Both policies in full."""
        return [Policy(recorded_at=recorded_at, policy_hash=self._policies[arm], policy=self._texts[arm]) for arm in Arm]

    def basis(self, t: int, risk: RiskState | None, recorded_at: str) -> Basis:
        """What the sizes for session `t` follow from: the signals in force on the one before, and how risky the sleeves were."""
        rows, charged = self._stream.rows, self._cycle.charged(t - 1)
        found = []
        for i in np.flatnonzero(self._stream.in_force[t - 1] >= 0).tolist():
            row = int(self._stream.in_force[t - 1, i])
            sized = {arm.value: float(one.effective[row]) for arm, one in zip(Arm, self._cycle.sized, strict=True)}
            direction, sleeve = int(rows.direction[row]), SLEEVES[int(charged[i])]
            found.append(
                InForce(symbol=self._cycle.symbols[i], direction=direction, sleeve=sleeve, base=float(rows.confidence[row]), **sized)
            )
        return Basis(
            recorded_at=recorded_at,
            account=self._account,
            session=self._sessions[t],
            baseline_hash=self._policies[Arm.BASELINE],
            candidate_hash=self._policies[Arm.CANDIDATE],
            code_hash=self._code,
            periods_per_year=self._periods_per_year,
            symbols=self._cycle.symbols,
            signals=tuple(found),
            risk=None if risk is None else _measured(risk),
        )

    def intents(
        self, t: int, risk: RiskState | None, *, state: State, decision: Decision | None, evidence_hash: str | None, recorded_at: str
    ) -> dict[str, Intent]:
        """What was decided on the session before for session `t`, by name: of each signal in force, and what an arm or `decision` wants."""
        pair, sized, rows = self._acting.pair(t - 1, risk), self._cycle.sized[1], self._stream.rows
        policy = self._policies[Arm.CANDIDATE]
        found = {}
        for i, symbol in enumerate(self._cycle.symbols):
            row = int(self._stream.in_force[t - 1, i])
            wanted = None if decision is None else float(decision.weights[0, i])
            if row < 0 and not (wanted or pair.baseline[i] or pair.candidate[i]):
                continue
            found[symbol] = Intent(
                recorded_at=recorded_at,
                decision_id=decision_id_of(self._account, self._sessions[t], symbol, evidence_hash, policy),
                account=self._account,
                session=self._sessions[t],
                signal_id=None if row < 0 else str(rows.signal_id[row]),
                symbol=symbol,
                bucket=self._universe.bucket(symbol),
                sleeve=SLEEVES[int(self._cycle.charged(t - 1)[i])],
                base_confidence=None if row < 0 else float(rows.confidence[row]),
                multipliers=() if row < 0 else tuple((n, float(f)) for n, f in zip(sized.names, sized.factors[:, row], strict=True)),
                effective_confidence=None if row < 0 else float(sized.effective[row]),
                baseline_size=float(pair.baseline[i]),
                candidate_size=float(pair.candidate[i]),
                acted_size=wanted,
                limits=() if decision is None else _held_back(i, decision, self._acting.limits[0]),
                mode=state,
                evidence_hash=evidence_hash,
                policy_hash=policy,
                config_hash=self._config,
                code_hash=self._code,
                reasons=(),
            )
        return found


def outcomes(announced: Iterable[Recorded], fills: Iterable[Fill]) -> Iterator[Outcome]:
    """What became of each decision; one that led to no order did nothing."""
    by_symbol = {fill.order.symbol: fill for fill in fills}
    for intent in announced:
        if not isinstance(intent, Intent):
            continue
        fill = by_symbol.get(intent.symbol)
        yield Outcome(
            recorded_at=intent.recorded_at,
            decision_id=intent.decision_id,
            client_order_id=None if fill is None else fill.order.client_order_id,
            quantity=0.0 if fill is None else fill.quantity,
            price=None if fill is None else fill.price,
            cost=0.0 if fill is None else fill.cost,
            refusal=None if fill is None or fill.refusal is None else fill.refusal.value,
        )


def _measured(risk: RiskState) -> Measured:
    """The risk of one account, (1, S), as a record holds it."""
    return Measured(
        variance=tuple(risk.variance[0].tolist()),
        sessions=tuple(risk.sessions[0].astype(np.int64).tolist()),  # read from a journal where all are 0 they are floats
        index=tuple(risk.index[0].tolist()),
        peak=tuple(risk.peak[0].tolist()),
    )


def _held_back(i: int, decision: Decision, limits: Constraints) -> tuple[str, ...]:
    """The paths of the limits that cut name `i`."""
    asked, held = np.abs(decision.allocated), np.abs(decision.weights)
    if held[0, i] >= asked[0, i]:
        return ()
    binds = bound(asked, np.minimum(held, asked), limits)[0]
    groups = limits.groups.shape[0]
    own = [k for k in range(groups) if binds[k] and limits.groups[k, i]] + ([groups + i] if binds[groups + i] else [])
    return tuple(limits.origins[k].path for k in own)
