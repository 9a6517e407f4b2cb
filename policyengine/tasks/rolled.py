"""What the tasks of a rollout share: the kill switch, whom to trust, the request for a permit, and the rollout with its audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from policyengine.errors import ConfigError
from policyengine.records import Mode, Stage
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.kill import KillSwitch
from policyengine.rollout.permit import Request
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import Rollout
from policyengine.rollout.signatures import sign
from policyengine.rollout.trader import Rolled
from policyengine.rollout.trust import TrustRoots
from policyengine.spec.root import Spec
from policyengine.tasks.run import Run

CHECKPOINTS = "policyengine-checkpoint"
SWITCH = "ENABLE_BARBELL_SIZING"
_SWITCHED = {"1": True, "true": True, "0": False, "false": False}


def switched(spec: Spec, run: Run) -> Spec:
    """The specification with what the environment says of the rollout: `ENABLE_BARBELL_SIZING` 0 or false is rollout=off.

    Raises:
        ConfigError: it is neither 1, 0, true nor false.
    """
    value = run.environment.get(SWITCH)
    if value is None:
        return spec
    if value not in _SWITCHED:
        raise ConfigError(SWITCH, f"{value[:40]!r} is none of 1, 0, true, false")
    return spec if _SWITCHED[value] else replace(spec, rollout=replace(spec.rollout, mode=Mode.OFF))


def audit_folder(run: Run) -> Path:
    """Where the audit log is."""
    return run.state_dir / "audit"


def kill_switch(spec: Spec, run: Run) -> KillSwitch:
    """The kill switch of the state folder, begun where nothing was done yet: a latch that is gone beside an audit log was taken away."""
    kill = spec.rollout.kill
    file = None if kill.file is None else Path(kill.file)
    made = KillSwitch(run.state_dir, environment=run.environment, file=file, configured=kill.engaged, clock=run.now)
    if not audit_folder(run).exists():
        made.begin()
    return made


def trust_of(spec: Spec, run: Run) -> TrustRoots | None:
    """The keys that count; None where trust is local.

    Raises:
        NotStarted: the files of the keys cannot be relied on.
    """
    if spec.rollout.trust == "local":
        return None
    named, revoked = spec.rollout.allowed_signers, spec.rollout.revoked_signers
    allowed = run.state_dir / "trust" / "allowed_signers" if named is None else Path(named)
    return TrustRoots.load(allowed, None if revoked is None else Path(revoked), outside=run.canonical.parent)


def request_for(
    spec: Spec, run: Run, source_key: str, stage: Stage, at: datetime, *, seen_at: datetime | None = None, newest: datetime | None = None
) -> Request:
    """The request for a permit, trust read anew: a key revoked meanwhile counts no more."""
    return Request(
        stage=stage,
        spec=spec,
        canonical=run.canonical,
        state_dir=run.state_dir,
        at=at,
        trust=trust_of(spec, run),
        source_key=source_key,
        seen_at=seen_at,
        newest_evidence_at=newest,
    )


@contextmanager
def rolled_out(spec: Spec, run: Run, source_key: str) -> Iterator[Rolled | None]:
    """The rollout of the state folder, with its audit log open; None where nothing ever was rolled out and nothing is to be.

    Raises:
        NotStarted: another process has the log, it is broken, or the state folder is not named as a canary and live need it.
    """
    folder, mode = audit_folder(run), spec.rollout.mode
    if mode is Mode.OFF and not folder.exists():
        yield None
        return
    if mode in (Mode.CANARY, Mode.LIVE):
        _refuse_unnamed(spec)
    kill, key = kill_switch(spec, run), spec.rollout.audit_key
    signs = None if key is None else lambda message: sign(message, Path(key), CHECKPOINTS)
    with AuditLog(folder, recorded_at=run.now().isoformat(), sign=signs) as audit:
        seen_at = datetime.fromisoformat(audit.seen_at) if audit.seen_at else None
        rollout = Rollout(
            spec.rollout,
            audit,
            folder,
            kill,
            request=lambda stage, at, newest: request_for(spec, run, source_key, stage, at, seen_at=seen_at, newest=newest),
            clock=run.now,
        )
        yield Rolled(rollout=rollout, audit=audit, folder=folder)


def _refuse_unnamed(spec: Spec) -> None:
    """A stage that acts keeps its state where somebody said, in a folder that is there."""
    named = spec.runtime.state_dir
    if named is None or not Path(named).is_absolute() or not Path(named).is_dir():
        rule = "is not an existing folder by its absolute path, which canary and live need"
        raise NotStarted(Code.AUDIT_UNWRITABLE, f"runtime.state_dir {named!r} {rule}")
