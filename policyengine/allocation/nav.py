"""What a portfolio is worth in base currency: the one place that says so, for replay and for trading.

    value = quantity x contract multiplier x price x rate,   NAV = sum(cash x rate) + sum(value)

`value_portfolio` and its NAV work on one snapshot of quantities and prices in their own currencies; `in_base_currency` puts a whole
panel of prices into base currency by the same factors, so that the book of a replay and a snapshot of the same holdings agree.
`docs/nav.md` has the conventions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.market.panel import PricePanel
from policyengine.spec.universe import Leg, UniverseSpec, conversion, currencies_of

Floats = NDArray[np.float64]
Rate = TypeVar("Rate", float, Floats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The last known price of an instrument, per unit in its own currency, and the aware instant at which it was seen."""

    price: float
    priced_at: datetime


Prices: TypeAlias = Mapping[str, Mark | float]
"""Last known prices by symbol; a bare number is a price of the snapshot's own instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioSnapshot:
    """What is held at one instant.

    `cash` amounts by currency, negative where borrowed; `positions` signed quantities by symbol, contracts for options; `fx_rates`
    by pair, "EUR/USD" being USD per 1 EUR; `as_of` an aware instant, after which no price may lie. `universe` says what the symbols
    are. An amount or quantity of 0 is nothing: it needs neither rate nor price.
    """

    cash: Mapping[str, float]
    positions: Mapping[str, float]
    fx_rates: Mapping[str, float]
    as_of: datetime
    universe: UniverseSpec

    def __post_init__(self) -> None:
        """Refuse what is not finite, rates that are not above 0, pairs that are none and an instant without a zone."""
        for name, amounts in (("cash", self.cash), ("positions", self.positions), ("fx_rates", self.fx_rates)):
            for key, amount in amounts.items():
                _finite(f"snapshot.{name}.{key}", amount)
        for pair, rate in self.fx_rates.items():
            if currencies_of(pair) is None:
                raise DataError(f"snapshot.fx_rates.{pair}", f"'{pair}' is not a pair of two currencies, such as EUR/USD")
            if rate <= 0.0:
                raise DataError(f"snapshot.fx_rates.{pair}", f"{rate:g} is not above 0")
        _aware("snapshot.as_of", self.as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Haircut:
    """A holding that counts for less because its price is old: `age_days` calendar days, and the `amount` >= 0 taken off, base currency."""

    symbol: str
    priced_at: datetime
    age_days: int
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """NAV and its parts, all in base currency: `cash` by currency, `values` by symbol (haircuts taken off), in the order of the alphabet.

    `flags` are the haircuts; empty where every price is recent.
    """

    nav: float
    cash: Mapping[str, float]
    values: Mapping[str, float]
    flags: tuple[Haircut, ...]


def compute_nav(snapshot: PortfolioSnapshot, prices: Prices) -> float:
    """Net asset value in base currency; may be zero or negative. Same errors as `value_portfolio`, whose `nav` this is."""
    return value_portfolio(snapshot, prices).nav


def value_portfolio(snapshot: PortfolioSnapshot, prices: Prices) -> Valuation:
    """Value every holding in base currency. Prices of what is not held are not looked at. Sums are exact (`math.fsum`).

    Raises:
        DataError: naming the symbol or currency: no path of rates to the base currency; a position in what the universe does not
            list (unless unclassified is `other`), in a rate, or in an option while options are switched off; a price that is
            missing, not finite, from after `as_of`, or too old while `valuation.unpriced` is `error`.
    """
    return _valuation(snapshot, list(_holdings(snapshot, prices)))


def weights_of(snapshot: PortfolioSnapshot, prices: Prices) -> dict[str, float]:
    """Signed exposure of every position as a fraction of NAV.

    Exposure has the sign of the quantity and is on the absolute price, so that a negative price keeps the sense of long and short,
    and on the last known price without haircut, so that an old price shrinks NAV and not the risk. A long option counts its
    premium, a short one its `stress_loss`.

    Raises:
        DataError: as `value_portfolio`; a short option without a stress_loss; a NAV that is not above 0.
    """
    holdings = list(_holdings(snapshot, prices))
    nav = _valuation(snapshot, holdings).nav
    if not nav > 0.0:
        raise DataError("snapshot", f"NAV is {nav:g} {snapshot.universe.base_currency}; there are no fractions of it")
    return {held.symbol: held.quantity * _exposure(snapshot.universe, held) / nav for held in holdings}


def fx_rate(rates: Mapping[str, Rate], source: str, target: str) -> Rate | float:
    """Units of `target` for 1 of `source` by `rates` above 0 ("EUR/USD": USD per 1 EUR): numbers, or arrays of one shape.

    Direct, else inverse, else crossed through one common currency (see `conversion`); 1.0 for one currency. NaN where a rate that
    is used is NaN.

    Raises:
        DataError: no such path.
    """
    return _rate("fx_rates", rates, source, target)


def panel_rates(panel: PricePanel, universe: UniverseSpec) -> dict[str, Floats]:
    """Rates (T,) by pair of those symbols of `universe.fx` that the panel has: last known, however old; NaN before the first.

    Raises:
        DataError: a rate at or below 0.
    """
    rates = {}
    for symbol, pair in universe.fx.items():
        if symbol in panel.symbols:
            rate = panel.close[:, panel.symbols.index(symbol)]
            if bool((rate <= 0.0).any()):
                t = int(np.argmax(rate <= 0.0))
                raise DataError("prices", f"{symbol} is at {rate[t]:g} on {panel.sessions[t]}; a rate ({pair}) is above 0")
            rates[pair] = rate
    return rates


def in_base_currency(panel: PricePanel, universe: UniverseSpec) -> PricePanel:
    """The panel with closes as the value of one unit (one contract of an option) in base currency, and without rates.

    close x contract multiplier x rate, the rate being the last known at each session; NaN before the first of either. `fresh` stays
    the instrument's own: a new rate alone lets nothing trade. Where there is nothing to do this is the panel itself.

    Raises:
        DataError: a rate that an instrument needs has no bar or falls to 0; a value beyond what a float can hold.
    """
    kept = [i for i, symbol in enumerate(panel.symbols) if universe.is_traded(symbol)]
    legs = {panel.symbols[i]: universe.legs_to_base(panel.symbols[i]) for i in kept}
    if len(kept) == len(panel.symbols) and all(not path and universe.multiplier(symbol) == 1.0 for symbol, path in legs.items()):
        return panel
    rates = panel_rates(panel, universe)
    close = panel.close[:, kept]
    for column, (symbol, path) in enumerate(legs.items()):
        for pair, _ in path:
            if pair not in rates:
                needs = f"{symbol} in {universe.currency(symbol)} needs {pair}"
                raise DataError("prices", f"{needs}, and {_quoting(universe, pair)} of universe.fx has no bar")
        with np.errstate(over="ignore", divide="ignore"):
            close[:, column] *= universe.multiplier(symbol)
            close[:, column] *= _along(path, rates)
        if bool(np.isinf(close[:, column]).any()):
            raise DataError("prices", f"{symbol} in {universe.base_currency} is beyond what a float can hold")
    return replace(panel, symbols=tuple(legs), close=close, fresh=panel.fresh[:, kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holding:
    """One position: what a unit of it is worth, and its currency, in base currency; and how old the price is."""

    symbol: str
    quantity: float
    unit: float
    rate: float
    priced_at: datetime
    age_days: int


def _holdings(snapshot: PortfolioSnapshot, prices: Prices) -> Iterator[_Holding]:
    """Positions other than 0, by symbol, priced and held to every rule."""
    universe = snapshot.universe
    for symbol, quantity in sorted(snapshot.positions.items()):
        if quantity == 0.0:
            continue
        place = f"snapshot.positions.{symbol}"
        _refuse_untradable(place, symbol, universe)
        mark = _mark(place, symbol, snapshot, prices)
        rate = _rate(place, snapshot.fx_rates, universe.currency(symbol), universe.base_currency)
        unit = _finite(place, mark.price * universe.multiplier(symbol) * rate)
        _finite(place, quantity * unit)
        age_days = (snapshot.as_of.astimezone(UTC).date() - mark.priced_at.astimezone(UTC).date()).days
        rule = universe.valuation
        if age_days > rule.stale_days and rule.unpriced == "error":
            since = f"was last priced at {mark.priced_at.isoformat()}, {age_days} days before the snapshot"
            raise DataError(place, f"{since}; universe.valuation.stale_days is {rule.stale_days} and unpriced is 'error'")
        yield _Holding(symbol=symbol, quantity=quantity, unit=unit, rate=rate, priced_at=mark.priced_at, age_days=age_days)


def _valuation(snapshot: PortfolioSnapshot, holdings: list[_Holding]) -> Valuation:
    rule = snapshot.universe.valuation
    cash, values, flags = {}, {}, []
    for currency, amount in sorted(snapshot.cash.items()):
        place = f"snapshot.cash.{currency}"
        rate = _rate(place, snapshot.fx_rates, currency, snapshot.universe.base_currency) if amount != 0.0 else 0.0
        cash[currency] = _finite(place, amount * rate)
    for held in holdings:
        value = held.quantity * held.unit
        if held.age_days > rule.stale_days:
            taken = rule.haircut_frac * abs(value)
            value -= taken
            flags.append(Haircut(symbol=held.symbol, priced_at=held.priced_at, age_days=held.age_days, amount=taken))
        values[held.symbol] = value
    return Valuation(nav=math.fsum([*cash.values(), *values.values()]), cash=cash, values=values, flags=tuple(flags))


def _exposure(universe: UniverseSpec, held: _Holding) -> float:
    """Absolute exposure of one unit, base currency."""
    if held.quantity > 0.0 or not universe.is_option(held.symbol):
        return abs(held.unit)
    stress_loss = universe.instruments[held.symbol].stress_loss
    if stress_loss is None:
        path = f"universe.instruments.{held.symbol}.stress_loss"
        raise DataError(f"snapshot.positions.{held.symbol}", f"is short, and what a short option can lose is not declared: {path}")
    return stress_loss * held.rate


def _refuse_untradable(place: str, symbol: str, universe: UniverseSpec) -> None:
    if symbol in universe.fx:
        raise DataError(place, f"is a rate of universe.fx ({universe.fx[symbol]}), which cannot be held; the currency itself is cash")
    if symbol not in universe.instruments and universe.unclassified == "error":
        raise DataError(place, "is not in universe.instruments: a position in an instrument that left the universe; list it to value it")
    if universe.is_inert(symbol):
        raise DataError(place, "is an option, and universe.options.enabled is false")


def _mark(place: str, symbol: str, snapshot: PortfolioSnapshot, prices: Prices) -> Mark:
    found = prices.get(symbol)
    if found is None:
        raise DataError(place, "is held and has no price, not even an old one")
    mark = found if isinstance(found, Mark) else Mark(price=found, priced_at=snapshot.as_of)
    _finite(f"price of {symbol}", mark.price)
    _aware(f"price of {symbol}", mark.priced_at)
    if mark.priced_at > snapshot.as_of:
        raise DataError(f"price of {symbol}", f"{mark.priced_at.isoformat()} is after the snapshot, {snapshot.as_of.isoformat()}")
    return mark


def _rate(place: str, rates: Mapping[str, Rate], source: str, target: str) -> Rate | float:
    path = conversion(rates.keys(), source, target)
    if path is None:
        given = ", ".join(sorted(rates)) or "none"
        raise DataError(
            place, f"no rate from '{source}' to '{target}', direct, inverse or through one common currency; rates given: {given}"
        )
    return _along(path, rates)


def _along(path: tuple[Leg, ...], rates: Mapping[str, Rate]) -> Rate | float:
    total: Rate | float = 1.0
    for pair, divides in path:
        total = total / rates[pair] if divides else total * rates[pair]
    return total


def _quoting(universe: UniverseSpec, pair: str) -> str:
    return next(symbol for symbol, quoted in universe.fx.items() if quoted == pair)


def _finite(place: str, value: float) -> float:
    if not math.isfinite(value):
        raise DataError(place, f"{value} is not finite")
    return value


def _aware(place: str, instant: datetime) -> None:
    if instant.utcoffset() is None:
        raise DataError(place, f"{instant.isoformat()} names no zone")
