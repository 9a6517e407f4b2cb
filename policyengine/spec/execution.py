"""How target weights become fills, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from policyengine.spec.rules import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """Costs in basis points of traded notional, per fill; `spread_bps` is the full quoted spread, of which a fill pays half.

    Orders fill at the close of the session after the signal. A change of weight below `min_trade_frac` of NAV is not
    traded, unless it must be to keep a limit. Short positions pay `borrow_bps` a year and borrowed cash the cash rate
    plus `financing_spread_bps` a year; idle cash earns the cash rate.
    """

    commission_bps: float
    spread_bps: float
    slippage_bps: float
    min_trade_frac: float
    allow_short: bool
    borrow_bps: float
    financing_spread_bps: float

    def __post_init__(self) -> None:
        """Refuse negative costs, and costs that would eat the trade."""
        for name in ("commission_bps", "spread_bps", "slippage_bps", "borrow_bps", "financing_spread_bps"):
            in_range(name, getattr(self, name), 0.0, 1_000.0)
        in_range("min_trade_frac", self.min_trade_frac, 0.0, 0.5)

    @property
    def cost_frac(self) -> float:
        """Cost of a fill as a fraction of its notional."""
        return (self.commission_bps + self.spread_bps / 2.0 + self.slippage_bps) / 10_000.0
