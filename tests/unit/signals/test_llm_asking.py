"""Against a real server on loopback that answers well."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import ConfigError
from policyengine.signals.forecasts import Silence
from policyengine.signals.llm_fallback import Counts, ask
from tests.llm_cases import HISTORY, last_only, llm_spec, panel_of, put, same, until, walk
from tests.llm_stub import Server, instruments, opinions


def test_each_answer_becomes_the_opinion_on_its_instrument(tmp_path: Path) -> None:
    """Five instruments in prompts of two: the third prompt holds one. Expected returns are a tenth of the change shown, by the stub."""
    panel = panel_of(walk(symbols=5))
    volatility = np.full(panel.close.shape, 0.03) * np.arange(1.0, 6.0)
    with Server() as server:
        made, counts = put(llm_spec(base_url=server.base_url), panel, tmp_path, silent=last_only(panel), volatility=volatility)
    shown = panel.close[-HISTORY:]
    assert made.expected_return[-1] == pytest.approx((shown[-1] / shown[0] - 1.0) / 10.0, abs=1e-6)
    assert made.confidence[-1].tolist() == [0.58] * 5
    assert made.predicted_volatility[-1].tolist() == volatility[-1].tolist()
    assert made.silence[-1].tolist() == [Silence.SPEAKS] * 5
    for values in (made.expected_return, made.confidence, made.predicted_volatility):
        assert np.isnan(values[:-1]).all()
    assert (made.silence[:-1] == Silence.NOT_ASKED).all()
    assert [len(instruments(json.loads(body))) for body in server.bodies] == [2, 2, 1]
    assert counts == Counts(asked=5, calls=3, tokens_in=300, tokens_out=60)


def test_asked_only_where_others_are_silent_a_volatility_is_known_and_there_is_something_to_show(tmp_path: Path) -> None:
    closes = walk(symbols=7)
    closes[-1, 2] = np.nan
    closes[:6, 3] = np.nan
    closes[:, 4] = 5.0
    closes[-2, 5] = -1.0
    panel = panel_of(closes, symbols=("SPOKEN", "ASKED", "NOBAR", "YOUNG", "STILL", "MINUS", "NOVOL"))
    silent, volatility = last_only(panel), np.full(closes.shape, 0.03)
    silent[-1, 0] = False
    volatility[-1, 6] = np.nan
    with Server() as server:
        made, _ = put(llm_spec(base_url=server.base_url, anonymous=False), panel, tmp_path, silent=silent, volatility=volatility)
    assert [[one["name"] for one in instruments(json.loads(body))] for body in server.bodies] == [["ASKED"]]
    assert [Silence(code).name for code in made.silence[-1]] == [
        "NOT_ASKED",
        "SPEAKS",
        "NO_BAR",
        "SHORT_HISTORY",
        "CONSTANT",
        "UNUSABLE_PRICE",
        "NOT_ASKED",
    ]
    speaks = made.silence == Silence.SPEAKS
    for values in (made.expected_return, made.confidence, made.predicted_volatility):
        assert (np.isfinite(values) == speaks).all()


@pytest.mark.parametrize("value", [0.0, -0.01, np.inf, np.nan])
def test_a_volatility_that_is_none_leaves_everything_unasked(tmp_path: Path, value: float) -> None:
    panel = panel_of(walk())
    with Server() as server:
        made, counts = put(llm_spec(base_url=server.base_url), panel, tmp_path, volatility=np.full(panel.close.shape, value))
    assert server.bodies == []
    assert not (made.silence == Silence.SPEAKS).any()
    assert counts.asked == 0


def test_a_warm_cache_without_a_network_gives_the_same_bits(tmp_path: Path) -> None:
    panel = panel_of(walk(sessions=20, symbols=5))
    silent = np.random.default_rng(5).random(panel.close.shape) < 0.5
    with Server("good", "wrong_type", "cut", "stranger", "good") as server:
        spec = llm_spec(base_url=server.base_url, api_key_env="KEY")
        online, first = put(spec, panel, tmp_path, silent=silent, key="sk-0123456789abcdef")
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert first.calls == len(server.bodies) == len(files)
    assert (first.cached, first.malformed > 0) == (0, True)
    replayed, second = put(spec, panel, tmp_path, silent=silent, online_from=panel.sessions.size)
    assert same(replayed, online)
    assert second == replace(first, cached=first.calls, calls=0, tokens_in=0, tokens_out=0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    again, _ = put(spec, panel, tmp_path, silent=silent, key="sk-0123456789abcdef")  # the server is gone, and is not missed
    assert same(again, online)


def test_before_online_from_the_cache_alone_answers(tmp_path: Path) -> None:
    panel = panel_of(walk(sessions=10))
    with Server() as server:
        made, counts = put(llm_spec(base_url=server.base_url), panel, tmp_path, online_from=8)
    assert (made.silence[HISTORY - 1 : 8] == Silence.NOT_ASKED).all()
    assert (made.silence[8:] == Silence.SPEAKS).all()
    assert (counts.offline, counts.asked, counts.calls) == (4 * 3, 2 * 3, 2 * 2)


def test_no_call_is_made_where_none_is_allowed_and_no_key_needed(tmp_path: Path) -> None:
    panel = panel_of(walk())
    with Server() as server:
        _, counts = put(llm_spec(base_url=server.base_url, max_calls=0, api_key_env="KEY"), panel, tmp_path)
    assert server.bodies == []
    assert (counts.calls, counts.offline) == (0, 5 * 3)


def test_asked_on_the_first_session_of_each_week_wherever_the_panel_begins(tmp_path: Path) -> None:
    """Wednesday 2024-01-03 is the first session of its week: a holiday Monday and Tuesday. Sessions before or after move nothing."""
    closes = walk(sessions=40, symbols=1)
    whole = panel_of(closes, start="2023-12-11")
    weekday = np.is_busday(whole.sessions) & ~np.isin(whole.sessions, np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"))
    whole = replace(whole, sessions=whole.sessions[weekday], close=closes[weekday], fresh=whole.fresh[weekday])

    def asked_on(rows: slice) -> list[str]:
        panel = replace(whole, sessions=whole.sessions[rows], close=whole.close[rows], fresh=whole.fresh[rows])
        with Server() as server:
            made, _ = put(llm_spec(base_url=server.base_url, every_days=7), panel, tmp_path / str(rows.start) / str(rows.stop))
        return [str(day) for day in panel.sessions[(made.silence == Silence.SPEAKS).any(axis=1)]]

    every = ["2023-12-18", "2023-12-25", "2024-01-03", "2024-01-08", "2024-01-15"]
    assert asked_on(slice(0, 28)) == every
    assert asked_on(slice(0, 20)) == every[:4]
    assert asked_on(slice(3, 28)) == every[1:]  # from a Thursday on: the first Monday has too short a history
    assert asked_on(slice(7, 28)) == every[2:]


def test_confidence_is_capped_and_an_instrument_left_out_is_silent(tmp_path: Path) -> None:
    panel = panel_of(walk())
    with Server("confident", "no_view") as server:
        made, _ = put(llm_spec(base_url=server.base_url, confidence_max=0.56), panel, tmp_path, silent=last_only(panel))
    assert made.confidence[-1].tolist()[:2] == [0.56, 0.56]
    assert made.silence[-1].tolist() == [Silence.SPEAKS, Silence.SPEAKS, Silence.NO_ANSWER]


@settings(max_examples=8, deadline=None)
@given(session=st.integers(HISTORY - 1, 11), seed=st.integers(0, 2**32 - 1))
def test_no_look_ahead(tmp_path_factory: pytest.TempPathFactory, session: int, seed: int) -> None:
    """Whatever is changed after a session, requests and opinions up to it are the same to the byte."""
    rng = np.random.default_rng(seed)
    closes = walk(sessions=12, symbols=4)
    closes[rng.random(closes.shape) < 0.1] = np.nan
    panel = panel_of(closes)
    silent, volatility = rng.random(closes.shape) < 0.7, rng.uniform(0.01, 0.1, closes.shape)
    later_silent, later_volatility = silent.copy(), volatility.copy()
    later_silent[session + 1 :] ^= rng.random(closes.shape)[session + 1 :] < 0.5
    later_volatility[session + 1 :] = rng.uniform(-1.0, 1.0, closes.shape)[session + 1 :]
    later = until(panel, session, rng.uniform(1.0, 1000.0, closes.shape))
    with Server() as server:
        spec = llm_spec(base_url=server.base_url)
        one, _ = put(spec, panel, tmp_path_factory.mktemp("cache"), silent=silent, volatility=volatility)
        bodies = server.bodies
        server.requests = []
        other, _ = put(spec, later, tmp_path_factory.mktemp("cache"), silent=later_silent, volatility=later_volatility)
    rows = slice(session + 1)
    for name in ("expected_return", "predicted_volatility", "confidence", "silence"):
        assert getattr(one, name)[rows].tobytes() == getattr(other, name)[rows].tobytes()
    prompts = int((-(-np.isfinite(one.expected_return[rows]).sum(axis=1) // spec.max_symbols_per_prompt)).sum())
    assert server.bodies[:prompts] == bodies[:prompts]


def test_requests_hold_market_data_and_nothing_else(tmp_path: Path) -> None:
    panel = panel_of(walk(), symbols=("AAPL", "BTC-USD", "XOM"), start="2020-03-09")
    with Server() as server:
        put(llm_spec(base_url=server.base_url, api_key_env="KEY"), panel, tmp_path, key="sk-0123456789abcdef")
    assert len(server.requests) == 5 * 2
    for path, headers, body in server.requests:
        assert path == "/v1/chat/completions"
        assert set(headers) == {
            "Host", "Content-Type", "Content-Length", "Accept", "Accept-Encoding", "Connection", "User-Agent", "Authorization"
        }  # fmt: skip
        assert headers["Authorization"] == "Bearer sk-0123456789abcdef"
        request = json.loads(body)
        assert set(request) == {"model", "messages", "response_format", "temperature", "seed", "max_tokens"}
        shown = json.loads(request["messages"][1]["content"])
        assert set(shown) == {"horizon_sessions", "instruments"}
        assert all(set(one) == {"name", "closes"} for one in shown["instruments"])
        assert all(word not in body for word in (b"AAPL", b"BTC", b"2020-", b"sk-", b"0.03"))
        assert opinions(request)


@pytest.mark.parametrize("key", ["", "two words", "sk-\r\nX-Other: 1", "sk-é", "\x00"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    panel = panel_of(walk())
    with pytest.raises(ConfigError) as caught:
        put(llm_spec(api_key_env="MY_KEY"), panel, tmp_path, key=key)
    assert str(caught.value) == (
        "signals.llm_fallback.api_key_env: the value of the environment variable MY_KEY is empty or holds what no header can (not shown)"
    )


def test_a_missing_key_is_refused_where_the_network_may_be_asked_and_only_there(tmp_path: Path) -> None:
    panel = panel_of(walk())
    with pytest.raises(ConfigError, match="the environment variable MY_KEY is not set; null sends no key"):
        put(llm_spec(api_key_env="MY_KEY"), panel, tmp_path, online_from=8)
    _, counts = put(llm_spec(api_key_env="MY_KEY"), panel, tmp_path, online_from=9)
    assert counts.offline == 5 * 3


def test_a_key_is_not_sent_where_none_is_configured(tmp_path: Path) -> None:
    panel = panel_of(walk())
    with Server() as server:
        put(llm_spec(base_url=server.base_url), panel, tmp_path, key="sk-0123456789abcdef")
    assert all("Authorization" not in headers for _, headers, _ in server.requests)


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    panel = panel_of(walk())
    told: list[tuple[int, int]] = []
    everything = np.ones(panel.close.shape, dtype=np.bool_)
    ask(
        llm_spec(),
        panel,
        everything,
        np.where(everything, 0.03, np.nan),
        cache=tmp_path,
        key=None,
        online_from=9,
        sleep=lambda _: None,
        clock=lambda: 0.0,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(k, 9) for k in range(1, 10)]
