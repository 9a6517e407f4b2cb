"""What a report leaves in the folder of a run, and what the task says."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from policyengine.errors import ConfigError, DataError
from policyengine.reporting.payload import payload
from policyengine.reporting.report import write_report
from policyengine.reporting.report.page import render
from policyengine.reporting.report.trades import trades_csv
from policyengine.spec.task import ReportTask
from policyengine.tasks.report import report
from policyengine.tasks.run import Run
from tests.conftest import composed_spec

Copy = Callable[[Path], Path]


def test_the_task_writes_three_files_and_says_where_the_report_is(replayed: Path, copy: Copy, run_in: Callable[..., Run]) -> None:
    folder, said = copy(replayed), list[str]()
    before = {path.name for path in folder.iterdir()}
    written = report(composed_spec(), ReportTask(path=str(folder)), run_in(said=said))
    assert said == [f"report    {folder / 'report.html'}"]
    assert {path.name for path in folder.iterdir()} - before == {"report.html", "dashboard_data.json", "trades.csv"}
    assert json.loads((folder / "dashboard_data.json").read_text()) == payload(folder)
    assert written.read_text() == render(payload(folder))


def test_a_report_drawn_twice_is_the_same(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_the_csv_holds_every_trade_and_no_formula(replayed: Path, copy: Copy) -> None:
    folder = copy(replayed)
    write_report(folder)
    text = (folder / "trades.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    stored = pq.read_table(folder / "trades.parquet").to_pydict()
    assert [row["trade_id"] for row in rows] == stored["trade_id"]
    assert [float(row["realized_pnl"]) for row in rows] == pytest.approx(stored["realized_pnl"])
    assert "'=HYPERLINK(" in text
    assert "\u202e" not in text
    assert "a\\u202eb" in text
    assert all(cell[:1] not in "=+@" or not cell for row in rows for name, cell in row.items() if name in {"symbol", "trade_id"})


def test_an_unknown_number_and_an_absent_column_are_empty_or_left_out() -> None:
    trades = {
        "trade_id": np.array(["a", None], dtype=object),
        "traded_at": np.array(["2020-01-02", "2020-01-03T10:00"], dtype="datetime64[us]"),
        "realized_pnl": np.array([np.nan, -0.0]),
    }
    lines = trades_csv(trades).decode().splitlines()
    assert lines == [
        '"trade_id","traded_at","realized_pnl"',
        '"a","2020-01-02T00:00:00.000000",',
        ',"2020-01-03T10:00:00.000000",0',
    ]


@pytest.mark.parametrize("absent", ["altair", "vl_convert"])
def test_without_the_extra_the_error_names_it_and_nothing_is_written(
    absent: str, replayed: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(replayed)
    monkeypatch.setitem(sys.modules, absent, None)  # what Python finds of a package that is not there
    with pytest.raises(ConfigError, match=rf"needs {absent}, .*barbell-policyengine\[report\]"):
        write_report(folder)
    assert not (folder / "report.html").exists()
    assert not (folder / "dashboard_data.json").exists()


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, run_in: Callable[..., Run]) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="holds no run|is not a folder"):
            report(composed_spec(), ReportTask(path=str(folder)), run_in(folder.name or "x"))
        assert not (folder / "report.html").exists()
