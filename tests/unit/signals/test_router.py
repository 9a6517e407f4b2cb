from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.signals.forecasts import Silence, Source
from policyengine.signals.router import Heard, Ints, Routing, quiet, route
from policyengine.signals.routing import choices, routing_rows

S, H, L, N = int(Silence.SPEAKS), int(Silence.HOLD), int(Silence.LOW_EDGE), int(Silence.NO_BAR)
BUY, SELL = 1, -1


def heard(source: Source, said: list[int], rows: list[int]) -> Heard:
    """One instrument."""
    return Heard(source=source, row=np.array(rows, dtype=np.int32)[:, None], said=np.array(said, dtype=np.int8)[:, None])


def routed(*words: Heard, direction: list[int], max_age: int = 2, conflict: str = "first") -> tuple[Ints, Routing]:
    return route(words, np.array(direction, dtype=np.int8), max_age=max_age, conflict=conflict)  # type: ignore[arg-type]


def test_time_series_come_first_and_the_others_where_it_is_silent() -> None:
    ts = heard(Source.TS, [S, N, N, N, N], [0, -1, -1, -1, -1])
    ml = heard(Source.ML, [S, S, S, H, N], [1, 2, 3, -1, -1])
    llm = heard(Source.LLM, [N, N, S, N, N], [-1, -1, 4, -1, -1])
    in_force, made = routed(llm, ml, ts, direction=[BUY] * 5)  # whatever the order they are given in
    assert in_force[:, 0].tolist() == [0, 0, 3, 4, -1]
    assert made.chosen[:, 0].tolist() == [0, 0, 1, 2, -1]
    assert not made.conflict.any()


def test_a_word_that_stays_below_its_threshold_ends_the_former_one_and_no_price_does_not() -> None:
    ts = heard(Source.TS, [S, N, L, N], [0, -1, -1, -1])
    assert routed(ts, direction=[BUY], max_age=4)[0][:, 0].tolist() == [0, 0, -1, -1]


def test_of_opposite_words_the_first_counts_or_none() -> None:
    ts, ml = heard(Source.TS, [S, S], [0, 1]), heard(Source.ML, [S, S], [2, 3])
    words = {"direction": [BUY, BUY, SELL, BUY]}
    (counts, first), (left, silence) = routed(ts, ml, **words), routed(ts, ml, **words, conflict="silence")  # type: ignore[arg-type]
    assert first.conflict[:, 0].tolist() == silence.conflict[:, 0].tolist() == [True, False]
    assert counts[:, 0].tolist() == [0, 1]
    assert left[:, 0].tolist() == [-1, 1]
    assert silence.chosen[:, 0].tolist() == [-1, 0]


def test_where_nobody_speaks_it_is_quiet() -> None:
    ts, ml = heard(Source.TS, [N, S, N, N, N], [-1, 0, -1, -1, -1]), heard(Source.ML, [N, N, N, S, H], [-1, -1, -1, 1, -1])
    assert quiet([ts, ml], 2)[:, 0].tolist() == [True, False, False, False, True]


def test_the_table_counts_every_word_once() -> None:
    ts = heard(Source.TS, [S, N, L, N], [0, -1, -1, -1])
    ml = heard(Source.ML, [S, S, S, N], [1, 2, 3, -1])
    _, made = routed(ts, ml, direction=[BUY, SELL, SELL, BUY])
    table = {row["source"]: row for row in routing_rows(made, {Source.TS: ["ts_core"], Source.ML: ["ml_secondary"]})}
    assert {k: v for k, v in table["TS"].items() if v} == {
        "source": "TS", "sleeve": "ts_core", "asked": 2, "speaks": 1, "in_force": 2, "counts": 2, "conflicts": 2, "no_bar": 2, "low_edge": 1
    }  # fmt: skip
    assert {k: v for k, v in table["ML"].items() if v} == {
        "source": "ML", "sleeve": "ml_secondary", "asked": 3, "speaks": 3, "in_force": 4, "counts": 2, "outranked": 2, "conflicts": 2,
        "no_bar": 1,
    }  # fmt: skip
    days = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-01-05"))
    told = choices(made, days, ("A",))
    texts = {name: np.array(told[name].words, dtype=object)[told[name].codes].tolist() for name in ("chosen", "ts", "ml")}  # type: ignore[attr-defined]
    assert texts == {
        "chosen": ["TS", "TS", "ML", "ML"],
        "ts": ["SPEAKS", "NO_BAR", "LOW_EDGE", "NO_BAR"],
        "ml": ["SPEAKS", "SPEAKS", "SPEAKS", "NO_BAR"],
    }


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), max_age=st.integers(1, 6), conflict=st.sampled_from(["first", "silence"]))
def test_a_lower_source_never_speaks_over_a_higher_one(seed: int, max_age: int, conflict: str) -> None:
    rng = np.random.default_rng(seed)
    words, direction = [], []
    for source in Source:
        said = rng.choice([S, H, L, N], (30, 3)).astype(np.int8)
        row = np.full(said.shape, -1, dtype=np.int32)
        speaks = said == S
        row[speaks] = len(direction) + np.arange(speaks.sum())
        direction += rng.choice([BUY, SELL], int(speaks.sum())).tolist()
        words.append(Heard(source=source, row=row, said=said))
    in_force, made = routed(*words, direction=direction, max_age=max_age, conflict=conflict)
    for rank, source in enumerate(Source):
        above = np.any([made.held[one] for one in list(Source)[:rank]], axis=0) if rank else np.zeros((30, 3), dtype=bool)
        assert not (above & (made.chosen == rank)).any()
        assert ((made.chosen == rank) <= made.held[source]).all()
    nobody = made.chosen == -1
    anyone = np.any(list(made.held.values()), axis=0)
    assert (nobody == (~anyone | (made.conflict if conflict == "silence" else False))).all()
    later = [Heard(source=w.source, row=w.row[:20], said=w.said[:20]) for w in words]
    cut, _ = routed(*later, direction=direction, max_age=max_age, conflict=conflict)
    assert cut.tobytes() == in_force[:20].tobytes()
