"""Data invariants: each broken for real, told with its count and first rows, at the severity that was configured."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policyengine.errors import DataError
from policyengine.market.checks import CHECKS, ROWS_SHOWN
from policyengine.market.columns import VIEWS
from policyengine.market.engine import statement
from policyengine.records import Finding, Severity
from policyengine.spec.source import CANONICAL_VIEWS, ChecksSpec

LOT = ("t1", "SPY", "2020-01-03", 5.0)
BARS = [("SPY", "2020-01-02", 10.0), ("SPY", "2020-01-03", 12.0)]


@pytest.fixture
def findings(tmp_path: Path, make: ModuleType, opened: Any) -> Any:
    """Findings of a source made of frames by view, or the error of checking it."""

    def of(universe: Any = None, severities: dict[str, str] | None = None, **frames: pd.DataFrame) -> tuple[Finding, ...]:
        whole = pd.concat([frame.astype(object).assign(view=view) for view, frame in frames.items()])
        path = make.parquet(tmp_path / "p.parquet", whole.infer_objects())
        views = {v: f"SELECT {', '.join(frame.columns)} FROM source WHERE view = '{v}'" for v, frame in frames.items()}
        with opened(path=path, views=views, checks=severities or {}, universe=universe) as market:
            return market.check()

    return of


def only(found: tuple[Finding, ...], check: str) -> Finding:
    assert [f.check for f in found] == [check]
    return found[0]


def test_every_check_has_a_severity_and_a_statement_over_known_columns() -> None:
    assert {c.name for c in CHECKS} | {"naive_times"} == {f.name for f in dataclasses.fields(ChecksSpec)}
    assert set(VIEWS) == set(CANONICAL_VIEWS)
    columns = {f"{view}.{column.name}" for view, of in VIEWS.items() for column in of}
    for check in CHECKS:
        assert columns.issuperset(check.needs)
        assert re.search(rf"(LIMIT |,\s+){ROWS_SHOWN}\b", statement(check.sql)), check.sql


def test_duplicate_bars(make: ModuleType, findings: Any) -> None:
    prices = make.bars(*BARS, *BARS, ("SPY", "2020-01-03", 13.0))
    with pytest.raises(DataError) as caught:
        findings(prices=prices)
    assert str(caught.value).endswith(
        "duplicate_keys: broken rule 'prices: no two bars share symbol and priced_at'; rows: 5, "
        "first: SPY 2020-01-02T00:00:00Z x 2 | SPY 2020-01-03T00:00:00Z x 3"
    )
    found = findings(prices=prices.sort_values("priced_at"), severities={"duplicate_keys": "alert"})
    assert only(found, "duplicate_keys").count == 5
    assert findings(prices=prices.sort_values("priced_at"), severities={"duplicate_keys": "ignore"}) == ()


def test_duplicate_signals_and_trades(make: ModuleType, findings: Any) -> None:
    signals = pd.DataFrame(
        {"signal_id": ["a", "a"], "symbol": "SPY", "signalled_at": "2020-01-02T10:00:00Z", "direction": 1, "confidence": 0.5}
    )
    with pytest.raises(DataError, match=r"duplicate_keys: broken rule 'signals: signal_id is unique'; rows: 2, first: a x 2"):
        findings(signals=signals)
    with pytest.raises(DataError, match=r"duplicate_keys: broken rule 'trades: trade_id is unique'; rows: 2, first: t1 x 2"):
        findings(trades=make.trades(LOT, LOT))


def test_first_rows_are_five_and_the_count_is_all(make: ModuleType, findings: Any) -> None:
    prices = make.bars(*[("SPY", f"2020-01-{d:02}", 1.0) for d in range(1, 29)], volume=-1.0)
    found = only(findings(prices=prices, severities={"negative_volumes": "alert"}), "negative_volumes")
    assert (found.count, len(found.rows), found.rows[0]) == (28, 5, "SPY 2020-01-01T00:00:00Z volume -1.0")


@pytest.mark.parametrize(("value", "shown"), [(np.inf, "close inf"), (-np.inf, "close -inf"), (None, "close missing")])
def test_closes_that_are_no_price(value: float | None, shown: str, make: ModuleType, findings: Any) -> None:
    prices = make.bars(*BARS)
    prices.loc[1, "close"] = value
    with pytest.raises(DataError, match=f"non_finite_prices: .*rows: 1, first: SPY 2020-01-03T00:00:00Z {shown}$"):
        findings(prices=prices)


def test_nan_is_no_price_and_an_absent_high_is_none(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "p.parquet", make.bars(*BARS))
    select = "SELECT symbol, priced_at, close, CASE WHEN close > 11 THEN {} END AS high FROM source"
    with opened(path=path, views={"prices": select.format("99.0")}) as market:
        assert market.check() == ()
    with (
        opened(path=path, views={"prices": select.format("CAST('nan' AS DOUBLE)")}) as market,
        pytest.raises(DataError, match=r"first: SPY 2020-01-03T00:00:00Z close 12.0 high nan$"),
    ):
        market.check()


def test_bars_out_of_order(make: ModuleType, findings: Any) -> None:
    prices = make.bars(("SPY", "2020-01-03", 1), ("WTI", "2020-01-02", 1), ("SPY", "2020-01-02", 1), ("WTI", "2020-01-03", 1))
    found = only(findings(prices=prices), "bars_out_of_order")
    assert (found.severity, found.count) == (Severity.ALERT, 1)
    assert found.rows == ("SPY 2020-01-02T00:00:00Z after 2020-01-03T00:00:00Z at row 3",)


def test_split_like_prices(make: ModuleType, findings: Any) -> None:
    days = ("2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08")
    moves = {"SPY": (90.0, 30.2, 29.0, 29.5, 28.0), "WTI": (20.0, -20.0, -40.0, 10.0, 18.0)}
    prices = make.bars(*((symbol, day, close) for symbol, closes in moves.items() for day, close in zip(days, closes, strict=True)))
    found = only(findings(prices=prices), "split_like_prices")
    assert (found.severity, found.count) == (Severity.ALERT, 1)
    assert found.rows == ("SPY 2020-01-03T00:00:00Z close 30.2 after 90.0",)


@pytest.mark.parametrize(
    ("instants", "count"),
    [
        (["2020-01-02T10:00:00", "2020-01-03 11:00"], 2),
        (["2020-01-02T10:00:00Z", "2020-01-03 11:00:00.25"], 1),
        (["2020-01-02T10:00:00+01:00", "2020-01-03 11:00:00-05"], 0),
        (["2020-01-02", "2020-01-03"], 0),
        (["2020-01-02 10:00:00 America/New_York", "2020-01-03 10:00:00 UTC"], 0),
        (list(pd.to_datetime(["2020-01-02", "2020-01-03"])), 2),
        (list(pd.to_datetime(["2020-01-02", "2020-01-03"], utc=True)), 0),
        (list(pd.to_datetime(["2020-01-02", "2020-01-03"]).date), 0),
    ],
)
def test_naive_times(instants: list[Any], count: int, tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(*BARS).assign(priced_at=instants)
    with opened(path=make.parquet(tmp_path / "p.parquet", frame), views=make.ALL) as market:
        found = market.check()
    assert sum(f.count for f in found) == count
    if count:
        assert only(found, "naive_times").rule == "prices: priced_at names its zone; read as UTC"


def test_nanoseconds_and_seconds_are_instants_too(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    closes = []
    for unit in ("s", "ms", "us", "ns"):
        frame = make.bars(*BARS)
        frame["priced_at"] = frame["priced_at"].dt.as_unit(unit)
        with opened(path=make.parquet(tmp_path / f"{unit}.parquet", frame), views=make.ALL) as market:
            assert market.check() == ()
            closes.append(market.prices().close.tolist())
    assert closes == [[[10.0], [12.0]]] * 4


def test_naive_times_come_first_and_can_stop_the_run(make: ModuleType, findings: Any) -> None:
    prices = make.bars(*reversed(BARS))
    prices["priced_at"] = ["2020-01-03 00:00", "2020-01-02 00:00"]
    assert [f.check for f in findings(prices=prices)] == ["naive_times", "bars_out_of_order"]
    with pytest.raises(DataError, match="naive_times: broken rule 'prices: priced_at names its zone; read as UTC'; rows: 2"):
        findings(prices=prices, severities={"naive_times": "error"})
    assert [f.check for f in findings(prices=prices, severities={"naive_times": "ignore"})] == ["bars_out_of_order"]


def test_a_symbol_in_two_buckets(make: ModuleType, findings: Any) -> None:
    other = ("t2", "WTI", "2020-01-06", -1.0)
    with pytest.raises(DataError, match=r"symbols_in_two_buckets: .*rows: 1, first: SPY in core, spec$"):
        findings(trades=make.trades(LOT, other, bucket=["spec", "spec"]))
    assert findings(trades=make.trades(LOT, other, bucket=["CORE", None])) == ()
    universe = make.universe_spec({}, unclassified="other")
    assert findings(trades=make.trades(LOT, other, bucket=["core", "spec"]), universe=universe) == ()
    with pytest.raises(DataError, match="SPY in core, spec"):
        findings(trades=make.trades(LOT, ("t2", "SPY", "2020-01-06", -1.0), bucket=["core", "spec"]), universe=universe)


def test_trades_without_a_signal(make: ModuleType, findings: Any) -> None:
    lots = make.trades(LOT, ("t2", "SPY", "2020-01-06", -1.0), ("t3", "SPY", "2020-01-06", -1.0), signal_id=["a", None, "b"])
    assert only(findings(trades=lots), "trades_without_signal").rows == ("t2 SPY 2020-01-06T00:00:00Z",)
    signals = pd.DataFrame({"signal_id": ["a"], "symbol": "SPY", "signalled_at": "2020-01-02T10:00:00Z", "direction": 1, "confidence": 0.5})
    found = findings(trades=lots, signals=signals)
    assert [f.rule for f in found] == ["trades: every trade names the signal it acted on", "trades: every signal_id is in view signals"]
    assert found[1].rows == ("t3 SPY 2020-01-06T00:00:00Z signal b",)
    assert findings(trades=make.trades(LOT, ("t2", "SPY", "2020-01-06", -1.0))) == ()


def test_34_closing_trades_all_positive_on_one_date(make: ModuleType, findings: Any) -> None:
    lots = make.trades(*[(f"t{i:02}", "SPY", f"2020-01-03T{i % 24:02}:00Z", 1.0 + i) for i in range(34)])
    found = findings(trades=lots)
    assert [(f.check, f.count, f.severity) for f in found] == [
        ("pnl_all_positive", 34, Severity.ALERT),
        ("pnl_on_one_date", 34, Severity.ALERT),
    ]
    assert found[0].rows[0] == "t00 SPY 2020-01-03T00:00:00Z realized_pnl 1.0"


def test_rows_that_do_not_count_hide_nothing(make: ModuleType, findings: Any) -> None:
    lots = make.trades(LOT, ("t2", "SPY", "2020-01-06", -9.0), ("t3", "SPY", "2020-01-07", -9.0), ("t4", "SPY", "2020-01-08", -9.0))
    lots = lots.assign(is_synthetic=[0, 1, 0, 0], is_diagnostic=[None, None, True, False], is_close=[1, 1, 1, 0])
    assert [(f.check, f.count) for f in findings(trades=lots)] == [("pnl_all_positive", 1), ("pnl_on_one_date", 1)]


def test_pnl_that_no_price_path_explains(make: ModuleType, findings: Any) -> None:
    prices = make.bars(*BARS, ("SPY", "2020-01-06", 20.0), high=[11.0, 12.5, 20.0], low=[9.5, None, 20.0])
    # up to 2020-01-03 the range is 9.5 to 12.5, so ten shares move at most 30; later bars explain nothing
    lots = make.trades(
        ("at", "SPY", "2020-01-03T20:00:00Z", 30.0),
        ("above", "SPY", "2020-01-03T20:00:00Z", 30.02),
        ("below", "SPY", "2020-01-03T20:00:00Z", -30.02),
        ("fee", "SPY", "2020-01-03T20:00:00Z", -31.0),
        ("later", "SPY", "2020-01-06", 105.0),
        ("unpriced", "WTI", "2020-01-06", 0.5),
        commission=[None, None, None, -1.0, None, None],
    )
    found = only(findings(prices=prices, trades=lots), "pnl_unexplained")
    assert found.count == 3
    assert [row.split()[0] for row in found.rows] == ["above", "below", "unpriced"]
    assert found.rows[0].endswith("realized_pnl 30.02 quantity 10.0 range 9.5 to 12.5")
    assert found.rows[2].endswith("no bars")


def test_pnl_beyond_the_trades_own_prices(make: ModuleType, findings: Any) -> None:
    lots = make.trades(LOT, ("t2", "SPY", "2020-01-06", -20.0), entry_price=[10.0, 11.0], price=[10.5, 10.0])
    found = only(findings(trades=lots), "pnl_unexplained")
    assert found.rows == ("t2 SPY 2020-01-06T00:00:00Z realized_pnl -20.0 quantity 10.0 entry 11.0 exit 10.0",)


@pytest.mark.parametrize(
    ("column", "values", "rule"),
    [
        ("close", ["1", "x"], "column close: found type VARCHAR, wanted a number; 1 of 2 values do not fit, first 'x'"),
        ("close", [True, False], "column close: found type BOOLEAN, wanted a number; 2 of 2 values do not fit, first 'true'"),
        ("close", [[1.0], [2.0]], "column close: found type DOUBLE[], wanted a number; 2 of 2 values do not fit, first '[1.0]'"),
        ("priced_at", [1, 2], "column priced_at: found type BIGINT, wanted an instant; 2 of 2 values do not fit, first '1'"),
        ("priced_at", ["2020-01-02", "soon"], "column priced_at: found type VARCHAR, wanted an instant; 1 of 2 values do not fit"),
        ("priced_at", ["2020-01-02", "infinity"], "wanted an instant; 1 of 2 values do not fit, first 'infinity'"),
        ("symbol", [1.5, 2.5], "column symbol: found type DOUBLE, wanted text; 2 of 2 values do not fit, first '1.5'"),
        ("symbol", ["SPY", None], "column symbol is missing; rows: 1, first: (symbol, priced_at, close) = (NULL, "),
        ("symbol", ["SPY", " "], "column symbol is missing; rows: 1, first: (symbol, priced_at, close) = (' ', "),
        ("priced_at", ["2020-01-02", None], "column priced_at is missing; rows: 1"),
    ],
)
def test_values_that_do_not_fit(column: str, values: list[Any], rule: str, tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "p.parquet", make.bars(*BARS).assign(**{column: values}))
    with pytest.raises(DataError) as caught, opened(path=path, views=make.ALL) as market:
        market.prices()
    assert rule in str(caught.value)
    assert str(caught.value).startswith(f"{path}, view prices: ")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("direction", "BYE", "column direction: found type VARCHAR, wanted BUY, SELL or HOLD (or 1, -1, 0); 1 of 1 values do not fit"),
        ("direction", 2, "wanted BUY, SELL or HOLD (or 1, -1, 0); 1 of 1 values do not fit, first '2'"),
        ("direction", None, "column direction is missing; rows: 1"),
        ("confidence", np.inf, "column confidence: found type DOUBLE, wanted a finite number; 1 of 1 values do not fit, first 'inf'"),
        ("confidence", 1.5, "column confidence: broken rule 'in_range(0.0, 1.0)'; rows: 1, first: 1.5"),
        ("confidence", None, "view signals: broken rule 'confidence is there on BUY and SELL'; rows: 1, first: code 0 signalled_at "),
        ("leverage", -1.0, "column leverage: broken rule 'greater_than(0.0)'; rows: 1, first: -1.0"),
        ("signal_id", None, "column signal_id is missing; rows: 1"),
    ],
)
def test_signals_that_do_not_fit(column: str, value: Any, rule: str, tmp_path: Path, make: ModuleType, opened: Any) -> None:
    row = {"signal_id": "s", "symbol": "SPY", "signalled_at": "2020-01-02T10:00:00Z", "direction": "BUY", "confidence": 0.5, column: value}
    path = make.parquet(tmp_path / "p.parquet", pd.DataFrame([row]))
    with pytest.raises(DataError) as caught, opened(path=path, views={"signals": "SELECT * FROM source"}) as market:
        market.signals()
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("side", "LONG", "column side: found type VARCHAR, wanted BUY or SELL; 1 of 1 values do not fit, first 'LONG'"),
        ("bucket", "risky", "column bucket: found type VARCHAR, wanted safe, core, spec or other; 1 of 1 values do not fit, first 'risky'"),
        ("is_close", "maybe", "column is_close: found type VARCHAR, wanted true or false; 1 of 1 values do not fit, first 'maybe'"),
        ("is_close", 2, "wanted true or false; 1 of 1 values do not fit, first '2'"),
        ("realized_pnl", np.inf, "column realized_pnl: found type DOUBLE, wanted a finite number"),
        ("base_confidence", 1.5, "column base_confidence: broken rule 'in_range(0.0, 1.0)'; rows: 1, first: 1.5"),
    ],
)
def test_trades_that_do_not_fit(column: str, value: Any, rule: str, tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "p.parquet", make.trades(LOT).assign(**{column: value}))
    with pytest.raises(DataError) as caught, opened(path=path, views=make.TRADES) as market:
        market.closing_trades()
    assert rule in str(caught.value)


def test_unlisted_symbols_print_the_yaml_to_add(make: ModuleType, findings: Any) -> None:
    prices = make.bars(*BARS, ("'; DROP TABLE x; --", "2020-01-02", 1), ('Z"\u202e', "2020-01-02", 1))
    with pytest.raises(DataError) as caught:
        findings(prices=prices)
    assert str(caught.value).endswith(
        "view prices: symbols not in universe.instruments: 2; add them with their bucket (safe, core, spec, other), "
        "or set universe.unclassified=other:\n"
        "  instruments:\n"
        '    "\'; DROP TABLE x; --": {bucket: other}\n'
        '    "Z\\"\\u202e": {bucket: other}'
    )
    many = make.bars(*[(f"X{i:02}", "2020-01-02", 1) for i in range(60)])
    with pytest.raises(DataError, match="# and 10 more"):
        findings(prices=many)
    assert findings(prices=prices, universe=make.universe_spec({}, unclassified="other")) == ()


def test_prices_in_another_currency(make: ModuleType, findings: Any) -> None:
    with pytest.raises(DataError, match=r"currency is not the instrument's; symbols: 1, first: SPY NGN instead of USD"):
        findings(prices=make.bars(*BARS, currency="NGN"))
    assert findings(prices=make.bars(*BARS, currency=["USD", None])) == ()
    with pytest.raises(DataError, match="SPY NGN instead of USD"):
        findings(prices=make.bars(*BARS, currency="NGN"), universe=make.universe_spec({}, unclassified="other"))


def test_the_currencies_of_rates_and_of_foreign_instruments(make: ModuleType, findings: Any) -> None:
    listed = {"SPY": {"bucket": "core"}, "SAP": {"bucket": "core", "currency": "EUR"}}
    universe = make.universe_spec({}, instruments=listed, fx={"EURUSD": "EUR/USD", "USDJPY": "USD/JPY"})
    rows = [("SPY", "2020-01-02", 1.0), ("SAP", "2020-01-02", 1.0), ("EURUSD", "2020-01-02", 1.1), ("USDJPY", "2020-01-02", 110.0)]
    assert findings(prices=make.bars(*rows, currency=["USD", "EUR", "USD", "JPY"]), universe=universe) == ()
    with pytest.raises(DataError, match=r"symbols: 3, first: EURUSD EUR instead of USD; SAP USD instead of EUR; USDJPY USD instead of JPY"):
        findings(prices=make.bars(*rows, currency=["USD", "USD", "EUR", "USD"]), universe=universe)


@pytest.mark.parametrize("unclassified", ["error", "other"])
def test_rates_do_not_trade(unclassified: str, make: ModuleType, findings: Any) -> None:
    universe = make.universe_spec(fx={"EURUSD": "EUR/USD"}, unclassified=unclassified)
    prices = make.bars(*BARS, ("EURUSD", "2020-01-02", 1.1))
    with pytest.raises(DataError, match=r"view trades: symbols of universe\.fx do not trade: EURUSD$"):
        findings(prices=prices, trades=make.trades(("t1", "EURUSD", "2020-01-02", 0.0)), universe=universe)
    signals = pd.DataFrame({"signal_id": ["a"], "symbol": "EURUSD", "signalled_at": "2020-01-02", "direction": 1, "confidence": 0.5})
    with pytest.raises(DataError, match=r"view signals: symbols of universe\.fx do not trade: EURUSD$"):
        findings(prices=prices, signals=signals, universe=universe)
    assert findings(prices=prices, universe=universe) == ()
    unlisted = make.bars(*BARS, ("EURUSD", "2020-01-02", 1.1), ("X", "2020-01-02", 1.0))
    if unclassified == "error":
        with pytest.raises(DataError, match=r'symbols not in universe\.instruments: 1; .*\n  instruments:\n    "X": \{bucket: other\}$'):
            findings(prices=unlisted, universe=universe)
    else:
        assert findings(prices=unlisted, universe=universe) == ()


@pytest.mark.parametrize(
    ("symbol", "instant", "meets"), [("SPY", "2020-01-03T23:59:00Z", True), ("SPY", "2020-01-04", False), ("WTI", "2020-01-02", False)]
)
def test_signals_that_meet_no_prices(symbol: str, instant: str, meets: bool, make: ModuleType, findings: Any) -> None:
    signals = pd.DataFrame({"signal_id": ["a"], "symbol": symbol, "signalled_at": instant, "direction": 1, "confidence": 0.5})
    if meets:
        assert findings(prices=make.bars(*BARS), signals=signals) == ()
        return
    with pytest.raises(DataError) as caught:
        findings(prices=make.bars(*BARS), signals=signals)
    day = instant[:10]
    assert str(caught.value).endswith(
        f"view signals: no signal meets prices of its symbol; signals: {symbol} to {symbol} {day} to {day}; "
        "prices: SPY to SPY 2020-01-02 to 2020-01-03"
    )


def test_several_errors_are_told_at_once(make: ModuleType, findings: Any) -> None:
    with pytest.raises(DataError) as caught:
        findings(prices=make.bars(*BARS, *BARS, volume=-1.0))
    assert [line.strip().partition(":")[0] for line in str(caught.value).splitlines()[1:]] == ["negative_volumes"]
    assert "duplicate_keys" in str(caught.value).splitlines()[0]
