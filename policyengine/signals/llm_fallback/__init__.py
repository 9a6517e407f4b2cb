"""A language model, asked only about instruments of which time series and machine learning say nothing."""

from policyengine.signals.llm_fallback.asking import Counts, ask

__all__ = ["Counts", "ask"]
