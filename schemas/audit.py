"""Contract of the decisions that the engine reads from the audit log. Importing this costs 0.45 s: do it where a frame arrives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa

from schemas.market import validate

_FINITE = pa.Check(lambda values: np.isfinite(values) | np.isnan(values), name="finite", error="finite or absent")
_CONFIDENCE = pa.Check.in_range(0.0, 1.0)
_TEXT = pa.Column(None, nullable=True)
_KEY = pa.Column(None, nullable=False)


def _number(*checks: pa.Check) -> pa.Column:
    return pa.Column("float64", [_FINITE, *checks], nullable=True)


def _one_of(*values: str) -> pa.Column:
    return pa.Column(None, pa.Check.isin(values), nullable=False)


def _both_confidences(frame: pd.DataFrame) -> pd.Series:
    return frame["base_confidence"].isna() == frame["effective_confidence"].isna()


def _outcome_is_whole(frame: pd.DataFrame) -> pd.Series:
    return frame["has_outcome"] == (frame["quantity"].notna() & frame["cost"].notna())


def _fill_has_price(frame: pd.DataFrame) -> pd.Series:
    filled = frame["quantity"].fillna(0.0) != 0.0
    return ~filled | (frame["price"].notna() & frame["client_order_id"].notna())


DECISIONS = pa.DataFrameSchema(
    {
        "seq": pa.Column("int64", pa.Check.gt(0)),
        "decision_id": pa.Column(None, nullable=False, unique=True),
        **dict.fromkeys(("recorded_at", "account"), _KEY),
        "day": pa.Column("int64"),
        "signal_id": _TEXT,
        "symbol": _KEY,
        "bucket": _one_of("safe", "core", "spec", "other"),
        "sleeve": _one_of("safe", "ts_core", "ml_secondary", "llm_fallback", "tail_hedge", "ngx_risk", "em_risk"),
        "base_confidence": _number(_CONFIDENCE),
        "multipliers": _KEY,
        "effective_confidence": _number(_CONFIDENCE),
        **{name: _number() for name in ("baseline_size", "candidate_size", "acted_size")},
        "limits": _KEY,
        "mode": _one_of("off", "shadow", "canary", "live", "paused", "expired", "killed"),
        "evidence_hash": _TEXT,
        **dict.fromkeys(("policy_hash", "config_hash", "code_hash", "reasons"), _KEY),
        "has_outcome": pa.Column("bool"),
        "client_order_id": _TEXT,
        **{name: _number() for name in ("quantity", "price")},
        "cost": _number(pa.Check.ge(0.0)),
        "refusal": _TEXT,
    },
    checks=[
        pa.Check(_both_confidences, name="both confidences", error="both confidences are there, or neither"),
        pa.Check(_outcome_is_whole, name="outcome is whole", error="quantity and cost are there where there is an outcome"),
        pa.Check(_fill_has_price, name="fill has a price", error="what filled has a price and an order"),
    ],
    name="decisions",
    strict=True,
    coerce=False,
)
"""Decisions of the audit log; `day` in days since 1970, sizes in signed fractions of NAV, `multipliers`, `limits`, `reasons` as JSON."""


def validate_decisions(frame: pd.DataFrame) -> None:
    """Hold a batch of decisions to `DECISIONS`, all rules at once.

    Raises:
        ContractBroken: the first rule that does not hold, and how often.
    """
    validate(DECISIONS, frame)
