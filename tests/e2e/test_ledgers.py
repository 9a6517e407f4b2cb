"""Ledgers of users: a SQLite file, closed lots in a CSV file, a price file of many markets."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

FEBRUARY = ("window=ranges", "window.ranges=[{label: feb, start_date: 2024-02-01, end_date: 2024-02-28}]")
SHARED = Path(os.environ.get("POLICYENGINE_SHARED_DATA", ROOT.parent / "shared" / "data"))


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.fail(f"{path} is needed; set POLICYENGINE_SHARED_DATA to the folder of the real data")
    return path


def evidence(work: Path) -> dict[str, object]:
    (path,) = work.glob("outputs/*/*/evidence.json")
    made: dict[str, object] = json.loads(path.read_text())
    return made


def portfolio_maximizer(path: Path, trades: list[tuple[object, ...]]) -> Path:
    """A ledger in the shape of the preset, an older one: it lacks most of the optional columns."""
    with sqlite3.connect(path) as db:
        db.executescript(
            """
            CREATE TABLE ohlcv_data (ticker TEXT, date TEXT, open REAL, high REAL, low REAL, close REAL, volume REAL,
                adj_close REAL, source TEXT);
            CREATE TABLE trading_signals (id INTEGER PRIMARY KEY, ticker TEXT, signal_date TEXT, signal_timestamp TEXT, ts_signal_id TEXT,
                action TEXT, source TEXT, model_type TEXT, confidence REAL, entry_price REAL, expected_return REAL, risk_score REAL,
                volatility REAL, validation_status TEXT);
            CREATE TABLE trade_executions (id INTEGER PRIMARY KEY, ticker TEXT, trade_date TEXT, action TEXT, shares REAL, price REAL,
                commission REAL, mid_slippage_bps REAL, signal_id INTEGER, ts_signal_id TEXT, run_id TEXT, realized_pnl REAL,
                holding_period_days REAL, is_close INTEGER, entry_trade_id INTEGER, is_synthetic INTEGER, is_diagnostic INTEGER);
            """
        )
        for day in range(1, 29):
            for ticker, price in (("AAPL", 100.0 + day), ("MSFT", 200.0 + day), ("SHY", 80.0)):
                row = (ticker, f"2024-02-{day:02d}", price, price + 3, price - 3, price, 1e6, price, "vendor")
                db.execute("INSERT INTO ohlcv_data VALUES (?,?,?,?,?,?,?,?,?)", row)
        signal = "INSERT INTO trading_signals VALUES (?,?,?,?,?,'BUY','TIME_SERIES','SARIMAX',0.7,100,0.02,0.1,0.1,'validated')"
        for number, (ticker, date, *_) in enumerate(trades, start=1):
            db.execute(signal, (number, ticker, "2024-02-01", f"2024-02-01T{number % 24:02d}:00:00+00:00", f"ts_{number}"))
            assert isinstance(date, str)
        insert = "INSERT INTO trade_executions VALUES (?,?,?,'SELL',?,?,1.0,1.5,?,?,'run',?,3,1,NULL,0,0)"
        for number, (ticker, date, shares, price, pnl) in enumerate(trades, start=1):
            db.execute(insert, (number, ticker, date, shares, price, number, f"ts_{number}", pnl))
    db.close()
    return path


def test_winners_only_on_one_date_are_inconclusive_with_both_alerts(pe: Command, tmp_path: Path) -> None:
    trades = [("AAPL" if n % 2 else "MSFT", "2024-02-20", 10.0, 120.0 if n % 2 else 220.0, 5.0 + n % 7) for n in range(34)]
    ledger = portfolio_maximizer(tmp_path / "ledger.db", trades)
    result = pe("source=portfolio_maximizer", f"source.path={ledger}", "evidence=trade_history", *FEBRUARY)
    assert result.returncode == 0, result.stderr
    made = evidence(tmp_path / "work")
    assert made["verdict"] == "INCONCLUSIVE"
    assert made["pooled"]["baseline"]["total_trades"] == 34  # type: ignore[index]
    assert {f["check"] for f in made["findings"]} >= {"pnl_all_positive", "pnl_on_one_date"}  # type: ignore[attr-defined,union-attr]
    assert "alert pnl_all_positive" in result.stdout
    assert "alert pnl_on_one_date" in result.stdout
    open_ = {c["name"] for c in made["criteria"] if c["status"] != "pass"}  # type: ignore[attr-defined,union-attr]
    assert {"pnl_not_all_positive", "pnl_not_on_one_date", "profit_factor_defined"} <= open_


def test_a_sqlite_ledger_can_be_replayed_from_its_own_signals(pe: Command, tmp_path: Path) -> None:
    trades = [("AAPL", f"2024-02-{day:02d}", 1.0, 100.0 + day, (-1) ** day * 1.0) for day in range(5, 25)]
    ledger = portfolio_maximizer(tmp_path / "ledger.db", trades)
    result = pe("source=portfolio_maximizer", f"source.path={ledger}", *FEBRUARY)
    assert result.returncode == 0, result.stderr
    assert "20 actionable of 20 (source)" in result.stdout


@pytest.mark.shared
def test_the_closed_lots_of_a_real_ledger(pe: Command, tmp_path: Path) -> None:
    result = pe("source=round_trips", "evidence=trade_history", f"source.path={shared('round_trips_2004_2009.csv.gz')}")
    assert result.returncode == 0, result.stderr
    baseline = evidence(tmp_path / "work")["pooled"]["baseline"]  # type: ignore[index]
    assert (baseline["total_trades"], baseline["losing_trades"]) == (9203, 4301)
    assert baseline["realized_pnl"] == 67003.9326  # the exact sum of the column, shown as 67,003.93
    assert baseline["total_profit"] == pytest.approx(67003.9326, abs=1e-6)
    assert "TS_ONLY       profit      67,003.93" in result.stdout


@pytest.mark.shared
def test_trade_history_cannot_reach_live_by_itself(pe: Command) -> None:
    path = shared("round_trips_2004_2009.csv.gz")
    result = pe("source=round_trips", "evidence=trade_history", f"source.path={path}", "task.stage=live")
    assert result.returncode == 0
    assert "a ledger scaled after the fact cannot by itself" in " ".join(result.stdout.split())


@pytest.mark.shared
def test_prices_of_many_markets_with_a_negative_one(pe: Command, tmp_path: Path) -> None:
    result = pe("source=real_universe", f"source.path={shared('prices_2010_2018.csv.gz')}", "window=rolling_monthly")
    assert result.returncode == 0, result.stderr
    made = evidence(tmp_path / "work")
    assert made["sample"]["end_date"] == "2017-11-10"  # type: ignore[index]
    assert made["breaches"] == 0
