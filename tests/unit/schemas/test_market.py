"""The contracts of the frames that the engine hands over."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from schemas import market


def daily_bars(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"code": [0, 0, 1], "day": [1, 2, 1], "close": [1.0, -2.0, 0.0]})
    return frame.astype({"code": "int32", "day": "int64"}).assign(**columns)


def ledger_sums(**columns: Any) -> pd.DataFrame:
    counts = {"clipped": [0], "closed": [2], "won": [1], "lost": [1], "known": [0], "named": [0]}
    money = {
        "least_base": [np.nan],
        "most_base": [np.nan],
        "profit": [3.0],
        "loss": [1.0],
        "profit_over_base": [0.0],
        "loss_over_base": [0.0],
    }
    return pd.DataFrame({"day": [1], "bucket": ["core"], **counts, **money}).assign(**columns)


def test_frames_that_keep_their_contract() -> None:
    market.validate(market.DAILY_BARS, daily_bars())
    market.validate(market.LEDGER_SUMS, ledger_sums())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"close": [1.0, np.inf, 0.0]}, "column close: broken rule 'finite or absent'; rows: 1, first: inf"),
        ({"close": [1.0, np.nan, 0.0]}, "column close: broken rule 'not_nullable'; rows: 1, first: nan"),
        ({"code": np.array([0, -1, 1], dtype="int32")}, "column code: broken rule 'greater_than_or_equal_to(0)'; rows: 1, first: -1"),
        ({"code": [0, 0, 1]}, "column code: broken rule 'dtype('int32')'; rows: 1, first: int64"),
        ({"day": np.array([1, 1, 1])}, "broken rule 'multiple_fields_uniqueness'; rows: 2, first: code 0.0 day 1.0 close 1.0"),
        ({"extra": [1, 2, 3]}, "broken rule 'column_in_schema'; rows: 1, first: extra"),
    ],
)
def test_daily_bars_that_break_it(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(market.ContractBroken) as caught:
        market.validate(market.DAILY_BARS, daily_bars(**columns))
    assert str(caught.value) == message


def test_a_missing_column_breaks_it() -> None:
    with pytest.raises(market.ContractBroken, match=r"column_in_dataframe.*close"):
        market.validate(market.DAILY_BARS, daily_bars().drop(columns="close"))


def test_the_first_broken_column_is_told_with_all_its_rows() -> None:
    with pytest.raises(market.ContractBroken) as caught:
        market.validate(market.DAILY_BARS, daily_bars(close=[np.inf, -np.inf, 0.0], day=np.array([1, 2, 1])))
    assert (caught.value.column, caught.value.count) == ("close", 2)


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"bucket": ["risky"]}, "bucket"),
        ({"closed": [0]}, "closed"),
        ({"loss": [-1.0]}, "loss"),
        ({"most_base": [1.5]}, "most_base"),
        ({"profit_over_base": [np.nan]}, "profit_over_base"),
    ],
)
def test_ledger_sums_that_break_it(columns: dict[str, Any], column: str) -> None:
    with pytest.raises(market.ContractBroken) as caught:
        market.validate(market.LEDGER_SUMS, ledger_sums(**columns))
    assert caught.value.column == column


def test_the_package_alone_is_cheap() -> None:
    code = "import sys, schemas, policyengine.market; print('pandera' in sys.modules, 'adbc_driver_manager' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
