"""What can be traded: instruments, each declared once, and the rates that value those in other currencies."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from policyengine.errors import ConfigError
from policyengine.records import Bucket, Sleeve
from policyengine.spec.rules import at_least, in_range

Leg: TypeAlias = tuple[str, bool]
"""A pair, and whether its rate divides instead of multiplying."""

_PAIR = re.compile(r"([^\s/]+)/([^\s/]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSpec:
    """One instrument; its symbol is the key it stands under.

    `contract_multiplier` is how many units of the underlying one contract of an option is; a spot instrument is priced per unit.
    `stress_loss` is what one short contract is taken to lose at worst, in the instrument's currency. `sleeve` charges every signal
    on the instrument to that sleeve, whatever its source. Positions are whole multiples of `lot_size`; None means any quantity.
    """

    bucket: Bucket
    market: str = "us"
    currency: str = "USD"
    type: Literal["spot", "option"] = "spot"
    contract_multiplier: float | None = None
    stress_loss: float | None = None
    sleeve: Sleeve | None = None
    lot_size: float | None = None

    def __post_init__(self) -> None:
        """Refuse an instrument without a market, sizes that are none, and an option's fields on what is not an option."""
        if not self.market:
            raise ConfigError("market", "'' is empty")
        for name in ("contract_multiplier", "stress_loss", "lot_size"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise ConfigError(name, f"{value:g} is not a finite number above 0")
        for name in ("contract_multiplier", "stress_loss"):
            if self.type == "spot" and getattr(self, name) is not None:
                raise ConfigError(name, f"{getattr(self, name):g} on type 'spot'; only an option has one")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionsSpec:
    """Switched off, options are inert: they may be declared, are not traded, and holding one is an error."""

    enabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuationSpec:
    """What a holding counts whose last price is more than `stale_days` calendar days old.

    `error` refuses to value the portfolio; `haircut` takes the last known price and takes `haircut_frac` of the absolute value
    off, which makes NAV smaller for longs, for shorts and at negative prices. What never had a price is always an error.
    """

    stale_days: int = 7
    unpriced: Literal["error", "haircut"] = "error"
    haircut_frac: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a price from the future, and a haircut that adds value or takes more than there is."""
        at_least("stale_days", self.stale_days, 0)
        in_range("haircut_frac", self.haircut_frac, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UniverseSpec:
    """The instruments, and what happens to a symbol that is not among them.

    `cash_rate_symbol` names the instrument whose return from session to session is the risk-free rate that cash earns;
    None means that cash earns nothing and no rate is subtracted from returns. `fx` maps a symbol of the prices to the pair that it
    quotes: `EURUSD: EUR/USD` says that its price is USD per 1 EUR. Such a symbol is no instrument and does not trade.
    """

    instruments: Mapping[str, InstrumentSpec]
    unclassified: Literal["error", "other"] = "error"
    base_currency: str = "USD"
    cash_rate_symbol: str | None = None
    fx: Mapping[str, str] = field(default_factory=dict)
    options: OptionsSpec = field(default_factory=OptionsSpec)
    valuation: ValuationSpec = field(default_factory=ValuationSpec)

    def __post_init__(self) -> None:
        """Refuse a rate that is none or also an instrument, a currency without a path to the base currency, and options half-declared."""
        if not self.instruments and self.unclassified == "error":
            raise ConfigError("instruments", "{} is empty and unclassified is 'error', so nothing could trade")
        self._refuse_rates()
        for symbol, instrument in self.instruments.items():
            if not symbol.strip():
                raise ConfigError("instruments", f"{symbol!r} is not a symbol")
            if self.is_traded(symbol):
                self.legs_to_base(symbol)
                if instrument.type == "option" and instrument.contract_multiplier is None:
                    raise ConfigError(
                        f"instruments.{symbol}.contract_multiplier", "is required for an option while options.enabled is true"
                    )
        self._refuse_cash_rate()

    def _refuse_rates(self) -> None:
        quoted: dict[str, str] = {}
        for symbol, pair in self.fx.items():
            if not symbol.strip():
                raise ConfigError("fx", f"{symbol!r} is not a symbol")
            if currencies_of(pair) is None:
                raise ConfigError(f"fx.{symbol}", f"'{pair}' is not a pair of two currencies, such as EUR/USD")
            if symbol in self.instruments:
                raise ConfigError(f"fx.{symbol}", "is in universe.instruments too; a rate does not trade")
            if pair in quoted:
                raise ConfigError(f"fx.{symbol}", f"'{pair}' is quoted by {quoted[pair]} already")
            quoted[pair] = symbol

    def _refuse_cash_rate(self) -> None:
        if self.cash_rate_symbol is None:
            return
        instrument = self.instruments.get(self.cash_rate_symbol)
        if instrument is None:
            raise ConfigError("cash_rate_symbol", f"'{self.cash_rate_symbol}' is not in universe.instruments")
        if instrument.currency != self.base_currency:
            quoted_in = f"'{self.cash_rate_symbol}' is quoted in '{instrument.currency}'"
            raise ConfigError("cash_rate_symbol", f"{quoted_in}; cash earns the rate of the base currency '{self.base_currency}'")
        if instrument.type == "option":
            raise ConfigError("cash_rate_symbol", f"'{self.cash_rate_symbol}' is an option, whose return is no rate")

    def bucket(self, symbol: str) -> Bucket:
        """Bucket of `symbol`; `other` where the universe does not list it."""
        instrument = self.instruments.get(symbol)
        return Bucket.OTHER if instrument is None else instrument.bucket

    def market(self, symbol: str) -> str:
        """Market of `symbol`; `unknown` where the universe does not list it."""
        instrument = self.instruments.get(symbol)
        return "unknown" if instrument is None else instrument.market

    def currency(self, symbol: str) -> str:
        """Currency that `symbol` is priced in; the base currency where the universe does not list it."""
        instrument = self.instruments.get(symbol)
        return self.base_currency if instrument is None else instrument.currency

    def multiplier(self, symbol: str) -> float:
        """Units that one of `symbol` is: an option's contract multiplier, else 1."""
        instrument = self.instruments.get(symbol)
        return 1.0 if instrument is None or instrument.contract_multiplier is None else instrument.contract_multiplier

    def is_traded(self, symbol: str) -> bool:
        """Whether `symbol` can be held: it is no rate, and no option while options are switched off."""
        return symbol not in self.fx and not self.is_inert(symbol)

    def is_option(self, symbol: str) -> bool:
        """Whether `symbol` is declared as an option."""
        instrument = self.instruments.get(symbol)
        return instrument is not None and instrument.type == "option"

    def is_inert(self, symbol: str) -> bool:
        """Whether `symbol` is an option while options are switched off."""
        return self.is_option(symbol) and not self.options.enabled

    def legs_to_base(self, symbol: str) -> tuple[Leg, ...]:
        """How the declared rates turn a price of `symbol` into base currency; see `conversion`.

        Raises:
            ConfigError: no path leads there; no instrument that is traded in a universe that was bound lacks one.
        """
        currency = self.currency(symbol)
        legs = conversion(set(self.fx.values()), currency, self.base_currency)
        if legs is None:
            path = "no direct, inverse or cross path of universe.fx leads there"
            raise ConfigError(f"instruments.{symbol}.currency", f"'{currency}' is not the base currency '{self.base_currency}', and {path}")
        return legs


def currencies_of(pair: str) -> tuple[str, str] | None:
    """The two currencies of "EUR/USD"; None where the text is not two different ones."""
    found = _PAIR.fullmatch(pair)
    return None if found is None or found[1] == found[2] else (found[1], found[2])


def conversion(pairs: Collection[str], source: str, target: str) -> tuple[Leg, ...] | None:
    """How rates of `pairs` ("EUR/USD": USD per 1 EUR) turn an amount in `source` into `target`; None where they do not.

    The shortest path: none for one currency, then the pair itself, then its inverse, then a cross through one common currency;
    of several crosses the one whose common currency comes first in the alphabet.
    """
    if source == target:
        return ()
    straight = _leg(pairs, source, target)
    if straight is not None:
        return (straight,)
    for common in sorted({currency for pair in pairs for currency in pair.split("/")} - {source, target}):
        first, second = _leg(pairs, source, common), _leg(pairs, common, target)
        if first is not None and second is not None:
            return first, second
    return None


def _leg(pairs: Collection[str], source: str, target: str) -> Leg | None:
    if (pair := f"{source}/{target}") in pairs:
        return pair, False
    if (pair := f"{target}/{source}") in pairs:
        return pair, True
    return None
