"""How evidence is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """`initial_capital` in base currency. `publish` makes the artifact the canonical one under `state_dir`."""

    initial_capital: float | None = None
    publish: bool = False

    def __post_init__(self) -> None:
        """Refuse capital that is absent or cannot buy."""
        if self.initial_capital is None:
            raise ConfigError("initial_capital", "is required and not given, in base currency")
        at_least("initial_capital", self.initial_capital, 1.0)

    @property
    def capital(self) -> float:
        """`initial_capital`, present."""
        assert self.initial_capital is not None  # noqa: S101 - narrows for the type checker what __post_init__ has refused
        return self.initial_capital


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayEvidence(_Evidence):
    """Both arms trade the same signals over the source's prices."""

    KIND: ClassVar[str] = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForwardEvidence(_Evidence):
    """Both arms trade what the engines would have signalled through history, whatever signals the source has.

    Each engine is fitted again as its settings say, and knows at each session only what came before.
    """

    KIND: ClassVar[str] = "walk_forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeHistoryEvidence(_Evidence):
    """Realised P&L of a ledger, each trade scaled by what the overlay would have done to its size."""

    KIND: ClassVar[str] = "trade_history"


EvidenceSpec = ReplayEvidence | WalkForwardEvidence | TradeHistoryEvidence
