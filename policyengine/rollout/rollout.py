"""One account's rollout: where it stands, what is asked of it, and each step between, on record before it takes effect.

The state is what the audit log says last, and killed while the latch is engaged. A step up is refused with a code and nothing starts; what
goes wrong while a stage acts halts it, and the account goes on with the baseline's sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from policyengine.errors import DataError
from policyengine.records import Bucket, Stage
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read
from policyengine.rollout.audit_records import Breach, Kill, Reset, Transition
from policyengine.rollout.comparison import Comparison
from policyengine.rollout.kill import KillSwitch
from policyengine.rollout.kill_records import KillEvent, KillRelease
from policyengine.rollout.modes import Guard, State, asked, guards_of
from policyengine.rollout.permit import Permit, Request, verify
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.spec.rollout import RolloutSpec

CACHED = timedelta(seconds=60)
"""How long a permit is taken for verified; the latch is looked at on every decision."""
_STAGES = {State.CANARY: Stage.CANARY, State.LIVE: Stage.LIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What guards look at besides evidence.

    `shadow_sessions` closed in shadow since it began, with `shadow_trades` by bucket; `material` buckets hold more than 1% of NAV.
    `unlike` says where shadow's record differs from what is decided again, None where it does not. `canary_span` are the first and the
    last session of the canary; `comparison` says what it, and live after it, came to; None without. `limits_held` at the last session.
    `data_to` is the last session that the data have.
    """

    shadow_sessions: int
    shadow_trades: Mapping[Bucket, int]
    material: tuple[Bucket, ...]
    unlike: str | None
    canary_span: tuple[date, date] | None
    comparison: Comparison | None
    limits_held: bool
    data_to: date


def state_of(folder: Path) -> State:
    """The state that the audit log in `folder` says last; off where there is no log.

    Raises:
        NotStarted: AUDIT_BROKEN, AUDIT_UNWRITABLE.
    """
    state = State.OFF
    for record in read(folder, Transition):
        state = record.after
    return state


def drilled_at(folder: Path) -> datetime | None:
    """When a drill last ended, by the audit log in `folder`: it was engaged, and the reset that names it followed. None if none ever did.

    Raises:
        NotStarted: AUDIT_BROKEN, AUDIT_UNWRITABLE.
    """
    engaged, ended = set[str](), list[datetime]()
    for record in read(folder, Kill, Reset):
        if isinstance(record, Kill) and record.drill:
            engaged.add(record.event_id)
        if isinstance(record, Reset) and record.drill and record.event_id in engaged:
            ended.append(min(datetime.fromisoformat(record.released_at), datetime.fromisoformat(record.recorded_at)))
    return max(ended, default=None)


class Rollout:
    """The rollout of one account, with its audit log open for writing.

    `request` makes the request for a permit; `clock` gives the instant, in UTC.
    """

    def __init__(
        self,
        spec: RolloutSpec,
        audit: AuditLog,
        folder: Path,
        kill: KillSwitch,
        *,
        request: Callable[[Stage, datetime, datetime | None], Request],
        clock: Callable[[], datetime],
    ) -> None:
        self._spec, self._audit, self._folder, self._kill, self._request, self._clock = spec, audit, folder, kill, request, clock
        self._verified_at: datetime | None = None
        made = [datetime.fromisoformat(t.evidence_made_at) for t in read(folder, Transition) if t.evidence_made_at is not None]
        self._newest = max(made, default=None)
        last = list(read(folder, Transition))[-1:]
        self.state, self.why = (last[0].after, last[0].why) if last else (State.OFF, "")
        self._slice = last[0].slice if last else None
        self.permit: Permit | None = None

    def start(self, by: str, facts: Callable[[], Facts]) -> State:
        """Bring the rollout to what is asked for.

        Raises:
            NotStarted: a guard refuses. What acted before is then expired or killed, on record.
        """
        wanted = asked(self._spec.mode)
        if not self._may_change(wanted, by):
            return self.state
        guards = guards_of(self.state, wanted)
        if guards is None:
            raise NotStarted(Code.STAGE_MISMATCH, f"the rollout stands at {self.state}, and {wanted} is not reached from there")
        if wanted is self.state is State.CANARY and self._slice != self._spec.slice:
            rule = f"rollout.slice {self._spec.slice} is not {self._slice}, which the canary began with; it is fixed for a rollout"
            raise NotStarted(Code.LIMITS_EXCEEDED, rule)
        if wanted.acts:
            self._permit(wanted)
        known = None
        if wanted.acts and self.state.acts:
            if (known := self._fit(facts)) is None:
                return self.state
        elif set(guards) - {Guard.CONTRACTS, Guard.PERMIT}:
            known = facts()
        for guard in guards:
            self._hold(guard, known)
        if wanted is not self.state:
            self._step(wanted, by=by, why=f"rollout={self._spec.mode}")
        return self.state

    def _may_change(self, wanted: State, by: str) -> bool:
        """Whether the state is one to step from: not killed, and up only from where no stage was left."""
        if self._killed() and wanted is not State.OFF:
            self._kill.check()
        if self.state is State.KILLED and self._kill.current() is None:
            self._step(State.OFF, by=by, why="the latch is released")
        return self.state is not State.KILLED and not (self.state.halted and wanted.acts)

    def at_decision(self) -> State:
        """The state in which the next decision is taken. Looks at the latch, and at the permit where it was not for a minute."""
        if self.state is State.OFF or self._killed():
            return self.state
        if self.state.acts and (self._verified_at is None or self._clock() - self._verified_at > CACHED):
            with suppress(NotStarted):  # expired then, and on record
                self._permit(self.state)
        return self.state

    def latched(self) -> bool:
        """Whether the kill switch is engaged now, looked at between two orders."""
        return self._kill.current() is not None

    def pause(self, session: date | None, comparison: Comparison) -> None:
        """Leave the stage for what `comparison` says."""
        loss = comparison.loss_frac if math.isfinite(comparison.loss_frac) else None
        self._pause("canary", comparison.why or "", session=session, observed=loss, threshold=self._spec.loss_max_frac)

    def _fit(self, facts: Callable[[], Facts]) -> Facts | None:
        """The facts, where what acts may go on: on data that are not stale, and compared with its control. Otherwise it pauses; None."""
        try:
            known = facts()
        except DataError as error:
            self._pause("canary", f"it cannot be compared: {error}", session=None, observed=None, threshold=None)
            return None
        if (why := self._stale(known)) is not None:
            age, limit = self._age(known), self._spec.guards.data_days
            self._pause("data", why, session=known.data_to, observed=float(age), threshold=float(limit))
        elif known.comparison is not None and known.comparison.why is not None:
            self.pause(None, known.comparison)
        return known if self.state.acts else None

    def _age(self, known: Facts) -> int:
        return (self._clock().date() - known.data_to).days

    def _stale(self, known: Facts) -> str | None:
        """Why the data are too old to act on."""
        age, limit = self._age(known), self._spec.guards.data_days
        return f"the data end on {known.data_to}, {age} days ago; rollout.guards.data_days is {limit}" if age > limit else None

    def _pause(self, name: str, why: str, *, session: date | None, observed: float | None, threshold: float | None) -> None:
        self._audit.append(Breach(recorded_at=self.now(), session=session, name=name, observed=observed, threshold=threshold, why=why))
        self._step(State.PAUSED, by="policyengine", why=why)

    def _killed(self) -> bool:
        """Whether the latch is engaged; if so that is on record, and the state."""
        event = self._kill.current()
        for item in self._kill.pending():
            self._audit.append(recorded(item, self.now()))
            self._kill.recorded(item)
        if event is None:
            return False
        if self.state is not State.KILLED:
            self._step(State.KILLED, by=event.by or "kill switch", why=event.sentence)
        return True

    def _permit(self, state: State) -> None:
        """A permit for `state`.

        Raises:
            NotStarted: there is none; if it is the stage that acts, that is expired, or paused where the verdict alone is another now.
        """
        at = self._clock()
        try:
            self.permit = verify(self._request(_STAGES[state], at, self._newest))
        except NotStarted as refused:
            if state is self.state:
                left = State.PAUSED if refused.code is Code.EV_NOT_PASSED else State.EXPIRED
                self._step(left, by="policyengine", why=f"{refused.code.name}: {refused.why}")
            raise
        self._verified_at = at

    def _hold(self, guard: Guard, known: Facts | None) -> None:
        """Refuse the step unless `guard` holds."""
        why = None if known is None else _open(guard, known, self._spec)
        if guard is Guard.SPANNED and why is None and known is not None:
            why = self._unspanned(known)
        if guard is Guard.FRESH and known is not None:
            why = self._stale(known)
        if guard is Guard.DRILLED:
            drilled, limit = drilled_at(self._folder), self._spec.guards.kill_drill_days
            if drilled is None or self._clock() - drilled > timedelta(days=limit):
                last = "never" if drilled is None else f"last at {drilled.isoformat(timespec='seconds')}"
                why = f"the kill switch was {last} drilled; rollout.guards.kill_drill_days is {limit}"
        if why is not None:
            raise NotStarted(Code.STAGE_MISMATCH, f"the rollout stays at {self.state}: {why}")

    def _unspanned(self, known: Facts) -> str | None:
        """Why the evidence does not contain the canary's span."""
        if known.canary_span is None or self.permit is None:
            return "no session of a canary is on record"
        first, last = known.canary_span
        if self.permit.start_date <= first and last <= self.permit.end_date:
            return None
        return f"the evidence, {self.permit.start_date} to {self.permit.end_date}, does not contain the canary, {first} to {last}"

    def _step(self, after: State, *, by: str, why: str) -> None:
        permit = self.permit if after.acts else None
        self._audit.append(
            Transition(
                recorded_at=self.now(),
                before=self.state,
                after=after,
                by=by,
                why=why,
                evidence_hash=None if permit is None else permit.evidence_hash,
                evidence_made_at=None if permit is None else permit.made_at.isoformat(),
                approved_by=() if permit is None else permit.approved_by,
                slice=self._spec.slice if after is State.CANARY else None,
            )
        )
        if permit is not None:
            self._newest = max(self._newest or permit.made_at, permit.made_at)
        self.state, self.why, self._slice = after, why, self._spec.slice if after is State.CANARY else None

    def now(self) -> str:
        """The present instant, as records hold it."""
        return self._clock().isoformat()


def recorded(item: KillEvent | KillRelease, at: str) -> Kill | Reset:
    """What the kill switch did, as the audit log holds it."""
    when = datetime.fromisoformat(item.at).isoformat()  # the latch writes out a microsecond of 0 as well
    if isinstance(item, KillRelease):
        of = item.event
        return Reset(recorded_at=at, event_id=of.event_id, released_at=when, drill=of.drill, by=item.by, statement=item.statement)
    sources = tuple(source.value for source in item.sources)
    return Kill(recorded_at=at, event_id=item.event_id, engaged_at=when, sources=sources, drill=item.drill, by=item.by, why=item.why)


def _open(guard: Guard, known: Facts, spec: RolloutSpec) -> str | None:
    """Why `guard` does not hold; None where it does."""
    compared = known.comparison
    reasons: dict[Guard, Callable[[], str | None]] = {
        Guard.SHADOWED: lambda: _unshadowed(known, spec),
        Guard.REPLAYED: lambda: known.unlike,
        Guard.UNCROSSED: lambda: "what the canary came to is not known" if compared is None or compared.mean is None else None,
        Guard.UNBREACHED: lambda: None if known.limits_held else "a limit stands exceeded",
    }
    return reasons[guard]() if guard in reasons else None


def _unshadowed(known: Facts, spec: RolloutSpec) -> str | None:
    guards = spec.guards
    if known.shadow_sessions < guards.shadow_sessions:
        return f"{known.shadow_sessions} of {guards.shadow_sessions} sessions in shadow are done"
    for bucket in known.material:
        trades = known.shadow_trades.get(bucket, 0)
        if trades < guards.shadow_trades:
            return f"{trades} of {guards.shadow_trades} trades in bucket {bucket} are done in shadow"
    return None
