"""The universe: what may be declared, what is refused, and how currencies are chained."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.errors import ConfigError
from policyengine.records import Bucket, Sleeve
from policyengine.spec.bind import bind
from policyengine.spec.universe import InstrumentSpec, UniverseSpec, ValuationSpec, conversion, currencies_of

EUR = {"bucket": "core", "currency": "EUR"}
PUT = {"bucket": "spec", "type": "option", "contract_multiplier": 100, "stress_loss": 2000}


def universe(more: dict[str, Any] | None = None, **keys: Any) -> UniverseSpec:
    return bind(UniverseSpec, {"instruments": {"SPY": {"bucket": "core"}, **(more or {})}, **keys}, "universe")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"market": ""}, "market: '' is empty"),
        ({"lot_size": 0}, "lot_size: 0 is not a finite number above 0"),
        ({"lot_size": -1}, "lot_size: -1 is not a finite number above 0"),
        ({"type": "option", "contract_multiplier": 0.0}, "contract_multiplier: 0 is not a finite number above 0"),
        ({"type": "option", "stress_loss": -5.0}, "stress_loss: -5 is not a finite number above 0"),
        ({"type": "option", "stress_loss": 0.0}, "stress_loss: 0 is not a finite number above 0"),
        ({"contract_multiplier": 100.0}, "contract_multiplier: 100 on type 'spot'; only an option has one"),
        ({"stress_loss": 100.0}, "stress_loss: 100 on type 'spot'; only an option has one"),
        ({"type": "future"}, "type: unknown value 'future'"),
    ],
)
def test_instruments_that_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        universe({"X": {"bucket": "spec", **keys}})
    assert str(caught.value).startswith(f"universe.instruments.X.{message}")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_sizes_that_are_not_finite_are_refused_without_binding(value: float) -> None:
    with pytest.raises(ConfigError, match=r"lot_size: (nan|inf) is not a finite number above 0"):
        InstrumentSpec(bucket=Bucket.CORE, lot_size=value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"valuation": {"stale_days": -1}}, "valuation.stale_days: -1 is below 0"),
        ({"valuation": {"haircut_frac": 1.5}}, "valuation.haircut_frac: 1.5 is not in [0, 1]"),
        ({"valuation": {"haircut_frac": -0.1}}, "valuation.haircut_frac: -0.1 is not in [0, 1]"),
        ({"valuation": {"unpriced": "zero"}}, "valuation.unpriced: unknown value 'zero'"),
        ({"fx": {"EURUSD": "EURUSD"}}, "fx.EURUSD: 'EURUSD' is not a pair of two currencies, such as EUR/USD"),
        ({"fx": {"EURUSD": "EUR/EUR"}}, "fx.EURUSD: 'EUR/EUR' is not a pair"),
        ({"fx": {"EURUSD": "EUR/USD/GBP"}}, "fx.EURUSD: 'EUR/USD/GBP' is not a pair"),
        ({"fx": {" ": "EUR/USD"}}, "fx: ' ' is not a symbol"),
        ({"fx": {"SPY": "EUR/USD"}}, "fx.SPY: is in universe.instruments too; a rate does not trade"),
        ({"fx": {"A": "EUR/USD", "B": "EUR/USD"}}, "fx.B: 'EUR/USD' is quoted by A already"),
        ({"options": {"enabled": "yes"}}, "options.enabled: 'yes' is not true or false"),
        ({"instruments": {}}, "instruments: {} is empty and unclassified is 'error', so nothing could trade"),
        ({"instruments": {" ": {"bucket": "core"}}}, "instruments: ' ' is not a symbol"),
        ({"cash_rate_symbol": "BIL"}, "cash_rate_symbol: 'BIL' is not in universe.instruments"),
    ],
)
def test_universes_that_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        universe(**keys)
    assert str(caught.value).startswith(f"universe.{message}")


def test_a_currency_needs_a_path_to_the_base_currency() -> None:
    with pytest.raises(ConfigError) as caught:
        universe({"SAP": EUR}, fx={"GBPUSD": "GBP/USD"})
    assert str(caught.value) == (
        "universe.instruments.SAP.currency: 'EUR' is not the base currency 'USD', "
        "and no direct, inverse or cross path of universe.fx leads there"
    )
    assert universe({"SAP": EUR}, fx={"A": "EUR/USD"}).legs_to_base("SAP") == (("EUR/USD", False),)
    assert universe({"SAP": EUR}, fx={"A": "USD/EUR"}).legs_to_base("SAP") == (("USD/EUR", True),)
    crossed = universe({"SAP": EUR}, fx={"A": "GBP/EUR", "B": "GBP/USD"})
    assert crossed.legs_to_base("SAP") == (("GBP/EUR", True), ("GBP/USD", False))
    assert crossed.legs_to_base("SPY") == ()


def test_two_common_currencies_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="no direct, inverse or cross path"):
        universe({"SAP": EUR}, fx={"A": "EUR/GBP", "B": "GBP/JPY", "C": "JPY/USD"})


def test_the_cash_rate_is_that_of_the_base_currency() -> None:
    with pytest.raises(ConfigError, match=r"cash_rate_symbol: 'SAP' is quoted in 'EUR'; cash earns the rate of the base currency 'USD'"):
        universe({"SAP": EUR}, fx={"A": "EUR/USD"}, cash_rate_symbol="SAP")
    assert universe({"SAP": EUR}, fx={"A": "EUR/USD"}, cash_rate_symbol="SPY").cash_rate_symbol == "SPY"
    with pytest.raises(ConfigError, match="cash_rate_symbol: 'PUT' is an option"):
        universe({"PUT": PUT}, options={"enabled": True}, cash_rate_symbol="PUT")


def test_an_option_is_inert_until_options_are_enabled() -> None:
    bare = {"bucket": "spec", "type": "option", "currency": "EUR"}
    off = universe({"PUT": bare})
    assert (off.is_option("PUT"), off.is_inert("PUT"), off.is_traded("PUT")) == (True, True, False)
    with pytest.raises(ConfigError, match=r"instruments\.PUT\.currency: 'EUR' is not the base currency"):
        universe({"PUT": bare}, options={"enabled": True})
    with pytest.raises(
        ConfigError, match=r"instruments\.PUT\.contract_multiplier: is required for an option while options.enabled is true"
    ):
        universe({"PUT": bare}, options={"enabled": True}, fx={"A": "EUR/USD"})
    on = universe({"PUT": PUT}, options={"enabled": True})
    assert (on.is_option("PUT"), on.is_inert("PUT"), on.is_traded("PUT"), on.multiplier("PUT")) == (True, False, True, 100.0)


def test_what_is_not_listed_is_priced_per_unit_in_base_currency() -> None:
    other = universe({"SAP": EUR}, unclassified="other", base_currency="USD", fx={"EURUSD": "EUR/USD"})
    assert (other.currency("NEW"), other.multiplier("NEW"), other.legs_to_base("NEW")) == ("USD", 1.0, ())
    assert (other.bucket("NEW"), other.market("NEW"), other.currency("SAP")) == (Bucket.OTHER, "unknown", "EUR")
    assert (other.is_traded("NEW"), other.is_traded("EURUSD"), other.is_option("NEW")) == (True, False, False)


def test_defaults_and_the_fields_of_an_instrument_bind() -> None:
    spec = universe({"NGE": {"bucket": "spec", "sleeve": "ngx_risk", "lot_size": 100}})
    assert (spec.valuation, spec.options.enabled, spec.fx) == (ValuationSpec(), False, {})
    assert (spec.instruments["NGE"].sleeve, spec.instruments["NGE"].lot_size) == (Sleeve.NGX_RISK, 100.0)


def test_pairs() -> None:
    assert currencies_of("EUR/USD") == ("EUR", "USD")
    for text in ("", "/", "EUR/", "/USD", "EUR", "EUR/ USD", "EUR/USD/GBP", "USD/USD"):
        assert currencies_of(text) is None


def test_the_shortest_path_wins_and_of_crosses_the_first_in_the_alphabet() -> None:
    assert conversion(["USD/EUR", "EUR/USD"], "EUR", "USD") == (("EUR/USD", False),)
    assert conversion(["EUR/CHF", "CHF/USD", "USD/EUR"], "EUR", "USD") == (("USD/EUR", True),)
    crosses = [f"{common}/{end}" for common in ("JPY", "GBP", "CAD", "SEK", "CHF", "DKK", "NOK") for end in ("EUR", "USD")]
    assert conversion(crosses, "EUR", "USD") == conversion(crosses[::-1], "EUR", "USD") == (("CAD/EUR", True), ("CAD/USD", False))
    assert conversion([], "USD", "USD") == ()
    assert conversion(["EUR/USD"], "GBP", "USD") is None


CURRENCIES = st.sampled_from(["AUD", "CHF", "EUR", "GBP", "USD"])


@given(pairs=st.sets(st.tuples(CURRENCIES, CURRENCIES).filter(lambda p: p[0] != p[1]).map("/".join)), source=CURRENCIES, target=CURRENCIES)
def test_a_path_leads_from_source_to_target_and_back(pairs: set[str], source: str, target: str) -> None:
    legs = conversion(pairs, source, target)
    back = conversion(pairs, target, source)
    assert (legs is None) == (back is None)
    if legs is None:
        linked = {frozenset(pair.split("/")) for pair in pairs}
        assert frozenset({source, target}) not in linked
        assert not any({frozenset({source, c}), frozenset({c, target})} <= linked for c in ("AUD", "CHF", "EUR", "GBP", "USD"))
        return
    assert back is not None
    assert len(legs) == len(back) <= 2
    at = source
    for pair, divides in legs:
        base, quote = pair.split("/")
        assert pair in pairs
        assert at == (quote if divides else base)
        at = base if divides else quote
    assert at == target
