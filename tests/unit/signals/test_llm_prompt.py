from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.market.panel import PricePanel
from policyengine.signals.forecasts import Silence
from policyengine.signals.llm_fallback.answer import schema
from policyengine.signals.llm_fallback.prompt import Question, history, question
from policyengine.spec.llm_fallback import OpenAiCompatible
from tests.llm_cases import HISTORY, llm_spec, panel_of, until, walk

SPEC = llm_spec()


def asked(panel: PricePanel, session: int = -1, spec: OpenAiCompatible = SPEC) -> Question:
    """About every instrument of a session."""
    t = range(panel.sessions.size)[session]
    shown = {column: history(spec, panel, t, column) for column in range(len(panel.symbols))}
    bars = {column: sessions for column, sessions in shown.items() if not isinstance(sessions, Silence)}
    assert len(bars) == len(panel.symbols)
    return question(spec, panel, t, bars)


def reason(closes: list[float], spec: OpenAiCompatible = SPEC) -> Silence | list[int]:
    """What the last session of one instrument comes to."""
    panel = panel_of(np.array(closes)[:, None])
    shown = history(spec, panel, len(closes) - 1, 0)
    return shown if isinstance(shown, Silence) else shown.tolist()


def test_a_prompt_is_this_text_and_no_other() -> None:
    closes = np.column_stack([[9.0, 200.0, 201.0, 198.0, 202.5, 199.999], [7.0, 3.0, 3.1, 3.2, 3.3, 3.4]])
    made = asked(panel_of(closes, symbols=("AAPL", "XOM")))
    request = json.loads(made.body)
    assert list(request) == ["model", "messages", "response_format", "temperature", "seed", "max_tokens"]
    assert (request["model"], request["temperature"], request["seed"], request["max_tokens"]) == ("stub", 0, 1, 1000)
    system, user = request["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"] == (
        '{"horizon_sessions":10,"instruments":['
        '{"name":"A1","closes":[100.0,100.5,99.0,101.25,99.9995]},'
        '{"name":"A2","closes":[100.0,103.333,106.667,110.0,113.333]}]}'
    )
    assert system["content"] == (
        "You judge price histories of financial instruments. Of each instrument you are given the closes of its last sessions, oldest "
        "first, rebased so that the first is 100. For each, estimate the return from the last close shown over the next 10 sessions, as a "
        "fraction (0.01 is one percent, negative for a fall, between -0.2 and 0.2), and the probability, between 0 and 1, that this "
        "return has the right sign. Most histories cannot be told from chance: leave out every instrument of which you have no view. Use "
        "only what is shown. Answer with one JSON object of the given schema, each instrument at most once, and nothing else."
    )
    assert request["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "opinions", "strict": True, "schema": schema(("A1", "A2"))},
    }


def test_an_anonymous_prompt_tells_neither_symbol_nor_date_nor_price() -> None:
    panel = panel_of(walk() * 7.0, symbols=("AAPL", "BTC-USD", "XOM"), start="2020-03-09")
    text = asked(panel).body.decode()
    assert not re.search(r"AAPL|BTC|XOM|202\d|-03-|Mar", text)
    for close in panel.close.ravel():
        assert f"{close:.5g}" not in text


def test_a_named_prompt_tells_symbols_dates_and_prices() -> None:
    panel = panel_of(walk(), symbols=('A"\n\u202e', "B", "C"), start="2020-03-09")
    spec = replace(SPEC, anonymous=False)
    made = asked(panel, spec=spec)
    (one, *_) = json.loads(json.loads(made.body)["messages"][1]["content"])["instruments"]
    assert one["name"] == 'A"\n\u202e'
    assert one["sessions"] == [str(day) for day in panel.sessions[-HISTORY:]]
    assert one["closes"] == [float(f"{close:.6g}") for close in panel.close[-HISTORY:, 0]]
    assert "rebased" not in made.body.decode()


def test_what_a_dividend_rescales_shows_the_same() -> None:
    """An adjusted close is multiplied by one factor at each later dividend; the question, and so the cached answer, stays."""
    panel = panel_of(walk(sessions=40))
    for factor in (0.9871, 0.25, 3.0):
        assert asked(replace(panel, close=panel.close * factor)).body == asked(panel).body


def test_the_identity_is_of_the_request_and_where_it_goes() -> None:
    panel = panel_of(walk())
    made = asked(panel)
    same = asked(panel_of(walk()))
    assert made.identity("https://a/v1") == same.identity("https://a/v1")
    others = [llm_spec(model="other"), llm_spec(seed=2), llm_spec(horizon_sessions=9), llm_spec(expected_return_max=0.1)]
    identities = {asked(panel, spec=spec).identity("https://a/v1") for spec in [SPEC, *others]} | {made.identity("https://b/v1")}
    assert len(identities) == 6


def test_only_bars_count_and_gaps_are_passed_over() -> None:
    nan = float("nan")
    assert reason([1.0, 2.0, nan, 3.0, 4.0, 5.0, 6.0]) == [1, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("closes", "why"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")], Silence.NO_BAR),
        ([float("nan")] * 6, Silence.NO_BAR),
        ([float("nan"), 1.0, 2.0, 3.0, 4.0], Silence.SHORT_HISTORY),
        ([4.0, 5.0, 5.0, 5.0, 5.0, 5.0], Silence.CONSTANT),
        ([0.0, 0.0, 0.0, 0.0, 0.0], Silence.CONSTANT),
        ([1.0, 2.0, -3.0, 4.0, 5.0], Silence.UNUSABLE_PRICE),
        ([1.0, 2.0, 3.0, 4.0, 0.0], Silence.UNUSABLE_PRICE),
        ([5e-324, 2.0, 3.0, 4.0, 1e308], Silence.UNUSABLE_PRICE),
    ],
)
def test_what_cannot_be_shown_says_why(closes: list[float], why: Silence) -> None:
    assert reason(closes) is why


def test_a_price_below_0_before_what_is_shown_does_not_matter() -> None:
    assert reason([-1.0, 1.0, 2.0, 3.0, 4.0, 5.0]) == [1, 2, 3, 4, 5]


@settings(max_examples=30, deadline=None)
@given(st.integers(HISTORY - 1, 8), st.integers(0, 2**32 - 1), st.booleans())
def test_no_later_price_is_shown(session: int, seed: int, anonymous: bool) -> None:
    spec, panel = replace(SPEC, anonymous=anonymous), panel_of(walk())
    later = np.random.default_rng(seed).uniform(1.0, 1e6, panel.close.shape)
    assert asked(until(panel, session, later), session, spec).body == asked(panel, session, spec).body


def test_every_price_shown_counts() -> None:
    """The other side of the test above: a close that is shown cannot change unseen."""
    panel = panel_of(walk())
    for session in range(9 - HISTORY, 9):
        close = panel.close.copy()
        close[session, 1] *= 1.01
        assert asked(replace(panel, close=close)).body != asked(panel).body


GOOD = {"name": "A1", "expected_return_frac": 0.01, "confidence": 0.6}
BAD: list[Any] = [
    {**GOOD, "name": "A3"},
    {**GOOD, "confidence": "0.6"},
    {**GOOD, "size": 1},
    {k: v for k, v in GOOD.items() if k != "confidence"},
    "A1",
]


def test_the_schema_is_one_and_says_what_is_wanted() -> None:
    made = schema(("A1", "A2"))
    jsonschema.Draft202012Validator.check_schema(made)
    validator = jsonschema.Draft202012Validator(made)
    assert validator.is_valid({"opinions": []})
    assert validator.is_valid({"opinions": [GOOD, {**GOOD, "name": "A2", "expected_return_frac": 0}]})
    assert not validator.is_valid({"opinions": [], "advice": "buy"})
    assert not validator.is_valid([])
    for bad in BAD:
        assert not validator.is_valid({"opinions": [bad]}), bad
