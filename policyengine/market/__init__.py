"""Sources as canonical views: the only room that knows DuckDB, files and databases."""

from policyengine.market.market import Market, open_market
from policyengine.market.panel import Calendar, PricePanel
from policyengine.market.rows import ClosingTrades, LedgerSums, SignalRows

__all__ = ["Calendar", "ClosingTrades", "LedgerSums", "Market", "PricePanel", "SignalRows", "open_market"]
