"""What the tasks of a rollout share: the kill switch, whom to trust, the request for a permit, and the rollout with its audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

from policyengine.errors import ConfigError, PolicyEngineError
from policyengine.records import Mode, Stage
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import Signed, Verified
from policyengine.rollout.audit_reading import verify as verified_log
from policyengine.rollout.kill import KillSwitch
from policyengine.rollout.permit import Request
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import Rollout, recorded
from policyengine.rollout.signatures import sign, verify
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


def heed_kill(spec: Spec, run: Run) -> None:
    """Look at the kill switch before any data are looked at: it takes effect also where these are gone.

    Raises:
        NotStarted: KILL_LATCHED, and the baseline alone is not what is asked for.
    """
    if spec.rollout.mode is Mode.OFF and not audit_folder(run).exists():
        return
    switch = kill_switch(spec, run)
    if switch.current() is not None:
        tell_audit(switch, run)
        if spec.rollout.mode is not Mode.OFF:
            switch.check()


def tell_audit(switch: KillSwitch, run: Run) -> None:
    """Put on record what the switch did; where another process has the log, or it cannot be written, say so: whoever opens it next does."""
    try:
        with AuditLog(audit_folder(run), recorded_at=run.now().isoformat()) as audit:
            for item in switch.pending():
                audit.append(recorded(item, run.now().isoformat()))
                switch.recorded(item)
    except PolicyEngineError as error:
        run.say(f"audit     not told yet: {error}")


def checked_log(spec: Spec, run: Run, stage: Stage, *, deep: bool) -> Verified:
    """The audit log, verified with the signatures of its checkpoints where trust is signed; live needs that of the last one.

    Raises:
        NotStarted: AUDIT_BROKEN, AUDIT_UNWRITABLE.
    """
    folder = audit_folder(run)
    log = verified_log(folder, deep=deep, signed=_checkpoints(spec, run) if spec.rollout.trust == "signed" else None)
    if stage is Stage.LIVE and not log.vouched:
        rule = "no signature that counts is on its last checkpoint, and live needs one: run rollout=canary with rollout.audit_key"
        raise NotStarted(Code.AUDIT_BROKEN, f"{folder}: {rule}; its key must be listed for {CHECKPOINTS}")
    return log


def _checkpoints(spec: Spec, run: Run) -> Signed:
    """Whose signature of a checkpoint counts: that of a key that is listed for it, was valid then, and is not revoked."""
    trust = cache(lambda: trust_of(spec, run))  # read where there is a signature to judge

    def signed(message: bytes, signature: bytes, recorded_at: str) -> bool:
        key, roots = verify(message, signature, CHECKPOINTS), trust()
        try:
            return roots is not None and bool(roots.signer(key, CHECKPOINTS, datetime.fromisoformat(recorded_at)))
        except NotStarted:
            return False

    return signed


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
        ConfigError: live without a key that signs checkpoints.
    """
    folder, mode = audit_folder(run), spec.rollout.mode
    if mode is Mode.OFF and not folder.exists():
        yield None
        return
    if mode in (Mode.CANARY, Mode.LIVE):
        _refuse_unnamed(spec)
    kill, key = kill_switch(spec, run), spec.rollout.audit_key
    if mode is Mode.LIVE and key is None:
        raise ConfigError("rollout.audit_key", "null with mode live; live signs the checkpoints of its audit log")
    signs = None if key is None else lambda message: sign(message, Path(key), CHECKPOINTS)
    with AuditLog(folder, recorded_at=run.now().isoformat(), sign=signs) as audit:
        if mode in (Mode.CANARY, Mode.LIVE):
            checked_log(spec, run, Stage(mode.value), deep=False)
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
