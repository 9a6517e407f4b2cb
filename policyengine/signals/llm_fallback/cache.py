"""What language models have said, one file for each question ever answered: a replay asks the files and not the network.

A file holds the question, the answer as it came, and a checksum over both; its name is the question's hash. It is written whole or not
at all. Answers that never came, came late or were no answer in the protocol's envelope are not kept; bad answers of the model are.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from policyengine.errors import ConfigError, DataError
from policyengine.signals.llm_fallback.answer import Said
from policyengine.signals.llm_fallback.prompt import Question
from policyengine.spec.bind import bind, plain
from policyengine.store import read_json, write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    url: str
    request: str
    said: Said
    checksum: str


def load(folder: Path, url: str, question: Question) -> Said | None:
    """What was answered to `question` at `url`; None where nothing is kept.

    Raises:
        DataError: the file is not what was written.
    """
    path = _path(folder, url, question)
    if not os.path.lexists(path):
        return None
    value = read_json(path)
    try:
        entry = bind(_Entry, value)
    except (ConfigError, OverflowError) as error:
        raise DataError(str(path), f"is not a kept answer: {error}") from None
    if entry.checksum != _checksum(entry.url, entry.request, entry.said):
        raise DataError(str(path), "its checksum is not that of its content")
    if (entry.url, entry.request.encode("utf-8", "replace")) != (url, question.body):
        raise DataError(str(path), "answers another question than its name says")
    return entry.said


def save(folder: Path, url: str, question: Question, said: Said) -> None:
    """Keep `said` as the answer to `question` at `url`.

    Raises:
        OutputError: the folder cannot be written; what cannot be replayed must not be traded.
    """
    request = question.body.decode("ascii")
    entry = _Entry(url=url, request=request, said=said, checksum=_checksum(url, request, said))
    write_bytes(_path(folder, url, question), (json.dumps(plain(entry), indent=1, sort_keys=True) + "\n").encode("ascii"))


def _path(folder: Path, url: str, question: Question) -> Path:
    return folder / f"{question.identity(url)}.json"


def _checksum(url: str, request: str, said: Said) -> str:
    content = json.dumps([url, request, plain(said)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("ascii")).hexdigest()
