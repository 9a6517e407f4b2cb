"""SSH signatures: what `ssh-keygen -Y sign` writes and `-Y verify` reads, made and verified without it. Ed25519 only.

Format: PROTOCOL.sshsig of OpenSSH. `<x>` is x behind its length in four bytes, the first the most significant:

    key        <"ssh-ed25519"> <32 bytes>
    armored    BEGIN line, base64 of the signature, END line
    signature  "SSHSIG" 1 <key> <namespace> <reserved> <hash> <<"ssh-ed25519"> <64 bytes>>
    signed     "SSHSIG" <namespace> <reserved> <hash> <digest of the message>

The namespace says what a signature is for, so that one given for an approval counts for nothing else. OpenSSH ignores what stands in
`reserved` and accepts loose base64; here both are refused, so that one signature has one form up to where its lines break.

A signature that verifies says which key signed. Whether that key is trusted is asked of `trust`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from policyengine.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_TYPE = "ssh-ed25519"
MAX_SIGNATURE_BYTES = 4096
"""An Ed25519 signature takes about 300, and its namespace."""
_MAX_KEY_BYTES = 2**16
_MAGIC, _VERSION, _LINE = b"SSHSIG", 1, 70
_ARMOR = (b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----")
_PRIVATE = (b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----")
_PRIVATE_MAGIC = b"openssh-key-v1\0"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}


class SignatureInvalid(DataError):
    """A signature is none, or not one of these bytes for this purpose. Callers that refuse to start give it their own code."""


class KeyLocked(ConfigError):
    """A key that only `ssh-keygen` can sign with: encrypted, or the public half of one that an agent holds."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key, by its 32 bytes."""

    raw: bytes

    @property
    def wire(self) -> bytes:
        """As SSH writes it into keys and signatures."""
        return _string(KEY_TYPE.encode()) + _string(self.raw)

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.wire).digest()).decode().rstrip("=")

    @classmethod
    def of_base64(cls, text: str) -> PublicKey:
        """The key whose wire form stands as base64 behind `ssh-ed25519` in key files.

        Raises:
            ValueError: it is not exactly such a key.
        """
        return _key_of(_decoded(text.encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    key: PublicKey
    namespace: bytes
    algorithm: bytes
    raw: bytes


class _Wire:
    """Takes strings off the front of `left`."""

    def __init__(self, content: bytes) -> None:
        self.left = content

    def take(self, size: int) -> bytes:
        if size > len(self.left):
            raise ValueError(f"ends within a field of {size:,} bytes")
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def expect(self, wanted: bytes, what: str) -> None:
        if self.take(len(wanted)) != wanted:
            raise ValueError(f"does not begin like {what}")

    def end(self) -> None:
        if self.left:
            raise ValueError(f"has {len(self.left):,} bytes after its end")


def verify(message: bytes, armored: bytes, namespace: str) -> PublicKey:
    """The key that signed `message` for `namespace`.

    Raises:
        SignatureInvalid: `armored` is no Ed25519 signature, is for another namespace, or is of other bytes.
        ConfigError: `cryptography` is not installed.
    """
    try:
        signature = _parsed(armored)
    except ValueError as error:
        raise SignatureInvalid("signature", str(error)) from None
    if signature.namespace != namespace.encode():
        raise SignatureInvalid("signature", f"is for namespace {signature.namespace.decode(errors='replace')[:60]!a}, not '{namespace}'")
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra, only where something is signed
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        raise _not_installed() from None
    try:
        key = Ed25519PublicKey.from_public_bytes(signature.key.raw)
        key.verify(signature.raw, _signed(message, signature.namespace, signature.algorithm))
    except InvalidSignature:
        raise SignatureInvalid("signature", f"by {signature.key.fingerprint} is not of these bytes") from None
    return signature.key


def sign(message: bytes, private_key_path: Path, namespace: str) -> bytes:
    """The armored signature of `message` for `namespace`, byte for byte what `ssh-keygen -Y sign` writes with the same key.

    Raises:
        KeyLocked: the key is encrypted, or a public key: sign with `ssh-keygen`.
        ConfigError: it cannot be read, others may read it, it is no OpenSSH Ed25519 key, or `cryptography` is not installed.
    """
    private = _private_key(private_key_path)
    key = PublicKey(private.public_key().public_bytes_raw())
    name, algorithm = namespace.encode(), b"sha512"
    raw = _string(KEY_TYPE.encode()) + _string(private.sign(_signed(message, name, algorithm)))
    fields = (key.wire, name, b"", algorithm, raw)
    return _armored(_MAGIC + _VERSION.to_bytes(4, "big") + b"".join(_string(field) for field in fields))


def public_key(path: Path) -> PublicKey:
    """The public half of the key in `path`: an OpenSSH private key, encrypted or not, or a public key file.

    Raises:
        ConfigError: it cannot be read, or is neither.
    """
    content = _key_file(path)
    try:
        if content.startswith(_PRIVATE[0]):
            return _header(content)[1]
        match content.decode("ascii").split(maxsplit=2):
            case [kind, text, *_] if kind == KEY_TYPE:
                return PublicKey.of_base64(text)
    except ValueError as error:
        raise ConfigError(str(path), f"is not an {KEY_TYPE} key: {error}") from None
    raise ConfigError(str(path), f"is not an {KEY_TYPE} key of OpenSSH")


def _parsed(armored: bytes) -> _Signature:
    """The fields of a signature, none of them verified; ValueError where one is not as it must be."""
    if len(armored) > MAX_SIGNATURE_BYTES:
        raise ValueError(f"{len(armored):,} bytes is more than {MAX_SIGNATURE_BYTES:,}")
    lines = armored.split(b"\n")
    if len(lines) < 4 or (lines[0], lines[-2], lines[-1]) != (*_ARMOR, b""):
        raise ValueError("is not what ssh-keygen -Y sign writes: a BEGIN line, base64, an END line")
    wire = _Wire(_decoded(b"".join(lines[1:-2])))
    wire.expect(_MAGIC, "a signature")
    if (version := wire.number()) != _VERSION:
        raise ValueError(f"version {version} is not {_VERSION}")
    key, namespace, reserved, algorithm, signature = (wire.string() for _ in range(5))
    wire.end()
    if reserved:
        raise ValueError(f"reserved field holds {len(reserved):,} bytes; it must be empty")
    if algorithm not in _HASHES:
        raise ValueError(f"hash {algorithm[:20]!r} is neither sha256 nor sha512")
    return _Signature(key=_key_of(key), namespace=namespace, algorithm=algorithm, raw=_typed(signature, 64))


def _signed(message: bytes, namespace: bytes, algorithm: bytes) -> bytes:
    """What the key signs in place of the message."""
    return _MAGIC + b"".join(_string(field) for field in (namespace, b"", algorithm, _HASHES[algorithm](message).digest()))


def _armored(signature: bytes) -> bytes:
    text = base64.b64encode(signature)
    lines = (text[i : i + _LINE] for i in range(0, len(text), _LINE))
    return b"\n".join((_ARMOR[0], *lines, _ARMOR[1], b""))


def _decoded(text: bytes) -> bytes:
    """`text` as base64 with one form for each content: no foreign characters, no stray bits in the last."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"is not base64: {error}") from None
    if base64.b64encode(content) != text:
        raise ValueError("is not canonical base64")
    return content


def _key_of(content: bytes) -> PublicKey:
    return PublicKey(_typed(content, 32))


def _typed(content: bytes, size: int) -> bytes:
    """The `size` bytes that follow the key type in `content`."""
    wire = _Wire(content)
    if (kind := wire.string()) != KEY_TYPE.encode():
        raise ValueError(f"key type {kind[:40]!r} is not {KEY_TYPE}")
    raw = wire.string()
    wire.end()
    if len(raw) != size:
        raise ValueError(f"{len(raw):,} bytes stand where {KEY_TYPE} has {size}")
    return raw


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _header(content: bytes) -> tuple[bytes, PublicKey]:
    """Cipher and public half of an OpenSSH private key file; neither is encrypted."""
    begin, *lines, end = content.strip().splitlines()
    if (begin, end) != _PRIVATE:
        raise ValueError("lacks its BEGIN or END line")
    wire = _Wire(base64.b64decode(b"".join(lines), validate=True))
    wire.expect(_PRIVATE_MAGIC, "an OpenSSH private key")
    cipher, _, _ = (wire.string() for _ in range(3))
    if wire.number() != 1:
        raise ValueError("holds several keys")
    return cipher, _key_of(wire.string())


def _private_key(path: Path) -> Ed25519PrivateKey:
    content = _key_file(path)
    if content.startswith(KEY_TYPE.encode()):
        raise KeyLocked(str(path), "is a public key")
    try:
        cipher, public = _header(content)
    except ValueError as error:
        raise ConfigError(str(path), f"is not an OpenSSH {KEY_TYPE} private key: {error}") from None
    if cipher != b"none":
        raise KeyLocked(str(path), "is encrypted")
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra, only where something is signed
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key  # noqa: PLC0415
    except ImportError:
        raise _not_installed() from None
    try:
        key = load_ssh_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(str(path), f"is not an OpenSSH {KEY_TYPE} private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey) or key.public_key().public_bytes_raw() != public.raw:
        raise ConfigError(str(path), f"is not an {KEY_TYPE} private key whose public half belongs to it")
    return key


def _key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content, mode = file.read(_MAX_KEY_BYTES), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if content.startswith(_PRIVATE[0]) and mode & 0o077:
        raise ConfigError(str(path), f"mode {mode:o} lets others at a private key; chmod 600")
    return content


def _not_installed() -> ConfigError:
    return ConfigError("rollout", "signatures need cryptography, which is not installed: pip install 'barbell-policyengine[rollout]'")
