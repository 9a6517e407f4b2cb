"""Evidence, approvals, their signatures and the trust roots, edited, cut, exchanged, killed half-way: what verifies was signed so."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, permutations
from pathlib import Path

import pytest

from policyengine.records import Stage
from policyengine.rollout.approvals import Answer, Statement, approve, read_approvals
from policyengine.rollout.quorum import quorum
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.signatures import PublicKey
from policyengine.rollout.trust import EVIDENCE_NAMESPACE, Signer, TrustRoots, sign_evidence, signature_path, verify_evidence
from policyengine.spec.rollout import SliceSpec
from policyengine.store import read_json, rounded, write_json
from tests.keys import private, public_line, ssh_keygen, write_key, write_text
from tests.killing import KILLS, Say, killed_again_and_again

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DOCUMENTED = {
    *(Code.EV_MISSING, Code.EV_UNSAFE_FILE, Code.SIG_MISSING, Code.SIG_INVALID, Code.SIGNER_UNTRUSTED, Code.SIGNER_EXPIRED),
    *(Code.SIGNER_REVOKED, Code.EV_MALFORMED, Code.EV_SCHEMA, Code.STAGE_MISMATCH),
    *(Code.SIGNOFF_QUORUM, Code.SIGNOFF_SELF, Code.SIGNOFF_DUPLICATE, Code.SIGNOFF_EXPIRED),
}
SLICE = SliceSpec(capital_frac=0.1, universe_frac=1.0, salt="barbell")
PAT, ALICE, BOB, GONE = 1, 2, 3, 4
Outcome = tuple[bytes, Signer, tuple[Statement, ...]]


def statement(evidence: Path, name: str, stage: Stage = Stage.CANARY) -> Statement:
    return Statement(
        evidence_hash=hashlib.sha256(evidence.read_bytes()).hexdigest(),
        stage=stage,
        slice=SLICE if stage is Stage.CANARY else None,
        decision=Answer.APPROVE,
        principal=name,
        role="risk",
        reason="the numbers hold",
        made_at=NOW - timedelta(days=1),
        expires_at=NOW + timedelta(days=30),
    )


def text_of(number: int) -> str:
    return public_line(number).split()[1]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Trust roots; evidence produced by Pat; approvals for canary by Alice and Bob; and what else could be put in their place."""
    root = tmp_path / "house"
    for folder in ("state", "trust", "keys", "other"):
        (root / folder).mkdir(parents=True)
    lines = (
        f'pat namespaces="{EVIDENCE_NAMESPACE}" {public_line(PAT)}',
        f'alice namespaces="policyengine-approval",valid-before="20270101Z" {public_line(ALICE)} laptop',
        f'bob valid-after="20260101Z" {public_line(BOB)}',
        f"gone {public_line(GONE)}",
    )
    write_text(root / "trust" / "allowed_signers", "".join(f"{line}\n" for line in lines))
    write_text(root / "trust" / "revoked", f"{PublicKey(private(GONE).public_key().public_bytes_raw()).fingerprint} lost\n")
    for number in (PAT, ALICE, BOB, GONE):
        write_key(root / "keys", number)
    for folder, profit in (("state", 1.0), ("other", 2.0)):
        evidence = root / folder / "evidence.json"
        write_json(evidence, {"passed": True, "profit": profit})
        sign_evidence(evidence, root / "keys" / f"key{PAT}")
        for name, number in (("alice", ALICE), ("bob", BOB)):
            for stage in (Stage.CANARY, Stage.LIVE):
                said = statement(evidence, name, stage)
                approve(root / folder, said, key=root / "keys" / f"key{number}", trust=trust_of(root))
    return root


def trust_of(root: Path) -> TrustRoots:
    return TrustRoots.load(root / "trust" / "allowed_signers", root / "trust" / "revoked", outside=root / "state")


def started(root: Path) -> Outcome:
    """What a permit would go by. Anything raised but a refusal fails the test."""
    trust = trust_of(root)
    content, producer = verify_evidence(root / "state" / "evidence.json", trust, NOW)
    evidence_hash = hashlib.sha256(content).hexdigest()
    approvals = read_approvals(root / "state" / "approvals", evidence_hash, Stage.CANARY, trust, NOW)
    quorum(approvals, needed=2, producer=producer, at=NOW)
    return content, producer, tuple(approval.statement for approval in approvals)


def tried(root: Path) -> Outcome | Code:
    try:
        return started(root)
    except NotStarted as error:
        return documented(error)


def documented(error: NotStarted) -> Code:
    assert error.code in DOCUMENTED
    assert error.exit_code == 5
    assert str(error).encode()  # can be printed
    return error.code


def files(root: Path) -> list[Path]:
    """The eight that decide."""
    (place,) = (root / "state" / "approvals").glob("*/canary")
    evidence = root / "state" / "evidence.json"
    return [root / "trust" / "allowed_signers", root / "trust" / "revoked", evidence, signature_path(evidence), *sorted(place.iterdir())]


def edits(rng: random.Random, content: bytes) -> Iterator[bytes]:
    """Endless edits of `content`, each different from it."""

    def place() -> int:
        return rng.randrange(len(content))

    kinds: list[Callable[[int, int], bytes]] = [
        lambda i, _: content[:i] + bytes([content[i] ^ (1 << rng.randrange(8))]) + content[i + 1 :],
        lambda i, _: content[:i] + rng.randbytes(1) + content[i + 1 :],
        lambda i, _: content[:i] + rng.choice(b'\n\0 \t=A0"#,').to_bytes() + content[i + 1 :],
        lambda i, _: content[:i] + content[i + 1 :],
        lambda i, _: content[:i] + rng.randbytes(rng.randint(1, 3)) + content[i:],
        lambda i, _: content[:i] + rng.choice(b'\n\0 \t=A0"#,').to_bytes() + content[i:],
        lambda i, _: content[:i],
        lambda i, _: content[i:],
        lambda i, j: content[: min(i, j)] + content[max(i, j) :],
        lambda i, j: content[: max(i, j)] + content[min(i, j) :],
        lambda i, j: content[: min(i, j)] + bytes(abs(i - j)) + content[max(i, j) :],
        lambda i, j: content[: min(i, j)] + content[min(i, j) : max(i, j)][::-1] + content[max(i, j) :],
        lambda i, _: rng.randbytes(i),
        lambda *_: content + content,
    ]
    while True:
        edited = rng.choice(kinds)(place(), place())
        if edited != content:
            yield edited


def lists(allowed: bytes, number: int) -> bool:
    """Whether some line, split by blanks, still holds the whole key `number` behind its type."""
    return any(
        (b"ssh-ed25519", text_of(number).encode()) in zip(words, words[1:], strict=False)
        for words in (line.split() for line in allowed.split(b"\n"))
        if words and not words[0].startswith(b"#")
    )


def means_the_same(path: Path, before: bytes, after: bytes) -> bool:
    if path.name == "allowed_signers":
        return all(lists(after, number) for number in (PAT, ALICE, BOB))
    if path.name == "revoked":
        return not any(text_of(number).encode() in after for number in (PAT, ALICE, BOB))
    if path.suffix == ".sig":
        return before.replace(b"\n", b"") == after.replace(b"\n", b"")
    return before == after


@pytest.mark.parametrize("seed", range(8))
def test_random_edits_are_refused_unless_they_change_nothing(house: Path, seed: int) -> None:
    """250 of each of the eight files, 2,000 in all. Line breaks within a signature, and names and comments in the roots, may differ."""
    rng, path = random.Random(seed), files(house)[seed]
    whole = path.read_bytes()
    baseline = started(house)
    outcomes: Counter[str] = Counter()
    for edited, _ in zip(edits(rng, whole), range(250), strict=False):
        path.write_bytes(edited)
        outcome = tried(house)
        if isinstance(outcome, Code):
            outcomes[outcome.name] += 1
            continue
        outcomes["started"] += 1
        assert means_the_same(path, whole, edited), edited
        assert outcome[0] == baseline[0]
        assert outcome[1].fingerprint == baseline[1].fingerprint
        assert outcome[2] == baseline[2]
    path.write_bytes(whole)
    assert started(house) == baseline
    assert sum(outcomes.values()) == 250
    assert outcomes["started"] < (125 if path.parent.name == "trust" else 25), outcomes


def sources(root: Path) -> list[Path]:
    """Whole, well-signed files of other stages and other evidence, and all that stand in the house."""
    return [path for folder in ("state", "other", "trust") for path in sorted((root / folder).rglob("*")) if path.is_file()]


def test_no_file_can_stand_for_another(house: Path) -> None:
    """Each of the eight overwritten by each other file there is."""
    baseline = started(house)
    refused = 0
    for path in files(house):
        whole = path.read_bytes()
        for source in sources(house):
            if source != path:
                path.write_bytes(source.read_bytes())
                assert isinstance(tried(house), Code), (path, source)
                refused += 1
        path.write_bytes(whole)
    assert started(house) == baseline
    assert refused >= 150


def test_files_exchanged_in_twos_are_refused(house: Path) -> None:
    baseline = started(house)
    for one, two in permutations(files(house), 2):
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        assert isinstance(tried(house), Code), (one, two)
        one.write_bytes(first)
        two.write_bytes(second)
    assert started(house) == baseline


def test_statements_exchanged_with_their_signatures_say_what_they_said(house: Path) -> None:
    """A file's name is no part of what was approved."""
    alice, alice_sig, bob, bob_sig = files(house)[4:]
    before = started(house)
    for one, two in ((alice, bob), (alice_sig, bob_sig)):
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
    after = started(house)
    assert after[:2] == before[:2]
    assert after[2] == before[2][::-1]


@pytest.mark.parametrize("place", ["other/approvals/*/canary", "state/approvals/*/live", "other/approvals/*/live"])
def test_whole_approvals_of_another_stage_or_evidence_are_refused(house: Path, place: str) -> None:
    """Moved with their signatures, in place of the true ones and beside one of them."""
    (theirs,) = house.glob(place)
    (ours,) = (house / "state" / "approvals").glob("*/canary")
    expected = Code.SIG_INVALID if place.startswith("other") else Code.STAGE_MISMATCH
    (first, *_) = sorted(theirs.glob("*.json"))
    for path in (first, signature_path(first)):
        shutil.copy(path, ours / f"z{path.name}")
    assert tried(house) is expected
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    assert tried(house) is expected


def test_each_file_gone_linked_or_open_to_others_is_refused(house: Path) -> None:
    missing = [Code.SIGNER_UNTRUSTED, Code.EV_UNSAFE_FILE, Code.EV_MISSING, Code.SIG_MISSING, *[Code.SIGNOFF_QUORUM, Code.SIG_MISSING] * 2]
    baseline = started(house)
    for path, code in zip(files(house), missing, strict=True):
        aside = house / "aside"
        path.rename(aside)
        assert tried(house) is code, path
        path.symlink_to(aside)
        assert tried(house) is Code.EV_UNSAFE_FILE, path
        path.unlink()
        path.mkdir()
        assert tried(house) is Code.EV_UNSAFE_FILE, path
        path.rmdir()
        aside.rename(path)
        path.chmod(0o664)
        assert tried(house) is Code.EV_UNSAFE_FILE, path
        path.chmod(0o644)
    assert started(house) == baseline


def test_random_edits_of_unsigned_statements_end_in_a_refusal_or_a_statement(tmp_path: Path) -> None:
    """Where trust is local nothing proves who wrote what, but nothing else is ever read either."""
    evidence = tmp_path / "evidence.json"
    write_json(evidence, {})
    said = statement(evidence, "local:alice")
    path = approve(tmp_path, said, key=None, trust=None)
    whole, seen = path.read_bytes(), Counter[str]()
    for edited, _ in zip(edits(random.Random(11), whole), range(500), strict=False):
        path.write_bytes(edited)
        try:
            found = read_approvals(tmp_path / "approvals", said.evidence_hash, Stage.CANARY, None, NOW)
        except NotStarted as error:
            seen[documented(error).name] += 1
        else:
            assert [approval.statement.content() for approval in found] == [edited]
            seen["read"] += 1
    assert seen["EV_MALFORMED"] > 300
    assert seen["read"] > 0


@pytest.mark.ssh
def test_what_the_edited_roots_still_allow_ssh_keygen_allows_as_well(house: Path) -> None:
    """300 edits of `allowed_signers`: whoever is accepted as the producer is so by `ssh-keygen -Y verify`, under that name."""
    allowed, evidence = files(house)[0], files(house)[2]
    whole, agreed = allowed.read_bytes(), 0
    words = (
        "-Y",
        "verify",
        "-f",
        allowed,
        "-n",
        EVIDENCE_NAMESPACE,
        "-s",
        signature_path(evidence),
        "-O",
        f"verify-time={NOW:%Y%m%d%H%M%S}Z",
    )
    for edited, _ in zip(edits(random.Random(5), whole), range(300), strict=False):
        allowed.write_bytes(edited)
        try:
            _, producer = verify_evidence(evidence, trust_of(house), NOW)
        except NotStarted:
            continue
        written = next(name for name in edited.decode().split() if name.lower().split(",")[0] == producer.principal)
        theirs = ssh_keygen(*words, "-I", written.split(",")[0], stdin=evidence.read_bytes())
        assert theirs.returncode == 0, (edited, theirs.stderr)
        agreed += 1
    assert agreed > 20


def test_killed_while_approving(house: Path) -> None:
    """At any moment: what was acknowledged stays, or is replaced by what was being signed; nothing is ever torn."""
    trust, key = trust_of(house), house / "keys" / f"key{ALICE}"
    said = statement(house / "state" / "evidence.json", "alice")
    stands, cut_short = 1, 0

    def sign(number: int) -> None:
        numbered = replace(said, reason=str(number), made_at=said.made_at + timedelta(seconds=number))
        approve(house / "state", numbered, key=key, trust=trust)

    def work(say: Say) -> None:
        for number in count(stands + 1):
            sign(number)
            say(str(number))

    sign(1)
    for more in killed_again_and_again(work, seed=3, within=0.02):
        acknowledged = max([stands, *map(int, more)])
        (stands,) = [int(s.reason) for s in started(house)[2] if s.principal == "alice"]
        assert stands in (acknowledged, acknowledged + 1)
        left = list((house / "state" / "approvals" / said.evidence_hash / "canary").iterdir())
        torn = [path for path in left if path.name.startswith(".") or (path.suffix == ".sig" and path.with_suffix("") not in left)]
        cut_short += bool(torn)
        old = [path for path in left if path.suffix == ".json" and f'"{stands}"' not in path.read_text() and '"alice"' in path.read_text()]
        for path in (*torn, *old, *map(signature_path, old)):
            path.unlink(missing_ok=True)
    assert stands >= KILLS
    assert cut_short > 0


def test_killed_while_publishing_evidence(house: Path) -> None:
    """At any moment: the artifact is whole, the last that was acknowledged or the one under way, and only its own signature counts."""
    trust, key, path = trust_of(house), house / "keys" / f"key{PAT}", house / "state" / "evidence.json"
    stands, codes = 0, Counter[str]()

    def work(say: Say) -> None:
        for number in count(stands + 1):
            write_json(path, {"number": number, "rows": [number / 7.0] * 500})
            say(str(number))
            sign_evidence(path, key)

    for more in killed_again_and_again(work, seed=5, within=0.02):
        acknowledged = max([stands, *map(int, more)])
        made = read_json(path)
        stands = made.get("number", 0)
        assert stands in (acknowledged, acknowledged + 1)
        assert stands == 0 or made["rows"] == [rounded(stands / 7.0)] * 500
        try:
            content, _ = verify_evidence(path, trust, NOW)
        except NotStarted as error:
            codes[documented(error).name] += 1
        else:
            assert json.loads(content) == made
            codes["verifies"] += 1
    assert stands >= KILLS // 2
    assert codes.keys() <= {"verifies", "SIG_INVALID"}
    assert len(codes) == 2
