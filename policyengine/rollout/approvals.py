"""Approvals: what a person signed about one piece of evidence and one stage. Whether enough people did is left to `quorum`.

`<state_dir>/approvals/<evidence_hash>/<stage>/<fingerprint>-<made_at>.json` is a statement, `.json.sig` beside it its signature. Evidence,
stage and the slice of a canary are inside the signed bytes, so an approval counts nowhere else. Nothing is overwritten: the newest
statement of a key in a name counts, which is also how a rejection is withdrawn, and a crash or a reader never meets half of one. A file
that does not verify refuses to start, since nobody knows whether it was a rejection.

Where `rollout.trust=local`, `trust` is None throughout: statements are unsigned and their principal is `local:NAME`. They count where no
signature is asked for, and never beside signed ones.

What cannot be seen here: files that were deleted. The audit log names what was signed.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from policyengine.errors import ConfigError, DataError
from policyengine.records import Stage
from policyengine.rollout.guarded import read_guarded
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import KeyLocked, public_key, sign
from policyengine.rollout.trust import NAME, Signer, TrustRoots, signature_path, verify_file
from policyengine.spec.bind import bind, plain
from policyengine.spec.rollout import SliceSpec
from policyengine.store import parse_json, write_bytes

SCHEMA = 2
NAMESPACE = "policyengine-approval"
LOCAL = "local:"
"""Begins the principal of a statement that is not signed."""
MAX_STATEMENT_BYTES = 2**14
_CODES = tuple(Code)


class Answer(StrEnum):
    """What a statement says of the evidence."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is signed. `evidence_hash` is the SHA-256 of the exact bytes of the artifact, in hexadecimal; both instants are in UTC.

    It counts from `made_at` until before `expires_at`; a rejection counts until it is withdrawn. `slice` is what a canary may act on;
    None of other stages.
    """

    evidence_hash: str
    stage: Stage
    slice: SliceSpec | None
    decision: Answer
    principal: str
    role: str
    reason: str
    made_at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        """Refuse what could not be read back, or would deceive whoever reads it."""
        if len(self.evidence_hash) != 64 or not set(self.evidence_hash) <= set("0123456789abcdef"):
            raise ConfigError("evidence_hash", f"{self.evidence_hash[:80]!r} is not a SHA-256 in lower-case hexadecimal")
        if (self.slice is not None) != (self.stage is Stage.CANARY):
            raise ConfigError("slice", f"{self.slice} with stage {self.stage}; a canary acts on a slice, and nothing else does")
        if not NAME.fullmatch(self.principal.removeprefix(LOCAL)):
            raise ConfigError("principal", f"{self.principal[:80]!r} is not a name of small letters, digits and ._+@-")
        for path, text, limit in (("role", self.role, 100), ("reason", self.reason, 1000)):
            if not (text.strip() and text.isprintable() and len(text) <= limit):
                raise ConfigError(path, f"{text[:80]!a} is not one line of 1 to {limit} visible characters")
        for path, instant in (("made_at", self.made_at), ("expires_at", self.expires_at)):
            if instant.utcoffset() != timedelta(0):
                raise ConfigError(path, f"{instant.isoformat()} is not an instant in UTC")
        if self.expires_at <= self.made_at:
            raise ConfigError("expires_at", f"{self.expires_at.isoformat()} is not after made_at {self.made_at.isoformat()}")

    def content(self) -> bytes:
        """The one form in which it is signed and stored: JSON, keys sorted, a line each."""
        value = {"schema": SCHEMA, **plain(self)}
        return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A statement that verified. `signer` is None where trust is local."""

    statement: Statement
    signer: Signer | None

    @property
    def person(self) -> str:
        """Equal for two approvals that one human may have given."""
        return self.statement.principal if self.signer is None else self.signer.person

    @property
    def author(self) -> tuple[str, str]:
        """Key and name: a newer statement of the same takes the place of an older."""
        return self.statement.principal if self.signer is None else self.signer.fingerprint, self.statement.principal

    @property
    def ties(self) -> frozenset[str]:
        """Key and names: two approvals that have any in common count once."""
        return frozenset((self.statement.principal,)) if self.signer is None else self.signer.ties


def approve(state_dir: Path, statement: Statement, *, key: Path | None, trust: TrustRoots | None) -> Path:
    """Sign `statement` with the private key in `key` and store it; returns where it stands. Nothing that would not count is stored.

    Where only `ssh-keygen` can sign with the key, the statement is left in a folder that is not read, and the error says how to go on.
    Where trust is local, `trust` and `key` are None and nothing is signed.

    Raises:
        NotStarted: SIGNER_UNTRUSTED (also: the principal is not a name of the key), SIGNER_EXPIRED or SIGNER_REVOKED, at `made_at`;
            CLOCK_ROLLBACK, the same key made a statement at that instant or later.
        ConfigError: the key cannot sign here, or principal, `key` and `trust` do not go together.
        OutputError: it cannot be written.
    """
    content, local = statement.content(), statement.principal.startswith(LOCAL)
    if (trust is None) != local or (key is None) != local:
        rule = f"{statement.principal} signs nothing where trust is local, and everybody else with a key that is trusted"
        raise ConfigError("rollout.trust", rule)
    folder = state_dir / "approvals" / statement.evidence_hash / statement.stage.value
    if trust is None or key is None:
        path = _new_path(folder, statement.principal.replace(":", "-"), statement.made_at)
        write_bytes(path, content)
        return path
    public = public_key(key)
    _check_name(str(key), statement, trust.signer(public, NAMESPACE, statement.made_at))
    path = _new_path(folder, public.fingerprint.removeprefix("SHA256:").replace("/", "_").replace("+", "-"), statement.made_at)
    try:
        armored = sign(content, key, NAMESPACE)
    except KeyLocked as error:
        pending = folder / "unsigned" / path.name
        write_bytes(pending, content)
        raise KeyLocked(str(key), f"{error.rule}; nothing is approved yet. Sign by hand: {_by_hand(key, pending)}") from None
    write_bytes(signature_path(path), armored)
    write_bytes(path, content)  # last: a signature without a statement is passed over
    return path


def read_approvals(folder: Path, evidence_hash: str, stage: Stage, trust: TrustRoots | None, at: datetime) -> tuple[Approval, ...]:
    """The newest statement of each author about `evidence_hash` and `stage` below `folder`, which is `<state_dir>/approvals`.

    Each, also one that a newer replaces, is verified at the instant `at`; whether it has expired is left to `quorum`. Names that begin
    with a dot, signatures without a statement and folders within are no statements.

    Raises:
        NotStarted: of all that is wrong with any file, the code that comes first: EV_UNSAFE_FILE, SIG_MISSING, SIG_INVALID (also: about
            other evidence), SIGNER_UNTRUSTED, SIGNER_EXPIRED, SIGNER_REVOKED, EV_MALFORMED, EV_SCHEMA, STAGE_MISMATCH.
        ConfigError: `cryptography` is not installed.
    """
    place = folder / evidence_hash / stage.value
    found, wrong = [], []
    for path in _statements(place):
        try:
            found.append(_read(path, evidence_hash, stage, trust, at))
        except NotStarted as error:
            wrong.append(error)
    if wrong:
        raise min(wrong, key=lambda error: _CODES.index(error.code))
    found.sort(key=lambda approval: (approval.statement.made_at, approval.statement.decision is Answer.REJECT))
    return tuple({approval.author: approval for approval in found}.values())


def _new_path(folder: Path, author: str, made_at: datetime) -> Path:
    """Where the statement of `author` will stand, after all that stand there already."""
    path = folder / f"{author}-{made_at:%Y%m%dT%H%M%S.%f}Z.json"
    later = [other for other in _statements(folder) if other.stem.rpartition("-")[0] == author and other.name >= path.name]
    if later:
        raise NotStarted(Code.CLOCK_ROLLBACK, f"{later[-1]}: was made no earlier than now, {made_at.isoformat()}")
    return path


def _statements(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NotStarted(Code.EV_UNSAFE_FILE, f"{place}: cannot be read: {error.strerror or error}") from None


def _read(path: Path, evidence_hash: str, stage: Stage, trust: TrustRoots | None, at: datetime) -> Approval:
    signer = None
    if trust is None:
        content = read_guarded(path, MAX_STATEMENT_BYTES)
    else:
        content, signer = verify_file(path, NAMESPACE, trust, at, limit=MAX_STATEMENT_BYTES, missing=Code.EV_UNSAFE_FILE)
    said = _parsed(path, content)
    if said.evidence_hash != evidence_hash:
        raise NotStarted(Code.SIG_INVALID, f"{path}: is about evidence {said.evidence_hash}, not {evidence_hash}")
    if signer is not None:
        _check_name(str(path), said, signer)
    elif not said.principal.startswith(LOCAL):
        raise NotStarted(Code.SIGNER_UNTRUSTED, f"{path}: trust is local, so nobody knows whether {said.principal} signed it")
    if said.stage is not stage:
        raise NotStarted(Code.STAGE_MISMATCH, f"{path}: is about stage {said.stage.value}, not {stage.value}")
    return Approval(statement=said, signer=signer)


def _parsed(path: Path, content: bytes) -> Statement:
    """The statement whose `content()` these bytes are. Any other bytes are refused, also those that say the same."""
    try:
        value = parse_json(content, str(path))
        if isinstance(value, dict) and value.get("schema") != SCHEMA:
            raise NotStarted(Code.EV_SCHEMA, f"{path}: schema {value.get('schema')!a} is not {SCHEMA}; approve again with this version")
        said = Statement(
            evidence_hash=_text(value, "evidence_hash"),
            stage=Stage(_text(value, "stage")),
            slice=None if value["slice"] is None else bind(SliceSpec, value["slice"], "slice"),
            decision=Answer(_text(value, "decision")),
            principal=_text(value, "principal"),
            role=_text(value, "role"),
            reason=_text(value, "reason"),
            made_at=datetime.fromisoformat(_text(value, "made_at")),
            expires_at=datetime.fromisoformat(_text(value, "expires_at")),
        )
    except DataError as error:
        raise NotStarted(Code.EV_MALFORMED, f"{error}; approve again") from None
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise NotStarted(Code.EV_MALFORMED, f"{path}: is not a statement: {type(error).__name__} {error}; approve again") from None
    if said.content() != content:
        raise NotStarted(Code.EV_MALFORMED, f"{path}: is not in the one form of its content: other keys, order or spaces; approve again")
    return said


def _text(value: Any, name: str) -> str:
    match value[name]:
        case str() as text:
            return text
    raise TypeError(f"{name} is not a text")


def _check_name(place: str, said: Statement, signer: Signer) -> None:
    if said.principal not in signer.names:
        rule = f"says that {said.principal} decides, but key {signer.fingerprint} is that of {', '.join(signer.names)}"
        raise NotStarted(Code.SIGNER_UNTRUSTED, f"{place}: {rule}")


def _by_hand(key: Path, pending: Path) -> str:
    """The line for a shell that signs `pending` and puts it, signature first, where it is read."""
    words = {"key": key, "file": pending, "sig": signature_path(pending), "folder": pending.parent.parent}
    quoted = {name: shlex.quote(str(path)) for name, path in words.items()}
    line = "(umask 022; ssh-keygen -Y sign -f {key} -n {namespace} {file} && mv {sig} {file} {folder}/)"
    return line.format(namespace=NAMESPACE, **quoted)
