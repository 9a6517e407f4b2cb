"""Trust roots: who is on the list, for what, until when, and who is the same human; and evidence with its signature."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import PublicKey, sign
from policyengine.rollout.trust import EVIDENCE_NAMESPACE, TrustRoots, sign_evidence, signature_path, verify_evidence
from policyengine.store import write_json
from tests.keys import private, public_line, roots, ssh_keygen, write_key, write_text

SPACE = "policyengine-approval"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def key(number: int) -> PublicKey:
    return PublicKey(private(number).public_key().public_bytes_raw())


def refused(trust: TrustRoots, number: int, at: datetime = NOW, namespace: str = SPACE) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        trust.signer(key(number), namespace, at)
    return caught.value


def unread(folder: Path, *lines: str, revoked: str | None = None) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        roots(folder, *lines, revoked=revoked)
    return caught.value


def test_a_listed_key_is_its_person(tmp_path: Path) -> None:
    trust = roots(tmp_path, "# who may sign", "", f"  Alice@Example.com {public_line(1)} her laptop", f"bob\t{public_line(2)}")
    alice = trust.signer(key(1), SPACE, NOW)
    assert (alice.principal, alice.names, alice.person) == ("alice@example.com", ("alice@example.com",), "alice@example.com")
    assert alice.fingerprint == key(1).fingerprint
    assert trust.signer(key(2), SPACE, NOW).principal == "bob"
    error = refused(trust, 3)
    assert error.code is Code.SIGNER_UNTRUSTED
    assert f"key {key(3).fingerprint} is not in {tmp_path}/allowed_signers" in error.why


def test_nobody_is_listed_in_an_empty_file(tmp_path: Path) -> None:
    assert refused(roots(tmp_path, "# nobody"), 1).code is Code.SIGNER_UNTRUSTED


def test_a_key_counts_for_the_namespaces_it_is_listed_for(tmp_path: Path) -> None:
    trust = roots(tmp_path, f'alice namespaces="{SPACE},file" {public_line(1)}', f"bob {public_line(2)}")
    assert trust.signer(key(1), SPACE, NOW).principal == trust.signer(key(1), "file", NOW).principal == "alice"
    assert trust.signer(key(2), "anything", NOW).principal == "bob"
    error = refused(trust, 1, namespace=EVIDENCE_NAMESPACE)
    assert error.code is Code.SIGNER_UNTRUSTED
    assert "not for namespace 'policyengine-evidence'" in error.why


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        ('valid-after="20260601Z"', datetime(2026, 6, 1, tzinfo=UTC), None),
        ('valid-before="202606011230Z"', None, datetime(2026, 6, 1, 12, 30, tzinfo=UTC)),
        (
            'VALID-AFTER="20260601112233Z",valid-before="20260601112234Z"',
            datetime(2026, 6, 1, 11, 22, 33, tzinfo=UTC),
            datetime(2026, 6, 1, 11, 22, 34, tzinfo=UTC),
        ),
    ],
)
def test_a_key_counts_from_its_first_instant_to_its_last(
    tmp_path: Path, options: str, first: datetime | None, last: datetime | None
) -> None:
    trust = roots(tmp_path, f"alice {options} {public_line(1)}")
    instant = timedelta(microseconds=1)
    for edge, outwards in ((first, -instant), (last, instant)):
        if edge is not None:
            assert trust.signer(key(1), SPACE, edge).principal == "alice"
            error = refused(trust, 1, edge + outwards)
            assert error.code is Code.SIGNER_EXPIRED
            assert f"of alice is not valid at {(edge + outwards).isoformat()}" in error.why


def test_one_line_that_is_valid_is_enough(tmp_path: Path) -> None:
    """A key renewed by a second line, under another name; and one whose valid line is for something else."""
    trust = roots(
        tmp_path,
        f'alice-old valid-before="20260101Z" {public_line(1)}',
        f'alice valid-after="20260101Z" {public_line(1)}',
        f'bob valid-before="20260101Z" {public_line(2)}',
        f'bob namespaces="file" {public_line(2)}',
    )
    assert trust.signer(key(1), SPACE, NOW).names == ("alice",)
    assert trust.signer(key(1), SPACE, NOW).person == "alice = alice-old"
    assert refused(trust, 2).code is Code.SIGNER_EXPIRED
    assert trust.signer(key(2), "file", NOW).principal == "bob"


@pytest.mark.parametrize("by", ["fingerprint", "key"])
def test_a_revoked_key_counts_no_more(tmp_path: Path, by: str) -> None:
    line = key(1).fingerprint if by == "fingerprint" else public_line(1)
    trust = roots(tmp_path, f"alice {public_line(1)}", f"bob {public_line(2)}", revoked=f"# stolen\n\n{line} laptop of 2025\n")
    error = refused(trust, 1)
    assert error.code is Code.SIGNER_REVOKED
    assert f"key {key(1).fingerprint} of alice is revoked" in error.why
    assert trust.signer(key(2), SPACE, NOW).principal == "bob"


def test_the_first_code_wins(tmp_path: Path) -> None:
    """Not listed before expired, expired before revoked."""
    trust = roots(tmp_path, f'alice valid-before="20260101Z" {public_line(1)}', revoked="\n".join([public_line(1), public_line(3)]))
    assert refused(trust, 3).code is Code.SIGNER_UNTRUSTED
    assert refused(trust, 1).code is Code.SIGNER_EXPIRED
    assert refused(trust, 1, datetime(2025, 1, 1, tzinfo=UTC)).code is Code.SIGNER_REVOKED


def test_who_shares_a_key_or_a_name_is_one_person(tmp_path: Path) -> None:
    trust = roots(
        tmp_path,
        f"alice {public_line(1)}",
        f"alice {public_line(2)}",  # one name, two keys
        f"bob,rob {public_line(3)}",  # two names on one line
        f"Carol {public_line(4)}",
        f"carol-work {public_line(4)}",  # one key on two lines
        f"dan {public_line(5)}",
        f'release valid-before="20200101Z" {public_line(6)}',
        f'dan valid-before="20200101Z" {public_line(6)}',  # a key of old joins dan and release
        f"release {public_line(7)}",
        f"erin {public_line(8)}",
    )
    person = {number: trust.signer(key(number), SPACE, NOW).person for number in (1, 2, 3, 4, 5, 7, 8)}
    assert person == {1: "alice", 2: "alice", 3: "bob = rob", 4: "carol = carol-work", 5: "dan = release", 7: "dan = release", 8: "erin"}


LINE = public_line(1)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("alice", "is not: names [options] ssh-ed25519 base64"),
        (LINE, "is not: names"),
        ("alice ssh-ed25519", "is not: names"),
        (f"alice ssh-rsa {LINE.split()[1]}", "no other type of key"),
        (f"alice sk-ssh-ed25519@openssh.com {LINE.split()[1]}", "no other type of key"),
        (f"alice {LINE[:-4]}", "ends within a field"),
        (f"alice {LINE[:-3]}", "is not base64"),
        (f"alice {LINE}AAAA", "has 3 bytes after its end"),
        (f"alice {LINE[:-1]}é", "is not base64"),
        (f"*@example.com {LINE}", "'*@example.com' names no person"),
        (f"!alice,bob {LINE}", "'!alice' names no person"),
        (f"alice, {LINE}", "'' names no person"),
        (f"local:alice {LINE}", "'local:alice' names no person"),
        (f"../alice {LINE}", "names no person"),
        (f'"alice" {LINE}', "names no person"),
        (f"al\u0456ce {LINE}", "names no person"),
        (f"alice cert-authority {LINE}", "options 'cert-authority' are not"),
        (f"alice valid-after=20260101Z {LINE}", "are not valid-after="),
        (f'alice valid-after="20260101Z", {LINE}', "are not valid-after="),
        (f'alice valid-after="20260101Z",valid-after="20260101Z" {LINE}', "give one twice"),
        (f'alice valid-after="20260101" {LINE}', "without Z it would depend on the machine"),
        (f'alice valid-after="" {LINE}', "is not YYYYMMDDZ"),
        (f'alice valid-after="20261301Z" {LINE}', "is no day or time that there is"),
        (f'alice valid-after="00000101Z" {LINE}', "is no day or time that there is"),
        (f'alice valid-before="20260101235960Z" {LINE}', "is no day or time that there is"),
        (f'alice valid-after="2026010124Z" {LINE}', "is not YYYYMMDDZ"),
        (f'alice valid-after="2026010\u0661Z" {LINE}', "is not YYYYMMDDZ"),
        (f'alice valid-after="20260101Z",valid-before="20260101Z" {LINE}', "is not after valid-after"),
        (f'alice namespaces="policyengine-*" {LINE}', "no pattern"),
        (f'alice namespaces="" {LINE}', "no pattern"),
        (f'alice name\u017fpaces="file" {LINE}', "are not valid-after="),
        (f'alice valid-\u00e0fter="20990101Z" {LINE}', "are not valid-after="),
    ],
)
def test_a_line_that_is_not_understood_refuses_them_all(tmp_path: Path, line: str, rule: str) -> None:
    error = unread(tmp_path, f"bob {public_line(2)}", line)
    assert error.code is Code.SIGNER_UNTRUSTED
    assert error.why.startswith(f"{tmp_path}/allowed_signers:2: ")
    assert rule in error.why


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "SHA256:abc",
        key(1).fingerprint[:-1],
        key(1).fingerprint + "A",
        key(1).fingerprint[:-1] + "B",
        key(1).fingerprint.replace("SHA256", "MD5"),
        LINE[:-4],
        "ssh-ed25519",
        f"alice {LINE}",
        f"ssh-rsa {LINE.split()[1]}",
    ],
)
def test_a_revocation_that_is_not_understood_refuses_them_all(tmp_path: Path, line: str) -> None:
    error = unread(tmp_path, f"bob {public_line(2)}", revoked=f"{public_line(3)}\n{line}\n")
    assert error.code is Code.SIGNER_UNTRUSTED
    assert error.why.startswith(f"{tmp_path}/revoked:2: ")
    assert "nobody knows which key was revoked" in error.why


def test_bytes_that_are_no_text_refuse(tmp_path: Path) -> None:
    allowed = write_text(tmp_path / "allowed_signers", "")
    allowed.write_bytes(b"alice \xff")
    with pytest.raises(NotStarted, match="SIGNER_UNTRUSTED: .*allowed_signers: is not a list of keys"):
        TrustRoots.load(allowed, None, outside=tmp_path / "evidence")


def test_a_file_of_roots_that_is_not_there_or_not_safe_refuses(tmp_path: Path) -> None:
    allowed = write_text(tmp_path / "allowed_signers", f"alice {LINE}\n")
    revoked = tmp_path / "revoked"

    def code() -> tuple[Code, bool]:
        with pytest.raises(NotStarted) as caught:
            TrustRoots.load(allowed, revoked, outside=tmp_path / "evidence")
        return caught.value.code, str(revoked) in caught.value.why

    assert code() == (Code.EV_UNSAFE_FILE, True)  # named, and not there: nobody knows who is on it
    write_text(revoked, "").chmod(0o646)
    assert code() == (Code.EV_UNSAFE_FILE, True)
    write_text(revoked, "#" * (2**20 + 1))
    assert code() == (Code.EV_UNSAFE_FILE, True)
    allowed.chmod(0o664)
    assert code() == (Code.EV_UNSAFE_FILE, False)
    allowed.unlink()
    assert code() == (Code.SIGNER_UNTRUSTED, False)
    allowed.symlink_to(revoked)
    assert code() == (Code.EV_UNSAFE_FILE, False)


def test_roots_within_the_folder_they_judge_refuse(tmp_path: Path) -> None:
    """However they are reached."""
    inside = tmp_path / "state" / "trust"
    inside.mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(inside)
    write_text(inside / "allowed_signers", f"alice {LINE}\n")
    good = write_text(tmp_path / "allowed_signers", f"alice {LINE}\n")
    for allowed, revoked in (
        (inside / "allowed_signers", None),
        (tmp_path / "elsewhere" / "allowed_signers", None),
        (good, write_text(inside / "revoked", "")),
    ):
        with pytest.raises(NotStarted, match="EV_UNSAFE_FILE: .*must not choose who is trusted"):
            TrustRoots.load(allowed, revoked, outside=tmp_path / "state")
    assert TrustRoots.load(good, None, outside=tmp_path / "state").signer(key(1), SPACE, NOW).principal == "alice"


def test_a_megabyte_of_keys_is_read_in_good_time(tmp_path: Path) -> None:
    """Every line shares a name with the next: the worst case for telling who is one person."""
    lines = [f"n{number},n{number + 1} {public_line(1 + number % 200)}" for number in range(9000)]
    assert sum(map(len, lines)) > 800_000
    began = time.process_time()
    trust = roots(tmp_path, *lines)
    assert time.process_time() - began < 5.0
    assert trust.signer(key(1), SPACE, NOW).person.startswith("n0 = n1 = n10 = ")


def evidence(folder: Path) -> Path:
    path = folder / "evidence.json"
    write_json(path, {"passed": True})
    return path


def found(path: Path, trust: TrustRoots) -> NotStarted:
    with pytest.raises(NotStarted) as caught:
        verify_evidence(path, trust, NOW)
    return caught.value


def test_evidence_that_is_signed_gives_its_bytes_and_its_producer(tmp_path: Path) -> None:
    trust, path = roots(tmp_path / "trust", f"alice {LINE}"), evidence(tmp_path)
    assert sign_evidence(path, write_key(tmp_path, 1)) == tmp_path / "evidence.json.sig" == signature_path(path)
    content, producer = verify_evidence(path, trust, NOW)
    assert content == path.read_bytes()
    assert producer == trust.signer(key(1), EVIDENCE_NAMESPACE, NOW)


def test_each_way_in_which_evidence_is_not_signed_has_its_code(tmp_path: Path) -> None:
    lines = (f"alice {LINE}", f'bob valid-before="20260101Z" {public_line(2)}', f"carol {public_line(3)}")
    trust, path = roots(tmp_path / "trust", *lines, revoked=public_line(3)), tmp_path / "evidence.json"
    with pytest.raises(NotStarted, match="EV_MISSING"):
        sign_evidence(path, write_key(tmp_path, 1))
    assert found(path, trust).code is Code.EV_MISSING
    evidence(tmp_path)
    assert found(path, trust).code is Code.SIG_MISSING
    for number, code in ((1, None), (2, Code.SIGNER_EXPIRED), (3, Code.SIGNER_REVOKED), (4, Code.SIGNER_UNTRUSTED)):
        sign_evidence(path, write_key(tmp_path, number))
        assert code is None or found(path, trust).code is code
    write_text(signature_path(path), sign(path.read_bytes(), write_key(tmp_path, 1), SPACE).decode())
    error = found(path, trust)
    assert error.code is Code.SIG_INVALID
    assert f"{path}.sig: is for namespace '{SPACE}'" in error.why
    sign_evidence(path, write_key(tmp_path, 1))
    write_json(path, {"passed": False})
    assert found(path, trust).code is Code.SIG_INVALID
    signature_path(path).chmod(0o666)
    assert found(path, trust).code is Code.EV_UNSAFE_FILE
    signature_path(path).unlink()
    signature_path(path).symlink_to(path)
    assert found(path, trust).code is Code.EV_UNSAFE_FILE
    path.chmod(0o666)
    assert f"{path}: mode 666" in found(path, trust).why


@pytest.mark.ssh
def test_evidence_signed_by_hand_counts(tmp_path: Path) -> None:
    path, secret = evidence(tmp_path), tmp_path / "id"
    assert ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", secret).returncode == 0
    assert ssh_keygen("-Y", "sign", "-f", secret, "-n", EVIDENCE_NAMESPACE, path).returncode == 0
    trust = roots(tmp_path / "trust", f'alice namespaces="{EVIDENCE_NAMESPACE}" {secret.with_suffix(".pub").read_text().strip()}')
    assert verify_evidence(path, trust, NOW)[1].principal == "alice"


@pytest.mark.ssh
@pytest.mark.parametrize(
    "options",
    [
        "",
        f'namespaces="{EVIDENCE_NAMESPACE}"',
        f'namespaces="file,{EVIDENCE_NAMESPACE}"',
        'namespaces="file"',
        'valid-after="20260601Z"',
        'valid-after="202606011201Z"',
        'valid-before="20260601120000Z"',
        'valid-before="202606011159Z"',
        'Valid-After="20260101Z",VALID-BEFORE="20270101Z"',
    ],
)
def test_ssh_keygen_reads_the_same_from_a_line(tmp_path: Path, options: str) -> None:
    """Accepted here exactly if `ssh-keygen -Y verify` accepts, at the same instant."""
    trust, path = roots(tmp_path / "trust", f"alice {options} {LINE}"), evidence(tmp_path)
    sign_evidence(path, write_key(tmp_path, 1))
    words = ("-f", tmp_path / "trust" / "allowed_signers", "-I", "alice", "-n", EVIDENCE_NAMESPACE, "-s", signature_path(path))
    theirs: subprocess.CompletedProcess[bytes] = ssh_keygen(
        "-Y", "verify", "-O", f"verify-time={NOW:%Y%m%d%H%M%S}Z", *words, stdin=path.read_bytes()
    )
    try:
        verify_evidence(path, trust, NOW)
    except NotStarted:
        assert theirs.returncode != 0
    else:
        assert theirs.returncode == 0, theirs.stderr
