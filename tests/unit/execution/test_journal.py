"""A journal of records: whatever is changed in it afterwards shows, and names the line."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import BrokenInvariant, OutputError
from policyengine.execution.journal import GENESIS, Journal, JournalBroken, JournalLocked

FIRST = {"kind": "open"}
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def begun(folder: Path, records: int = 5) -> Path:
    journal = Journal(folder, FIRST)
    for number in range(records - 1):
        journal.append({"kind": "note", "value": number})
    journal.seal()
    journal.close()
    return journal.path


def found(folder: Path) -> list[object]:
    journal = Journal(folder, FIRST)
    journal.close()
    return [record.get("value") for record in journal.found]


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "b", FIRST)
    value = {"float": 0.1 + 0.2, "tiny": 5e-324, "none": None, "text": "a\nb\u2028", "list": [1, {"deep": True}]}
    stored = journal.append({"kind": "note", "value": value})
    value["list"] = "changed by the caller later"
    journal.close()
    again = Journal(tmp_path / "a" / "b", FIRST)
    assert again.found[1] == stored
    assert again.found[1]["value"]["float"].hex() == (0.1 + 0.2).hex()
    assert again.found[1]["value"]["list"] == [1, {"deep": True}]
    assert [record["seq"] for record in again.found] == [1, 2]
    assert again.found[0]["previous"] == GENESIS
    again.close()


def test_a_record_is_one_write_and_one_sync_of_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a journal that is begun, or sealed, syncs its folder as well."""
    calls: list[tuple[str, str]] = []

    def listening(name: str) -> None:
        real: Callable[..., object] = getattr(os, name)

        def call(handle: int, *rest: object) -> object:
            calls.append((name, Path(f"/proc/self/fd/{handle}").readlink().name))
            return real(handle, *rest)

        monkeypatch.setattr(os, name, call)

    listening("write")
    listening("fsync")
    journal = Journal(tmp_path / "account", FIRST)
    assert {("fsync", tmp_path.name), ("fsync", "account"), ("fsync", ".journal.jsonl"), ("fsync", ".head.json")} <= set(calls)
    calls.clear()
    journal.append({"kind": "note"})
    assert calls == [("write", "journal.jsonl"), ("fsync", "journal.jsonl")]
    calls.clear()
    journal.seal()
    assert calls == [("write", ".head.json"), ("fsync", ".head.json"), ("fsync", "account")]
    journal.close()
    calls.clear()
    Journal(tmp_path / "account", FIRST).close()
    assert calls == [("fsync", "journal.jsonl")]  # what a killed writer left may not have reached the disk


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1, 2), {1: "a"}, b"x", {1, 2}])
def test_what_json_cannot_give_back_is_refused_and_not_written(tmp_path: Path, value: object) -> None:
    journal = Journal(tmp_path, FIRST)
    before = journal.path.read_bytes()
    with pytest.raises(BrokenInvariant, match="a record"):
        journal.append({"kind": "note", "value": value})
    assert journal.path.read_bytes() == before
    journal.append({"kind": "note", "value": 1})
    journal.close()
    assert found(tmp_path) == [None, 1]


def test_one_writer(tmp_path: Path) -> None:
    journal = Journal(tmp_path, FIRST)
    with pytest.raises(JournalLocked, match=r"lock: another process writes this journal") as refusal:
        Journal(tmp_path, FIRST)
    assert refusal.value.exit_code == 5
    journal.close()
    Journal(tmp_path, FIRST).close()


def test_a_closed_journal_takes_no_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, FIRST)
    journal.close()
    with pytest.raises(OutputError, match="open it again"):
        journal.append({"kind": "note"})


def test_a_torn_last_line_is_moved_aside_and_recorded(tmp_path: Path) -> None:
    path = begun(tmp_path)
    torn = b'{"seq":6,"previous":"half of a rec'
    with path.open("ab") as file:
        file.write(torn)
    for _ in range(2):
        journal = Journal(tmp_path, FIRST)
        journal.close()
        (note,) = [record for record in journal.found if record["kind"] == "recovery"]
        assert note["seq"] == 6
        assert note["size"] == len(torn)
        assert (tmp_path / note["file"]).read_bytes() == torn
        assert path.read_bytes().endswith(b"\n")
        assert len(journal.found) == 6


def without_head(path: Path) -> None:
    (path.parent / "head.json").unlink()


def lines_of(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return apply


def rechained(lines: list[bytes]) -> list[bytes]:
    """The second record forged, and every hash after it made right again."""
    import hashlib

    values = [json.loads(line) for line in lines]
    values[1]["value"] = 99
    made = [lines[0]]
    for value in values[1:]:
        value["previous"] = hashlib.sha256(made[-1].rstrip(b"\n")).hexdigest()
        made.append(json.dumps(value).encode() + b"\n")
    return made


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lines_of(lambda x: [x[0], x[1].replace(b'"value":0', b'"value":7'), *x[2:]]), "journal.jsonl:3: 'previous' is not the hash"),
        (lines_of(lambda x: [*x[:2], b"not json\n", *x[3:]]), "journal.jsonl:3: is not a record"),
        (lines_of(lambda x: [*x[:2], b"[1, 2]\n", *x[3:]]), "journal.jsonl:3: is not a record"),
        (lines_of(lambda x: [*x[:2], b"\xff\xfe\n", *x[3:]]), "journal.jsonl:3: is not a record"),
        (lines_of(lambda x: [*x[:3], b"\n", *x[3:]]), "journal.jsonl:4: is not a record"),
        (lines_of(lambda x: [*x[:1], *x[2:]]), "journal.jsonl:2: 'previous' is not the hash"),
        (lines_of(lambda x: [x[0], x[2], x[1], *x[3:]]), "journal.jsonl:2: 'previous' is not the hash"),
        (lines_of(lambda x: [*x, x[-1]]), "journal.jsonl:6: 'previous' is not the hash"),
        (lines_of(lambda x: x[1:]), "journal.jsonl:1: 'previous' is not the hash"),
        (lines_of(lambda x: x[:-1]), "journal.jsonl:5: is not there: 4 whole records stand of 5"),
        (lines_of(lambda x: [*x[:-1], x[-1][:-1]]), "journal.jsonl:5: is not there"),
        (lines_of(lambda _: []), "journal.jsonl:1: is not there"),
        (lines_of(rechained), "journal.jsonl:5: is not the record that head.json holds"),
        (Path.unlink, "journal.jsonl:1: does not exist, but"),
        (without_head, "head.json:1: does not exist, but"),
        (lambda path: (path.parent / "head.json").write_text("{}"), "head.json:1: is not a head"),
        (lambda path: (path.parent / "head.json").write_text('{"count":'), "head.json:1: is not a head"),
        (lambda path: (path.parent / "head.json").write_text('{"count": -1, "hash": ""}'), "head.json:1: is not a head"),
    ],
)
def test_what_was_changed_is_named_and_left_as_it_is(tmp_path: Path, change: Callable[[Path], None], place: str) -> None:
    path = begun(tmp_path)
    change(path)
    stands = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(JournalBroken) as broken:
        Journal(tmp_path, FIRST)
    assert place in str(broken.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == stands
    with pytest.raises(JournalBroken):  # the refusal let go of the lock
        Journal(tmp_path, FIRST)


def test_a_number_of_a_line_that_is_not_its_own(tmp_path: Path) -> None:
    path = begun(tmp_path, records=1)
    path.write_bytes(path.read_bytes().replace(b'"seq":1', b'"seq":2'))
    with pytest.raises(JournalBroken, match=r"journal\.jsonl:1: seq 2 is not the number of the line"):
        Journal(tmp_path, FIRST)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unseen(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = begun(Path(folder), records=4)
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(JournalBroken):
            Journal(Path(folder), FIRST)


def test_records_written_after_the_head_are_kept(tmp_path: Path) -> None:
    """A writer that was killed leaves more records than its head counts; opening counts them."""
    journal = Journal(tmp_path, FIRST)
    journal.append({"kind": "note", "value": 1})
    journal.close()
    assert json.loads((tmp_path / "head.json").read_bytes())["count"] == 1
    assert found(tmp_path) == [None, 1]
    assert json.loads((tmp_path / "head.json").read_bytes())["count"] == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        Journal(tmp_path / "file" / "account", FIRST)
