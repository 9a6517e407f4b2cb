"""Rows of the matrix: what each holds, how it is stored, and that it is read back, from older artifacts too."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from policyengine.errors import ConfigError
from policyengine.evidence.artifact import row_mapping, row_of
from policyengine.evidence.interval import return_difference_interval
from policyengine.evidence.matrix import EvidenceRow, columns, evidence_rows, flat
from policyengine.evidence.metrics import ArmSeries, TradeSums
from policyengine.records import Window

NONE = np.zeros(0, dtype=np.int64)


def arm(seed: int) -> ArmSeries:
    n = 90
    return ArmSeries(
        name="arm",
        sessions=np.datetime64("2020-01-01") + np.arange(n),
        nav=1_000.0 * np.exp(np.random.default_rng(seed).normal(0.0005, 0.01, n).cumsum()),
        capital=1_000.0,
        rate=np.zeros(n),
        periods_per_year=365.0,
        trades=TradeSums.of_trades(n, session=NONE, bucket=NONE, pnl=np.zeros(0)),
    )


def rows(confidence: float = 0.95) -> tuple[EvidenceRow, ...]:
    """A month, ten days, and a month that the sessions do not reach."""
    days = [("2020-02-01", "2020-02-29"), ("2020-03-01", "2020-03-10"), ("2021-01-01", "2021-01-31")]
    found = [Window(label=start[:7], start_date=date.fromisoformat(start), end_date=date.fromisoformat(end)) for start, end in days]
    return evidence_rows(arm(1), arm(2), found, policy_hash="p", baseline_hash="b", confidence=confidence)


def test_a_row_holds_the_interval_of_its_own_sessions() -> None:
    month, short, absent = rows()
    assert month.d_return_interval == return_difference_interval(arm(1).between(31, 59), arm(2).between(31, 59), confidence=0.95)
    assert month.d_return_interval is not None
    assert sum(month.d_return_interval) / 2.0 == pytest.approx(month.delta["total_return_pct"])
    assert short.d_return_interval is None
    assert (absent.sessions, absent.baseline, absent.d_return_interval) == (0, {}, None)
    assert absent.error == "no session from 2021-01-01 to 2021-01-31"


def test_intervals_are_at_the_confidence_asked_for() -> None:
    wide, narrow = (rows(confidence)[0].d_return_interval for confidence in (0.99, 0.5))
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_matrix_has_a_column_for_each_edge() -> None:
    month, short, absent = map(flat, rows())
    assert (month["delta_total_return_pct_low"], month["delta_total_return_pct_high"]) == rows()[0].d_return_interval
    for row in (short, absent):
        assert row["delta_total_return_pct_low"] is row["delta_total_return_pct_high"] is None
    assert columns([absent, month]).count("delta_total_return_pct_low") == 1


def test_a_stored_row_is_read_back_whole() -> None:
    for row in rows():
        assert row_of(row_mapping(row)) == row


def test_a_row_of_before_intervals_were_stored_has_none() -> None:
    stored = row_mapping(rows()[0])
    del stored["d_return_interval"]
    assert row_of(stored).d_return_interval is None
    assert row_of(stored).delta == rows()[0].delta


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 2.0, 3.0], ["low", "high"], 1.0])
def test_an_interval_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="d_return_interval"):
        row_of({**row_mapping(rows()[0]), "d_return_interval": wrong})
