"""What passes validation, and why the rest does not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from policyengine.monitoring.validation import validation_rows
from policyengine.signals.envelope import append
from policyengine.spec.thresholds import ThresholdsSpec

AT = datetime(2026, 1, 2, tzinfo=UTC)
GOOD: dict[str, float] = {"direction": 1, "expected_return": 0.03, "edge_score": 0.2, "confidence": 0.6, "notional": 1_000.0}


def made(*rows: dict[str, float]) -> dict[str, Any]:
    """Records of `rows`, each GOOD but for what it says; a fill costs 0.5%."""
    whole = [{**GOOD, **row} for row in rows]
    columns = {name: np.array([row[name] for row in whole], dtype=float) for name in GOOD if name != "direction"}
    return validation_rows(
        signal_id=np.array([f"s_{i}" for i in range(len(rows))], dtype=object),
        symbol=np.array(["SPY"] * len(rows), dtype=object),
        source=np.array(["TS"] * len(rows), dtype=object),
        direction=np.array([row["direction"] for row in whole], dtype=np.int8),
        cost_frac=0.005,
        thresholds=ThresholdsSpec(edge_min=0.1, confidence_min=0.55),
        execution_mode="shadow",
        recorded_at=AT,
        **columns,
    )


def test_the_expected_profit_is_net_of_both_fills() -> None:
    found = made({}, {"direction": -1, "expected_return": -0.03, "edge_score": -0.2}, {"direction": -1, "notional": -1_000.0})
    assert found["expected_profit"].tolist() == pytest.approx([20.0, 20.0, -40.0], rel=1e-12)
    assert found["status"].tolist() == ["PASS", "PASS", "FAIL"]
    assert found["action"].tolist() == ["BUY", "SELL", "SELL"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"expected_return": np.nan}, "expected_return is unknown"),
        ({"notional": np.nan}, "notional is unknown"),
        ({"notional": np.inf}, "notional is unknown"),
        ({"edge_score": np.nan}, "edge_score is unknown"),
        ({"confidence": np.nan}, "confidence is unknown"),
        ({"expected_return": np.inf, "notional": 0.0}, "expected_return is unknown"),
        ({"expected_return": 0.01}, "the expected profit is not above 0"),
        ({"notional": 0.0}, "the expected profit is not above 0"),
        ({"direction": 0}, "the expected profit is not above 0"),
        ({"edge_score": 0.09}, "the edge is below 0.1"),
        ({"edge_score": -0.2}, "the edge is below 0.1"),
        ({"confidence": 0.54}, "the confidence is below 0.55"),
        ({"edge_score": 0.1, "confidence": 0.55}, None),
    ],
)
def test_the_first_reason_that_applies(row: dict[str, float], reason: str | None) -> None:
    found = made(row)
    assert found["reason"].tolist() == [reason]
    assert found["status"].tolist() == ["PASS" if reason is None else "FAIL"]


def test_an_unknown_profit_is_nan_and_never_0() -> None:
    found = made({"notional": np.nan}, {"expected_return": -np.inf}, {"edge_score": np.nan})
    assert np.isnan(found["expected_profit"][:2]).all()
    assert found["expected_profit"][2] == pytest.approx(20.0)


def test_records_are_written_under_their_contract(tmp_path: Path) -> None:
    path = append(tmp_path, "r_1", made({}, {"notional": np.nan}, {"direction": 0}), "VALIDATION")
    rows = pq.read_table(path).to_pylist()
    assert [row["status"] for row in rows] == ["PASS", "FAIL", "FAIL"]
    assert [row["action"] for row in rows] == ["BUY", "BUY", "HOLD"]
    assert rows[1]["expected_profit"] is None
    assert {(row["run_id"], row["recorded_at"]) for row in rows} == {("r_1", AT)}
    append(tmp_path, "r_2", made(), "VALIDATION")
