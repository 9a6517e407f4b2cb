"""Where signals come from, which engines make them, and which of several counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from policyengine.spec.llm_fallback import LlmSpec
from policyengine.spec.ml_secondary import MlSpec
from policyengine.spec.rules import at_least
from policyengine.spec.ts_core import TsCoreSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsSpec:
    """`origin` source: the signals view of the source; engine: the engines on its prices; auto: the view if the source has one.

    A signal lives for `max_age_sessions` sessions, or until its source's next word on its symbol. Where sources oppose each other, the
    `first` in the order TS, ML, LLM counts, or `silence`: none does. `volatility_halflife_sessions` is that of the volatility by which
    ml_secondary and llm_fallback measure what they expect.
    """

    origin: Literal["auto", "source", "engine"]
    max_age_sessions: int
    conflict: Literal["first", "silence"]
    volatility_halflife_sessions: float
    ts_core: TsCoreSpec
    ml_secondary: MlSpec
    llm_fallback: LlmSpec

    def __post_init__(self) -> None:
        """Refuse a life shorter than one session, and a half-life that is none."""
        at_least("max_age_sessions", self.max_age_sessions, 1)
        at_least("volatility_halflife_sessions", self.volatility_halflife_sessions, 1.0)
