"""Whatever is done to the bytes of the audit log of a canary: it does not go on, no traceback, and the code says what is broken."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policyengine import cli
from policyengine.records import Mode, Stage
from policyengine.reporting.progress import Progress
from policyengine.rollout.approvals import Answer, Statement, approve
from policyengine.rollout.audit_reading import verify
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import state_of
from policyengine.rollout.trust import sign_evidence, signature_path
from policyengine.spec.root import Spec
from policyengine.tasks.rolled import checked_log, rolled_out
from policyengine.tasks.run import Run
from tests.faults.test_tampered_permit import damaged
from tests.keys import public_line, roots, write_key
from tests.unit.rollout.conftest import MADE_AT, Case, case, evaluated
from tests.unit.rollout.test_rollout import FACTS

__all__ = ["case", "evaluated"]
EDITS = 1_000
NOW = MADE_AT + timedelta(days=1)


@dataclass(frozen=True)
class Canary:
    """A state folder whose canary goes on when it is started as the command starts it. All is signed: evidence, approval, checkpoints."""

    spec: Spec
    run: Run
    source_key: str

    @property
    def audit(self) -> Path:
        return self.run.state_dir / "audit"

    def start(self, mode: Mode = Mode.CANARY) -> State:
        spec = replace(self.spec, rollout=replace(self.spec.rollout, mode=mode))
        with rolled_out(spec, self.run, self.source_key) as rolled:
            assert rolled is not None
            return rolled.rollout.start("test", lambda: FACTS)

    def refused(self, mode: Mode = Mode.CANARY) -> Code:
        with pytest.raises(NotStarted) as caught:
            self.start(mode)
        str(caught.value).encode()
        return caught.value.code


@pytest.fixture
def canary(case: Case, tmp_path: Path) -> Canary:
    state = case.request.state_dir
    producer, approver, auditor = (write_key(tmp_path, number) for number in (1, 2, 3))
    trust = roots(state / "trust", *(f"person{number} {public_line(number)}" for number in (1, 2, 3)))
    shutil.rmtree(state / "approvals")
    sign_evidence(case.canonical, producer)
    said = Statement(
        evidence_hash=hashlib.sha256(case.canonical.read_bytes()).hexdigest(),
        stage=Stage.CANARY,
        slice=case.request.spec.rollout.slice,
        decision=Answer.APPROVE,
        principal="person2",
        role="risk",
        reason="reviewed",
        made_at=MADE_AT,
        expires_at=MADE_AT + timedelta(days=30),
    )
    approve(state, said, key=approver, trust=trust)
    spec = case.request.spec
    made = Canary(
        spec=replace(
            spec,
            rollout=replace(spec.rollout, trust="signed", audit_key=str(auditor)),
            runtime=replace(spec.runtime, state_dir=str(state)),
        ),
        run=Run(
            run_id="r_0000000000000000",
            created_at=NOW.isoformat(),
            folder=tmp_path / "run",
            state_dir=state,
            canonical=case.canonical,
            shipped=cli.DATA,
            temporary=tmp_path,
            in_sweep=False,
            choices={},
            say=lambda _: None,
            clock=lambda: 0.0,
            now=lambda: NOW,
            environment={},
            progress=Progress(sys.stderr, lambda: 0.0, enabled=False),
        ),
        source_key=case.source_key,
    )
    assert made.start(Mode.SHADOW) is State.SHADOW
    assert made.start() is made.start() is State.CANARY
    return made


def restored(folder: Path, whole: dict[str, bytes]) -> None:
    """The folder as it was, without what was put aside."""
    for path in folder.iterdir():
        if path.name not in whole:
            path.unlink()
    for name, content in whole.items():
        (folder / name).write_bytes(content)


def test_no_edit_of_the_audit_log_lets_a_canary_go_on(canary: Canary) -> None:
    whole = {path.name: path.read_bytes() for path in canary.audit.iterdir()}
    rng, codes, made = random.Random(2), Counter[Code](), 0
    while made < EDITS:
        name = rng.choice(["journal.jsonl", "journal.jsonl", "head.json"])
        edited = damaged(whole[name], rng)
        if edited.split() == whole[name].split():  # a head with other spaces says the same
            continue
        made += 1
        (canary.audit / name).write_bytes(edited)
        codes[canary.refused()] += 1
        restored(canary.audit, whole)
    assert codes == {Code.AUDIT_BROKEN: EDITS}
    assert canary.start() is State.CANARY


def test_no_edit_of_what_was_signed_lets_a_canary_go_on(canary: Canary) -> None:
    """Evidence, approval and their signatures, through the same start: refused, and the stage is left on record."""
    state = canary.run.state_dir
    before = {path.name: path.read_bytes() for path in canary.audit.iterdir()}
    files = [canary.run.canonical, signature_path(canary.run.canonical), *(state / "approvals").rglob("*.json*")]
    whole = {path: path.read_bytes() for path in files}
    rng, codes, made = random.Random(3), Counter[str](), 0
    while made < 120:
        path = rng.choice(files)
        edited = damaged(whole[path], rng)
        if edited.split() == whole[path].split():
            continue
        made += 1
        path.write_bytes(edited)
        codes[canary.refused().name] += 1
        assert state_of(canary.audit) in (State.EXPIRED, State.PAUSED)
        path.write_bytes(whole[path])
        restored(canary.audit, before)
    assert len(files) == 4
    assert codes["SIG_INVALID"] > 80
    assert canary.start() is State.CANARY


def forged(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """The log written anew by somebody who makes numbers, chain and head right again."""
    values = [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().splitlines()]
    change(values)
    last, lines = "0" * 64, []
    for seq, value in enumerate(values, start=1):
        line = json.dumps({**value, "seq": seq, "previous": last}, separators=(",", ":")).encode()
        last = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    (folder / "head.json").write_text(json.dumps({"count": len(values), "hash": last}))


def anywhere(rng: random.Random) -> Callable[[list[dict[str, Any]]], None]:
    """Drop, double or exchange a record before the last signed checkpoint, or change a text of it."""

    def change(values: list[dict[str, Any]]) -> None:
        last = max(i for i, value in enumerate(values) if value["kind"] == "checkpoint")
        at = rng.randrange(1, last)
        match rng.randrange(4):
            case 0:
                del values[at]
            case 1:
                values.insert(at, dict(values[at]))
            case 2:
                values[at], values[at - 1] = values[at - 1], values[at]
            case _:
                values[at]["why"] = "another reason"

    return change


def test_a_log_that_is_forged_under_its_signatures_is_broken(canary: Canary) -> None:
    whole = {path.name: path.read_bytes() for path in canary.audit.iterdir()}
    rng, forgeries = random.Random(4), 0
    for _ in range(100):
        forged(canary.audit, anywhere(rng))
        if (canary.audit / "journal.jsonl").read_bytes() != whole["journal.jsonl"]:
            forgeries += 1
            assert canary.refused() is Code.AUDIT_BROKEN
        restored(canary.audit, whole)
    assert forgeries > 80
    assert canary.start() is State.CANARY


def vouched(canary: Canary) -> bool:
    return checked_log(canary.spec, canary.run, Stage.CANARY, deep=False).vouched


def test_live_needs_a_signature_that_counts_on_the_last_checkpoint(canary: Canary, tmp_path: Path) -> None:
    """Signed by nobody, by a key that is not listed for it, or that was revoked: no live, and the canary may go on."""
    assert vouched(canary)
    assert checked_log(canary.spec, canary.run, Stage.LIVE, deep=True).signed == verify(canary.audit, deep=False).count - 1
    assert canary.refused(Mode.LIVE) is Code.STAGE_MISMATCH  # evidence of the canary's stage: the log is not what stands in the way
    revoked = tmp_path / "revoked"
    revoked.write_text(public_line(3) + "\n")
    revoked.chmod(0o644)
    strict = replace(canary, spec=replace(canary.spec, rollout=replace(canary.spec.rollout, revoked_signers=str(revoked))))
    assert not vouched(strict)
    assert strict.refused(Mode.LIVE) is Code.AUDIT_BROKEN
    unsigned = replace(canary, spec=replace(canary.spec, rollout=replace(canary.spec.rollout, audit_key=None)))
    assert unsigned.start(Mode.SHADOW) is State.SHADOW
    assert not vouched(canary)
    with pytest.raises(NotStarted, match="AUDIT_BROKEN: .*no signature that counts is on its last checkpoint, and live needs one"):
        checked_log(canary.spec, canary.run, Stage.LIVE, deep=False)
    other = replace(canary, spec=replace(canary.spec, rollout=replace(canary.spec.rollout, audit_key=str(write_key(tmp_path, 9)))))
    assert other.start() is State.CANARY
    assert not vouched(canary)


def test_live_needs_a_key_that_signs(canary: Canary) -> None:
    unsigned = replace(canary, spec=replace(canary.spec, rollout=replace(canary.spec.rollout, audit_key=None)))
    with pytest.raises(Exception, match="rollout.audit_key: null with mode live; live signs the checkpoints") as caught:
        unsigned.start(Mode.LIVE)
    assert getattr(caught.value, "exit_code", None) == 1


def test_a_checkpoint_counts_for_the_instant_at_which_it_was_signed(canary: Canary) -> None:
    """A key that has run out since goes on counting for what it signed, and for nothing later."""
    allowed = canary.run.state_dir / "trust" / "allowed_signers"
    listed = allowed.read_text()

    def until(day: datetime) -> bool:
        allowed.write_text(listed.replace("person3 ", f'person3 valid-before="{day:%Y%m%d%H%M%S}Z" '))
        allowed.chmod(0o644)
        return vouched(canary)

    assert until(NOW + timedelta(seconds=1))
    assert not until(NOW - timedelta(seconds=1))
