"""Many trials in one record: what it holds, that it is read back as each of them, and that no edit of it goes unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import BrokenInvariant
from policyengine.evidence.trial_log import TrialLogBroken, append_trial, append_trials, read_log
from policyengine.evidence.trials import TrialRecord, TrialsRecord, fold, together
from policyengine.spec.root import digest


def trial(policy: dict[str, Any], last: str = "2020-12-31", run_id: str = "r") -> TrialRecord:
    return TrialRecord(
        policy_hash=digest(policy),
        policy=policy,
        source_key="s",
        first_date=date(2020, 1, 1),
        last_date=date.fromisoformat(last),
        recorded_at="2026-01-01T00:00:00+00:00",
        run_id=run_id,
    )


def many(count: int, **changes: Any) -> list[TrialRecord]:
    return [trial({"sizing": {"cap": number / 7}, "limits": {"metric": "x"}}, **changes) for number in range(count)]


POLICIES = st.lists(
    st.dictionaries(st.sampled_from(["sizing", "limits", "scaler"]), st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=2)),
    min_size=1,
    max_size=6,
    unique_by=digest,
)


@given(POLICIES)
def test_what_is_logged_together_is_each_of_them(policies: list[dict[str, Any]]) -> None:
    records = [trial(policy) for policy in policies]
    record = together(records)
    found = list(record.each()) if isinstance(record, TrialsRecord) else [record]
    assert sorted(found, key=lambda one: one.policy_hash) == sorted(records, key=lambda one: one.policy_hash)
    assert all(digest(one.policy) == one.policy_hash for one in found)


def test_the_sections_that_all_have_are_stored_once() -> None:
    record = together(many(3))
    assert isinstance(record, TrialsRecord)
    assert record.shared == {"limits": {"metric": "x"}}
    assert sorted(own["sizing"]["cap"] for own in record.policies.values()) == [0.0, 1 / 7, 2 / 7]


def test_only_evaluations_of_one_run_on_the_same_days_go_together() -> None:
    for other in (trial({"a": {}}, last="2020-06-30"), trial({"a": {}}, run_id="q")):
        with pytest.raises(ValueError, match="differs between evaluations that are logged together"):
            together([*many(2), other])


def test_many_are_one_line_and_one_trial_each(tmp_path: Path) -> None:
    written = append_trials(tmp_path, many(200))
    assert written.head.count == 1
    assert (tmp_path / "trials" / "trials.jsonl").read_bytes().count(b"\n") == 1
    read = read_log(tmp_path)
    assert read == written
    assert {found.policy_hash for found in read.trials} == {record.policy_hash for record in many(200)}
    assert read.trials == fold(sorted(many(200), key=lambda record: record.policy_hash))


def test_what_is_logged_already_is_not_logged_again(tmp_path: Path) -> None:
    append_trial(tmp_path, many(5)[3])
    assert append_trials(tmp_path, many(5)).head.count == 2
    record = read_log(tmp_path).records[1]
    assert isinstance(record, TrialsRecord)
    assert many(5)[3].policy_hash not in record.policies
    assert append_trials(tmp_path, many(5)).head.count == 2
    longer = append_trials(tmp_path, many(5, last="2021-03-31"))
    assert longer.head.count == 3
    assert [span.last_date for found in longer.trials for span in found.spans] == [date(2021, 3, 31)] * 5


def test_one_of_many_that_is_left_is_a_record_of_its_own(tmp_path: Path) -> None:
    append_trials(tmp_path, many(4))
    assert append_trials(tmp_path, many(5)).records[-1] == many(5)[-1]


def test_a_policy_under_another_hash_is_refused_with_all_the_others(tmp_path: Path) -> None:
    with pytest.raises(BrokenInvariant, match="is not the digest"):
        append_trials(tmp_path, [*many(2), replace(many(3)[2], policy_hash="0" * 64)])
    assert read_log(tmp_path).records == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"cap":0.0', b'"cap":9.0'),
        lambda line: line.replace(b"2020-12-31", b"2020-12-30"),
        lambda line: line[:-10] + b"\n",
    ],
)
def test_an_edit_of_one_of_them_blocks(tmp_path: Path, change: Any) -> None:
    append_trials(tmp_path, many(3))
    path = tmp_path / "trials" / "trials.jsonl"
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    with pytest.raises(TrialLogBroken, match=r"trials\.jsonl:1"):
        read_log(tmp_path)


@pytest.mark.parametrize("broken", [{"policies": []}, {"policies": {"h": 3}}, {"shared": None}, {"policies": None}, {"more": 1}])
def test_a_chained_line_that_is_no_such_record_blocks(tmp_path: Path, broken: dict[str, Any]) -> None:
    import hashlib

    append_trials(tmp_path, many(3))
    path = tmp_path / "trials" / "trials.jsonl"
    line = json.dumps({**json.loads(path.read_bytes()), **broken}).encode()
    path.write_bytes(line + b"\n")
    (tmp_path / "trials.head.json").write_text(json.dumps({"count": 1, "hash": hashlib.sha256(line).hexdigest()}))
    with pytest.raises(TrialLogBroken, match=r"trials\.jsonl:1: is not a record of this log"):
        read_log(tmp_path)
