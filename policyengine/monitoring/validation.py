"""Validation: is a signal worth its costs at the size that is meant for it, as far as anybody knows."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from policyengine.spec.thresholds import ThresholdsSpec

Floats = NDArray[np.float64]
_ACTIONS = np.array(["HOLD", "BUY", "SELL"], dtype=object)
"""By direction: 0, 1, and -1 from the end."""


def validation_rows(
    *,
    signal_id: NDArray[np.object_],
    symbol: NDArray[np.object_],
    source: NDArray[np.object_],
    direction: NDArray[np.int8],
    expected_return: Floats,
    edge_score: Floats,
    confidence: Floats,
    notional: Floats,
    cost_frac: float,
    thresholds: ThresholdsSpec,
    execution_mode: str,
    recorded_at: datetime,
) -> dict[str, object]:
    """One validation record for each of S signals, as columns (S,) that `schemas.signals.VALIDATION` names, but for `run_id`.

    With d the `direction` (1, -1, 0), r the `expected_return` over the horizon before costs, signed, c the `cost_frac` of one fill as a
    fraction of its notional, and n the `notional` that is meant, in base currency, whatever its sign:

        expected_profit = (d r - 2 c) |n|

    The status is FAIL for the first reason that applies, else PASS: `expected_return`, `notional`, `edge_score` or `confidence` is unknown
    (NaN or infinite); the expected profit is not above 0; d x edge_score is below `edge_min`; the confidence is below `confidence_min`. An
    expected profit that is unknown is NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # infinite is unknown as well
        profit = (direction * expected_return - 2.0 * cost_frac) * np.abs(notional)
    profit = np.where(np.isfinite(profit), profit, np.nan)
    known = {"expected_return": expected_return, "notional": notional, "edge_score": edge_score, "confidence": confidence}
    reasons = {
        **{f"{name} is unknown": ~np.isfinite(values) for name, values in known.items()},
        "the expected profit is not above 0": ~(profit > 0.0),
        f"the edge is below {thresholds.edge_min:g}": ~(direction * edge_score >= thresholds.edge_min),
        f"the confidence is below {thresholds.confidence_min:g}": ~(confidence >= thresholds.confidence_min),
    }
    failed = np.array(list(reasons.values()))
    reason = np.where(failed.any(axis=0), np.array(list(reasons), dtype=object)[failed.argmax(axis=0)], None)
    return {
        "signal_id": signal_id,
        "symbol": symbol,
        "recorded_at": [recorded_at] * len(signal_id),
        "status": np.where(failed.any(axis=0), "FAIL", "PASS").astype(object),
        "expected_profit": profit,
        "execution_mode": [execution_mode] * len(signal_id),
        "action": _ACTIONS[direction],
        "source": source,
        "reason": reason,
    }
