"""The sources and universes that ship, against files of the shape that each is for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from policyengine.errors import DataError
from policyengine.market import open_market
from policyengine.records import Bucket
from policyengine.spec.bind import bind
from policyengine.spec.source import SqliteSource
from policyengine.spec.universe import UniverseSpec

REPOSITORY = Path(__file__).parents[3]
SHARED = Path(os.environ.get("POLICYENGINE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")

OHLCV = "ticker TEXT, date DATE, open REAL, high REAL, low REAL, close REAL, volume INTEGER, adj_close REAL, source TEXT"
SIGNALS = (
    "id INTEGER PRIMARY KEY, ticker TEXT, signal_date DATE, signal_timestamp TIMESTAMP, ts_signal_id TEXT, action TEXT, source TEXT, "
    "model_type TEXT, confidence REAL, entry_price REAL, expected_return REAL, risk_score REAL, volatility REAL, validation_status TEXT"
)
EXECUTIONS = (
    "id INTEGER PRIMARY KEY, ticker TEXT, trade_date DATE, action TEXT, shares REAL, price REAL, commission REAL, mid_slippage_bps REAL, "
    "signal_id INTEGER, ts_signal_id TEXT, run_id TEXT, realized_pnl REAL, holding_period_days INTEGER, is_close INTEGER, "
    "entry_trade_id INTEGER, is_synthetic INTEGER, is_diagnostic INTEGER, barbell_bucket TEXT, barbell_multiplier REAL, "
    "base_confidence REAL, effective_confidence REAL, asset_class TEXT, instrument_type TEXT"
)
BAR = ("MSFT", "2024-01-{:02}", 100.0, 110.0, 95.0, 105.0, 1000, 105.0, "yfinance")


def preset(name: str, *overrides: str) -> tuple[Any, UniverseSpec]:
    """Source and universe as `source=name` composes them."""
    kinds = {"path": "source.path=x", "uri": "source.uri=x"}
    with initialize_config_dir(config_dir=str(REPOSITORY / "conf"), version_base="1.3"):
        given = [f"source={name}", *(kinds["uri" if name == "postgres" else "path"] for _ in [0] if name != "demo"), *overrides]
        config: Any = OmegaConf.to_container(compose("config", overrides=given), resolve=True)
    return config["source"], bind(UniverseSpec, config["universe"], "universe")


def bound(keys: dict[str, Any], make: ModuleType) -> Any:
    return make.source_spec(keys["kind"], **{k: v for k, v in keys.items() if k != "kind"})


@pytest.mark.parametrize(
    ("name", "kind", "views", "unclassified"),
    [
        ("demo", "parquet", {"prices"}, "error"),
        ("real_universe", "csv", {"prices"}, "error"),
        ("round_trips", "csv", {"trades"}, "other"),
        ("portfolio_maximizer", "sqlite", {"prices", "signals", "trades"}, "error"),
        ("postgres", "postgres", {"prices", "signals", "trades"}, "error"),
    ],
)
def test_presets_bind_with_their_universe(name: str, kind: str, views: set[str], unclassified: str, make: ModuleType) -> None:
    keys, universe = preset(name)
    assert (keys["kind"], universe.unclassified) == (kind, unclassified)
    assert set(bound(keys, make).views) == views


def test_a_universe_on_the_command_line_wins() -> None:
    assert preset("round_trips", "universe=demo")[1].unclassified == "error"


def test_the_demo_passes_every_check(tmp_path: Path, make: ModuleType) -> None:
    keys, universe = preset("demo")
    with open_market(bound(keys, make), universe, memory_limit_mb=256, temp_dir=tmp_path, shipped_dir=REPOSITORY / "data") as market:
        assert market.check() == ()
        panel = market.prices()
    assert panel.symbols == tuple(sorted(universe.instruments))
    assert (str(panel.sessions[0]), str(panel.sessions[-1]), len(panel.sessions)) == ("2000-01-03", "2018-11-30", 4760)
    assert (panel.calendar_used, panel.periods_per_year) == ("core", 252)
    assert {b: sum(universe.bucket(s) is b for s in panel.symbols) for b in Bucket} == {"safe": 1, "core": 17, "spec": 4, "other": 0}
    assert int(np.isnan(panel.close).sum()) == 1


@pytest.fixture
def maximizer(tmp_path: Path, make: ModuleType) -> Any:
    """Open the portfolio_maximizer preset on tables of the test."""

    def opening(tables: dict[str, Any]) -> Any:
        keys, universe = preset("portfolio_maximizer")
        spec = bound({**keys, "path": str(make.sqlite(tmp_path / "pm.db", tables))}, make)
        assert isinstance(spec, SqliteSource)
        return open_market(spec, universe, memory_limit_mb=256, temp_dir=tmp_path, shipped_dir=tmp_path)

    return opening


def test_portfolio_maximizer(maximizer: Any) -> None:
    bars = [(BAR[0], BAR[1].format(d), *BAR[2:]) for d in (2, 3, 4)]
    signals = [
        (1, "MSFT", "2024-01-02", "2024-01-02T14:30:00+00:00", "ts_1", "BUY", "TIME_SERIES", "garch", 0.7, 101.0, 0.02, 0.1, 0.01, "ok"),
        (2, "MSFT", "2024-01-03", None, None, "HOLD", "LLM", "llm", None, None, None, None, 0.0, "ok"),
        (3, "MSFT", "2024-01-04", "2024-01-04 09:00:00", None, "SELL", "HYBRID", "h", 0.55, None, None, None, None, "ok"),
    ]
    fill = ("MSFT", "2024-01-03")
    trades = [
        (1, *fill, "BUY", 10, 101.0, 1.0, 2.0, 1, "ts_1", "r", None, None, 0, None, 0, 0, "core", 0.9, 0.7, 0.63, "equity", "spot"),
        (2, *fill, "SELL", 10, 103.0, 1.0, 2.0, 1, None, "r", 19.0, 1, 1, 1, 0, 0, "core", 0.9, 0.7, 0.63, "equity", "spot"),
        (3, *fill, "SELL", 10, 99.0, 1.0, 2.0, 3, None, "r", -12.0, 1, 1, 1, 0, 0, "CORE", None, None, None, "equity", "spot"),
        (4, *fill, "SELL", 10, 103.0, 1.0, 2.0, 9, None, "r", 99.0, 1, 1, 1, 1, 0, None, None, None, None, "equity", "spot"),
    ]
    with maximizer(
        {"ohlcv_data": (OHLCV, bars), "trading_signals": (SIGNALS, signals), "trade_executions": (EXECUTIONS, trades)}
    ) as market:
        found = market.check()
        read, closing = market.signals(), market.closing_trades()
        assert market.prices().symbols == ("MSFT",)
    assert [(f.check, f.count) for f in found] == [("naive_times", 1), ("pnl_on_one_date", 2)]
    assert read is not None
    assert read.signal_id.tolist() == ["ts_1", "2", "3"]
    assert read.direction.tolist() == [1, 0, -1]
    assert read.source.tolist() == ["TS", "LLM", "TS"]
    np.testing.assert_array_equal(read.edge_score, [2.0, np.nan, np.nan])
    assert closing.trade_id.tolist() == ["2", "3"]
    assert closing.signal_id.tolist() == ["ts_1", "3"]
    assert closing.bucket.tolist() == ["core", "core"]
    np.testing.assert_array_equal(closing.multiplier, [0.9, np.nan])
    np.testing.assert_array_equal(closing.effective_confidence, [0.63, np.nan])


def test_portfolio_maximizer_from_before_most_columns(maximizer: Any) -> None:
    tables = {
        "ohlcv_data": ("ticker TEXT, date DATE, close REAL", [("MSFT", "2024-01-02", 100.0), ("MSFT", "2024-01-03", 90.0)]),
        "trading_signals": (
            "id INTEGER, ticker TEXT, signal_date DATE, action TEXT, confidence REAL",
            [(1, "MSFT", "2024-01-02", "BUY", 0.6)],
        ),
        "trade_executions": (
            "id INTEGER, ticker TEXT, trade_date DATE, action TEXT, shares REAL, signal_id INTEGER, realized_pnl REAL",
            [(1, "MSFT", "2024-01-02", "BUY", 1.0, 1, None), (2, "MSFT", "2024-01-03", "SELL", 1.0, 1, -10.0)],
        ),
    }
    with maximizer(tables) as market:
        assert {f.check for f in market.check()} == {"pnl_on_one_date"}
        assert market.closing_trades().trade_id.tolist() == ["2"]
        assert market.closing_trades().bucket.tolist() == ["core"]


def test_34_closing_trades_all_positive_on_one_date(maximizer: Any) -> None:
    bars = [(BAR[0], BAR[1].format(d), *BAR[2:]) for d in (2, 3)]
    empty = (None,) * 11
    trades = [(i, "MSFT", "2024-01-03", "SELL", 10, 103.0, *empty[:5], 5.0 + i, None, 1, *empty[:9]) for i in range(1, 35)]
    signals = [(1, "MSFT", "2024-01-02", None, None, "BUY", "LLM", None, 0.7, None, None, None, None, None)]
    with maximizer(
        {"ohlcv_data": (OHLCV, bars), "trading_signals": (SIGNALS, signals), "trade_executions": (EXECUTIONS, trades)}
    ) as market:
        found = {f.check: f.count for f in market.check()}
    assert found == {"trades_without_signal": 34, "pnl_all_positive": 34, "pnl_on_one_date": 34}


def test_bars_of_two_vendors_are_duplicates(maximizer: Any) -> None:
    bars = [("MSFT", "2024-01-02", 1, 1, 1, 1, 1, 1, vendor) for vendor in ("yfinance", "stooq")]
    signals = [(1, "MSFT", "2024-01-02", None, None, "BUY", "LLM", None, 0.7, None, None, None, None, None)]
    trade = (1, "MSFT", "2024-01-03", "SELL", 10, 103.0, *(None,) * 17)
    tables = {"ohlcv_data": (OHLCV, bars), "trading_signals": (SIGNALS, signals), "trade_executions": (EXECUTIONS, [trade])}
    with maximizer(tables) as market, pytest.raises(DataError, match=r"duplicate_keys: .* MSFT 2024-01-02T00:00:00Z x 2"):
        market.check()


def test_round_trips(tmp_path: Path, make: ModuleType) -> None:
    (tmp_path / "lots.csv").write_text(
        "symbol,side,entry_date,exit_date,qty,entry_price,exit_price,realized_pnl\n"
        "0700,LONG,2004-01-09,2004-01-12,100,4.5,5.0,50\n"
        "0700,SHORT,2004-01-09,2004-01-12,100,4.5,5.0,-50\n"
        "X,SHORT,2004-01-09,2004-01-11,1.5,2,1,1.5\n"
    )
    keys, universe = preset("round_trips")
    spec = bound({**keys, "path": str(tmp_path / "lots.csv")}, make)
    with open_market(spec, universe, memory_limit_mb=256, temp_dir=tmp_path, shipped_dir=tmp_path) as market:
        assert market.check() == ()
        lots = market.closing_trades()
        days = market.ledger_sums()
    assert lots.symbol.tolist() == ["X", "0700", "0700"]
    assert lots.side.tolist() == [1, -1, 1]
    assert lots.trade_id[1] == "0700/LONG/2004-01-09/2004-01-12/100.0/4.5/5.0/50.0"
    assert lots.entry_at.astype("datetime64[D]").astype(str).tolist() == ["2004-01-09"] * 3
    assert set(lots.bucket) == {"other"}
    assert days.day.astype(str).tolist() == ["2004-01-11", "2004-01-12"]
    assert (days.closed.tolist(), days.lost.tolist(), days.loss.tolist()) == ([1, 2], [0, 1], [0.0, 50.0])


def shared(name: str) -> str:
    """Path of a file of the shared data set."""
    path = SHARED / name
    assert path.is_file(), f"{path} is absent: put the shared data there, or name its folder in POLICYENGINE_SHARED_DATA"
    return str(path)


@pytest.mark.shared
def test_round_trips_of_the_shared_file(tmp_path: Path, make: ModuleType) -> None:
    keys, universe = preset("round_trips")
    spec = bound({**keys, "path": shared("round_trips_2004_2009.csv.gz")}, make)
    with open_market(spec, universe, memory_limit_mb=256, temp_dir=tmp_path, shipped_dir=tmp_path) as market:
        assert market.check() == ()
        lots, days = market.closing_trades(), market.ledger_sums()
    assert (lots.symbol.size, int((lots.realized_pnl < 0).sum()), int((lots.realized_pnl == 0).sum())) == (9203, 4301, 35)
    assert f"{math.fsum(lots.realized_pnl):,.2f}" == f"{math.fsum(days.profit - days.loss):,.2f}" == "67,003.93"
    assert math.fsum(days.profit - days.loss) == pytest.approx(math.fsum(lots.realized_pnl), abs=1e-9)
    assert (days.closed.sum(), days.lost.sum(), (days.closed - days.won - days.lost).sum()) == (9203, 4301, 35)


@pytest.mark.shared
def test_the_real_universe_of_the_shared_file(tmp_path: Path, make: ModuleType) -> None:
    keys, universe = preset("real_universe")
    spec = bound({**keys, "path": shared("prices_2010_2018.csv.gz")}, make)
    with open_market(spec, universe, memory_limit_mb=256, temp_dir=tmp_path, shipped_dir=tmp_path) as market:
        assert market.check() == ()
        panel = market.prices()
    assert panel.symbols == tuple(sorted(universe.instruments))
    assert (str(panel.sessions[0]), str(panel.sessions[-1]), panel.periods_per_year) == ("2010-01-04", "2017-11-10", 252)
    btc = panel.symbols.index("BTC-USD")
    assert np.isnat(panel.sessions[np.isnan(panel.close[:, btc])]).sum() == 0
    first = int(np.flatnonzero(panel.fresh[:, btc])[0])
    assert str(panel.sessions[first]) == "2015-01-20"
    assert panel.fresh[first:, btc].all()
