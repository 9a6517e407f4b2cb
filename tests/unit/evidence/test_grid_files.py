"""Files of a grid: tables as any other table is written, whole or absent; chunks that verify or count as absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import DataError, OutputError
from policyengine.evidence.grid_files import STALE_DAYS, Chunk, Chunks, join, read_rows, remove_stale
from policyengine.store import csv_lines, growing, write_csv

CELLS = st.one_of(
    st.none(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8),
    st.sampled_from(["=1+1", "-0.5", "+x", "@x", "", "007", "1e5", "nan", "inf", "1_000"]),
)
COLUMNS = ("policy", "window", "delta_sharpe")
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, CELLS)), max_size=5)


@settings(deadline=None)
@given(ROWS)
def test_a_table_that_grows_is_the_table_that_is_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("t")
    write_csv(folder / "once.csv", COLUMNS, rows)
    with growing(folder / "grown.csv") as write:
        write(csv_lines(COLUMNS, [dict(zip(COLUMNS, COLUMNS, strict=True))]))
        for row in rows:
            write(csv_lines(COLUMNS, [row]))
    assert (folder / "grown.csv").read_bytes() == (folder / "once.csv").read_bytes()
    write_csv(folder / "again.csv", COLUMNS, list(read_rows(folder / "once.csv")))
    assert (folder / "again.csv").read_bytes() == (folder / "once.csv").read_bytes()


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown is null, never NaN"):
        csv_lines(COLUMNS, [{"policy": float("nan")}])


def test_nothing_stays_of_a_table_that_fails(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("before")

    def fail() -> None:
        with growing(tmp_path / "matrix.csv") as write:
            write("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.csv"]
    assert (tmp_path / "matrix.csv").read_text() == "before"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/matrix.csv"), growing(tmp_path / "file" / "matrix.csv"):
        pass


def test_tables_of_the_same_columns_are_joined(tmp_path: Path) -> None:
    for name, number in (("a", 1), ("b", 2)):
        write_csv(tmp_path / name, COLUMNS, [{"policy": number, "window": "x,y", "delta_sharpe": -0.5}])
    join(tmp_path / "all", [tmp_path / "a", tmp_path / "b"], [{"window": "=z"}])
    assert (tmp_path / "all").read_text() == 'policy,window,delta_sharpe\n1,"x,y",-0.5\n2,"x,y",-0.5\n,\'=z,\n'
    write_csv(tmp_path / "c", COLUMNS[:2], [])
    with pytest.raises(DataError, match="has other columns"):
        join(tmp_path / "all", [tmp_path / "a", tmp_path / "c"], [])


CHUNK = Chunk(first=32, policies=2, matrix='0,"a\n"\n', whole="é\n", standings=[{"policy": 32, "delta": {"sharpe": None}}])


def test_a_chunk_is_read_back(tmp_path: Path) -> None:
    chunks = Chunks(tmp_path, "k" * 64)
    assert chunks.read(32, 2) is None
    chunks.write(CHUNK)
    assert chunks.read(32, 2) == CHUNK
    assert chunks.read(32, 3) is None
    assert chunks.read(0, 2) is None


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b.replace(b"null", b"0.10"), lambda b: b"", lambda b: b"x" + b])
def test_a_chunk_that_was_changed_or_cut_is_absent(tmp_path: Path, change: Any) -> None:
    chunks = Chunks(tmp_path, "k" * 64)
    chunks.write(CHUNK)
    (path,) = chunks.folder.iterdir()
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    assert chunks.read(32, 2) is None


def test_a_chunk_of_another_grid_is_absent(tmp_path: Path) -> None:
    one, other = Chunks(tmp_path, "k" * 64), Chunks(tmp_path, "k" * 32 + "j" * 32)
    one.write(CHUNK)
    assert other.folder == one.folder
    assert other.read(32, 2) is None


def test_the_last_part_that_is_done_removes_the_folder(tmp_path: Path) -> None:
    chunks = Chunks(tmp_path, "k" * 64)
    for first in (0, 32):
        chunks.write(Chunk(first=first, policies=1, matrix="", whole="", standings=[]))
    chunks.remove([0])
    assert [path.name for path in chunks.folder.iterdir()] == ["chunk_00032.json"]
    chunks.remove([32, 64])
    assert list(tmp_path.iterdir()) == []
    chunks.remove([32])


def test_only_grids_that_nobody_went_on_with_for_long_are_stale(tmp_path: Path) -> None:
    old, young = Chunks(tmp_path, "a" * 64), Chunks(tmp_path, "b" * 64)
    for chunks in (old, young):
        chunks.write(CHUNK)
    now = 1_700_000_000.0
    for folder, age in ((old.folder, STALE_DAYS + 1), (young.folder, STALE_DAYS - 1)):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (now - 86_400.0 * age,) * 2)
    remove_stale(tmp_path, now)
    assert [path.name for path in (tmp_path / "grids").iterdir()] == ["b" * 32]
    remove_stale(tmp_path / "nothing", now)
    assert json.loads(next(young.folder.iterdir()).read_bytes().partition(b"\n")[2])["first"] == 32
