"""Contracts of what is kept of every signal: the signal itself, and what its validation said. Importing this costs 0.45 s (pandera).

Texts have no dtype, as in `schemas.market`; that they are texts is the writer's cast.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa

_FINITE = pa.Check(lambda values: np.isfinite(values) | np.isnan(values), name="finite", error="finite or absent")
_TEXT = pa.Column(None, nullable=True)
_INSTANT = pa.Column(pd.DatetimeTZDtype("us", "UTC"))


def _key() -> pa.Column:
    return pa.Column(None, pa.Check(lambda values: values.str.strip() != "", name="not blank", error="not blank"), nullable=False)


def _number(*checks: pa.Check, nullable: bool = True) -> pa.Column:
    return pa.Column("float64", [_FINITE, *checks], nullable=nullable)


def _one_of(*values: str) -> pa.Column:
    return pa.Column(None, pa.Check.isin(values), nullable=False)


def _fail_has_reason(frame: pd.DataFrame) -> pd.Series:
    return (frame["status"] == "FAIL") == frame["reason"].notna()


def _pass_gains(frame: pd.DataFrame) -> pd.Series:
    return (frame["status"] != "PASS") | (frame["expected_profit"] > 0.0)


ENVELOPE = pa.DataFrameSchema(
    {
        **{name: _key() for name in ("run_id", "signal_id", "symbol")},
        "signalled_at": _INSTANT,
        "direction": pa.Column("int8", pa.Check.isin([-1, 1])),
        "strength": _number(),
        "edge_score": _number(),
        "confidence": _number(pa.Check.in_range(0.0, 1.0), nullable=False),
        "source": _one_of("TS", "ML", "LLM"),
        "horizon_days": _number(pa.Check.gt(0.0)),
        "regime": _TEXT,
        "expected_return": _number(),
        "predicted_volatility": _number(pa.Check.ge(0.0)),
        "sleeve": _one_of("safe", "ts_core", "ml_secondary", "llm_fallback", "tail_hedge", "ngx_risk", "em_risk"),
        "acted": pa.Column("bool"),
    },
    unique=["run_id", "signal_id"],
    name="envelope",
    strict=True,
    coerce=False,
)
"""Every actionable signal of a run. `direction` 1 buy, -1 sell; `edge_score` and `expected_return` have its sign where the engine is right
about it; returns and volatility over the horizon, as fractions. `acted`: a decision of the run was taken on it. What the source does not
say is absent. `signal_id` is the key; (run_id, symbol, signalled_at) finds the signals of a trade that has lost it."""

VALIDATION = pa.DataFrameSchema(
    {
        **{name: _key() for name in ("run_id", "signal_id", "symbol")},
        "recorded_at": _INSTANT,
        "status": _one_of("PASS", "FAIL"),
        "expected_profit": _number(),
        "execution_mode": _one_of("off", "shadow", "canary", "live", "replay"),
        "action": _one_of("BUY", "SELL", "HOLD"),
        "source": _one_of("TS", "ML", "LLM"),
        "reason": _TEXT,
    },
    checks=[
        pa.Check(_fail_has_reason, name="fail has a reason", error="a reason stands where the status is FAIL, and nowhere else"),
        pa.Check(_pass_gains, name="pass gains", error="what passes has an expected profit above 0"),
    ],
    unique=["run_id", "signal_id"],
    name="validation",
    strict=True,
    coerce=False,
)
"""One record for each actionable signal and run; `expected_profit` net of costs, in base currency, absent where it is unknown."""
