"""Contracts of the frames that the engine hands to Python. Importing this costs 0.45 s (pandera): do it where a frame arrives.

Texts have no dtype here, since pandas 2 and 3 hold them differently; that they are texts is the engine's cast.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa

_FINITE = pa.Check(lambda values: np.isfinite(values) | np.isnan(values), name="finite", error="finite or absent")
_TEXT = pa.Column(None, nullable=True)
_KEY = pa.Column(None, nullable=False)


def _number(*checks: pa.Check, nullable: bool = True) -> pa.Column:
    return pa.Column("float64", [_FINITE, *checks], nullable=nullable)


def _schema(
    name: str, columns: dict[str, pa.Column], *, checks: pa.Check | None = None, unique: list[str] | None = None
) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, checks=checks, name=name, strict=True, coerce=False, unique=unique)


DAILY_BARS = _schema(
    "daily_bars",
    {
        "code": pa.Column("int32", pa.Check.ge(0)),
        "day": pa.Column("int64"),
        "close": _number(nullable=False),
    },
    unique=["code", "day"],
)
"""The last finite close of each symbol (by code) and UTC date (days since 1970)."""


def _actionable_has_confidence(frame: pd.DataFrame) -> pd.Series:
    return frame["confidence"].notna() | (frame["direction"] == 0)


SIGNALS = _schema(
    "signals",
    {
        "code": pa.Column("int32", pa.Check.ge(0)),
        "signalled_at": pa.Column("int64"),
        "direction": pa.Column("int8", pa.Check.isin([-1, 0, 1])),
        "confidence": _number(pa.Check.in_range(0.0, 1.0)),
        **{name: _number() for name in ("strength", "edge_score", "gap_frac", "cost_bps", "funding_bps")},
        "horizon_days": _number(pa.Check.gt(0.0)),
        "expected_return": _number(),
        "predicted_volatility": _number(pa.Check.ge(0.0)),
        "participation_frac": _number(pa.Check.ge(0.0)),
        "leverage": _number(pa.Check.gt(0.0)),
        **dict.fromkeys(("source", "regime"), _TEXT),
        "signal_id": _KEY,
    },
    checks=pa.Check(_actionable_has_confidence, name="confidence on BUY and SELL", error="confidence is there on BUY and SELL"),
)
"""Signals; instants as microseconds since 1970, UTC. Uniqueness of signal_id is a data check with a severity of its own."""

CLOSING_TRADES = _schema(
    "closing_trades",
    {
        "trade_id": _KEY,
        "symbol": _KEY,
        "traded_at": pa.Column("int64"),
        "side": pa.Column("int8", pa.Check.isin([-1, 1])),
        "quantity": _number(nullable=False),
        "realized_pnl": _number(nullable=False),
        **{name: _number() for name in ("price", "commission", "entry_price")},
        **{name: _number(pa.Check.in_range(0.0, 1.0)) for name in ("base_confidence", "effective_confidence")},
        "multiplier": _number(pa.Check.ge(0.0)),
        "entry_at": pa.Column(None, nullable=True),
        "bucket": _TEXT,
        **dict.fromkeys(("signal_id", "run_id"), _TEXT),
    },
)
"""Closing trades; uniqueness of trade_id is a data check with a severity of its own."""

LEDGER_SUMS = _schema(
    "ledger_sums",
    {
        "day": pa.Column("int64"),
        "bucket": pa.Column(None, pa.Check.isin(["safe", "core", "spec", "other"])),
        "clipped": pa.Column("int64", pa.Check.ge(0)),
        "closed": pa.Column("int64", pa.Check.gt(0)),
        **{name: pa.Column("int64", pa.Check.ge(0)) for name in ("won", "lost", "known", "named")},
        **{name: _number(pa.Check.in_range(0.0, 1.0)) for name in ("least_base", "most_base")},
        **{name: _number(pa.Check.ge(0.0), nullable=False) for name in ("profit", "loss", "profit_over_base", "loss_over_base")},
    },
    unique=["day", "bucket", "clipped"],
)
"""Closing trades added up by UTC date, bucket and class of base confidence, of which the least and the most are shown."""


class ContractBroken(Exception):
    """A frame breaks its contract: the column (None: a rule on whole rows), the rule, how many rows, and the first of them."""

    def __init__(self, column: str | None, rule: str, count: int, first: str) -> None:
        """Tell what broke in one sentence."""
        self.column, self.rule, self.count, self.first = column, rule, count, first
        super().__init__(f"{'' if column is None else f'column {column}: '}broken rule '{rule}'; rows: {count}, first: {first}")


def validate(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> None:
    """Hold `frame` to `schema`, all rules at once.

    Raises:
        ContractBroken: the first rule, in the order of columns, that does not hold, and how often.
    """
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise _first_broken(error.failure_cases, frame) from None


def _first_broken(cases: pd.DataFrame, frame: pd.DataFrame) -> ContractBroken:
    first = cases.iloc[0]
    alike = cases[(cases["check"] == first["check"]) & (cases["schema_context"] == first["schema_context"])]
    if first["schema_context"] == "Column":
        return ContractBroken(
            str(first["column"]), str(first["check"]), int((alike["column"] == first["column"]).sum()), str(first["failure_case"])
        )
    row = frame.loc[first["index"]].dropna() if first["index"] is not None else pd.Series({"": first["failure_case"]})
    count = max(1, alike["index"].nunique())
    return ContractBroken(None, str(first["check"]), count, " ".join(f"{name} {value}".strip() for name, value in row.items()))
