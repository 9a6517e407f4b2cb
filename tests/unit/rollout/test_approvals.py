"""Approvals: a statement counts for one piece of evidence and one stage, and a quorum is of people."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import ConfigError, OutputError
from policyengine.records import Stage
from policyengine.rollout.approvals import NAMESPACE, Answer, Approval, Statement, approve, read_approvals
from policyengine.rollout.quorum import on_slice, quorum
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import KeyLocked, PublicKey, sign
from policyengine.rollout.trust import Signer, TrustRoots, signature_path
from policyengine.spec.rollout import SliceSpec
from tests.keys import private, public_line, roots, ssh_keygen, write_key, write_text

EVIDENCE = hashlib.sha256(b"evidence").hexdigest()
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SLICE = SliceSpec(capital_frac=0.1, universe_frac=1.0, salt="barbell")
SAID = Statement(
    evidence_hash=EVIDENCE,
    stage=Stage.CANARY,
    slice=SLICE,
    decision=Answer.APPROVE,
    principal="alice",
    role="risk",
    reason="the delta is outside the noise",
    made_at=NOW - timedelta(days=1),
    expires_at=NOW + timedelta(days=1),
)


def said(principal: str = "alice", **changes: Any) -> Statement:
    return dataclasses.replace(SAID, principal=principal, **changes)


def trusted(folder: Path) -> TrustRoots:
    """Alice and Bob; Carol, who has two keys; one key that is both Dan's and Erin's; keys that do not count."""
    return roots(
        folder / "trust",
        f"alice {public_line(1)}",
        f"bob {public_line(2)}",
        f"carol {public_line(3)}",
        f"carol {public_line(4)}",
        f"dan,erin {public_line(5)}",
        f'late valid-before="20260531Z" {public_line(6)}',
        f"gone {public_line(7)}",
        f'producer namespaces="policyengine-evidence" {public_line(8)}',
        revoked=public_line(7),
    )


def signed(folder: Path, number: int, statement: Statement) -> Path:
    """The statement in its place and signed with key `number`, whether it would count or not."""
    place = folder / "approvals" / EVIDENCE / Stage.CANARY
    place.mkdir(parents=True, exist_ok=True)
    return stored(place / f"{number}.json", statement.content(), number, folder)


def stored(path: Path, content: bytes, number: int, folder: Path) -> Path:
    for where, what in ((path, content), (signature_path(path), sign(content, write_key(folder, number), NAMESPACE))):
        where.write_bytes(what)
        where.chmod(0o644)
    return path


def read(folder: Path, trust: TrustRoots | None, at: datetime = NOW) -> tuple[Approval, ...]:
    return read_approvals(folder / "approvals", EVIDENCE, Stage.CANARY, trust, at)


def refused(folder: Path, trust: TrustRoots | None) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        read(folder, trust)
    return caught.value


# Statements


def test_a_statement_has_one_form() -> None:
    assert SAID.content().decode() == (
        '{\n "decision": "approve",\n'
        f' "evidence_hash": "{EVIDENCE}",\n'
        ' "expires_at": "2026-06-02T12:00:00+00:00",\n "made_at": "2026-05-31T12:00:00+00:00",\n'
        ' "principal": "alice",\n "reason": "the delta is outside the noise",\n "role": "risk",\n'
        ' "schema": 2,\n "slice": {\n  "capital_frac": 0.1,\n  "salt": "barbell",\n  "universe_frac": 1.0\n },\n "stage": "canary"\n}\n'
    )


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("evidence_hash", EVIDENCE[:-1], "is not a SHA-256"),
        ("evidence_hash", EVIDENCE.upper(), "is not a SHA-256"),
        ("evidence_hash", "../" + EVIDENCE[3:], "is not a SHA-256"),
        ("principal", "", "is not a name"),
        ("principal", "Alice", "is not a name"),
        ("principal", "../alice", "is not a name"),
        ("principal", "local:", "is not a name"),
        ("principal", "local:local:x", "is not a name"),
        ("role", "", "is not one line of 1 to 100"),
        ("role", "x" * 101, "is not one line of 1 to 100"),
        ("reason", " ", "is not one line of 1 to 1000"),
        ("reason", "a\nb", "is not one line"),
        ("reason", "approved \u202edevorppa", "is not one line"),
        ("reason", "\x1b[2J", "is not one line"),
        ("reason", "\ud800", "is not one line"),
        ("made_at", datetime(2026, 6, 1), "is not an instant in UTC"),  # noqa: DTZ001
        ("expires_at", datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=1))), "is not an instant in UTC"),
        ("expires_at", SAID.made_at, "is not after made_at"),
    ],
)
def test_a_statement_that_would_deceive_is_refused(field: str, value: object, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(SAID, **{field: value})
    assert caught.value.path == field
    assert rule in caught.value.rule


# Approving


def test_what_was_approved_is_read_back(tmp_path: Path) -> None:
    trust = trusted(tmp_path)
    mine = said("alice", reason='naïve? "no": 100 %', made_at=NOW - timedelta(microseconds=1))
    path = approve(tmp_path, mine, key=write_key(tmp_path, 1), trust=trust)
    name = PublicKey(private(1).public_key().public_bytes_raw()).fingerprint.removeprefix("SHA256:").replace("/", "_").replace("+", "-")
    assert path == tmp_path / "approvals" / EVIDENCE / "canary" / f"{name}-20260601T115959.999999Z.json"
    assert path.read_bytes() == mine.content()
    approve(tmp_path, said("erin"), key=write_key(tmp_path, 5), trust=trust)
    found = {approval.statement.principal: approval for approval in read(tmp_path, trust)}
    assert found["alice"].statement == mine
    assert found["alice"].signer == Signer(
        names=("alice",), person="alice", fingerprint=PublicKey(private(1).public_key().public_bytes_raw()).fingerprint
    )
    assert found["erin"].person == "dan = erin"
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".json", ".sig", ".sig"]


def test_the_newest_statement_counts_and_withdraws_the_one_before(tmp_path: Path) -> None:
    trust, key = trusted(tmp_path), write_key(tmp_path, 1)
    steps = [
        (Answer.REJECT, "the sample is thin", Code.SIGNOFF_QUORUM),
        (Answer.APPROVE, "it is not", None),
        (Answer.REJECT, "it is, after all", Code.SIGNOFF_QUORUM),
    ]
    for hour, (decision, reason, code) in enumerate(steps, start=1):
        approve(tmp_path, said(decision=decision, reason=reason, made_at=SAID.made_at + timedelta(hours=hour)), key=key, trust=trust)
        (only,) = read(tmp_path, trust)
        assert only.statement.reason == reason
        if code is None:
            quorum([only], needed=1, producer=producer(trust), at=NOW)
        else:
            error = lacking(only, needed=1, by=producer(trust))
            assert (error.code, error.why) == (code, f"alice (risk) rejects canary: {reason}")
    approve(tmp_path, said("bob"), key=write_key(tmp_path, 2), trust=trust)
    assert len(read(tmp_path, trust)) == 2  # an older one of somebody else takes no other's place


def test_a_statement_made_with_a_clock_put_back_is_refused(tmp_path: Path) -> None:
    """It would not count, and nobody would see that: a rejection would be lost."""
    trust, key = trusted(tmp_path), write_key(tmp_path, 1)
    first = approve(tmp_path, said(), key=key, trust=trust)
    for made_at in (SAID.made_at, SAID.made_at - timedelta(microseconds=1)):
        with pytest.raises(NotStarted) as caught:
            approve(tmp_path, said(decision=Answer.REJECT, made_at=made_at), key=key, trust=trust)
        assert caught.value.code is Code.CLOCK_ROLLBACK
        assert str(first) in caught.value.why
    approve(tmp_path, said("local:al-x"), key=None, trust=None)
    approve(tmp_path, said("local:al"), key=None, trust=None)
    with pytest.raises(NotStarted, match="CLOCK_ROLLBACK"):
        approve(tmp_path, said("local:al"), key=None, trust=None)


def test_of_two_statements_of_one_instant_the_rejection_counts(tmp_path: Path) -> None:
    for number, decision in ((1, Answer.REJECT), (2, Answer.APPROVE)):
        place = signed(tmp_path, 1, said(decision=decision)).parent
        for path in sorted(place.glob("1.json*"), reverse=True):
            path.rename(path.with_name(path.name.replace("1", f"{number}-copy", 1)))
    (only,) = read(tmp_path, trusted(tmp_path))
    assert only.statement.decision is Answer.REJECT


def test_no_time_of_another_name_or_key_withdraws_a_rejection(tmp_path: Path) -> None:
    """Dan and Erin have one key, Carol has two: each pair speaks for itself."""
    trust = trusted(tmp_path)
    place = signed(tmp_path, 3, said("carol", decision=Answer.REJECT)).parent
    later = SAID.made_at + timedelta(hours=1)
    signed(tmp_path, 4, said("carol", made_at=later))
    assert {a.statement.decision for a in read(tmp_path, trust)} == {Answer.APPROVE, Answer.REJECT}
    shutil.rmtree(place)
    stored(signed(tmp_path, 5, said("dan", decision=Answer.REJECT)).with_name("b.json"), said("erin", made_at=later).content(), 5, tmp_path)
    assert {a.statement.decision for a in read(tmp_path, trust)} == {Answer.APPROVE, Answer.REJECT}


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [
        (9, "nobody", Code.SIGNER_UNTRUSTED),
        (8, "producer", Code.SIGNER_UNTRUSTED),
        (6, "late", Code.SIGNER_EXPIRED),
        (7, "gone", Code.SIGNER_REVOKED),
        (1, "bob", Code.SIGNER_UNTRUSTED),
    ],
)
def test_what_would_not_count_is_not_stored(tmp_path: Path, number: int, name: str, code: Code) -> None:
    with pytest.raises(NotStarted) as caught:
        approve(tmp_path, said(name), key=write_key(tmp_path, number), trust=trusted(tmp_path))
    assert caught.value.code is code
    assert not (tmp_path / "approvals").exists()


def test_local_and_signed_do_not_mix(tmp_path: Path) -> None:
    trust, key = trusted(tmp_path), write_key(tmp_path, 1)
    wrong = [("local:a", key, trust), ("local:a", None, trust), ("local:a", key, None)]
    wrong += [("alice", None, None), ("alice", key, None), ("alice", None, trust)]
    for name, given_key, given_trust in wrong:
        with pytest.raises(ConfigError, match=r"rollout\.trust"):
            approve(tmp_path, said(name), key=given_key, trust=given_trust)
    assert not (tmp_path / "approvals").exists()


def test_local_approvals_are_unsigned_and_counted_by_name(tmp_path: Path) -> None:
    path = approve(tmp_path, said("local:alice"), key=None, trust=None)
    assert path.name == "local-alice-20260531T120000.000000Z.json"
    found = read(tmp_path, None)
    assert [(a.statement, a.signer, a.person, a.ties) for a in found] == [(said("local:alice"), None, "local:alice", {"local:alice"})]
    quorum(found, needed=1, producer=None, at=NOW)
    approve(tmp_path, said("local:bob"), key=None, trust=None)
    quorum(read(tmp_path, None), needed=2, producer=None, at=NOW)
    error = refused(tmp_path, trusted(tmp_path))
    assert error.code is Code.SIG_MISSING
    signed(tmp_path, 1, said("alice"))
    error = refused(tmp_path, None)
    assert error.code is Code.SIGNER_UNTRUSTED
    assert "trust is local" in error.why


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    trust, key = trusted(tmp_path), write_key(tmp_path, 1)
    path = approve(tmp_path, said(), key=key, trust=trust)
    path.unlink()
    signature_path(path).unlink()
    signature_path(path).mkdir()
    with pytest.raises(OutputError, match=r"\.json\.sig: cannot be written"):
        approve(tmp_path, said(), key=key, trust=trust)
    assert not path.exists()
    shutil.rmtree(tmp_path / "approvals")
    write_text(tmp_path / "approvals", "in the way")
    with pytest.raises(NotStarted, match="EV_UNSAFE_FILE"):
        approve(tmp_path, said(), key=key, trust=trust)


def test_stopped_at_any_step_leaves_the_old_statement_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that fails is each system call that makes a file last, in turn."""
    trust, key = trusted(tmp_path), write_key(tmp_path, 1)
    outcomes = []
    for step in range(1, 20):
        state = tmp_path / str(step)
        approve(state, said(reason="old"), key=key, trust=trust)
        calls = 0

        def counted(real: Callable[..., Any], step: int = step) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == step:
                    raise KeyboardInterrupt
                return real(*args, **options)

            return call

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", counted(Path.replace))
            patched.setattr(os, "fsync", counted(os.fsync))
            try:
                approve(state, said(reason="new", made_at=NOW), key=key, trust=trust)
                done = True
            except KeyboardInterrupt:
                done = False
        (only,) = read(state, trust)
        outcomes.append(only.statement.reason)
        if done:
            break
    assert done
    assert outcomes == ["old"] * 5 + ["new"] * 2  # two files; each: sync, rename, sync of the folder


@pytest.mark.ssh
def test_a_locked_key_approves_by_hand_with_the_line_that_is_shown(tmp_path: Path) -> None:
    """Also with blanks in the path and a umask that lets the group write."""
    home = tmp_path / "a home"
    home.mkdir()
    key = home / "id"
    assert ssh_keygen("-q", "-t", "ed25519", "-N", "secret", "-f", key).returncode == 0
    trust = roots(tmp_path / "trust", f"alice {key.with_suffix('.pub').read_text().strip()}")
    with pytest.raises(KeyLocked, match="id: is encrypted; nothing is approved yet. Sign by hand: ") as caught:
        approve(home, said(), key=key, trust=trust)
    assert read(home, trust) == ()
    assert ssh_keygen("-q", "-p", "-P", "secret", "-N", "", "-f", key).returncode == 0  # in place of a person who types it
    line = caught.value.rule.split("Sign by hand: ")[1]
    assert subprocess.run(["sh", "-c", line], check=False, capture_output=True, umask=0o002).returncode == 0
    (approval,) = read(home, trust)
    assert approval.statement == said()
    assert not list((home / "approvals" / EVIDENCE / "canary" / "unsigned").iterdir())


def test_a_locked_key_that_is_not_trusted_is_told_first(tmp_path: Path) -> None:
    public = write_text(tmp_path / "key.pub", public_line(9))
    with pytest.raises(NotStarted, match="SIGNER_UNTRUSTED"):
        approve(tmp_path, said(), key=public, trust=trusted(tmp_path))
    write_text(public, public_line(1))
    with pytest.raises(KeyLocked, match="is a public key; nothing is approved yet"):
        approve(tmp_path, said(), key=public, trust=trusted(tmp_path))


# Reading


def test_nothing_was_approved_where_there_is_no_folder(tmp_path: Path) -> None:
    assert read(tmp_path, trusted(tmp_path)) == ()
    write_text(tmp_path / "approvals", "in the way")
    assert refused(tmp_path, trusted(tmp_path)).code is Code.EV_UNSAFE_FILE


def test_what_is_no_statement_is_passed_over(tmp_path: Path) -> None:
    trust = trusted(tmp_path)
    path = signed(tmp_path, 1, said())
    path.with_name(".x.json.abc").write_bytes(b"half")
    path.with_name(".y.json").write_bytes(b"half")
    path.with_name("z.json.sig").write_bytes(b"half")
    (path.parent / "unsigned").mkdir()
    assert len(read(tmp_path, trust)) == 1


@pytest.mark.parametrize(
    ("number", "statement", "code", "rule"),
    [
        (9, said("nobody"), Code.SIGNER_UNTRUSTED, "is not in"),
        (8, said("producer"), Code.SIGNER_UNTRUSTED, "not for namespace"),
        (2, said("alice"), Code.SIGNER_UNTRUSTED, "says that alice decides, but key SHA256:"),
        (2, said("local:alice"), Code.SIGNER_UNTRUSTED, "says that local:alice decides"),
        (6, said("late"), Code.SIGNER_EXPIRED, "is not valid at"),
        (7, said("gone"), Code.SIGNER_REVOKED, "is revoked"),
        (1, said(stage=Stage.LIVE, slice=None), Code.STAGE_MISMATCH, "is about stage live, not canary"),
        (1, said(stage=Stage.SHADOW, slice=None), Code.STAGE_MISMATCH, "is about stage shadow, not canary"),
        (1, said(evidence_hash="0" * 64), Code.SIG_INVALID, f"is about evidence {'0' * 64}, not {EVIDENCE}"),
    ],
)
def test_a_statement_that_does_not_count_here_refuses(tmp_path: Path, number: int, statement: Statement, code: Code, rule: str) -> None:
    signed(tmp_path, 3, said("carol"))
    path = signed(tmp_path, number, statement)
    error = refused(tmp_path, trusted(tmp_path))
    assert error.code is code
    assert rule in error.why
    assert str(path) in error.why or code.name.startswith("SIGNER")


WHOLE = SAID.content()


@pytest.mark.parametrize(
    ("content", "code", "rule"),
    [
        (WHOLE.replace(b'"schema": 2', b'"schema": 3'), Code.EV_SCHEMA, "schema 3 is not 2"),
        (WHOLE.replace(b'"schema": 2', b'"schema": "1"'), Code.EV_SCHEMA, "is not 2"),
        (WHOLE.replace(b'"schema": 2', b'"schema": 2.0'), Code.EV_MALFORMED, "one form"),
        (WHOLE.replace(b'"schema": 2', b'"schema": NaN'), Code.EV_MALFORMED, "NaN is not a number"),
        (WHOLE.replace(b' "schema": 2,\n', b""), Code.EV_SCHEMA, "schema None is not 2"),
        (WHOLE.replace(b'"role"', b'"role": "x",\n "role"'), Code.EV_MALFORMED, "key 'role' stands twice"),
        (WHOLE.replace(b'"role"', b'"extra": 1,\n "role"'), Code.EV_MALFORMED, "one form"),
        (WHOLE.replace(b' "role": "risk",\n', b""), Code.EV_MALFORMED, "KeyError 'role'"),
        (WHOLE.replace(b'"risk"', b"5"), Code.EV_MALFORMED, "role is not a text"),
        (WHOLE.replace(b'"risk"', b'"r\\u0069sk"'), Code.EV_MALFORMED, "one form"),
        (WHOLE.replace(b'"risk"', b'"\\ud800"'), Code.EV_MALFORMED, "role"),
        (WHOLE.replace(b'"approve"', b'"approved"'), Code.EV_MALFORMED, "'approved'"),
        (WHOLE.replace(b'"approve"', b"true"), Code.EV_MALFORMED, "decision is not a text"),
        (WHOLE.replace(b'"canary"', b'"CANARY"'), Code.EV_MALFORMED, "'CANARY'"),
        (WHOLE.replace(b"+00:00", b"Z"), Code.EV_MALFORMED, "one form"),
        (WHOLE.replace(b"+00:00", b"+01:00"), Code.EV_MALFORMED, "is not an instant in UTC"),
        (WHOLE.replace(b"+00:00", b""), Code.EV_MALFORMED, "is not an instant in UTC"),
        (WHOLE.replace(b"2026-06-02", b"2026-13-02"), Code.EV_MALFORMED, "ValueError"),
        (WHOLE + b" ", Code.EV_MALFORMED, "one form"),
        (WHOLE + b"x", Code.EV_MALFORMED, "Extra data"),
        (b"\xef\xbb\xbf" + WHOLE, Code.EV_MALFORMED, "one form"),
        (b"", Code.EV_MALFORMED, "Expecting value"),
        (b"[]", Code.EV_MALFORMED, "TypeError"),
        (b"7", Code.EV_MALFORMED, "TypeError"),
        (b"\xff", Code.EV_MALFORMED, "can't decode"),
        (b"[" * 16000, Code.EV_MALFORMED, "recursion"),
        (b'{"schema": ' + b"9" * 5000 + b"}", Code.EV_MALFORMED, "is not valid JSON"),
        (b" " * (2**14 + 1), Code.EV_UNSAFE_FILE, "16,385 bytes is more than 16,384"),
    ],
)
@pytest.mark.parametrize("local", [False, True])
def test_a_statement_in_any_other_form_refuses(tmp_path: Path, content: bytes, code: Code, rule: str, local: bool) -> None:
    """Signed, so that nothing but its form stands against it; and unsigned, where trust is local."""
    path = stored(signed(tmp_path, 1, said()), content, 1, tmp_path)
    error = refused(tmp_path, None if local else trusted(tmp_path))
    assert error.code is code
    assert rule in error.why
    assert str(path) in error.why


def test_a_statement_says_what_was_signed(tmp_path: Path) -> None:
    """Without a signature; with that of another statement; with one for another purpose; changed after it was signed."""
    trust, path = trusted(tmp_path), signed(tmp_path, 1, said())
    whole = signature_path(path).read_bytes()
    signature_path(path).unlink()
    assert refused(tmp_path, trust).code is Code.SIG_MISSING
    write_text(signature_path(path), signature_path(signed(tmp_path, 2, said("bob"))).read_text())
    assert refused(tmp_path, trust).code is Code.SIG_INVALID
    write_text(signature_path(path), sign(path.read_bytes(), write_key(tmp_path, 1), "policyengine-evidence").decode())
    assert refused(tmp_path, trust).code is Code.SIG_INVALID
    signature_path(path).write_bytes(whole)
    assert len(read(tmp_path, trust)) == 2
    path.write_bytes(said(reason="another").content())
    assert refused(tmp_path, trust).code is Code.SIG_INVALID


def test_an_approval_does_not_move_to_another_stage_or_other_evidence(tmp_path: Path) -> None:
    trust = trusted(tmp_path)
    here = signed(tmp_path, 1, said()).parent
    live, other = here.with_name("live"), here.parent.parent / ("1" * 64) / "canary"
    for place in (live, other):
        shutil.copytree(here, place)
    for evidence_hash, stage, code in ((EVIDENCE, Stage.LIVE, Code.STAGE_MISMATCH), ("1" * 64, Stage.CANARY, Code.SIG_INVALID)):
        with pytest.raises(NotStarted) as caught:
            read_approvals(tmp_path / "approvals", evidence_hash, stage, trust, NOW)
        assert caught.value.code is code


def test_the_code_does_not_depend_on_the_names_of_files(tmp_path: Path) -> None:
    """Of all that is wrong, the code that comes first."""
    trust = trusted(tmp_path)
    signed(tmp_path, 1, said(stage=Stage.LIVE, slice=None))
    signed(tmp_path, 7, said("gone"))
    signed(tmp_path, 6, said("late"))
    codes = [refused(tmp_path, trust).code]
    path = signed(tmp_path, 2, said("bob"))
    signature_path(path).unlink()
    codes.append(refused(tmp_path, trust).code)
    signed(tmp_path, 3, said("carol")).chmod(0o666)
    codes.append(refused(tmp_path, trust).code)
    assert codes == [Code.SIGNER_EXPIRED, Code.SIG_MISSING, Code.EV_UNSAFE_FILE]


# Quorum


def who(name: str, number: int, person: str | None = None) -> Signer:
    return Signer(names=(name,), person=person or name, fingerprint=f"SHA256:{number}")


def given_by(name: str, number: int, person: str | None = None, **changes: Any) -> Approval:
    return Approval(statement=said(name, **changes), signer=who(name, number, person))


def producer(trust: TrustRoots) -> Signer:
    return trust.signer(PublicKey(private(8).public_key().public_bytes_raw()), "policyengine-evidence", NOW)


PRODUCER = who("pat", 100)
ALICE, BOB, CAROL = given_by("alice", 1), given_by("bob", 2), given_by("carol", 3)


def lacking(*approvals: Approval, needed: int = 2, by: Signer | None = PRODUCER, at: datetime = NOW) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        quorum(approvals, needed=needed, producer=by, at=at)
    return caught.value


def test_enough_people_are_a_quorum() -> None:
    quorum([ALICE, BOB], needed=2, producer=PRODUCER, at=NOW)
    quorum([ALICE, BOB, CAROL], needed=2, producer=PRODUCER, at=NOW)
    quorum([], needed=0, producer=PRODUCER, at=NOW)
    error = lacking(ALICE)
    assert error.code is Code.SIGNOFF_QUORUM
    assert error.why == "1 approval; 2 are needed"
    assert lacking().why == "0 approvals; 2 are needed"


def test_a_rejection_by_anybody_blocks_and_no_time_outlasts_it() -> None:
    against = given_by("carol", 3, decision=Answer.REJECT, reason="not yet")
    for at in (NOW, SAID.expires_at + timedelta(days=9999)):
        error = lacking(ALICE, BOB, against, at=at)
        assert error.code is Code.SIGNOFF_QUORUM
        assert error.why == "carol (risk) rejects canary: not yet"
    own = dataclasses.replace(against, signer=PRODUCER)
    assert lacking(ALICE, BOB, own).code is Code.SIGNOFF_QUORUM
    assert lacking(against, needed=0).code is Code.SIGNOFF_QUORUM


@pytest.mark.parametrize(
    "own",
    [
        given_by("pat", 100),
        given_by("pat", 101),  # another key of theirs
        given_by("patricia", 100),  # their key under another name
        given_by("patricia", 101, person="pat"),  # another key and name, tied to them by the roots
    ],
)
def test_the_producer_does_not_count(own: Approval) -> None:
    error = lacking(ALICE, own)
    assert error.code is Code.SIGNOFF_SELF
    assert "1 approval of others than the producer of the evidence, which pat produced; 2 are needed" in error.why
    quorum([ALICE, BOB, own], needed=2, producer=PRODUCER, at=NOW)


def test_signed_approvals_need_a_producer_who_is_known() -> None:
    local = Approval(statement=said("local:alice"), signer=None)
    assert lacking(ALICE, BOB, by=None).code is Code.SIGNOFF_SELF
    assert lacking(local, ALICE).code is Code.SIGNOFF_SELF
    assert lacking(local, by=PRODUCER, needed=1).code is Code.SIGNOFF_SELF
    quorum([local], needed=1, producer=None, at=NOW)


@pytest.mark.parametrize(
    "second",
    [
        given_by("alice", 4),  # one person, two keys
        given_by("alex", 1),  # one key, two names
        given_by("alex", 4, person="alice"),  # tied by the roots
        ALICE,
    ],
)
def test_each_key_and_each_person_counts_once(second: Approval) -> None:
    error = lacking(ALICE, second)
    assert error.code is Code.SIGNOFF_DUPLICATE
    assert "2 approvals, but only 1 by key and person: " in error.why
    quorum([ALICE, second, BOB], needed=2, producer=PRODUCER, at=NOW)


def test_one_key_under_two_names_and_one_person_with_two_keys_from_files(tmp_path: Path) -> None:
    trust = trusted(tmp_path)
    signed(tmp_path, 3, said("carol"))
    signed(tmp_path, 4, said("carol"))
    assert lacking(*read(tmp_path, trust), by=producer(trust)).code is Code.SIGNOFF_DUPLICATE
    shutil.rmtree(tmp_path / "approvals")
    path = signed(tmp_path, 5, said("dan"))
    stored(path.with_name("second.json"), said("erin").content(), 5, tmp_path)
    assert lacking(*read(tmp_path, trust), by=producer(trust)).code is Code.SIGNOFF_DUPLICATE


def test_an_approval_counts_from_when_it_was_made_until_it_expires() -> None:
    short = given_by("bob", 2, expires_at=NOW)
    quorum([ALICE, short], needed=2, producer=PRODUCER, at=NOW - timedelta(microseconds=1))
    error = lacking(ALICE, short)
    assert error.code is Code.SIGNOFF_EXPIRED
    assert "1 of 2 approvals count at 2026-06-01T12:00:00+00:00; not: bob from 2026-05-31T12:00:00+00:00 until 2026-06-01" in error.why
    early = given_by("bob", 2, made_at=NOW)
    quorum([ALICE, early], needed=2, producer=PRODUCER, at=NOW)
    assert lacking(ALICE, early, at=NOW - timedelta(microseconds=1)).code is Code.SIGNOFF_EXPIRED


def test_the_code_tells_the_first_step_at_which_too_few_are_left() -> None:
    own, twice, late = given_by("pat", 100), given_by("alice", 4), given_by("bob", 2, expires_at=NOW)
    assert lacking(own).code is Code.SIGNOFF_QUORUM
    assert lacking(own, twice, ALICE, needed=3).code is Code.SIGNOFF_SELF
    assert lacking(own, twice, ALICE, late, needed=3).code is Code.SIGNOFF_DUPLICATE
    assert lacking(own, twice, ALICE, late).code is Code.SIGNOFF_EXPIRED
    quorum([own, twice, ALICE, late], needed=1, producer=PRODUCER, at=NOW)


def test_what_is_tied_through_others_counts_once() -> None:
    """Four approvals, three names and three keys; but whoever holds key 3 goes by two of the names."""
    chain = [given_by("alice", 1), given_by("alice", 2), given_by("bob", 3), given_by("carol", 3)]
    assert "4 approvals, but only 2 by key and person: alice, bob, carol" in lacking(*chain, needed=3).why
    assert lacking(ALICE, given_by("alice", 2), given_by("bob", 2)).code is Code.SIGNOFF_DUPLICATE


PERSONS = st.sampled_from(["alice", "bob", "carol", "pat"])
GIVEN = st.builds(
    lambda name, number, days, decision: given_by(name, number, expires_at=NOW + timedelta(days=days), decision=decision),
    PERSONS,
    st.sampled_from([1, 2, 3, 4, 100]),
    st.sampled_from([-0.5, 1.0]),
    st.sampled_from([Answer.APPROVE] * 6 + [Answer.REJECT]),
)


def classes(approvals: list[Approval]) -> int:
    """Into how many the approvals fall when sharing a name or a key is made transitive, by Warshall's algorithm."""
    size = range(len(approvals))
    near = [[a.person == b.person or a.signer.fingerprint == b.signer.fingerprint for b in approvals] for a in approvals]  # type: ignore[union-attr]
    for k in size:
        for i in size:
            for j in size:
                near[i][j] |= near[i][k] and near[k][j]
    return len({tuple(row) for row in near})


@given(approvals=st.lists(GIVEN, max_size=6), needed=st.integers(0, 3))
def test_a_quorum_is_what_the_rule_says_in_any_order(approvals: list[Approval], needed: int) -> None:
    def reached(order: list[Approval]) -> Code | None:
        try:
            quorum(order, needed=needed, producer=PRODUCER, at=NOW)
        except NotStarted as error:
            return error.code
        return None

    outcome = reached(approvals)
    assert reached(approvals[::-1]) is outcome
    rejected = any(a.statement.decision is Answer.REJECT for a in approvals)
    others = [a for a in approvals if a.person != "pat" and a.signer is not None and a.signer.fingerprint != "SHA256:100"]
    valid = [a for a in others if a.statement.expires_at > NOW]
    steps = {
        Code.SIGNOFF_QUORUM: rejected or len(approvals) < needed,
        Code.SIGNOFF_SELF: len(others) < needed,
        Code.SIGNOFF_DUPLICATE: classes(others) < needed,
        Code.SIGNOFF_EXPIRED: classes(valid) < needed,
    }
    assert outcome is next((code for code, lacks in steps.items() if lacks), None)


def test_a_statement_can_be_read_by_anything_that_reads_json() -> None:
    assert json.loads(SAID.content())["stage"] == "canary"


# The slice


OTHER_SLICE = dataclasses.replace(SLICE, capital_frac=0.2)


def approval(principal: str, **changes: Any) -> Approval:
    return Approval(statement=said(f"local:{principal}", **changes), signer=None)


def test_only_approvals_of_the_slice_count_and_every_rejection_does() -> None:
    own, other = approval("alice"), approval("bob", slice=OTHER_SLICE)
    against = approval("carol", slice=OTHER_SLICE, decision=Answer.REJECT)
    assert on_slice([own, other, against], SLICE, needed=1) == (own, against)
    assert on_slice([own], SLICE, needed=2) == (own,)  # too few of any slice: the quorum says so
    assert on_slice([], SLICE, needed=1) == ()
    whole = approval("dan", slice=None, stage=Stage.LIVE)
    assert on_slice([whole], None, needed=1) == (whole,)


def test_limits_exceeded() -> None:
    with pytest.raises(NotStarted, match=r"rollout.slice .*0\.2.* is not what was approved: local:alice approves .*0\.1") as refusal:
        on_slice([approval("alice"), approval("bob", slice=OTHER_SLICE)], OTHER_SLICE, needed=2)
    assert refusal.value.code is Code.LIMITS_EXCEEDED


@pytest.mark.parametrize("changes", [{"slice": None}, {"stage": Stage.LIVE}, {"stage": Stage.SHADOW}])
def test_a_canary_has_a_slice_and_nothing_else_does(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="slice: .* a canary acts on a slice, and nothing else does"):
        said(**changes)


@pytest.mark.parametrize("salt", ["a\nb", "\u202ex", "x" * 101])
def test_a_salt_is_what_people_can_read(salt: str) -> None:
    with pytest.raises(ConfigError, match="salt: .* is not at most 100 visible characters"):
        dataclasses.replace(SLICE, salt=salt)
