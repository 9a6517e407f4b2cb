"""Ed25519 keys for tests, the same on every run: a private key file of OpenSSH, its public line, trust roots that list it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from policyengine.rollout.trust import TrustRoots


def private(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def write_key(folder: Path, number: int) -> Path:
    """Key `number` as ssh-keygen would write it."""
    path = folder / f"key{number}"
    path.write_bytes(private(number).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    return path


def public_line(number: int) -> str:
    """`ssh-ed25519 base64` of key `number`."""
    return private(number).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def write_text(path: Path, text: str) -> Path:
    """`text` in a file that only its owner can write, whatever the umask."""
    path.write_text(text)
    path.chmod(0o644)
    return path


def roots(folder: Path, *lines: str, revoked: str | None = None) -> TrustRoots:
    """Trust roots of these lines of `allowed_signers`, and of `revoked`."""
    folder.mkdir(exist_ok=True)
    allowed = write_text(folder / "allowed_signers", "".join(f"{line}\n" for line in lines))
    gone = None if revoked is None else write_text(folder / "revoked", revoked)
    return TrustRoots.load(allowed, gone, outside=folder / "evidence")


def ssh_keygen(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The program itself; a test that needs it fails where it is not installed."""
    program = shutil.which("ssh-keygen")
    assert program is not None, "ssh-keygen is not installed; apt-get install openssh-client"
    return subprocess.run([program, *map(str, words)], input=stdin, capture_output=True, check=False, umask=0o022)
