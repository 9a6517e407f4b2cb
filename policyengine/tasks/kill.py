"""task=kill and task=reset: engage the kill switch, and release it by a statement that names the event."""

from __future__ import annotations

from pathlib import Path

from policyengine.errors import ConfigError
from policyengine.rollout.kill import reset_statement
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import public_key, sign, verify
from policyengine.spec.root import Spec
from policyengine.spec.task import KillTask, ResetTask
from policyengine.tasks.rolled import kill_switch, tell_audit, trust_of
from policyengine.tasks.run import Run

RESETS = "policyengine-reset"


def kill(spec: Spec, task: KillTask, run: Run) -> None:
    """Engage; the audit log is told if it can be, and else by whoever opens it next."""
    switch = kill_switch(spec, run)
    event = switch.engage(task.person, task.reason, run.now(), drill=task.drill)
    run.say(f"KILLED    {event.sentence}")
    run.say(f"next      policyengine task=reset task.event={event.event_id} task.person=... task.reason=...")
    tell_audit(switch, run)


def reset(spec: Spec, task: ResetTask, run: Run) -> None:
    """Release the event that the task names.

    Raises:
        ConfigError: nothing is engaged, or no key is given where trust is signed.
        NotStarted: another event is engaged, a source still engages, or the key does not count.
    """
    switch, at = kill_switch(spec, run), run.now()
    event = switch.current()
    if event is None:
        raise ConfigError("task.event", f"{task.event}: nothing is engaged")
    if event.event_id != task.event:
        raise NotStarted(Code.KILL_LATCHED, f"{task.event} is not what is engaged: {event.sentence}")
    statement = reset_statement(event, task.person, task.reason, at)
    trust = trust_of(spec, run)
    if trust is not None:
        if task.key is None:
            raise ConfigError("task.key", "is required where rollout.trust is 'signed'")
        key = Path(task.key)
        signer = trust.signer(verify(statement, sign(statement, key, RESETS), RESETS), RESETS, at)
        if task.person not in signer.names:
            raise NotStarted(
                Code.SIGNER_UNTRUSTED, f"key {public_key(key).fingerprint} is that of {signer.principal}, not of {task.person}"
            )
    switch.release(task.event, task.person, at, statement)
    run.say(f"released  {task.event} by {task.person}")
    tell_audit(switch, run)
