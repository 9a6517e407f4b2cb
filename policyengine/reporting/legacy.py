"""The keys under which older dashboards of this field look, drawn from the same stored values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policyengine.records import Arm
from policyengine.reporting.series import known
from policyengine.reporting.stored import StoredRun

LEGACY_KEYS = ("meta", "pnl", "signals", "trade_events", "price_series", "robustness", "live_denominator", "quant_validation")
SHOWN_SIGNALS = 50
ACTIONS = {1: "BUY", -1: "SELL", 0: "HOLD"}


def legacy(run: StoredRun, body: Mapping[str, Any]) -> dict[str, Any]:
    """All of LEGACY_KEYS but `meta`, which both contracts share; null where a run stores nothing of the kind. Of the candidate."""
    pooled = body["pooled"][Arm.CANDIDATE.value]
    return {
        "pnl": {"absolute": pooled["total_profit"], "pct": pooled["total_return_pct"] / 100.0},
        "signals": _signals(run),
        "trade_events": None if body["trades"] is None else [_event(t) for t in body["trades"]["rows"] if t["arm"] == Arm.CANDIDATE],
        "price_series": None,
        "robustness": None,
        "live_denominator": None,
        "quant_validation": None,
    }


def _signals(run: StoredRun) -> list[dict[str, Any]] | None:
    """The last signals of the sample, the latest last."""
    if run.signals is None:
        return None
    table = run.inside(run.signals, "signalled_at")
    last = np.argsort(table["signalled_at"], kind="stable")[-SHOWN_SIGNALS:]
    return [
        {
            "ticker": str(table["symbol"][i]),
            "action": ACTIONS[int(table["direction"][i])],
            "confidence": known(float(table["base_confidence"][i])),
            "effective_confidence": known(float(table["effective_confidence"][i])),
            "expected_return": None,
            "source": str(table["source"][i]),
            "timestamp": str(table["signalled_at"][i]),
        }
        for i in last.tolist()
    ]


def _event(trade: Mapping[str, Any]) -> dict[str, Any]:
    quantity = trade["quantity"]
    return {
        "ticker": trade["symbol"],
        "action": None if quantity is None else "BUY" if quantity > 0.0 else "SELL",
        "event_type": _event_type(trade),
        "shares": None if quantity is None else abs(quantity),
        "price": trade["price"],
        "timestamp": trade["traded_at"],
        "realized_pnl": trade["realized_pnl"],
        "barbell_bucket": trade["bucket"],
        "barbell_multiplier": trade["multiplier"],
        "base_confidence": trade["base_confidence"],
        "effective_confidence": trade["effective_confidence"],
    }


def _event_type(trade: Mapping[str, Any]) -> str:
    """ENTRY for what closes nothing; a ledger's trades all close."""
    closed, pnl = trade["closed_quantity"], trade["realized_pnl"]
    if closed == 0.0:
        return "ENTRY"
    if pnl is None or pnl == 0.0:
        return "EXIT_FLAT"
    return "EXIT_PROFIT" if pnl > 0.0 else "EXIT_LOSS"
