"""The price panel: sessions, last known closes, freshness."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import ConfigError, DataError
from policyengine.market.panel import arrange

ALL = {"prices": "SELECT * FROM source"}


def dates(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[D]")


def test_weekend_bars_of_another_calendar_count_in_the_next_session(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(
        ("SPY", "2020-01-03", 10), ("SPY", "2020-01-06", 11), ("SPY", "2020-01-07", 12),
        ("BTC", "2020-01-03", 100), ("BTC", "2020-01-04", 101), ("BTC", "2020-01-05", 102), ("BTC", "2020-01-08", 104),
    )  # fmt: skip
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL) as market:
        panel = market.prices()
    assert panel.symbols == ("BTC", "SPY")
    np.testing.assert_array_equal(panel.sessions, dates("2020-01-03", "2020-01-06", "2020-01-07"))
    np.testing.assert_array_equal(panel.close, [[100, 10], [102, 11], [102, 12]])
    np.testing.assert_array_equal(panel.fresh, [[True, True], [True, True], [False, True]])
    assert (panel.calendar_used, panel.periods_per_year) == ("core", 252)


def test_calendar_all_has_every_date_with_a_bar(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    days = [f"2020-01-{d:02}" for d in range(1, 15)]
    frame = make.bars(*[("BTC", d, 1) for d in days], ("SPY", "2020-01-02", 5))
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL) as market:
        panel, core = market.prices("all"), market.prices("core")
    np.testing.assert_array_equal(panel.sessions, dates(*days))
    assert (panel.calendar_used, panel.periods_per_year) == ("all", 365)
    assert np.isnan(panel.close[0, 1])
    np.testing.assert_array_equal(panel.close[1:, 1], 5)
    np.testing.assert_array_equal(core.sessions, dates("2020-01-02"))


def test_without_core_bars_every_date_is_a_session_and_the_panel_says_so(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(*[("BTC", f"2020-01-{d:02}", d) for d in range(1, 15)])
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL) as market:
        panel = market.prices("core")
    assert (panel.calendar_used, panel.periods_per_year, len(panel.sessions)) == ("all", 365, 14)


def test_a_bar_before_the_first_session_is_known_there_but_not_fresh(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(("BTC", "2020-01-02", 7), ("SPY", "2020-01-06", 1), ("SPY", "2020-01-07", 1))
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL) as market:
        panel = market.prices()
    np.testing.assert_array_equal(panel.close[:, 0], [7, 7])
    np.testing.assert_array_equal(panel.fresh, [[False, True], [False, True]])


def test_of_several_bars_on_one_utc_date_the_last_counts(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(
        ("SPY", "2020-01-02T15:00:00Z", 3), ("SPY", "2020-01-02T09:00:00Z", 1), ("SPY", "2020-01-02T23:30:00-05:00", 9),
    )  # fmt: skip
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL) as market:
        panel = market.prices()
    np.testing.assert_array_equal(panel.sessions, dates("2020-01-02", "2020-01-03"))
    np.testing.assert_array_equal(panel.close, [[3], [9]])


def test_bars_of_one_instant_give_the_highest_close_in_any_order(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(("SPY", "2020-01-02", 1), ("SPY", "2020-01-02", 3), ("SPY", "2020-01-02", 2))
    for name, rows in (("a", frame), ("b", frame.iloc[::-1])):
        path = make.parquet(tmp_path / f"{name}.parquet", rows)
        with opened(path=path, views=ALL, checks={"duplicate_keys": "alert"}) as market:
            np.testing.assert_array_equal(market.prices().close, [[3]])


def test_negative_and_zero_prices_pass_and_non_finite_ones_are_no_bar(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(
        ("SPY", "2020-04-17", 1), ("SPY", "2020-04-20", 1), ("SPY", "2020-04-21", 1),
        ("WTI", "2020-04-17", 0), ("WTI", "2020-04-20", -36.98), ("WTI", "2020-04-21", float("inf")),
    )  # fmt: skip
    path = make.parquet(tmp_path / "p.parquet", frame)
    with opened(path=path, views=ALL, checks={"non_finite_prices": "alert"}) as market:
        assert [f.check for f in market.check()] == ["non_finite_prices"]
        panel = market.prices()
    np.testing.assert_array_equal(panel.close[:, 1], [0, -36.98, -36.98])
    np.testing.assert_array_equal(panel.fresh[:, 1], [True, True, False])


def test_symbols_are_sorted_by_code_point_and_may_be_anything(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    names = ["a", "Z", "é", "'; DROP TABLE prices; --", '"', "=HYPERLINK(1)", "\u202e", "[/x]"]
    frame = make.bars(*[(name, "2020-01-02", i) for i, name in enumerate(names)])
    universe = make.universe_spec({}, unclassified="other")
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL, universe=universe) as market:
        market.check()
        panel = market.prices()
    assert panel.symbols == tuple(sorted(names))
    np.testing.assert_array_equal(panel.close[0], [names.index(s) for s in sorted(names)])


def test_without_any_finite_close_there_is_no_panel(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "p.parquet", make.bars(("SPY", "2020-01-02", float("inf"))))
    with opened(path=path, views=ALL) as market, pytest.raises(DataError, match="no bar of an instrument that trades has a finite close"):
        market.prices()


def test_rates_are_columns_but_make_no_sessions(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(
        ("EURUSD", "2019-12-31", 1.1), ("EURUSD", "2020-01-01", 1.2), ("EURUSD", "2020-01-03", 1.3), ("EURUSD", "2020-01-06", 1.4),
        ("SPY", "2020-01-02", 10), ("SPY", "2020-01-03", 11), ("BTC", "2020-01-04", 5),
    )  # fmt: skip
    universe = make.universe_spec(fx={"EURUSD": "EUR/USD"})
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=ALL, universe=universe) as market:
        assert market.check() == ()
        core, every = market.prices("core"), market.prices("all")
    assert core.symbols == every.symbols == ("BTC", "EURUSD", "SPY")
    assert (core.calendar_used, every.calendar_used) == ("core", "all")
    np.testing.assert_array_equal(core.sessions, dates("2020-01-02", "2020-01-03"))
    np.testing.assert_array_equal(every.sessions, dates("2020-01-02", "2020-01-03", "2020-01-04"))
    np.testing.assert_array_equal(every.close[:, 1], [1.2, 1.3, 1.3])


def test_rates_alone_are_no_panel(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "p.parquet", make.bars(("EURUSD", "2020-01-02", 1.1)))
    universe = make.universe_spec(fx={"EURUSD": "EUR/USD"})
    with (
        opened(path=path, views=ALL, universe=universe) as market,
        pytest.raises(DataError, match="no bar of an instrument that trades has a finite close"),
    ):
        market.prices()


@pytest.mark.parametrize("calendar", ["core", "all"])
def test_options_have_no_effect_until_they_are_switched_on(calendar: Any, tmp_path: Path, make: ModuleType, opened: Any) -> None:
    option = {"bucket": "core", "type": "option", "contract_multiplier": 100}
    bars = [("SPY", "2020-01-03", 10), ("SPY", "2020-01-06", 11), ("WTI", "2020-01-03", 5)]
    puts = [("P", "2020-01-02", 3), ("P", "2020-01-04", 2), ("P", "2020-01-07", 1)]
    listed = {"SPY": {"bucket": "core"}, "WTI": {"bucket": "spec"}, "P": option}
    panels = {}
    for name, rows, enabled in (("none", bars, False), ("off", bars + puts, False), ("on", bars + puts, True)):
        universe = make.universe_spec({}, instruments=listed, options={"enabled": enabled})
        with opened(path=make.parquet(tmp_path / f"{name}.parquet", make.bars(*rows)), views=ALL, universe=universe) as market:
            assert market.check() == ()
            panels[name] = market.prices(calendar)
    none, off, on = panels.values()
    assert off.symbols == none.symbols == ("SPY", "WTI")
    for field in ("sessions", "close", "fresh"):
        assert getattr(off, field).tobytes() == getattr(none, field).tobytes()
    assert on.symbols == ("P", "SPY", "WTI")
    np.testing.assert_array_equal(on.sessions, dates("2020-01-02", "2020-01-03", "2020-01-04", "2020-01-06", "2020-01-07"))
    np.testing.assert_array_equal(on.close[:, 0], [3, 3, 2, 2, 1])


def test_a_cash_rate_without_bars_is_refused(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    universe = make.universe_spec(cash_rate_symbol="TBILL")
    path = make.parquet(tmp_path / "p.parquet", make.bars(("SPY", "2020-01-02", 1)))
    with opened(path=path, views=ALL, universe=universe) as market, pytest.raises(DataError, match="cash_rate_symbol TBILL has no bar"):
        market.prices()


def test_prices_of_a_source_without_them(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "t.parquet", make.trades(("1", "SPY", "2020-01-02", 5.0)))
    with opened(path=path, views=make.TRADES) as market:
        assert market.views == {"trades"}
        assert market.signals() is None
        with pytest.raises(ConfigError, match=r"source\.views\.prices: is required and not given; this source declares trades"):
            market.prices()


@given(
    bars=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.floats(-5, 5)), min_size=1, max_size=40, unique_by=lambda b: b[:2]),
    calendar=st.sampled_from(["core", "all"]),
)
def test_the_panel_is_the_last_bar_at_or_before_each_session(bars: list[tuple[int, int, float]], calendar: Any) -> None:
    symbols, core = ("A", "B", "C", "D"), frozenset({"B", "C"})
    table = pa.table(
        {
            "code": pa.array([b[0] for b in bars], pa.int32()),
            "day": pa.array([b[1] for b in bars], pa.int64()),
            "close": pa.array([b[2] for b in bars], pa.float64()),
        }
    )
    panel = arrange(table, symbols, core, calendar)
    core_days = {day for code, day, _ in bars if symbols[code] in core}
    expected = sorted(core_days if calendar == "core" and core_days else {day for _, day, _ in bars})
    assert panel.sessions.astype(int).tolist() == expected
    assert panel.calendar_used == ("core" if calendar == "core" and core_days else "all")
    for t, session in enumerate(expected):
        previous = expected[t - 1] if t else session - 1
        for code in range(4):
            known = {day: close for c, day, close in bars if c == code and day <= session}
            assert panel.fresh[t, code] == any(previous < day for day in known)
            if known:
                assert panel.close[t, code] == known[max(known)]
            else:
                assert np.isnan(panel.close[t, code])
