"""Runs the sessions that are due on a paper account, under the rollout where there is one.

What acts is decided with its control beside it; each decision is on record before its order is sent, and what became of it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints, bound
from policyengine.allocation.cycle import Cycle, Decision
from policyengine.allocation.orders import OrderSizer
from policyengine.allocation.scaler import RiskState
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import DataError
from policyengine.evidence.artifact import code_hash
from policyengine.evidence.replay import cash_rate
from policyengine.execution.account import Account
from policyengine.execution.broker import Fill, PaperBroker
from policyengine.execution.paper import Desk, payload_of, risk_of, standing_of
from policyengine.execution.replay import days, replayed_nav
from policyengine.execution.session import Day, Done, Standing, interest_on, session
from policyengine.market.panel import PricePanel
from policyengine.records import Arm, Bucket
from policyengine.rollout.acting import Acting
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read
from policyengine.rollout.audit_records import Intent, Outcome, Record, decision_id_of
from policyengine.rollout.comparison import Comparison, compare
from policyengine.rollout.modes import State
from policyengine.rollout.rollout import Facts, Rollout
from policyengine.signals.stream import Stream
from policyengine.spec.root import Spec

Floats = NDArray[np.float64]
R = TypeVar("R", bound=Record)
MATERIAL_FRAC = 0.01
"""A bucket that holds more of NAV than this is material."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """A rollout, and its audit log in `folder`."""

    rollout: Rollout
    audit: AuditLog
    folder: Path

    def read(self, kind: type[R]) -> Iterator[R]:
        """Its records of one kind."""
        return read(self.folder, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traded:
    """One session that was run."""

    day: Day
    state: State
    standing: Standing
    done: Done
    fills: tuple[Fill, ...]


class Trader:
    """One account, its two policies and the data of one run; under `rolled`, unless nothing is rolled out.

    `check` looks at what is held before each session, and raises where it must not go on.
    """

    def __init__(
        self,
        spec: Spec,
        panel: PricePanel,
        stream: Stream,
        cycle: Cycle,
        broker: PaperBroker,
        *,
        account: str,
        check: Callable[[Day, Standing], None],
        rolled: Rolled | None = None,
    ) -> None:
        self._spec, self._panel, self._stream, self._cycle = spec, panel, stream, cycle
        self._broker, self._account, self._check, self._rolled = broker, account, check, rolled
        self.sessions: list[date] = panel.sessions.astype("datetime64[D]").tolist()
        self.acting = Acting(cycle, panel.symbols, spec.rollout.slice)
        self._rate = cash_rate(panel, spec.universe.cash_rate_symbol)
        self._baseline_hash = spec.policy_hash(Arm.BASELINE)
        self._hashes = (spec.policy_hash(Arm.CANDIDATE), spec.config_hash(), code_hash()) if rolled is not None else ("", "", "")

    def run(self, first: int) -> Iterator[Traded]:
        """Run every session from index `first` on; each is closed before the next begins."""
        execution = self._spec.execution
        desk = Desk(
            broker=self._broker,
            execution=execution,
            account=self._account,
            symbols=self._panel.symbols,
            sessions=self.sessions,
            stopped=self._stopped,
        )
        for day in days(self._panel, self._rate):
            if day.index < first:
                continue
            today = self.sessions[day.index]
            account = self._broker.account(closed_only=True)
            state = self._become(today)
            # Every time from the journal, so that it does not matter whether the process is the same.
            standing = self._standing(account, state, day)
            self._check(day, standing)
            intents = self._announced(day, state, standing)
            desk.announce = lambda *_, known=intents: self._record(known.values())
            desk.decision, desk.done = f"{self._baseline_hash} {account.last_session}", ()
            self._broker.accrue(today, float(interest_on(standing.book, day, execution)[0]))
            sizer = OrderSizer(execution, self.acting.limits, self.acting.lots)
            standing, done = session(standing, day, self.acting, sizer, execution, desk.fill)
            self._record(_outcomes(intents, desk.done))
            held = done.orders is None or not bool(done.orders.breach[0] or done.orders.held_over[0])
            payload = payload_of(standing, done, self._panel.symbols, self._baseline_hash)
            self._broker.close_session(today, {**payload, "state": state.value, "limits_held": held})
            self._close(today)
            yield Traded(day=day, state=state, standing=standing, done=done, fills=desk.done)

    def facts(self) -> Facts:
        """What the guards of a step look at."""
        history = self._broker.history()
        shadow = _trailing(history, State.SHADOW)
        canary = _trailing(history, State.CANARY)
        last = self._broker.account(closed_only=True)
        return Facts(
            shadow_sessions=len(shadow),
            shadow_trades=self._trades(set(shadow)),
            material=self._material(last),
            unlike=self._unlike(set(shadow)),
            canary_span=(canary[0], canary[-1]) if canary else None,
            comparison=self.comparison() if canary else None,
            limits_held=last.last_payload is not None and bool(last.last_payload["limits_held"]),
        )

    def comparison(self) -> Comparison:
        """What the canary came to, up to the last session closed."""
        history = self._broker.history()
        span = _trailing(history, State.CANARY, State.LIVE)
        closed = list(history)
        nav = replayed_nav(self._panel, self._cycle, self._spec.execution, rate=self._rate, capital=self._broker.account().capital)
        before = np.concatenate([np.full((2, 1), self._broker.account().capital), nav[:, :-1]], axis=1)
        excess = nav / before - 1.0 - self._rate
        at = [self._index(day) for day in span]
        stop = at[-1] + 1
        first = closed.index(span[0])
        account = [history[day]["nav"] for day in closed[max(first - 1, 0) :]]
        control = nav[0, [self._index(day) for day in closed[max(first - 1, 0) :]]]
        return compare(
            excess[0, :stop],
            excess[1, :stop],
            began=at[0],
            account=np.array(account),
            control=control,
            loss_max_frac=self._spec.rollout.loss_max_frac,
        )

    def _index(self, day: date) -> int:
        """Where a session that was traded stands in the data.

        Raises:
            DataError: the data no longer have it.
        """
        if day not in self.sessions:
            raise DataError("prices", f"have no session {day} any more, which account {self._account} traded")
        return self.sessions.index(day)

    def _become(self, today: date) -> State:
        """Act as the rollout says now; in a session that was cut short, as it began, so that what was sent is what is sent again."""
        if self._rolled is None:
            return State.OFF
        state = self._rolled.rollout.at_decision()
        if self._broker.open_session() == today:
            state = next((i.mode for i in self._rolled.read(Intent) if i.session == today), state)
        self.acting.become(state)
        return state

    def _stopped(self) -> bool:
        """Whether what acts must open nothing more."""
        if self._rolled is None or not self.acting.state.acts:
            return False
        return self._rolled.rollout.state is not self.acting.state or self._rolled.rollout.latched()

    def _standing(self, account: Account, state: State, day: Day) -> Standing:
        """Where the account stands; what another state decided is decided again, so that a halted stage sends no order of its own."""
        standing = standing_of(account, self.acting, self._panel.symbols)
        decided = State.OFF if account.last_payload is None else State(account.last_payload["state"])
        if standing.decision is not None and decided is not state and (decided.acts or state.acts):
            return replace(standing, decision=self.acting.decide(day.index - 1, standing.risk))
        return standing

    def _announced(self, day: Day, state: State, standing: Standing) -> dict[str, Intent]:
        """What goes on record before the session's orders."""
        if self._rolled is None or standing.decision is None:
            return {}
        return self.intents(day.index, standing.risk, state=state, decision=standing.decision, recorded_at=self._rolled.rollout.now())

    def _record(self, records: Iterable[Intent | Outcome]) -> None:
        if self._rolled is not None:
            self._rolled.audit.append_many(records)

    def _close(self, today: date) -> None:
        """Close the session on record, and leave a stage that does harm."""
        if self._rolled is None:
            return
        rollout = self._rolled.rollout
        self._rolled.audit.checkpoint(recorded_at=rollout.now(), why="session closed", session=today)
        if rollout.state.acts:
            comparison = self.comparison()
            if comparison.why is not None:
                rollout.pause(today, comparison)

    def _trades(self, sessions: set[date]) -> dict[Bucket, int]:
        counts: dict[Bucket, int] = {}
        for session_date, symbol, _ in self._broker.traded():
            if session_date in sessions:
                bucket = self._spec.universe.bucket(symbol)
                counts[bucket] = counts.get(bucket, 0) + 1
        return counts

    def _material(self, account: Account) -> tuple[Bucket, ...]:
        held: dict[Bucket, float] = {}
        for symbol, weight in ({} if account.last_payload is None else account.last_payload["weights"]).items():
            bucket = self._spec.universe.bucket(symbol)
            held[bucket] = held.get(bucket, 0.0) + abs(weight)
        return tuple(bucket for bucket in Bucket if held.get(bucket, 0.0) > MATERIAL_FRAC)

    def _unlike(self, sessions: set[date]) -> str | None:
        """Where what shadow put on record is not what is decided again; None where all of it is, to the bit."""
        if self._rolled is None:
            return "shadow kept no record"
        seen, history = 0, self._broker.history()
        for intent in self._rolled.read(Intent):
            if intent.mode is not State.SHADOW or intent.session not in sessions:
                continue
            seen += 1
            t = self._index(intent.session)
            risk = risk_of(history[self.sessions[t - 1]]) if self.sessions[t - 1] in history else None
            again = self.intents(t, risk, state=State.SHADOW, decision=None, recorded_at=intent.recorded_at).get(intent.symbol)
            if again is None or replace(again, acted_size=intent.acted_size, limits=intent.limits) != intent:
                return f"decision {intent.decision_id} on {intent.symbol} of {intent.session} is another when it is taken again"
        return None if seen else "shadow kept no record"

    def intents(self, t: int, risk: RiskState | None, *, state: State, decision: Decision | None, recorded_at: str) -> dict[str, Intent]:
        """What was decided on the session before for session `t`, by name: of every signal in force, and all that `decision` wants."""
        pair, sized, rows = self.acting.pair(t - 1, risk), self._cycle.sized[1], self._stream.rows
        permit = None if self._rolled is None else self._rolled.rollout.permit
        evidence = permit.evidence_hash if permit is not None and state.acts else None
        policy, config, code = self._hashes
        found = {}
        for i, symbol in enumerate(self._panel.symbols):
            row = int(self._stream.in_force[t - 1, i])
            wanted = None if decision is None else float(decision.weights[0, i])
            if row < 0 and not wanted:
                continue
            found[symbol] = Intent(
                recorded_at=recorded_at,
                decision_id=decision_id_of(self._account, self.sessions[t], symbol, evidence, policy),
                account=self._account,
                session=self.sessions[t],
                signal_id=None if row < 0 else str(rows.signal_id[row]),
                symbol=symbol,
                bucket=self._spec.universe.bucket(symbol),
                sleeve=SLEEVES[int(self._cycle.charged(t - 1)[i])],
                base_confidence=None if row < 0 else float(rows.confidence[row]),
                multipliers=() if row < 0 else tuple((n, float(f)) for n, f in zip(sized.names, sized.factors[:, row], strict=True)),
                effective_confidence=None if row < 0 else float(sized.effective[row]),
                baseline_size=float(pair.baseline[i]),
                candidate_size=float(pair.candidate[i]),
                acted_size=wanted,
                limits=() if decision is None else _held_back(i, decision, self.acting.limits[0]),
                mode=state,
                evidence_hash=evidence,
                policy_hash=policy,
                config_hash=config,
                code_hash=code,
                reasons=(),
            )
        return found


def _outcomes(intents: Mapping[str, Intent], fills: Sequence[Fill]) -> Iterator[Outcome]:
    """What became of each decision; one that led to no order did nothing."""
    by_symbol = {fill.order.symbol: fill for fill in fills}
    for symbol, intent in intents.items():
        fill = by_symbol.get(symbol)
        yield Outcome(
            recorded_at=intent.recorded_at,
            decision_id=intent.decision_id,
            client_order_id=None if fill is None else fill.order.client_order_id,
            quantity=0.0 if fill is None else fill.quantity,
            price=None if fill is None else fill.price,
            cost=0.0 if fill is None else fill.cost,
            refusal=None if fill is None or fill.refusal is None else fill.refusal.value,
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


def _trailing(history: Mapping[date, Mapping[str, Any]], *states: State) -> list[date]:
    """The last sessions without a break that ran in one of `states`."""
    found: list[date] = []
    for day, payload in history.items():
        found = [*found, day] if State(payload["state"]) in states else []
    return found
