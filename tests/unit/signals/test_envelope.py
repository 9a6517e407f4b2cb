"""Segments of signals: written once, whole, under contract; read back as they were; and what is orphaned."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.errors import DataError, OutputError, SourceUnavailable
from policyengine.market.signals_view import orphans, read_stored_signals, segments
from policyengine.records import Finding
from policyengine.signals.envelope import append
from policyengine.store import Words

DAY = datetime(2020, 1, 2, 21, tzinfo=UTC)
LATER = datetime(2020, 1, 3, 21, tzinfo=UTC)


def signals(*ids: str, **columns: Any) -> dict[str, Any]:
    """Signals on SPY and WTI in turn, all of the same instant."""
    count = len(ids)
    numbers = dict.fromkeys(
        ("strength", "edge_score", "horizon_days", "expected_return", "predicted_volatility"), np.full(count, 0.1 + 0.2)
    )
    return {
        "signal_id": list(ids),
        "symbol": ["SPY" if i % 2 == 0 else "WTI" for i in range(count)],
        "signalled_at": np.full(count, np.datetime64("2020-01-02T21:00:00", "us")),
        "direction": np.ones(count, dtype=np.int8),
        "confidence": np.full(count, 0.6),
        "source": ["TS"] * count,
        "regime": [None] * count,
        "sleeve": ["ts_core"] * count,
        "acted": np.ones(count, dtype=bool),
        **numbers,
        **columns,
    }


def read(folder: Path) -> Any:
    return read_stored_signals(segments(folder), memory_limit_mb=128, temp_dir=folder)


def found(folder: Path, *, trades: Any = (), decisions: Any = ()) -> dict[str, Finding]:
    """Findings by check; trades and decisions as rows (id, signal_id, run_id, symbol, signalled_at)."""
    names = ("trade_id", "signal_id", "run_id", "symbol", "signalled_at")
    columns = [{name: [row[i] for row in rows] for i, name in enumerate(names)} for rows in (trades, decisions)]
    all_of_it = orphans(segments(folder), run_id="r_1", trades=columns[0], decisions=columns[1], memory_limit_mb=128, temp_dir=folder)
    return {finding.check: finding for finding in all_of_it}


def test_what_was_written_is_read_back_to_the_bit(tmp_path: Path) -> None:
    path = append(
        tmp_path,
        "r_1",
        signals("s_2", "s_1", edge_score=np.array([0.1 + 0.2, np.nan]), symbol=Words(codes=np.array([0, 1]), words=("A", "B"))),
    )
    append(tmp_path, "r_0", signals("s_1"))
    assert path == tmp_path / "r_1.parquet"
    frame = read(tmp_path)
    assert frame["run_id"].tolist() == ["r_0", "r_1", "r_1"]
    assert frame["symbol"].tolist() == ["SPY", "A", "B"]
    assert frame["signalled_at"].tolist() == [DAY] * 3
    assert frame["edge_score"][1].hex() == (0.1 + 0.2).hex()
    assert np.isnan(frame["edge_score"][2])
    assert frame["regime"].isna().all()


def test_a_run_without_signals_leaves_a_segment_of_none(tmp_path: Path) -> None:
    append(tmp_path, "r_0", signals())
    assert len(read(tmp_path)) == 0
    append(tmp_path, "r_1", signals("s_1"))
    assert len(read(tmp_path)) == 1


def test_a_segment_is_never_written_again(tmp_path: Path) -> None:
    before = append(tmp_path, "r_1", signals("s_1")).read_bytes()
    with pytest.raises(OutputError, match=r"r_1.parquet: is there already"):
        append(tmp_path, "r_1", signals("s_2"))
    assert (tmp_path / "r_1.parquet").read_bytes() == before


@pytest.mark.parametrize("run_id", ["", "../r", ".r", "a/b", "r" * 65, "r 1"])
def test_a_run_id_that_is_no_name_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(DataError, match="is not a name"):
        append(tmp_path, run_id, signals("s_1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"confidence": [0.5, 1.5]}, "column confidence: broken rule 'in_range"),
        ({"direction": [1.5, 1]}, "a column is not of its type: Float value 1.5"),
        ({"symbol": ["SPY", 3]}, "a column is not of its type"),
        ({"symbol": ["SPY"]}, "a column is not of its type"),
        ({"strength": ["1", "2"]}, "a column is not of its type"),
        ({"signal_id": ["s_1", "s_1"]}, "multiple_fields_uniqueness"),
        ({"run_id": ["r_1", "r_1"]}, "columns none are missing and run_id too many"),
        ({"more": [1, 2]}, "columns none are missing and more too many"),
    ],
)
def test_what_breaks_the_contract_is_not_written(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        append(tmp_path, "r_1", signals("s_1", "s_2", **columns))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns sleeve are missing and none too many"):
        append(tmp_path, "r_1", {k: v for k, v in signals("s_1").items() if k != "sleeve"})


def test_a_write_that_fails_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            append(tmp_path, "r_1", signals("s_1"))
    assert segments(tmp_path) == ()
    append(tmp_path, "r_1", signals("s_1"))


def test_segments_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no segment"):
        read(tmp_path / "none")
    append(tmp_path, "r_1", signals("s_1"))
    (tmp_path / "r_2.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="r_2.parquet"):
        read(tmp_path)
    (tmp_path / "r_2.parquet").unlink()
    (tmp_path / "r_3.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(SourceUnavailable, match="r_3.parquet"):
        read(tmp_path)


def test_no_orphans_where_each_names_the_other(tmp_path: Path) -> None:
    append(tmp_path, "r_1", signals("s_1", "s_2"))
    named = [("t_1", "s_1", None, None, None), ("t_2", None, "r_1", "WTI", DAY)]
    assert found(tmp_path, trades=named, decisions=named) == {}


@pytest.mark.parametrize(
    "trade",
    [
        ("t_1", "s_9", "r_1", "SPY", DAY),  # the id is there and names nothing: the second key does not save it
        ("t_1", None, "r_2", "SPY", DAY),
        ("t_1", None, "r_1", "QQQ", DAY),
        ("t_1", None, "r_1", "SPY", LATER),
        ("t_1", " ", None, "SPY", DAY),
        ("t_1", None, "r_1", "SPY", None),
        ("t_1", None, None, None, None),
    ],
)
def test_a_trade_whose_signal_was_not_kept_is_an_orphan(tmp_path: Path, trade: tuple[Any, ...]) -> None:
    append(tmp_path, "r_1", signals("s_1"))
    kept = [("d_1", "s_1", None, None, None)]
    finding = found(tmp_path, trades=[trade, ("t_2", "s_1", None, None, None)], decisions=kept)["trades_without_stored_signal"]
    assert finding.count == 1
    assert finding.rows[0].startswith("t_1")


@pytest.mark.parametrize(
    ("decision", "orphaned"),
    [
        (("d_1", "s_1", None, None, None), False),
        (("d_1", None, "r_1", "SPY", DAY), False),
        (("d_1", " ", "r_1", "SPY", DAY), False),
        (("d_1", "s_9", "r_1", "SPY", DAY), True),
        (("d_1", None, "r_2", "SPY", DAY), True),
        (("d_1", None, "r_1", None, DAY), True),
    ],
)
def test_a_signal_that_was_acted_on_without_a_decision_is_an_orphan(tmp_path: Path, decision: tuple[Any, ...], *, orphaned: bool) -> None:
    append(tmp_path, "r_1", signals("s_1", "s_2", acted=np.array([True, False])))
    findings = found(tmp_path, decisions=[decision])
    assert ("stored_signals_without_decision" in findings) is orphaned
    if orphaned:
        assert findings["stored_signals_without_decision"].rows == ("s_1 SPY r_1 2020-01-02T21:00:00Z",)


def test_all_orphans_are_counted_and_five_are_shown(tmp_path: Path) -> None:
    append(tmp_path, "r_1", signals(*(f"s_{i}" for i in range(7))))
    trades = [(f"t_{i}", None, None, "<b>\x1b[31m", None) for i in range(6)]
    findings = found(tmp_path, trades=trades)
    assert [(f.count, len(f.rows)) for f in findings.values()] == [(6, 5), (7, 5)]
    assert findings["trades_without_stored_signal"].rows[0] == "t_0 <b>\\x1b[31m signal unnamed"


def test_without_a_segment_every_trade_is_an_orphan(tmp_path: Path) -> None:
    findings = found(tmp_path, trades=[("t_1", "s_1", "r_1", "SPY", DAY)])
    assert list(findings) == ["trades_without_stored_signal"]


def test_columns_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    good: dict[str, Any] = {"trade_id": [], "signal_id": [], "run_id": [], "symbol": [], "signalled_at": []}
    for trades, message in (({**good, "symbol": [1]}, "not of its type"), ({"trade_id": []}, "have no column 'signal_id'")):
        with pytest.raises(DataError, match=message):
            orphans((), run_id="r_1", trades=trades, decisions=good, memory_limit_mb=128, temp_dir=tmp_path)
