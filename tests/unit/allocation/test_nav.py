"""NAV: hand-worked values, every refusal by name, agreement with the book of a replay, and what docs/nav.md says."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.allocation.nav import (
    Mark,
    PortfolioSnapshot,
    compute_nav,
    fx_rate,
    in_base_currency,
    panel_rates,
    value_portfolio,
    weights_of,
)
from policyengine.errors import DataError
from policyengine.execution.ledger import Book, empty_book, fill
from policyengine.market.panel import PricePanel
from policyengine.spec.bind import bind
from policyengine.spec.universe import UniverseSpec
from tests.conftest import ROOT

LISTED: dict[str, dict[str, Any]] = {
    "SPY": {"bucket": "core"},
    "WTI": {"bucket": "spec"},
    "SAP": {"bucket": "core", "currency": "EUR"},
    "SONY": {"bucket": "core", "currency": "JPY"},
    "MTNN": {"bucket": "spec", "currency": "NGN"},
    "PUT": {"bucket": "spec", "type": "option", "contract_multiplier": 100, "stress_loss": 2500},
    "ECALL": {"bucket": "spec", "type": "option", "currency": "EUR", "contract_multiplier": 10},
}
FX = {"EURUSD": "EUR/USD", "USDJPY": "USD/JPY", "EURNGN": "EUR/NGN"}
RATES = {"EUR/USD": 1.25, "USD/JPY": 125.0, "EUR/NGN": 500.0}
"""1 EUR = 1.25 USD, 1 JPY = 0.008 USD, 1 NGN = 1/500 EUR = 0.0025 USD."""
NOW = datetime(2020, 4, 20, 15, tzinfo=UTC)


def universe(**keys: Any) -> UniverseSpec:
    return bind(UniverseSpec, {"instruments": LISTED, "fx": FX, "options": {"enabled": True}, **keys}, "universe")


ON = universe()


def held(positions: dict[str, float] | None = None, cash: dict[str, float] | None = None, **changes: Any) -> PortfolioSnapshot:
    return replace(
        PortfolioSnapshot(
            cash={"USD": 1000.0} if cash is None else cash, positions=positions or {}, fx_rates=RATES, as_of=NOW, universe=ON
        ),
        **changes,
    )


def old(price: float, days: float) -> Mark:
    return Mark(price=price, priced_at=NOW - timedelta(days=days))


def test_each_kind_of_holding_by_hand() -> None:
    positions = {"SPY": 10.0, "WTI": -2.0, "SAP": 4.0, "SONY": 100.0, "MTNN": 1000.0, "PUT": 3.0, "ECALL": -5.0}
    prices = {"SPY": 300.0, "WTI": 40.0, "SAP": 100.0, "SONY": 6250.0, "MTNN": 120.0, "PUT": 2.5, "ECALL": 1.2}
    found = value_portfolio(held(positions, {"USD": 1000.0, "EUR": -200.0, "JPY": 12500.0, "NGN": 400.0}), prices)
    assert found.cash == pytest.approx({"USD": 1000.0, "EUR": -250.0, "JPY": 100.0, "NGN": 1.0}, rel=1e-15)
    expected = {"SPY": 3000.0, "WTI": -80.0, "SAP": 500.0, "SONY": 5000.0, "MTNN": 300.0, "PUT": 750.0, "ECALL": -75.0}
    assert found.values == pytest.approx(expected, rel=1e-15)
    assert found.nav == pytest.approx(851.0 + 9395.0, rel=1e-15)
    assert compute_nav(held(positions), prices) == pytest.approx(10395.0, rel=1e-15)
    assert found.flags == ()


def test_negative_prices_count_as_they_are() -> None:
    assert compute_nav(held({"WTI": 10.0}), {"WTI": -37.63}) == 1000.0 - 376.3
    assert compute_nav(held({"WTI": -10.0}), {"WTI": -37.63}) == 1000.0 + 376.3
    assert compute_nav(held({"WTI": 50.0}), {"WTI": -37.63}) == pytest.approx(-881.5)


def test_sums_are_exact_whatever_the_order() -> None:
    prices = {"SPY": 1.0, "WTI": 1e16, "SONY": 1.0}
    for order in (("SPY", "WTI", "SONY"), ("SONY", "SPY", "WTI")):
        positions = {symbol: {"SPY": 1.0, "WTI": -1.0, "SONY": 0.0}[symbol] for symbol in order}
        assert compute_nav(held(positions, {"USD": 1e16}), prices) == 1.0


def test_nothing_held_needs_nothing() -> None:
    snapshot = held({"GONE": 0.0, "SAP": 0.0}, {"USD": 5.0, "XYZ": 0.0}, fx_rates={})
    assert value_portfolio(snapshot, {}).values == {}
    assert value_portfolio(snapshot, {}).cash == {"USD": 5.0, "XYZ": 0.0}
    assert compute_nav(held({}, {}), {"GONE": math.nan}) == 0.0


@pytest.mark.parametrize(
    ("quantity", "price", "value", "after"), [(10, 40, 400, 300), (-10, 40, -400, -500), (10, -40, -400, -500), (-10, -40, 400, 300)]
)
def test_a_haircut_makes_nav_smaller_whatever_the_signs(quantity: float, price: float, value: float, after: float) -> None:
    cut = universe(valuation={"stale_days": 5, "unpriced": "haircut", "haircut_frac": 0.25})
    snapshot = held({"WTI": quantity}, universe=cut)
    assert compute_nav(snapshot, {"WTI": old(price, 5)}) == 1000.0 + value
    found = value_portfolio(snapshot, {"WTI": old(price, 6)})
    assert (found.nav, found.values) == (1000.0 + after, {"WTI": after})
    (flag,) = found.flags
    assert (flag.symbol, flag.age_days, flag.amount, flag.priced_at) == ("WTI", 6, 100.0, NOW - timedelta(days=6))


def test_age_is_counted_in_utc_dates() -> None:
    """Five dates before, though 5 days and 15 hours; the same instant six dates before by its UTC date, whatever its zone says."""
    strict = universe(valuation={"stale_days": 5})
    snapshot = held({"SPY": 1.0}, universe=strict)
    assert compute_nav(snapshot, {"SPY": Mark(price=7.0, priced_at=datetime(2020, 4, 15, tzinfo=UTC))}) == 1007.0
    lagos = datetime(2020, 4, 15, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    with pytest.raises(DataError) as caught:
        compute_nav(snapshot, {"SPY": Mark(price=7.0, priced_at=lagos)})
    assert str(caught.value) == (
        "snapshot.positions.SPY: was last priced at 2020-04-15T00:30:00+01:00, 6 days before the snapshot; "
        "universe.valuation.stale_days is 5 and unpriced is 'error'"
    )


@pytest.mark.parametrize("unpriced", ["error", "haircut"])
def test_what_never_had_a_price_is_an_error_never_zero(unpriced: str) -> None:
    snapshot = held({"SPY": 1.0, "SAP": 2.0}, universe=universe(valuation={"unpriced": unpriced}))
    for call in (compute_nav, weights_of):
        with pytest.raises(DataError, match=r"snapshot\.positions\.SAP: is held and has no price, not even an old one"):
            call(snapshot, {"SPY": 1.0})


@pytest.mark.parametrize(
    ("positions", "changes", "prices", "message"),
    [
        ({"GONE": 1.0}, {}, {"GONE": 1.0}, r"positions\.GONE: is not in universe\.instruments: a position in an instrument that left"),
        ({"EURUSD": 1.0}, {}, {"EURUSD": 1.0}, r"positions\.EURUSD: is a rate of universe\.fx \(EUR/USD\), which cannot be held"),
        (
            {"PUT": 1.0},
            {"universe": universe(options={"enabled": False})},
            {"PUT": 1.0},
            r"positions\.PUT: is an option, and universe\.options\.enabled is false",
        ),
        ({"SAP": 1.0}, {"fx_rates": {}}, {"SAP": 1.0}, r"positions\.SAP: no rate from 'EUR' to 'USD', .*; rates given: none"),
        (
            {"MTNN": 1.0},
            {"fx_rates": {"EUR/USD": 1.0, "GBP/NGN": 2.0}},
            {"MTNN": 1.0},
            r"positions\.MTNN: no rate from 'NGN' to 'USD', direct, inverse or through one common currency; rates given: EUR/USD, GBP/NGN",
        ),
        ({}, {"cash": {"CHF": 5.0}}, {}, r"cash\.CHF: no rate from 'CHF' to 'USD'"),
        ({"SPY": 1.0}, {}, {"SPY": math.nan}, "price of SPY: nan is not finite"),
        ({"SPY": 1.0}, {}, {"SPY": Mark(price=math.inf, priced_at=NOW)}, "price of SPY: inf is not finite"),
        ({"SPY": 1e200}, {}, {"SPY": 1e200}, r"positions\.SPY: inf is not finite"),
        ({"SAP": 1e-9}, {"fx_rates": {"USD/EUR": 5e-324}}, {"SAP": 1.0}, r"positions\.SAP: inf is not finite"),
        ({}, {"cash": {"EUR": 1e300}, "fx_rates": {"EUR/USD": 1e300}}, {}, r"cash\.EUR: inf is not finite"),
        ({"SPY": 1.0}, {}, {"SPY": Mark(price=1.0, priced_at=NOW.replace(tzinfo=None))}, "price of SPY: 2020-04-20T15:00:00 names no zone"),
        ({"SPY": 1.0}, {}, {"SPY": old(1.0, -1e-9)}, r"price of SPY: 2020-04-20T15:00:00\.000086\+00:00 is after the snapshot"),
    ],
)
def test_refused_by_name(positions: dict[str, float], changes: dict[str, Any], prices: dict[str, Any], message: str) -> None:
    snapshot = held(positions, **changes)
    with pytest.raises(DataError, match=message):
        compute_nav(snapshot, prices)
    with pytest.raises(DataError, match=message):
        weights_of(snapshot, prices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cash": {"USD": math.nan}}, "snapshot.cash.USD: nan is not finite"),
        ({"positions": {"SPY": math.inf}}, "snapshot.positions.SPY: inf is not finite"),
        ({"fx_rates": {"EUR/USD": math.inf}}, "snapshot.fx_rates.EUR/USD: inf is not finite"),
        ({"fx_rates": {"EUR/USD": 0.0}}, "snapshot.fx_rates.EUR/USD: 0 is not above 0"),
        ({"fx_rates": {"EUR/USD": -1.1}}, "snapshot.fx_rates.EUR/USD: -1.1 is not above 0"),
        ({"fx_rates": {"EURUSD": 1.1}}, "snapshot.fx_rates.EURUSD: 'EURUSD' is not a pair of two currencies, such as EUR/USD"),
        ({"as_of": datetime(2020, 4, 20)}, "snapshot.as_of: 2020-04-20T00:00:00 names no zone"),  # noqa: DTZ001 - refused for that
    ],
)
def test_snapshots_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        held(**changes)
    assert str(caught.value) == message


def test_a_universe_that_takes_anything_values_it_in_base_currency() -> None:
    anything = universe(unclassified="other")
    assert compute_nav(held({"NEW": 3.0}, universe=anything), {"NEW": 2.0}) == 1006.0


@pytest.mark.parametrize("shape", [float, lambda rate: np.array([rate, 2.0 * rate, math.nan])])
def test_rates_direct_inverse_and_cross_for_numbers_and_arrays(shape: Any) -> None:
    rates = {pair: shape(rate) for pair, rate in RATES.items()}
    for source, target, once, twice in (("EUR", "USD", 1.25, 2.5), ("USD", "EUR", 0.8, 0.4), ("NGN", "USD", 0.0025, 0.0025)):
        found = fx_rate(rates, source, target)
        assert found == pytest.approx(shape(1.0) * 0.0 + (once if shape is float else [once, twice, math.nan]), rel=1e-15, nan_ok=True)
    assert fx_rate(rates, "CHF", "CHF") == 1.0
    with pytest.raises(DataError, match="fx_rates: no rate from 'CHF' to 'USD'"):
        fx_rate(rates, "CHF", "USD")
    with pytest.raises(DataError, match="fx_rates: no rate from 'JPY' to 'NGN'"):
        fx_rate(rates, "JPY", "NGN")


def test_weights_by_hand() -> None:
    positions = {"SPY": 10.0, "WTI": -2.0, "SAP": 4.0, "PUT": -2.0, "ECALL": 4.0, "SONY": 0.0}
    prices = {"SPY": 300.0, "WTI": 40.0, "SAP": 100.0, "PUT": 2.5, "ECALL": 1.2}
    snapshot = held(positions, {"USD": 7020.0})
    assert compute_nav(snapshot, prices) == 10_000.0  # 7020 + 3000 - 80 + 500 - 500 + 60
    assert weights_of(snapshot, prices) == pytest.approx({"ECALL": 0.006, "PUT": -0.5, "SAP": 0.05, "SPY": 0.3, "WTI": -0.008}, rel=1e-15)


def test_weights_keep_the_sense_of_long_and_short_at_a_negative_price() -> None:
    assert weights_of(held({"WTI": 10.0}, {"USD": 1400.0}), {"WTI": -40.0}) == {"WTI": 0.4}
    assert weights_of(held({"WTI": -10.0}, {"USD": 600.0}), {"WTI": -40.0}) == {"WTI": -0.4}


def test_a_haircut_shrinks_nav_and_not_the_exposure() -> None:
    cut = universe(valuation={"unpriced": "haircut", "haircut_frac": 0.5})
    assert weights_of(held({"SPY": 10.0}, universe=cut), {"SPY": old(100.0, 30)}) == {"SPY": 1000.0 / 1500.0}


def test_short_options_count_their_stress_loss_in_their_currency_or_are_refused() -> None:
    with pytest.raises(DataError, match=r"snapshot\.positions\.ECALL: is short, .*: universe\.instruments\.ECALL\.stress_loss"):
        weights_of(held({"ECALL": -1.0}), {"ECALL": 1.0})
    stressed = universe(instruments={**LISTED, "ECALL": {**LISTED["ECALL"], "stress_loss": 80}})
    assert weights_of(held({"ECALL": -2.0}, {"USD": 1025.0}, universe=stressed), {"ECALL": 1.0}) == {"ECALL": -0.2}


@pytest.mark.parametrize("cash", [0.0, -5.0])
def test_there_are_no_weights_of_no_nav(cash: float) -> None:
    with pytest.raises(DataError, match=rf"snapshot: NAV is {cash:g} USD; there are no fractions of it"):
        weights_of(held({}, {"USD": cash}), {})


def panel(close: dict[str, list[float]], **changes: Any) -> PricePanel:
    """A panel of `close` by symbol; fresh wherever the close is known and has changed."""
    symbols = tuple(sorted(close))
    matrix = np.array([close[symbol] for symbol in symbols], dtype=np.float64).T
    fresh = ~np.isnan(matrix)
    fresh[1:] &= ~(matrix[1:] == matrix[:-1])
    days = np.arange(np.datetime64("2020-01-06"), np.datetime64("2020-01-06") + matrix.shape[0])
    made = PricePanel(sessions=days, symbols=symbols, close=matrix, fresh=fresh, calendar_used="core", periods_per_year=252)
    return replace(made, **changes)


def test_a_panel_in_base_currency_by_hand() -> None:
    nan = math.nan
    made = panel(
        {
            "ECALL": [nan, 2.0, 3.0],
            "EURNGN": [500.0, 500.0, 400.0],
            "EURUSD": [nan, 1.25, 1.0],
            "MTNN": [120.0, 120.0, 120.0],
            "SAP": [100.0, 100.0, 110.0],
            "SONY": [6250.0, 6000.0, 6000.0],
            "SPY": [300.0, 301.0, nan],
            "USDJPY": [125.0, 125.0, 120.0],
            "WTI": [10.0, -37.63, 0.0],
        },
        periods_per_year=365,
        calendar_used="all",
    )
    found = in_base_currency(made, ON)
    assert found.symbols == ("ECALL", "MTNN", "SAP", "SONY", "SPY", "WTI")
    expected = [[nan, nan, nan, 50.0, 300.0, 10.0], [25.0, 0.3, 125.0, 48.0, 301.0, -37.63], [30.0, 0.3, 110.0, 50.0, nan, 0.0]]
    np.testing.assert_allclose(found.close, expected, rtol=1e-15)
    kept = [made.symbols.index(symbol) for symbol in found.symbols]
    np.testing.assert_array_equal(found.fresh, made.fresh[:, kept])
    assert not found.fresh[2, found.symbols.index("MTNN")]  # a new rate alone is no bar
    assert (found.periods_per_year, found.calendar_used, found.sessions is made.sessions) == (365, "all", True)
    assert made.close[1, made.symbols.index("SAP")] == 100.0
    assert in_base_currency(found, universe(instruments={s: {"bucket": "core"} for s in found.symbols})) is found


def test_nothing_to_convert_is_the_panel_itself() -> None:
    made = panel({"SPY": [1.0, 2.0], "WTI": [-1.0, math.nan], "NEW": [1.0, 1.0]})
    assert in_base_currency(made, ON) is made
    only_rates = panel({"SPY": [1.0, 2.0], "EURUSD": [0.9, 1.1]})
    found = in_base_currency(only_rates, ON)
    assert (found.symbols, found.close.tolist()) == (("SPY",), [[1.0], [2.0]])


def test_an_inert_option_is_no_column() -> None:
    found = in_base_currency(panel({"SPY": [1.0], "PUT": [2.0]}), universe(options={"enabled": False}))
    assert (found.symbols, found.close.tolist(), found.fresh.tolist()) == (("SPY",), [[1.0]], [[True]])


@pytest.mark.parametrize(
    ("close", "message"),
    [
        ({"SAP": [1.0, 1.0]}, "prices: SAP in EUR needs EUR/USD, and EURUSD of universe.fx has no bar"),
        ({"MTNN": [1.0, 1.0], "EURUSD": [1.0, 1.0]}, "prices: MTNN in NGN needs EUR/NGN, and EURNGN of universe.fx has no bar"),
        (
            {"SAP": [1.0, 1.0], "EURUSD": [math.nan, 0.0]},
            "prices: EURUSD is at 0 on 2020-01-07; a rate (EUR/USD) is above 0",
        ),
        ({"SAP": [1e200, 1.0], "EURUSD": [1e200, 1.0]}, "prices: SAP in USD is beyond what a float can hold"),
        ({"SONY": [1.0, 1.0], "USDJPY": [5e-324, 1.0]}, "prices: SONY in USD is beyond what a float can hold"),
    ],
)
def test_panels_that_cannot_be_put_in_base_currency(close: dict[str, list[float]], message: str) -> None:
    with pytest.raises(DataError) as caught:
        in_base_currency(panel(close), ON)
    assert str(caught.value) == message


def random_market(rng: np.random.Generator, sessions: int) -> PricePanel:
    """Every kind of instrument and every rate; the spot prices may be negative."""
    close = {symbol: (rng.choice([-1.0, 1.0], p=[0.3, 0.7]) * rng.lognormal(3.0, 2.0, sessions)).tolist() for symbol in LISTED}
    close |= {symbol: rng.lognormal(2.0, 0.5, sessions).tolist() for symbol in ("PUT", "ECALL")}
    close |= {symbol: (rate * rng.lognormal(0.0, 0.3, sessions)).tolist() for symbol, rate in zip(FX, RATES.values(), strict=True)}
    return panel(close)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_book_of_a_replay_and_a_snapshot_of_it_agree(seed: int) -> None:
    """Books that trade at prices in base currency, valued by the replay's ledger and from native prices and rates."""
    rng = np.random.default_rng(seed)
    made = random_market(rng, 6)
    based, rates = in_base_currency(made, ON), panel_rates(made, ON)
    books: Book = empty_book(2, len(based.symbols), 1e6)
    for t, session in enumerate(based.sessions):
        price = based.close[t]
        quantity = rng.normal(0.0, 2e4, books.quantity.shape) / np.abs(price) * (rng.random(books.quantity.shape) < 0.6)
        books, _ = fill(books, books.nav(price), quantity, price, 5e-4)
        as_of = datetime.combine(date.fromisoformat(str(session)), datetime.min.time(), tzinfo=UTC)
        for p, nav in enumerate(books.nav(price).tolist()):
            snapshot = PortfolioSnapshot(
                cash={"USD": float(books.cash[p])},
                positions=dict(zip(based.symbols, books.quantity[p].tolist(), strict=True)),
                fx_rates={pair: float(rate[t]) for pair, rate in rates.items()},
                as_of=as_of,
                universe=ON,
            )
            native = dict(zip(made.symbols, made.close[t].tolist(), strict=True))
            found = value_portfolio(snapshot, native)
            gross = abs(books.cash[p]) + sum(map(abs, found.values.values()))
            assert found.nav == pytest.approx(nav, rel=1e-10, abs=1e-14 * gross)
            assert set(found.values) == {symbol for symbol, q in snapshot.positions.items() if q != 0.0}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_weights_are_the_exposures_of_the_replay_for_all_but_short_options(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = random_market(rng, 1)
    based = in_base_currency(made, ON)
    quantity = rng.normal(0.0, 1e3, len(based.symbols)) / np.abs(based.close[0])
    for option in ("PUT", "ECALL"):
        quantity[based.symbols.index(option)] *= np.sign(quantity[based.symbols.index(option)])
    book = replace(empty_book(1, len(based.symbols), 1e6), quantity=quantity[None])
    nav = book.nav(based.close[0])[0]
    snapshot = held(
        dict(zip(based.symbols, quantity.tolist(), strict=True)),
        {"USD": 1e6},
        fx_rates={pair: float(rate[0]) for pair, rate in panel_rates(made, ON).items()},
    )
    found = weights_of(snapshot, dict(zip(made.symbols, made.close[0].tolist(), strict=True)))
    expected = dict(zip(based.symbols, (quantity * np.abs(based.close[0]) / nav).tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-10)


def test_the_snippets_of_the_document_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "nav.md").read_text(), flags=re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "docs/nav.md", "exec"), {})


def test_the_declarations_in_the_document_bind() -> None:
    import yaml

    (declared,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "nav.md").read_text(), flags=re.DOTALL)
    bound = bind(UniverseSpec, yaml.safe_load(declared), "universe")
    assert bound.legs_to_base("SONY") == (("USD/JPY", True),)
