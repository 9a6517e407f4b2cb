from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.market import PricePanel, SignalRows
from policyengine.signals.stream import engine_stream, features, source_stream
from policyengine.spec.signals import SignalsSpec
from policyengine.spec.sizing import Overlay
from tests.conftest import composed_spec

SIGNALS = composed_spec().signals
DAYS = np.array(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-10"], dtype="datetime64[D]")


def panel() -> PricePanel:
    close = np.ones((5, 2))
    return PricePanel(sessions=DAYS, symbols=("A", "B"), close=close, fresh=close > 0, calendar_used="core", periods_per_year=252)


def rows(*signals: tuple[str, str, int, str]) -> SignalRows:
    """Each (instant, symbol, direction, id), on symbols A, B and X, which has no prices."""
    n = len(signals)
    unknown = np.full(n, np.nan)
    texts = np.full(n, None, dtype=object)
    return SignalRows(
        symbols=("A", "B", "X"),
        code=np.array(["ABX".index(s) for _, s, _, _ in signals], dtype=np.intp),
        signalled_at=np.array([t for t, _, _, _ in signals], dtype="datetime64[us]"),
        direction=np.array([d for _, _, d, _ in signals], dtype=np.int8),
        confidence=np.full(n, 0.5),
        strength=unknown,
        edge_score=unknown,
        horizon_days=unknown,
        expected_return=unknown,
        predicted_volatility=unknown,
        cost_bps=np.arange(n, dtype=float),
        gap_frac=unknown,
        funding_bps=unknown,
        participation_frac=unknown,
        leverage=unknown,
        source=texts,
        regime=texts,
        signal_id=np.array([i for _, _, _, i in signals], dtype=object),
    )


def life(sessions: int) -> SignalsSpec:
    return replace(SIGNALS, max_age_sessions=sessions)


def test_a_signal_decides_on_the_session_of_its_day_or_the_last_before_it() -> None:
    """Friday noon decides on Friday and so fills on Monday; Saturday decides on Friday too, and is later."""
    stream = source_stream(life(1), panel(), rows(("2024-01-05T12:00", "A", 1, "fri"), ("2024-01-06T09:00", "B", 1, "sat")))
    assert stream.in_force.tolist() == [[-1, -1], [0, 1], [-1, -1], [-1, -1], [-1, -1]]


def test_a_signal_lives_for_its_sessions_or_until_the_next_on_its_symbol() -> None:
    stream = source_stream(life(3), panel(), rows(("2024-01-04", "A", 1, "a"), ("2024-01-04", "B", 1, "b"), ("2024-01-05", "B", -1, "c")))
    assert stream.in_force.T.tolist() == [[0, 0, 0, -1, -1], [1, 2, 2, 2, -1]]


def test_hold_ends_a_signal_and_is_not_actionable() -> None:
    stream = source_stream(life(5), panel(), rows(("2024-01-04", "A", 1, "a"), ("2024-01-08", "A", 0, "h")))
    assert stream.in_force[:, 0].tolist() == [0, 0, -1, -1, -1]
    assert stream.rows.signal_id.tolist() == ["a"]
    assert stream.considered == 2


def test_of_several_for_one_decision_the_last_counts() -> None:
    both = (("2024-01-05T10:00", "A", 1, "z"), ("2024-01-05T11:00", "A", -1, "a"))
    assert source_stream(life(1), panel(), rows(*both)).in_force[1, 0] == 1
    same = (("2024-01-05T10:00", "A", 1, "z"), ("2024-01-05T10:00", "A", -1, "a"))
    stream = source_stream(life(1), panel(), rows(*same))
    assert stream.rows.signal_id[stream.in_force[1, 0]] == "z"


def test_signals_outside_the_sessions_or_without_prices_are_counted_and_not_used() -> None:
    given = (
        ("2024-01-01", "A", 1, "early"),
        ("2024-01-11", "A", 1, "late"),
        ("2024-01-05", "X", 1, "none"),
        ("2024-01-05", "A", 1, "used"),
    )
    stream = source_stream(life(1), panel(), rows(*given))
    assert stream.unused == 3
    assert stream.rows.signal_id.tolist() == ["used"]
    with pytest.raises(DataError, match="none of 1 meets prices of its symbol"):
        source_stream(life(1), panel(), rows(("2030-01-01", "A", 1, "x")))


def test_a_source_that_no_sleeve_knows_is_refused() -> None:
    unknown = replace(rows(("2024-01-05", "A", 1, "a")), source=np.array(["ORACLE"], dtype=object))
    with pytest.raises(DataError, match="source 'ORACLE' is none of TS, ML, LLM"):
        source_stream(life(1), panel(), unknown)


def test_overlays_read_their_feature() -> None:
    stream = source_stream(life(1), panel(), rows(("2024-01-05", "A", 0, "h"), ("2024-01-05", "B", 1, "b")))
    assert features(stream.rows, (Overlay.COST,))[Overlay.COST].tolist() == [1.0]


def test_ids_of_the_engine_last() -> None:
    """The same settings, symbol and session give the same id, whatever else is in the panel."""
    rng = np.random.default_rng(3)
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-12-31"))
    close = 100 * np.exp(rng.normal(0.003, 0.01, (days.size, 2)).cumsum(axis=0))
    whole = PricePanel(sessions=days, symbols=("A", "B"), close=close, fresh=close > 0, calendar_used="all", periods_per_year=365)
    short = replace(whole, sessions=days[:200], symbols=("B",), close=close[:200, 1:], fresh=close[:200, 1:] > 0)
    one, two = engine_stream(SIGNALS, whole), engine_stream(SIGNALS, short)
    assert set(two.rows.signal_id) < set(one.rows.signal_id)
    assert len(set(one.rows.signal_id)) == one.rows.signal_id.size
    other = engine_stream(replace(SIGNALS, ts_core=replace(SIGNALS.ts_core, horizon_sessions=7)), whole)
    assert not set(other.rows.signal_id) & set(one.rows.signal_id)
