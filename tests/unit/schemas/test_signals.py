"""The contracts of what is kept of signals."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from policyengine.records import Sleeve
from policyengine.signals.forecasts import Source
from policyengine.spec.health import ACTIONS, EXECUTION_MODES
from schemas import market, signals

AT = pd.to_datetime(["2020-01-02T21:00:00Z", "2020-01-03T21:00:00Z"]).as_unit("us")


def envelope(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"run_id": "r_1", "signal_id": ["s_1", "s_2"], "symbol": ["SPY", "WTI"], "signalled_at": AT})
    numbers = dict.fromkeys(("strength", "edge_score", "horizon_days", "expected_return", "predicted_volatility"), 0.5)
    frame = frame.assign(direction=np.array([1, -1], dtype="int8"), confidence=0.6, source="TS", regime=None, sleeve="ts_core", acted=True)
    return frame.assign(**numbers)[list(signals.ENVELOPE.columns)].assign(**columns)


def validation(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"run_id": "r_1", "signal_id": ["s_1", "s_2"], "symbol": ["SPY", "WTI"], "recorded_at": AT})
    frame = frame.assign(status=["PASS", "FAIL"], expected_profit=[10.0, np.nan], execution_mode="shadow", action=["BUY", "SELL"])
    return frame.assign(source="ML", reason=[None, "notional is unknown"]).assign(**columns)


def test_frames_that_keep_their_contract() -> None:
    market.validate(signals.ENVELOPE, envelope())
    market.validate(signals.VALIDATION, validation())


def test_what_the_source_does_not_say_may_be_absent() -> None:
    absent = dict.fromkeys(("strength", "edge_score", "horizon_days", "expected_return", "predicted_volatility"), np.nan)
    market.validate(signals.ENVELOPE, envelope(**absent))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"signal_id": ["s_1", " "]}, "column signal_id: broken rule 'not blank'; rows: 1"),
        ({"symbol": ["SPY", None]}, "column symbol: broken rule 'not_nullable'; rows: 1"),
        ({"signalled_at": AT.tz_localize(None)}, r"column signalled_at: broken rule 'dtype\('datetime64\[us, UTC\]'\)'"),
        ({"signalled_at": AT.as_unit("ns")}, r"column signalled_at: broken rule 'dtype\('datetime64\[us, UTC\]'\)'"),
        ({"direction": np.array([1, 0], dtype="int8")}, r"column direction: broken rule 'isin\(\[-1, 1\]\)'; rows: 1, first: 0"),
        ({"direction": [1, -1]}, r"column direction: broken rule 'dtype\('int8'\)'"),
        ({"confidence": [0.5, 1.5]}, "column confidence: broken rule 'in_range"),
        ({"confidence": [0.5, np.nan]}, "column confidence: broken rule 'not_nullable'"),
        ({"edge_score": [0.5, np.inf]}, "column edge_score: broken rule 'finite or absent'"),
        ({"horizon_days": [0.0, 1.0]}, "column horizon_days: broken rule 'greater_than"),
        ({"predicted_volatility": [-0.1, 1.0]}, "column predicted_volatility: broken rule 'greater_than_or_equal_to"),
        ({"source": ["TS", "GUESS"]}, "column source: broken rule 'isin"),
        ({"sleeve": ["ts_core", "other"]}, "column sleeve: broken rule 'isin"),
        ({"acted": [1, 0]}, r"column acted: broken rule 'dtype\('bool'\)'"),
        ({"signal_id": ["s_1", "s_1"]}, "broken rule 'multiple_fields_uniqueness'; rows: 2"),
        ({"extra": 1}, "broken rule 'column_in_schema'"),
    ],
)
def test_envelopes_that_break_it(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(market.ContractBroken, match=message):
        market.validate(signals.ENVELOPE, envelope(**columns))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"status": ["PASS", "OK"], "reason": None}, "column status: broken rule 'isin"),
        ({"execution_mode": "paper"}, "column execution_mode: broken rule 'isin"),
        ({"action": ["BUY", "buy"]}, "column action: broken rule 'isin"),
        ({"expected_profit": [np.inf, 1.0]}, "column expected_profit: broken rule 'finite or absent'"),
        ({"expected_profit": [np.nan, 1.0]}, "what passes has an expected profit above 0"),
        ({"expected_profit": [0.0, 1.0]}, "what passes has an expected profit above 0"),
        ({"reason": [None, None]}, "a reason stands where the status is FAIL"),
        ({"reason": ["a", "b"]}, "a reason stands where the status is FAIL"),
        ({"signal_id": ["s_1", "s_1"]}, "broken rule 'multiple_fields_uniqueness'"),
    ],
)
def test_validation_that_breaks_it(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(market.ContractBroken, match=message):
        market.validate(signals.VALIDATION, validation(**columns))


def test_words_are_those_of_the_package() -> None:
    def allowed(schema: Any, column: str) -> set[str]:
        (check,) = schema.columns[column].checks
        return set(check.statistics["allowed_values"])

    assert allowed(signals.ENVELOPE, "source") == allowed(signals.VALIDATION, "source") == set(Source)
    assert allowed(signals.ENVELOPE, "sleeve") == set(Sleeve)
    assert allowed(signals.VALIDATION, "execution_mode") == set(EXECUTION_MODES)
    assert allowed(signals.VALIDATION, "action") == set(ACTIONS)


def test_every_contract_can_be_written() -> None:
    from policyengine.signals.envelope import Contract

    assert all(hasattr(signals, name) for name in get_args(Contract))
