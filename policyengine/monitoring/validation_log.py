"""Validation records from a JSONL log, one object a line, read as a stream: memory does not grow with the log.

The fields are ours or those of older logs: `recorded_at` or `timestamp`, `run_id` or `pipeline_id`; `run_id`, `execution_mode`,
`status` and `expected_profit` may stand in an object `quant_validation` instead. Case does not matter in `status`, `action` and
`execution_mode`. A line is one object that says one thing: where a key stands twice, and where a line is not UTF-8 or longer than
`MAX_LINE_BYTES`, it cannot be read. Empty lines are none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from policyengine.errors import SourceUnavailable
from policyengine.monitoring.health import Profit, Seen, Tally, tally

MAX_LINE_BYTES = 2**20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which records count; None takes all. `span` is the first instant that counts, and the first after that no longer does."""

    run_id: str | None = None
    span: tuple[datetime | None, datetime | None] = (None, None)
    mode: str | None = None
    action: str | None = None


def tally_log(path: Path, filters: Filters) -> Tally:
    """Add up the records of the log at `path`.

    Raises:
        SourceUnavailable: it cannot be read.
    """
    seen: dict[Seen, int] = {}
    first: dict[Seen | None, int] = {}
    unreadable = 0
    try:
        with path.open("rb") as file:
            for number, line in _lines(file):
                record = _parsed(line)
                found = None if record is None else _seen(record, filters)
                if found is None:
                    unreadable += 1
                else:
                    seen[found] = seen.get(found, 0) + 1
                first.setdefault(found, number)
    except OSError as error:
        raise SourceUnavailable(str(path), f"cannot be read: {error.strerror or error}") from error
    return tally(seen, unreadable, first)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Each line that is not empty, with its number from 1; None for one that is too long."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        whole = len(line) <= MAX_LINE_BYTES or line.endswith(b"\n")
        while not line.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES + 1)):
            whole, line = False, rest
        if number == 1:
            line = line.removeprefix(_BOM)
        if not whole:
            yield number, None
        elif not line.isspace():
            yield number, line


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _parsed(line: bytes | None) -> dict[str, Any] | None:
    if line is None:
        return None
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _seen(record: Mapping[str, Any], filters: Filters) -> Seen:
    inner = record.get("quant_validation")
    within: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    status = _word(_either(record, within, "status"))
    return Seen(
        in_run=True if filters.run_id is None else _in_run(record, within, filters.run_id),
        in_span=True if filters.span == (None, None) else _in_span(record, filters.span),
        in_mode=_same(filters.mode, _either(record, within, "execution_mode")) if filters.mode is not None else True,
        in_action=_same(filters.action, record.get("action")) if filters.action is not None else True,
        status=status if status in ("PASS", "FAIL") else None,
        profit=_profit(_either(record, within, "expected_profit")),
    )


def _either(record: Mapping[str, Any], within: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    return within.get(name) if value is None else value


def _word(value: object) -> str | None:
    return value.strip().upper() or None if isinstance(value, str) else None


def _same(wanted: str, value: object) -> bool | None:
    word = _word(value)
    return None if word is None else word == wanted.upper()


def _in_run(record: Mapping[str, Any], within: Mapping[str, Any], wanted: str) -> bool | None:
    for value in (record.get("run_id"), record.get("pipeline_id"), within.get("run_id")):
        if value is not None:
            return str(value) == wanted
    return None


def _in_span(record: Mapping[str, Any], span: tuple[datetime | None, datetime | None]) -> bool | None:
    text = record.get("recorded_at")
    text = record.get("timestamp") if text is None else text
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    since, before = span
    return (since is None or at >= since) and (before is None or at < before)


def _profit(value: object) -> Profit:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Profit.MISSING
    if isinstance(value, float) and not math.isfinite(value):
        return Profit.NOT_FINITE
    return Profit.LOSS if value < 0 else Profit.NO_LOSS
