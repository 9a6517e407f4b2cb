"""Whatever is done to the bytes of the evidence, its approvals or the log of trials: no permit, no traceback, a documented code."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from policyengine.rollout.approvals import Answer, Statement, approve
from policyengine.rollout.permit import Request, verify
from policyengine.rollout.refusals import NotStarted
from policyengine.rollout.trust import sign_evidence, signature_path
from tests.keys import public_line, roots, write_key
from tests.unit.rollout.conftest import MADE_AT, Case, case, evaluated

__all__ = ["case", "evaluated"]
EDITS = 1_000


WORDS = ((b'"pass"', b'"fail"'), (b'"fail"', b'"pass"'), (b"true", b"false"), (b"canary", b"live"), (b"null", b"0"))


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One edit: a bit or a byte, a cut, a piece doubled, two pieces exchanged, or a word that means the other thing."""
    at, other = rng.randrange(len(content)), rng.randrange(len(content))
    low, high = sorted((at, other))
    edits = (
        lambda: content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :],
        lambda: content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :],
        lambda: content[:at],
        lambda: content[:high] + content[low:high] + content[high:],
        lambda: content[high:] + content[low:high] + content[:low],
        lambda: content.replace(*rng.choice(WORDS), 1),
    )
    return rng.choice(edits)()


@pytest.fixture
def signed(case: Case, tmp_path: Path) -> Request:
    """The case with signed evidence and approvals: key 1 produced it, key 2 approves."""
    keys = {number: write_key(tmp_path, number) for number in (1, 2)}
    trust = roots(tmp_path / "trust", *(f"person{number} {public_line(number)}" for number in keys))
    shutil.rmtree(case.request.state_dir / "approvals")
    sign_evidence(case.canonical, keys[1])
    said = Statement(
        evidence_hash=hashlib.sha256(case.canonical.read_bytes()).hexdigest(),
        stage=case.request.stage,
        slice=case.request.spec.rollout.slice,
        decision=Answer.APPROVE,
        principal="person2",
        role="risk",
        reason="reviewed",
        made_at=MADE_AT,
        expires_at=MADE_AT + timedelta(days=30),
    )
    approve(case.request.state_dir, said, key=keys[2], trust=trust)
    return replace(case.request, trust=trust)


@pytest.mark.long
def test_no_edit_is_taken_for_what_was_approved(signed: Request) -> None:
    files: list[Path] = [
        signed.canonical,
        signature_path(signed.canonical),
        *(signed.state_dir / "approvals").rglob("*.json*"),
        signed.state_dir / "trials" / "trials.jsonl",
        signed.state_dir / "trials.head.json",
    ]
    whole = {path: path.read_bytes() for path in files}
    rng = random.Random(0)
    codes: Counter[str] = Counter()
    made = 0
    while made < EDITS:
        path = rng.choice(files)
        edited = damaged(whole[path], rng)
        if edited.split() == whole[path].split():  # JSON takes no notice of space around a value
            continue
        made += 1
        path.write_bytes(edited)
        try:
            with pytest.raises(NotStarted) as caught:
                verify(signed)
        finally:
            path.write_bytes(whole[path])
        codes[caught.value.code.name] += 1
        str(caught.value).encode()
    assert sum(codes.values()) == EDITS
    assert len(codes) > 1
    assert verify(signed).approved_by == ("person2",)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of an artifact, of a list the first alone."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


@pytest.mark.long
def test_nothing_of_another_type_and_nothing_missing_is_more_than_a_code(case: Case) -> None:
    """Where nothing is signed every byte is read: each value that decides left out, or replaced by one of another type, in turn."""
    made = json.loads(case.canonical.read_bytes())
    undecided = {"arm_differences", "counts", "reconciliation", "test", "config", "notes", "findings"}
    tried = 0
    others = (None, [], {}, "x", 3, True, -1.5, ...)
    for turn, path in enumerate(places({key: value for key, value in made.items() if key not in undecided})):
        for other in (others[turn % 8], others[(turn + 3) % 8]):
            if not path:
                continue
            edited = copy.deepcopy(made)
            inner = edited
            for key in path[:-1]:
                inner = inner[key]
            if inner[path[-1]] == other:
                continue
            if other is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = other
            case.canonical.write_text(json.dumps(edited))
            with pytest.raises(NotStarted) as caught:
                verify(case.request)
            str(caught.value).encode()
            tried += 1
    assert tried > 300


def test_a_permit_is_verified_in_less_than_a_fifth_of_a_second(signed: Request) -> None:
    spent = []
    for _ in range(7):
        started = time.perf_counter()
        verify(signed)
        spent.append(time.perf_counter() - started)
    assert statistics.median(spent) < 0.2
