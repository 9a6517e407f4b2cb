"""SSH signatures, against hand-assembled ones and against `ssh-keygen` itself in both directions."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import ConfigError
from policyengine.rollout.signatures import MAX_SIGNATURE_BYTES, KeyLocked, PublicKey, SignatureInvalid, public_key, sign, verify
from tests.keys import private, public_line, ssh_keygen, write_key

MESSAGE, SPACE = b"12 apples\n", "policyengine-approval"
KEY = PublicKey(private(1).public_key().public_bytes_raw())


def string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def typed(content: bytes, kind: bytes = b"ssh-ed25519") -> bytes:
    return string(kind) + string(content)


def armored(blob: bytes, width: int = 70) -> bytes:
    text = base64.b64encode(blob).decode()
    lines = [text[i : i + width] for i in range(0, len(text), width)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


def blob(
    *,
    number: int = 1,
    message: bytes = MESSAGE,
    namespace: bytes = SPACE.encode(),
    reserved: bytes = b"",
    algorithm: bytes = b"sha512",
    version: int = 1,
    key_kind: bytes = b"ssh-ed25519",
    signature_kind: bytes = b"ssh-ed25519",
    cut: int = 0,
) -> bytes:
    """A signature assembled by the letter of PROTOCOL.sshsig; `cut` bytes are taken off the raw one."""
    hashed = hashlib.new(algorithm.decode().replace("-", ""), message).digest()
    signed = b"SSHSIG" + b"".join(map(string, (namespace, reserved, algorithm, hashed)))
    raw = private(number).sign(signed)
    key = typed(private(number).public_key().public_bytes_raw(), key_kind)
    fields = (key, namespace, reserved, algorithm, typed(raw[: 64 - cut], signature_kind))
    return b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(string, fields))


def invalid(content: bytes, message: bytes = MESSAGE, namespace: str = SPACE) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        verify(message, content, namespace)
    return caught.value.rule


@pytest.mark.parametrize("algorithm", [b"sha512", b"sha256"])
def test_a_signature_by_the_letter_names_its_key(algorithm: bytes) -> None:
    assert verify(MESSAGE, armored(blob(algorithm=algorithm)), SPACE) == KEY


@pytest.mark.parametrize("width", [64, 70, 76, 1000])
def test_where_the_lines_break_does_not_matter(width: int) -> None:
    assert verify(MESSAGE, armored(blob(), width), SPACE) == KEY


def test_signing_writes_the_letter(tmp_path: Path) -> None:
    assert sign(MESSAGE, write_key(tmp_path, 1), SPACE) == armored(blob())


@given(message=st.binary(max_size=300), namespace=st.text(min_size=1, max_size=40), number=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_what_is_signed_verifies_and_nothing_else_does(
    tmp_path_factory: pytest.TempPathFactory, message: bytes, namespace: str, number: int
) -> None:
    path = write_key(tmp_path_factory.getbasetemp(), number)
    signature = sign(message, path, namespace)
    assert verify(message, signature, namespace) == public_key(path)
    assert "is not of these bytes" in invalid(signature, message + b"\0", namespace)
    assert "is for namespace" in invalid(signature, message, namespace + "x")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (armored(blob(namespace=b"policyengine-evidence")), "is for namespace 'policyengine-evidence', not 'policyengine-approval'"),
        (armored(blob(namespace=SPACE.encode() + b"\0")), "is for namespace"),
        (armored(blob(namespace=b"\xff\x1b[31m")), r"is for namespace '\ufffd\x1b[31m'"),
        (armored(blob(reserved=b"x")), "reserved field holds 1 bytes"),
        (armored(blob(algorithm=b"sha1")), "hash b'sha1' is neither"),
        (armored(blob(algorithm=b"sha-512")), "hash b'sha-512' is neither"),
        (armored(blob(version=0)), "version 0 is not 1"),
        (armored(blob(version=2)), "version 2 is not 1"),
        (armored(blob(key_kind=b"ssh-rsa")), "key type b'ssh-rsa' is not ssh-ed25519"),
        (armored(blob(key_kind=b"sk-ssh-ed25519@openssh.com")), "key type"),
        (armored(blob(signature_kind=b"ssh-dss")), "key type b'ssh-dss' is not ssh-ed25519"),
        (armored(blob(cut=1)), "63 bytes stand where ssh-ed25519 has 64"),
        (armored(blob() + b"\0"), "has 1 bytes after its end"),
        (armored(blob()[:-1]), "ends within a field"),
        (armored(b"SSHSIG\0\0\0\1\xff\xff\xff\xff"), "ends within a field of 4,294,967,295 bytes"),
        (armored(b"XSHSIG" + blob()[6:]), "does not begin like a signature"),
        (armored(b""), "a BEGIN line"),
        (armored(b"SSHSIG\0\0"), "ends within a field"),
        (armored(blob()) + b"\n", "a BEGIN line"),
        (armored(blob()) + armored(blob()), "base64"),
        (b"\n" + armored(blob()), "a BEGIN line"),
        (armored(blob()).rstrip(b"\n"), "a BEGIN line"),
        (armored(blob()).replace(b"\n", b"\r\n"), "a BEGIN line"),
        (armored(blob()).replace(b"\nU1NI", b"\n U1NI"), "base64"),
        (b"", "a BEGIN line"),
        (b"\n\n\n\n", "a BEGIN line"),
        (b"x" * (MAX_SIGNATURE_BYTES + 1), "4,097 bytes is more than 4,096"),
    ],
)
def test_what_is_not_exactly_a_signature_is_refused(content: bytes, rule: str) -> None:
    assert rule in invalid(content)


def test_base64_has_one_form() -> None:
    """Stray bits in the last character would be a second signature with another hash."""
    whole = armored(blob(algorithm=b"sha256", namespace=b"ns"))
    lines = whole.split(b"\n")
    assert lines[-3].endswith(b"=")
    changed = lines[-3].rstrip(b"=")
    other = changed[:-1] + bytes([changed[-1] + 1]) + b"=" * (len(lines[-3]) - len(changed))
    assert base64.b64decode(b"".join(lines[1:-3]) + other) == blob(algorithm=b"sha256", namespace=b"ns")
    assert "canonical" in invalid(whole.replace(lines[-3], other), namespace="ns")


def test_the_signature_of_another_key_is_refused() -> None:
    """The raw signature of key 2 behind the public half of key 1."""
    mixed = blob(number=1)[:-64] + blob(number=2)[-64:]
    assert f"by {KEY.fingerprint} is not of these bytes" in invalid(armored(mixed))


def test_a_public_key_is_left_to_ssh_keygen(tmp_path: Path) -> None:
    public = tmp_path / "key.pub"
    public.write_text(public_line(1) + " alice@laptop\n")
    with pytest.raises(KeyLocked, match="key.pub: is a public key"):
        sign(MESSAGE, public, SPACE)
    assert public_key(public) == KEY


def refused_key(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        sign(MESSAGE, path, SPACE)
    assert not isinstance(caught.value, KeyLocked)
    assert caught.value.path == str(path)
    with pytest.raises(ConfigError):
        public_key(path)
    return caught.value.rule


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    path = write_key(tmp_path, 1)
    whole = path.read_bytes()
    assert "No such file" in refused_key(tmp_path / "none")
    assert "Is a directory" in refused_key(tmp_path)
    for content in (b"", b"x", b"\xff\xfe", whole[:40], whole[:200], whole.replace(b"OPENSSH", b"RSA"), whole.replace(b"b3Bl", b"b3Bm")):
        path.write_bytes(content)
        assert "is not an" in refused_key(path)
    path.write_bytes(whole)
    path.chmod(0o640)
    assert "mode 640 lets others at a private key; chmod 600" in refused_key(path)


def test_no_edit_of_a_private_key_file_ends_in_anything_but_an_error_or_the_key(tmp_path: Path) -> None:
    """Every byte in turn: the public half in the header and the private half must belong together, or the key is refused."""
    path = write_key(tmp_path, 1)
    whole = path.read_bytes()
    signature = sign(MESSAGE, path, SPACE)
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        try:
            assert sign(MESSAGE, path, SPACE) == signature
        except ConfigError:
            refused += 1
    assert refused > 0.8 * len(whole)


def test_a_key_of_another_type_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    path = tmp_path / "key"
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    assert "is not ssh-ed25519" in refused_key(path)


def test_without_cryptography_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_key(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    for call in (lambda: verify(MESSAGE, armored(blob()), SPACE), lambda: sign(MESSAGE, path, SPACE)):
        with pytest.raises(ConfigError, match=r"pip install 'barbell-policyengine\[rollout\]'"):
            call()


def test_cryptography_is_imported_only_where_it_is_used() -> None:
    code = "import sys, policyengine.rollout.approvals; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def made_by_ssh(tmp_path: Path) -> Path:
    """A key that ssh-keygen made, and its `.pub` beside it."""
    path = tmp_path / "id_ed25519"
    assert ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "alice@laptop", "-f", path).returncode == 0
    return path


@pytest.mark.ssh
@pytest.mark.parametrize("message", [b"", b"12 apples\n", bytes(range(256)) * 999])
def test_ssh_keygen_accepts_what_is_signed_here(tmp_path: Path, made_by_ssh: Path, message: bytes) -> None:
    (tmp_path / "sig").write_bytes(sign(message, made_by_ssh, SPACE))
    (tmp_path / "allowed").write_text(f'alice namespaces="{SPACE}" {made_by_ssh.with_suffix(".pub").read_text()}')
    words = ("-Y", "verify", "-f", tmp_path / "allowed", "-I", "alice", "-n", SPACE, "-s", tmp_path / "sig")
    assert ssh_keygen(*words, stdin=message).returncode == 0
    assert ssh_keygen(*words, stdin=message + b"x").returncode != 0


@pytest.mark.ssh
@pytest.mark.parametrize("options", [(), ("-O", "hashalg=sha256"), ("-O", "hashalg=sha512")])
def test_what_ssh_keygen_signs_is_accepted_here(tmp_path: Path, made_by_ssh: Path, options: tuple[str, ...]) -> None:
    path = tmp_path / "message"
    path.write_bytes(MESSAGE)
    assert ssh_keygen("-Y", "sign", "-f", made_by_ssh, "-n", SPACE, *options, path).returncode == 0
    signature = (tmp_path / "message.sig").read_bytes()
    assert verify(MESSAGE, signature, SPACE) == public_key(made_by_ssh) == public_key(made_by_ssh.with_suffix(".pub"))
    assert "is for namespace" in invalid(signature, namespace="file")
    if "hashalg=sha256" not in options:
        assert sign(MESSAGE, made_by_ssh, SPACE) == signature


@pytest.mark.ssh
def test_fingerprints_are_those_that_ssh_keygen_prints(made_by_ssh: Path) -> None:
    printed = ssh_keygen("-l", "-f", made_by_ssh.with_suffix(".pub")).stdout.decode().split()[1]
    assert public_key(made_by_ssh).fingerprint == printed


@pytest.mark.ssh
def test_an_encrypted_key_signs_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert ssh_keygen("-q", "-t", "ed25519", "-N", "secret", "-f", path).returncode == 0
    with pytest.raises(KeyLocked, match="key: is encrypted"):
        sign(MESSAGE, path, SPACE)
    assert public_key(path) == public_key(path.with_suffix(".pub"))


@pytest.mark.ssh
def test_signatures_with_other_keys_of_ssh_are_refused(tmp_path: Path) -> None:
    for kind in ("rsa", "ecdsa"):
        path = tmp_path / kind
        assert ssh_keygen("-q", "-t", kind, "-N", "", "-f", path).returncode == 0
        signature = ssh_keygen("-Y", "sign", "-f", path, "-n", SPACE, stdin=MESSAGE).stdout
        assert signature.startswith(b"-----BEGIN SSH SIGNATURE-----")
        assert "is not ssh-ed25519" in invalid(signature)
        assert "is not ssh-ed25519" in refused_key(path)
