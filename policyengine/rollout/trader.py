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

from policyengine.allocation.cycle import Cycle
from policyengine.allocation.orders import GUARDRAILS, Orders, OrderSizer
from policyengine.errors import DataError
from policyengine.evidence.replay import cash_rate
from policyengine.execution.account import Account
from policyengine.execution.broker import Fill, PaperBroker
from policyengine.execution.paper import Desk, payload_of, risk_of, standing_of
from policyengine.execution.replay import days, replayed_nav
from policyengine.execution.session import Day, Done, Standing, interest_on, session
from policyengine.market.panel import PricePanel
from policyengine.records import Arm, Bucket
from policyengine.rollout.acting import Acting
from policyengine.rollout.audit import AuditLog, Recorded
from policyengine.rollout.audit_reading import read
from policyengine.rollout.audit_records import Intent, Record
from policyengine.rollout.comparison import Comparison, compare
from policyengine.rollout.modes import State
from policyengine.rollout.recording import Recording, outcomes
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

    `check` looks at what is held before each session, and raises where it must not go on. Of the names `barred` nothing is opened.
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
        barred: frozenset[str] = frozenset(),
    ) -> None:
        self._spec, self._panel, self._cycle = spec, panel, cycle
        self._barred = barred
        self._broker, self._account, self._check, self._rolled = broker, account, check, rolled
        self.sessions: list[date] = panel.sessions.astype("datetime64[D]").tolist()
        self.acting = Acting(cycle, panel.symbols, spec.rollout.slice)
        self._rate = cash_rate(panel, spec.universe.cash_rate_symbol)
        self._baseline_hash = spec.policy_hash(Arm.BASELINE)
        self._alone: Floats | None = None
        self._recording = None if rolled is None else Recording(spec, panel, stream, cycle, self.acting, account=account)

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
            barred=self._barred,
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
            announced = self._announced(day, state, standing)
            desk.announce = lambda *_, records=announced: self._record(records)
            desk.decision, desk.done = f"{self._baseline_hash} {account.last_session}", ()
            self._broker.accrue(today, float(interest_on(standing.book, day, execution)[0]))
            sizer = OrderSizer(execution, self.acting.limits, self.acting.lots)
            standing, done = session(standing, day, self.acting, sizer, execution, desk.fill)
            self._record(outcomes(announced, desk.done))
            held = done.orders is None or not bool(done.orders.breach[0] or done.orders.held_over[0])
            payload = payload_of(standing, done, self._panel.symbols, self._baseline_hash)
            told = {"state": state.value, "limits_held": held, "held_back": _held_back_by_guardrails(done.orders, self._panel.symbols)}
            self._broker.close_session(today, {**payload, **told})
            self._close(today)
            yield Traded(day=day, state=state, standing=standing, done=done, fills=desk.done)

    def facts(self) -> Facts:
        """What the guards of a step look at."""
        history = self._broker.history()
        shadow = _trailing(history, State.SHADOW)
        canary = _trailing(history, State.CANARY)
        acted = _trailing(history, State.CANARY, State.LIVE)
        last = self._broker.account(closed_only=True)
        return Facts(
            shadow_sessions=len(shadow),
            shadow_trades=self._trades(set(shadow)),
            material=self._material(last),
            unlike=self._unlike(set(shadow)) if shadow else "shadow kept no record",
            canary_span=(canary[0], canary[-1]) if canary else None,
            comparison=self.comparison() if acted else None,
            limits_held=last.last_payload is not None and bool(last.last_payload["limits_held"]),
            data_to=self.sessions[-1],
        )

    def comparison(self) -> Comparison:
        """What the canary came to, up to the last session closed."""
        history = self._broker.history()
        span = _trailing(history, State.CANARY, State.LIVE)
        closed = list(history)
        capital = self._broker.account().capital
        if self._alone is None:
            self._alone = replayed_nav(self._panel, self._cycle, self._spec.execution, rate=self._rate, capital=capital)
        nav = self._alone
        before = np.concatenate([np.full((2, 1), capital), nav[:, :-1]], axis=1)
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

    def _announced(self, day: Day, state: State, standing: Standing) -> list[Recorded]:
        """What goes on record before the session's orders."""
        if self._rolled is None or self._recording is None or standing.decision is None:
            return []
        rollout, made = self._rolled.rollout, self._recording
        at, evidence = rollout.now(), rollout.permit.evidence_hash if rollout.permit is not None and state.acts else None
        intents = made.intents(day.index, standing.risk, state=state, decision=standing.decision, evidence_hash=evidence, recorded_at=at)
        return [*made.policies(at), made.basis(day.index, standing.risk, at), *intents.values()]

    def _record(self, records: Iterable[Recorded]) -> None:
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
        if self._rolled is None or self._recording is None:
            return "shadow kept no record"
        seen, history = 0, self._broker.history()
        for intent in self._rolled.read(Intent):
            if intent.mode is not State.SHADOW or intent.session not in sessions:
                continue
            seen += 1
            t = self._index(intent.session)
            risk = risk_of(history[self.sessions[t - 1]]) if self.sessions[t - 1] in history else None
            made = self._recording.intents(t, risk, state=State.SHADOW, decision=None, evidence_hash=None, recorded_at=intent.recorded_at)
            again = made.get(intent.symbol)
            if again is None or replace(again, acted_size=intent.acted_size, limits=intent.limits) != intent:
                return f"decision {intent.decision_id} on {intent.symbol} of {intent.session} is another when it is taken again"
        return None if seen else "shadow kept no record"


def _held_back_by_guardrails(orders: Orders | None, symbols: Sequence[str]) -> list[str]:
    """The names whose orders a guardrail held back, in whole or in part."""
    rejected = {} if orders is None else orders.rejected
    return sorted({symbols[i] for reason in GUARDRAILS if reason in rejected for i in np.flatnonzero(rejected[reason][0]).tolist()})


def _trailing(history: Mapping[date, Mapping[str, Any]], *states: State) -> list[date]:
    """The last sessions without a break that ran in one of `states`."""
    found: list[date] = []
    for day, payload in history.items():
        found = [*found, day] if State(payload["state"]) in states else []
    return found
