"""What a language model may answer, and a reading of what it did answer that believes nothing.

The schema is sent with each question. Servers exist that ignore it, so every rule of it is checked again on arrival. Ranges are left to
that check: some servers refuse a schema that states them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policyengine.errors import ConfigError, DataError
from policyengine.spec.bind import bind
from policyengine.spec.llm_fallback import OpenAiCompatible
from policyengine.store import parse_json

MAX_BYTES = 2**20
"""Of one answer: a thousand times what a hundred instruments need."""
_MOST_TOKENS = 10**9
"""A count beyond it is no count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One instrument in an answer: the return over the horizon as a fraction, and the probability that its sign is right."""

    name: str
    expected_return_frac: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an endpoint answered: the text (None: there is none), whether it came to its own end, and the tokens that it says it took."""

    content: str | None
    finished: bool
    tokens_in: int | None
    tokens_out: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What holds of one answer: `told` by name, and the names that it spoke of in a way that does not count.

    `malformed` and `out_of_range` count instruments, among the malformed also those that nobody asked about.
    """

    told: Mapping[str, Told]
    bad: frozenset[str]
    malformed: int = 0
    out_of_range: int = 0


def schema(names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer about `names`."""
    one = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": list(names)},
            "expected_return_frac": {"type": "number"},
            "confidence": {"type": "number"},
        },
        "required": ["name", "expected_return_frac", "confidence"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"opinions": {"type": "array", "items": one}},
        "required": ["opinions"],
        "additionalProperties": False,
    }


def understood(body: bytes) -> Said | None:
    """The answer in the protocol's envelope; None where `body` is none: HTML, no JSON, too much of it, no single choice.

    Keys of the envelope that the protocol does not know are ignored: every server adds its own.
    """
    if len(body) > MAX_BYTES:
        return None
    try:
        envelope = parse_json(body, "answer")
    except DataError:
        return None
    choices = envelope.get("choices") if isinstance(envelope, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return None
    content, usage = message.get("content"), envelope.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    return Said(
        content=content if isinstance(content, str) else None,
        finished=choices[0].get("finish_reason") == "stop",
        tokens_in=_tokens(counted.get("prompt_tokens")),
        tokens_out=_tokens(counted.get("completion_tokens")),
    )


def read(spec: OpenAiCompatible, said: Said, names: Sequence[str]) -> Answer:
    """What counts of `said` about `names`; a name in neither `told` nor `bad` was left out of the answer.

    Text that is not the object of the schema, or holds an entry that cannot be tied to a name, makes all names bad. A name that stands
    twice, in an entry with a wrong type or key, or with a value out of range, is bad itself.
    """
    entries = _entries(said)
    if entries is None:
        return Answer(told={}, bad=frozenset(names), malformed=len(names))
    times = Counter(str(entry["name"]) for entry in entries)
    told: dict[str, Told] = {}
    bad: set[str] = set()
    strangers, out_of_range = len(times.keys() - set(names)), 0
    for entry in entries:
        name = entry["name"]
        if name not in names:
            continue
        one = _told(entry) if times[name] == 1 else None
        if one is None:
            bad.add(name)
        elif abs(one.expected_return_frac) > spec.expected_return_max or not 0.0 <= one.confidence <= 1.0:
            bad.add(name)
            out_of_range += 1
        else:
            told[name] = one
    return Answer(told=told, bad=frozenset(bad), malformed=strangers + len(bad) - out_of_range, out_of_range=out_of_range)


def _entries(said: Said) -> list[dict[str, Any]] | None:
    """The entries of an answer, each with a name; None where it is not such an answer."""
    if said.content is None or not said.finished:
        return None
    try:
        value = parse_json(said.content.encode(), "answer")
    except (DataError, UnicodeEncodeError):  # half a surrogate pair has no bytes
        return None
    if not isinstance(value, dict) or value.keys() != {"opinions"} or not isinstance(value["opinions"], list):
        return None
    entries = value["opinions"]
    named = all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries)
    return entries if named else None


def _told(entry: dict[str, Any]) -> Told | None:
    try:
        return bind(Told, entry)
    except (ConfigError, OverflowError):  # a whole number that no float holds
        return None


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None
