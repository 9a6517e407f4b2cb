from __future__ import annotations

from policyengine.signals.llm_fallback.budget import Budget
from tests.llm_cases import llm_spec

REQUEST = b"x" * 101  # 51 tokens by the estimate


def test_calls_and_tokens_each_bind() -> None:
    room = {"max_calls": 2, "max_tokens_in": 102, "max_tokens_out": 200, "max_tokens_per_answer": 100}
    for changes in ({}, {"max_calls": 9, "max_tokens_out": 900}, {"max_calls": 9, "max_tokens_in": 900}, {"max_tokens_in": 900}):
        budget = Budget(llm_spec(**{**room, **changes}))
        for _ in range(2):
            assert budget.allows(REQUEST)
            budget.charge(REQUEST)
        assert not budget.allows(REQUEST), changes
    for nothing in ("max_calls", "max_tokens_in", "max_tokens_out"):
        assert not Budget(llm_spec(**{**room, nothing: 0})).allows(REQUEST)


def test_what_the_answer_states_replaces_the_estimate() -> None:
    budget = Budget(llm_spec(max_tokens_per_answer=100))
    budget.charge(REQUEST)
    assert (budget.calls, budget.tokens_in, budget.tokens_out) == (1, 51, 100)
    budget.settle(REQUEST, 40, 7)
    assert (budget.tokens_in, budget.tokens_out) == (40, 7)
    budget.charge(REQUEST)
    budget.settle(REQUEST, None, None)
    assert (budget.calls, budget.tokens_in, budget.tokens_out) == (2, 91, 107)
    budget.charge(REQUEST)
    budget.settle(REQUEST, 0, 0)
    assert (budget.calls, budget.tokens_in, budget.tokens_out) == (3, 91, 107)


def test_a_server_that_states_more_than_it_may_ends_the_run_after_one_answer() -> None:
    budget = Budget(llm_spec(max_tokens_out=1000, max_tokens_per_answer=100))
    budget.charge(REQUEST)
    budget.settle(REQUEST, 10, 5000)
    assert budget.tokens_out == 5000
    assert not budget.allows(REQUEST)
