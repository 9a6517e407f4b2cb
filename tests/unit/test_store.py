from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from policyengine import store
from policyengine.errors import DataError, OutputError


def test_json_is_sorted_rounded_and_never_nan(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.json"
    store.write_json(path, {"b": 0.1 + 0.2, "a": (1, None, True), "c": -0.0})
    assert json.loads(path.read_text()) == {"a": [1, None, True], "b": 0.3, "c": 0.0}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    with pytest.raises(ValueError, match="never NaN"):
        store.write_json(path, {"a": math.nan})
    assert json.loads(path.read_text())["b"] == 0.3  # the old file is whole
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.json"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"a": 1, "a": 2}', "key 'a' stands twice"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1} x', "Extra data"),
        ("{", "not valid JSON"),
        ("\xff", "not valid JSON"),
    ],
)
def test_json_is_read_strictly(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rule):
        store.read_json(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: does not exist"):
        store.read_json(tmp_path / "none.json")


def test_csv_cells_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    store.write_csv(path, ["a", "b"], [{"a": '=HYPERLINK("x")', "b": None}, {"a": -0.5, "b": "O'Neil, Co"}])
    assert path.read_text() == 'a,b\n"\'=HYPERLINK(""x"")",\n-0.5,"O\'Neil, Co"\n'


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/x.json: cannot be written: "):
        store.write_json(tmp_path / "file" / "x.json", {})


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    store.write_json(path, {"a": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        store.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_same_columns_give_the_same_parquet_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        store.write_parquet(tmp_path / name, {"x": [1.0, 2.0], "s": ["=1", None]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_texts_that_recur_are_stored_as_a_dictionary(tmp_path: Path) -> None:
    size = 2_000
    columns = {"few": ["a", "b"] * (size // 2), "names": [f"t{i}" for i in range(size)], "number": np.zeros(size)}
    store.write_parquet(tmp_path / "x", columns)
    group = pq.ParquetFile(tmp_path / "x").metadata.row_group(0)
    assert [group.column(i).has_dictionary_page for i in range(3)] == [True, False, False]
    assert pq.read_table(tmp_path / "x").to_pydict() == {name: list(values) for name, values in columns.items()}
