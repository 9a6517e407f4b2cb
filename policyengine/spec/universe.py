"""What can be traded: instruments, each declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from policyengine.errors import ConfigError
from policyengine.records import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSpec:
    """One instrument; its symbol is the key it stands under."""

    bucket: Bucket
    market: str = "us"
    currency: str = "USD"
    type: Literal["spot", "option"] = "spot"

    def __post_init__(self) -> None:
        """Refuse an instrument without a market."""
        if not self.market:
            raise ConfigError("market", "'' is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class UniverseSpec:
    """The instruments, and what happens to a symbol that is not among them.

    `cash_rate_symbol` names the instrument whose return from session to session is the risk-free rate that cash earns;
    None means that cash earns nothing and no rate is subtracted from returns.
    """

    instruments: Mapping[str, InstrumentSpec]
    unclassified: Literal["error", "other"] = "error"
    base_currency: str = "USD"
    cash_rate_symbol: str | None = None

    def __post_init__(self) -> None:
        """Refuse a rate that is not an instrument, and a currency without a rate to the base currency."""
        if not self.instruments and self.unclassified == "error":
            raise ConfigError("instruments", "{} is empty and unclassified is 'error', so nothing could trade")
        for symbol, instrument in self.instruments.items():
            if not symbol.strip():
                raise ConfigError("instruments", f"{symbol!r} is not a symbol")
            if instrument.currency != self.base_currency:
                raise ConfigError(
                    f"instruments.{symbol}.currency", f"'{instrument.currency}' is not the base currency '{self.base_currency}'"
                )
            if instrument.type == "option":
                raise ConfigError(f"instruments.{symbol}.type", "'option' cannot be traded yet")
        if self.cash_rate_symbol is not None and self.cash_rate_symbol not in self.instruments:
            raise ConfigError("cash_rate_symbol", f"'{self.cash_rate_symbol}' is not in universe.instruments")

    def bucket(self, symbol: str) -> Bucket:
        """Bucket of `symbol`; `other` where the universe does not list it."""
        instrument = self.instruments.get(symbol)
        return Bucket.OTHER if instrument is None else instrument.bucket

    def market(self, symbol: str) -> str:
        """Market of `symbol`; `unknown` where the universe does not list it."""
        instrument = self.instruments.get(symbol)
        return "unknown" if instrument is None else instrument.market
