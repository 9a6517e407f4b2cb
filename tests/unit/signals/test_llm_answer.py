from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.signals.llm_fallback.answer import MAX_BYTES, Answer, Said, Told, read, understood
from tests.llm_cases import llm_spec
from tests.llm_stub import completion

SPEC = llm_spec(expected_return_max=0.2)
NAMES = ("A1", "A2", "A3")


def said(content: str | None, *, finished: bool = True) -> Said:
    return Said(content=content, finished=finished, tokens_in=None, tokens_out=None)


def opinion(name: str, expected: object = 0.01, confidence: object = 0.6, **more: object) -> dict[str, Any]:
    return {"name": name, "expected_return_frac": expected, "confidence": confidence, **more}


def reading(*entries: object) -> Answer:
    return read(SPEC, said(json.dumps({"opinions": entries})), NAMES)


def test_what_is_right_is_read_and_what_is_left_out_is_not() -> None:
    answer = reading(opinion("A2", -0.2, 1), opinion("A1", 0, 0.0))
    assert answer.told == {
        "A1": Told(name="A1", expected_return_frac=0.0, confidence=0.0),
        "A2": Told(name="A2", expected_return_frac=-0.2, confidence=1.0),
    }
    assert (answer.bad, answer.malformed, answer.out_of_range) == (frozenset(), 0, 0)


@pytest.mark.parametrize(
    "entry",
    [
        opinion("A1", "0.01"),
        opinion("A1", None),
        opinion("A1", True),
        opinion("A1", [0.01]),
        opinion("A1", 10**400),
        opinion("A1", 0.01, 0.6, size=3),
        {"name": "A1", "confidence": 0.6},
    ],
)
def test_an_entry_of_another_shape_silences_its_own_name_alone(entry: dict[str, Any]) -> None:
    answer = reading(entry, opinion("A2"))
    assert (set(answer.told), answer.bad, answer.malformed, answer.out_of_range) == ({"A2"}, {"A1"}, 1, 0)


@pytest.mark.parametrize(("expected", "confidence"), [(0.2001, 0.6), (-0.2001, 0.6), (1e300, 0.6), (0.01, 1.001), (0.01, -0.001)])
def test_an_entry_out_of_range_silences_its_own_name_alone(expected: float, confidence: float) -> None:
    answer = reading(opinion("A1", expected, confidence), opinion("A2"))
    assert (set(answer.told), answer.bad, answer.malformed, answer.out_of_range) == ({"A2"}, {"A1"}, 0, 1)


def test_a_name_that_stands_twice_is_bad_though_both_agree() -> None:
    answer = reading(opinion("A1"), opinion("A2"), opinion("A1"))
    assert (set(answer.told), answer.bad, answer.malformed) == ({"A2"}, {"A1"}, 1)


def test_names_that_nobody_asked_about_are_counted() -> None:
    answer = reading(opinion("A9"), opinion("A9"), opinion("a1"), opinion("A2"))
    assert (set(answer.told), answer.bad, answer.malformed) == ({"A2"}, frozenset(), 2)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "I think A1 will rise.",
        "[]",
        "null",
        "{}",
        '{"opinions": null}',
        '{"opinions": {}}',
        '{"opinions": [], "note": 1}',
        '{"opinions": [], "opinions": []}',
        '{"opinions": [1]}',
        '{"opinions": [{"name": 1, "expected_return_frac": 0.01, "confidence": 0.6}]}',
        '{"opinions": [{"expected_return_frac": 0.01, "confidence": 0.6}]}',
        '{"opinions": [{"name": "A1", "expected_return_frac": NaN, "confidence": 0.6}]}',
        '{"opinions": [{"name": "A1", "expected_return_frac": 0.01, "confidence": 0.6}]} and more',
        '{"opinions": "\udc80"}',
        "[" * 100_000,
    ],
)
def test_text_that_is_no_answer_silences_all(content: str | None) -> None:
    answer = read(SPEC, said(content), NAMES)
    assert (answer.told, answer.bad, answer.malformed) == ({}, set(NAMES), 3)


def test_an_answer_that_was_cut_off_silences_all() -> None:
    content = json.dumps({"opinions": [opinion("A1")]})
    assert read(SPEC, said(content), NAMES).told
    assert read(SPEC, said(content, finished=False), NAMES).bad == set(NAMES)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["name", "confidence"]), inner, max_size=4),
)
_NUMBER = st.floats() | st.integers() | _JSON
_ENTRY = st.fixed_dictionaries({"name": st.sampled_from([*NAMES, "A9"]), "expected_return_frac": _NUMBER, "confidence": _NUMBER})


@settings(max_examples=300, deadline=None)
@given(st.lists(_ENTRY | _JSON, max_size=5))
def test_whatever_comes_what_is_told_is_in_range_and_nothing_is_told_and_bad(entries: list[Any]) -> None:
    answer = read(SPEC, said(json.dumps({"opinions": entries})), NAMES)
    assert not answer.told.keys() & answer.bad
    assert (answer.told.keys() | answer.bad) <= set(NAMES)
    for name, one in answer.told.items():
        assert one.name == name
        assert math.isfinite(one.expected_return_frac)
        assert abs(one.expected_return_frac) <= 0.2
        assert 0.0 <= one.confidence <= 1.0


def test_the_envelope_is_read_and_keys_of_its_own_are_let_be() -> None:
    body = completion("text", usage={"prompt_tokens": 7, "completion_tokens": 3, "cost": 1}, reasoning="...")
    assert understood(body) == Said(content="text", finished=True, tokens_in=7, tokens_out=3)
    cut = understood(completion(None, finish_reason="length"))
    assert cut is not None
    assert (cut.content, cut.finished) == (None, False)


@pytest.mark.parametrize("count", [-1, True, 1.5, "7", None, 10**10])
def test_tokens_that_are_no_count_are_unknown(count: object) -> None:
    answer = understood(completion("", usage={"prompt_tokens": count, "completion_tokens": count}))
    assert answer is not None
    assert (answer.tokens_in, answer.tokens_out) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html>",
        b"[1]",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": [1]}',
        b'{"choices": [{"message": "text"}]}',
        b'{"choices": [{"message": {}}, {"message": {}}]}',
        b'{"choices": [{"message": {}}], "choices": []}',
        completion("x")[:-1],
        completion("x").replace(b"100,", b"NaN,"),
        completion("x") + b" " * MAX_BYTES,
        b"\xff\xfe",
    ],
)
def test_what_is_no_envelope_is_not_understood(body: bytes) -> None:
    assert understood(body) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps({"choices": [{"message": value}], "usage": value}).encode()))
def test_whatever_bytes_come_are_understood_or_not(body: bytes) -> None:
    answer = understood(body)
    assert answer is None or answer.content is None or isinstance(answer.content, str)
