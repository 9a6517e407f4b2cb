"""Evidence: whether the candidate is better, by how much, and how sure that is.

The names below work on plain arrays, in a notebook as in the command line, and need NumPy alone.
"""

from policyengine.evidence.statistics.influence import growth_at_es_effect, sharpe_effect
from policyengine.evidence.statistics.judge import Judgement, judge
from policyengine.evidence.statistics.selection import StepM, stepm
from policyengine.evidence.statistics.sequential import confidence_sequence, matched_differences, pause_at
from policyengine.evidence.statistics.significance import EffectTest, SharpeTest, growth_at_es_test, sharpe_difference_test

__all__ = [
    "EffectTest",
    "Judgement",
    "SharpeTest",
    "StepM",
    "confidence_sequence",
    "growth_at_es_effect",
    "growth_at_es_test",
    "judge",
    "matched_differences",
    "pause_at",
    "sharpe_difference_test",
    "sharpe_effect",
    "stepm",
]
