"""How target weights become fills, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from policyengine.errors import ConfigError
from policyengine.spec.rules import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """Costs in basis points of traded notional, per fill; `spread_bps` is the full quoted spread, of which a fill pays half.

    Orders fill at the close of the session after the signal. A change of weight below `min_trade_frac` of NAV is not
    traded, unless it must be to keep a limit. `turnover_max_frac` bounds what one session trades, as a fraction of NAV (None: no
    bound): what reduces a position is never held back, what increases one shares the rest. An order fills up to
    `max_fill_notional` in base currency, in whole lots, and the rest of it is cancelled (None: orders fill in full). Short
    positions pay `borrow_bps` a year and borrowed cash the cash rate plus `financing_spread_bps` a year; idle cash earns the
    cash rate.
    """

    commission_bps: float
    spread_bps: float
    slippage_bps: float
    min_trade_frac: float
    allow_short: bool
    borrow_bps: float
    financing_spread_bps: float
    turnover_max_frac: float | None = None
    max_fill_notional: float | None = None

    def __post_init__(self) -> None:
        """Refuse negative costs, and costs that would eat the trade."""
        for name in ("commission_bps", "spread_bps", "slippage_bps", "borrow_bps", "financing_spread_bps"):
            in_range(name, getattr(self, name), 0.0, 1_000.0)
        in_range("min_trade_frac", self.min_trade_frac, 0.0, 0.5)
        if self.turnover_max_frac is not None:
            in_range("turnover_max_frac", self.turnover_max_frac, 0.0, 2.0)
        if self.max_fill_notional is not None and not self.max_fill_notional > 0.0:
            raise ConfigError("max_fill_notional", f"{self.max_fill_notional:g} is not above 0; null fills every order in full")

    @property
    def cost_frac(self) -> float:
        """Cost of a fill as a fraction of its notional."""
        return (self.commission_bps + self.spread_bps / 2.0 + self.slippage_bps) / 10_000.0
