"""What goes wrong while rows are streaming is told as what goes wrong before the first of them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from policyengine.errors import DataError, SourceUnavailable
from policyengine.market.engine import Engine

LATE = "SELECT CASE WHEN i = 900_000 THEN error('{}') END AS x FROM range(1_000_000) AS rows(i)"


def streamed(sql: str, folder: Path, memory_limit_mb: int = 256) -> int:
    engine = Engine(memory_limit_mb=memory_limit_mb, temp_dir=folder / "spill", secrets={"s3cret": "..."})
    try:
        return sum(batch.num_rows for batch in engine.batches(sql, place="here", rows=1000))
    finally:
        engine.close()


def test_an_error_in_mid_stream_names_its_place_and_no_secret(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        streamed(LATE.format("too late, s3cret"), tmp_path)
    assert str(caught.value) == "here: too late, ..."


def test_what_does_not_fit_in_mid_stream_says_so(tmp_path: Path) -> None:
    """Sorting a hundred megabytes of text in 16 takes more than it may hold, whatever it spills."""
    sql = "SELECT repeat(CAST(hash(i) AS VARCHAR), 50) AS x FROM range(1_000_000) AS rows(i) ORDER BY x"
    with pytest.raises(DataError, match="does not fit into the memory limit"):
        streamed(sql, tmp_path, memory_limit_mb=16)


def test_a_source_that_goes_away_in_mid_stream_is_unavailable(tmp_path: Path) -> None:
    """The second file is cut short after the first has been read."""
    with duckdb.connect() as made:
        for name in ("a", "b"):
            made.execute(f"COPY (FROM range(300_000)) TO '{tmp_path}/{name}.parquet' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
    cut = tmp_path / "b.parquet"
    content = bytearray(cut.read_bytes())
    content[200:-20_000] = b"\x00" * (len(content) - 20_200)
    cut.write_bytes(bytes(content))
    with pytest.raises((DataError, SourceUnavailable), match="^here: "):
        streamed(f"SELECT * FROM read_parquet('{tmp_path}/*.parquet')", tmp_path)
