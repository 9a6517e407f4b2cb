from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from policyengine.errors import DataError, OutputError
from policyengine.signals.llm_fallback.answer import Said
from policyengine.signals.llm_fallback.cache import load, save
from policyengine.signals.llm_fallback.prompt import Question

URL = "https://api.example.com/v1/chat/completions"
QUESTION = Question(session=3, columns=(0,), names=("A1",), body=b'{"model":"m"}')
OTHER = Question(session=3, columns=(0,), names=("A1",), body=b'{"model":"n"}')
SAID = Said(content='{"opinions": []} \udc80 \u202e "', finished=True, tokens_in=12, tokens_out=None)


def test_what_was_said_comes_back_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert load(folder, URL, QUESTION) is None
    save(folder, URL, QUESTION, SAID)
    assert [p.name for p in folder.iterdir()] == [f"{QUESTION.identity(URL)}.json"]
    assert load(folder, URL, QUESTION) == SAID
    assert load(folder, URL, OTHER) is None
    assert load(folder, "https://other.example.com/v1/chat/completions", QUESTION) is None


def test_the_same_answer_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, URL, QUESTION, SAID)
    (one,), (other,) = (tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()
    assert one.read_bytes() == other.read_bytes()


def test_a_file_of_which_a_byte_is_changed_or_lost_is_refused_or_says_the_same(tmp_path: Path) -> None:
    save(tmp_path, URL, QUESTION, SAID)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    refused = 0
    for k in range(len(whole)):
        for broken in (whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :], whole[:k]):
            path.write_bytes(broken)
            try:
                assert load(tmp_path, URL, QUESTION) == SAID, (k, broken)  # between tokens, such as another blank
            except DataError:
                refused += 1
    assert refused > 1.9 * len(whole)


def test_a_file_under_the_name_of_another_question_is_refused(tmp_path: Path) -> None:
    save(tmp_path, URL, QUESTION, SAID)
    (path,) = tmp_path.iterdir()
    shutil.copy(path, tmp_path / f"{OTHER.identity(URL)}.json")
    with pytest.raises(DataError, match="answers another question"):
        load(tmp_path, URL, OTHER)


def test_a_file_with_more_or_less_in_it_is_refused(tmp_path: Path) -> None:
    save(tmp_path, URL, QUESTION, SAID)
    (path,) = tmp_path.iterdir()
    value = json.loads(path.read_text())
    for changed in ({**value, "note": 1}, {k: v for k, v in value.items() if k != "said"}, [value], {**value, "checksum": 10**400}):
        path.write_text(json.dumps(changed))
        with pytest.raises(DataError, match="is not a kept answer"):
            load(tmp_path, URL, QUESTION)


def test_a_folder_in_its_place_is_refused_and_one_that_cannot_be_written_named(tmp_path: Path) -> None:
    (tmp_path / f"{QUESTION.identity(URL)}.json").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path, URL, QUESTION)
    with pytest.raises(OutputError, match="cannot be written"):
        save(tmp_path, URL, QUESTION, SAID)
