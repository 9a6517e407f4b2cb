"""Whose signature counts: trust roots that stand apart from what is signed, and files with a signature beside them.

`allowed_signers` is OpenSSH's: a line for each key, `names [options] ssh-ed25519 base64 [comment]`, options `valid-after="20260101Z"`,
`valid-before="..."` (both ends count as valid) and `namespaces="a,b"`. `revoked` lists a fingerprint (`SHA256:...`) or a public key a
line. What OpenSSH leaves open is refused here, with the number of the line: name patterns and negations (they name no person), times
without Z (they mean something else on each machine), certificate authorities, other types of key, unknown options.

| in the file | then |
|---|---|
| one key under two names | the names are one person |
| one name with two keys | one person |
| two names joined by a third, or by a key of old | one person: every line counts, also one that is not valid now |

Names are compared in lower case. A list that is configured and cannot be read refuses: nobody knows who is on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from policyengine.rollout.guarded import read_guarded
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import KEY_TYPE, MAX_SIGNATURE_BYTES, PublicKey, SignatureInvalid, sign, verify
from policyengine.store import MAX_JSON_BYTES, write_bytes

EVIDENCE_NAMESPACE = "policyengine-evidence"
MAX_ROOTS_BYTES = 2**20
NAME = re.compile(r"[a-z0-9][a-z0-9._+@-]{0,99}")
"""A person, as `allowed_signers` and approvals name one: it stands in messages and file names."""
_CASE = re.IGNORECASE | re.ASCII  # without ASCII a long s would match as well, and the option be looked up under another name
_OPTION = re.compile(r'(valid-after|valid-before|namespaces)="([^"]*)"', _CASE)
_OPTIONS = re.compile(f"{_OPTION.pattern}(?:,{_OPTION.pattern})*", _CASE)
_INSTANT = re.compile(r"\d{8}(?:\d{4}(?:\d{2})?)?Z", re.ASCII)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")  # 256 bits leave two of the last character zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Whose key it is: the `names` it is listed under for the purpose and now, the first in the file first.

    `person` joins every name that the file ties to these: equal for two signers exactly if they may be one human.
    """

    names: tuple[str, ...]
    person: str
    fingerprint: str

    @property
    def principal(self) -> str:
        """The name to show."""
        return self.names[0]

    @property
    def ties(self) -> frozenset[str]:
        """Key, names and person: two signers that have any in common count as one, also if the roots were edited in between."""
        return frozenset((self.fingerprint, self.person, *self.names))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A line of `allowed_signers`; None means not limited."""

    names: tuple[str, ...]
    key: PublicKey
    valid_after: datetime | None
    valid_before: datetime | None
    namespaces: frozenset[str] | None

    def valid(self, at: datetime) -> bool:
        after, before = self.valid_after, self.valid_before
        return (after is None or after <= at) and (before is None or at <= before)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoots:
    """The keys that count, and the fingerprints that do not any more. `place` names the file in errors."""

    place: str
    entries: tuple[_Entry, ...]
    revoked: frozenset[str]
    people: Mapping[str, str]

    @classmethod
    def load(cls, allowed: Path, revoked: Path | None, *, outside: Path) -> TrustRoots:
        """Read the roots. `outside` is the folder of what they judge: whoever may write there must not choose who is trusted.

        Raises:
            NotStarted: SIGNER_UNTRUSTED, there is no such `allowed` file, or a line of either is not understood; EV_UNSAFE_FILE, a file
                lies in `outside`, is not safe to read (`read_guarded`), or `revoked` is named and does not exist.
        """
        entries = tuple(_entries(allowed, _lines(allowed, Code.SIGNER_UNTRUSTED, outside)))
        fingerprints = frozenset[str]() if revoked is None else _revoked(revoked, _lines(revoked, Code.EV_UNSAFE_FILE, outside))
        return cls(place=str(allowed), entries=entries, revoked=fingerprints, people=_people(entries))

    def signer(self, key: PublicKey, namespace: str, at: datetime) -> Signer:
        """Who signs for `namespace` with `key`, at the instant `at`.

        Raises:
            NotStarted: SIGNER_UNTRUSTED, the key is not listed for that; SIGNER_EXPIRED, not valid at `at`; SIGNER_REVOKED.
        """
        fingerprint = key.fingerprint
        listed = [entry for entry in self.entries if entry.key == key]
        if not listed:
            raise NotStarted(Code.SIGNER_UNTRUSTED, f"key {fingerprint} is not in {self.place}")
        meant = [entry for entry in listed if entry.namespaces is None or namespace in entry.namespaces]
        if not meant:
            raise NotStarted(Code.SIGNER_UNTRUSTED, f"key {fingerprint} is in {self.place}, but not for namespace '{namespace}'")
        valid = [entry for entry in meant if entry.valid(at)]
        if not valid:
            raise NotStarted(
                Code.SIGNER_EXPIRED, f"key {fingerprint} of {meant[0].names[0]} is not valid at {at.isoformat()} by {self.place}"
            )
        if fingerprint in self.revoked:
            raise NotStarted(Code.SIGNER_REVOKED, f"key {fingerprint} of {valid[0].names[0]} is revoked")
        names = tuple(dict.fromkeys(name for entry in valid for name in entry.names))
        return Signer(names=names, person=self.people[names[0]], fingerprint=fingerprint)


def signature_path(path: Path) -> Path:
    """Where the signature of the file `path` stands: beside it, as `ssh-keygen -Y sign` puts it."""
    return path.with_name(f"{path.name}.sig")


def verify_file(path: Path, namespace: str, trust: TrustRoots, at: datetime, *, limit: int, missing: Code) -> tuple[bytes, Signer]:
    """The bytes of `path`, at most `limit`, and who signed exactly these for `namespace`.

    Raises:
        NotStarted: `missing` where there is no such file; EV_UNSAFE_FILE, for it or its signature; SIG_MISSING, SIG_INVALID,
            SIGNER_UNTRUSTED, SIGNER_EXPIRED, SIGNER_REVOKED.
        ConfigError: `cryptography` is not installed.
    """
    content = read_guarded(path, limit, missing=missing)
    beside = signature_path(path)
    armored = read_guarded(beside, MAX_SIGNATURE_BYTES, missing=Code.SIG_MISSING)
    try:
        key = verify(content, armored, namespace)
    except SignatureInvalid as error:
        raise NotStarted(Code.SIG_INVALID, f"{beside}: {error.rule}") from None
    return content, trust.signer(key, namespace, at)


def verify_evidence(path: Path, trust: TrustRoots, at: datetime) -> tuple[bytes, Signer]:
    """The exact bytes of the artifact at `path`, and who produced it.

    Raises:
        NotStarted: EV_MISSING, and what `verify_file` raises.
        ConfigError: `cryptography` is not installed.
    """
    return verify_file(path, EVIDENCE_NAMESPACE, trust, at, limit=MAX_JSON_BYTES, missing=Code.EV_MISSING)


def sign_evidence(path: Path, key: Path) -> Path:
    """Sign the artifact at `path` with the private key in `key`; returns where the signature stands.

    Raises:
        NotStarted: EV_MISSING or EV_UNSAFE_FILE.
        ConfigError: the key cannot sign here; `KeyLocked` where `ssh-keygen -Y sign` can.
        OutputError: the signature cannot be written.
    """
    content = read_guarded(path, MAX_JSON_BYTES, missing=Code.EV_MISSING)
    write_bytes(signature_path(path), sign(content, key, EVIDENCE_NAMESPACE))
    return signature_path(path)


def _lines(path: Path, missing: Code, outside: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that says something."""
    content = read_guarded(path, MAX_ROOTS_BYTES, missing=missing)
    if path.resolve().is_relative_to(outside.resolve()):
        raise NotStarted(Code.EV_UNSAFE_FILE, f"{path}: lies in {outside}; who may write there must not choose who is trusted")
    try:
        text = content.decode()
    except ValueError as error:
        raise NotStarted(Code.SIGNER_UNTRUSTED, f"{path}: is not a list of keys: {error}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _entries(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[_Entry]:
    for number, line in lines:
        try:
            yield _entry(line.split())
        except ValueError as error:
            raise NotStarted(Code.SIGNER_UNTRUSTED, f"{path}:{number}: {error}") from None


def _entry(words: list[str]) -> _Entry:
    match words:
        case [names, kind, text, *_] if kind == KEY_TYPE:
            options = ""
        case [names, options, kind, text, *_] if kind == KEY_TYPE:
            pass
        case _:
            raise ValueError(f"is not: names [options] {KEY_TYPE} base64 [comment]; no other type of key is used")
    listed = tuple(dict.fromkeys(name.lower() for name in names.split(",")))
    for name in listed:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:60]!r} names no person: letters, digits and ._+@- only, no pattern")
    found = _options(options)
    after, before = (None if word not in found else _instant(word, found[word]) for word in ("valid-after", "valid-before"))
    if after is not None and before is not None and before <= after:
        raise ValueError(f"valid-before {found['valid-before']} is not after valid-after {found['valid-after']}")
    namespaces = None if "namespaces" not in found else frozenset(found["namespaces"].split(","))
    if namespaces is not None and not all(NAME.fullmatch(namespace) for namespace in namespaces):
        raise ValueError(f"namespaces {found['namespaces'][:60]!r} are not names, separated by commas; no pattern")
    return _Entry(names=listed, key=PublicKey.of_base64(text), valid_after=after, valid_before=before, namespaces=namespaces)


def _options(text: str) -> dict[str, str]:
    if text and not _OPTIONS.fullmatch(text):
        raise ValueError(f'options {text[:60]!r} are not valid-after="...", valid-before="...", namespaces="...", separated by commas')
    found = [(name.lower(), value) for name, value in _OPTION.findall(text)]
    if len(dict(found)) < len(found):
        raise ValueError(f"options {text[:60]!r} give one twice")
    return dict(found)


def _instant(option: str, text: str) -> datetime:
    if not _INSTANT.fullmatch(text):
        raise ValueError(
            f"{option} {text[:60]!r} is not YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ; without Z it would depend on the machine"
        )
    try:
        return datetime.strptime(text.removesuffix("Z").ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{option} '{text}' is no day or time that there is") from None


def _revoked(path: Path, lines: Iterable[tuple[int, str]]) -> frozenset[str]:
    found = set()
    for number, line in lines:
        try:
            found.add(_fingerprint(line.split()))
        except ValueError as error:
            raise NotStarted(Code.SIGNER_UNTRUSTED, f"{path}:{number}: {error}; nobody knows which key was revoked") from None
    return frozenset(found)


def _fingerprint(words: list[str]) -> str:
    match words:
        case [text, *_] if _FINGERPRINT.fullmatch(text):
            return text
        case [kind, text, *_] if kind == KEY_TYPE:
            return PublicKey.of_base64(text).fingerprint
    raise ValueError(f"is neither SHA256:... nor {KEY_TYPE} base64")


def _people(entries: Iterable[_Entry]) -> Mapping[str, str]:
    """For each name, all names that may be the same human: those that share a key, and whoever shares one with them."""
    parent: dict[str, str] = {}

    def first(name: str) -> str:
        """The name that stands for the group of `name`; shortens the way to it."""
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    key_name: dict[PublicKey, str] = {}
    for entry in entries:
        joined = first(key_name.setdefault(entry.key, entry.names[0]))
        for name in entry.names:
            parent[first(name)] = joined
    members: dict[str, list[str]] = {}
    for name in sorted(parent):
        members.setdefault(first(name), []).append(name)
    return {name: person for names in members.values() for person in [" = ".join(names)] for name in names}
