"""A snapshot as it is stored, of a canary at which nothing is amiss, for tests to change."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def span(*, orders: int = 40, rejects: int = 2, state: str = "canary", sessions: int = 20) -> dict[str, Any]:
    buckets = [
        {"bucket": b, "orders": o, "rejects": r, "reject_frac": r / o if o else None, "realized_pnl": p}
        for b, o, r, p in (("safe", 0, 0, 0.0), ("core", orders, rejects, 120.0), ("spec", 0, 0, -20.0), ("other", 0, 0, 0.0))
    ]
    return {
        "state": state,
        "start_date": "2026-02-02",
        "end_date": "2026-02-27",
        "sessions": sessions,
        "turnover_frac": 0.3,
        "cost_bps": 1.25,
        "profit_factor": 1.5,
        "reject_frac": rejects / orders if orders else None,
        "orders": orders,
        "rejects": rejects,
        "buckets": buckets,
    }


def stored(**changes: Any) -> dict[str, Any]:
    """The snapshot with `changes`: a dotted path is written with `__`, an index as a number."""
    made: dict[str, Any] = {
        "schema": 1,
        "account": "paper",
        "published_at": NOW.isoformat(),
        "as_of": "2026-02-27",
        "source": {"origin": "prices.parquet", "synthetic": False},
        "currency": "USD",
        "nav": 1_000_000.0,
        "cash": 300_000.0,
        "cash_frac": 0.3,
        "mode": "canary",
        "state": "canary",
        "halted": None,
        "buckets": [
            {"bucket": b, "held_frac": h, "net_frac": n, "min_frac": least, "max_frac": most, "headroom_frac": room}
            for b, h, n, least, most, room in (
                ("safe", 0.8, 0.5, 0.75, None, 0.05),
                ("core", 0.15, 0.15, None, 0.2, 0.05),
                ("spec", 0.05, 0.05, None, 0.1, 0.05),
                ("other", 0.0, 0.0, None, 0.0, 0.0),
            )
        ],
        "risk": {"held_frac": 0.2, "max_frac": 0.25, "headroom_frac": 0.05},
        "sleeves": [
            {
                "sleeve": "ts_core",
                "base_frac": 0.15,
                "effective_frac": 0.12,
                "allocated_frac": 0.1,
                "scale": 0.8,
                "realised_vol": 0.18,
                "target_vol": 0.15,
                "drawdown": 0.02,
                "max_drawdown": 0.3,
            }
        ],
        "done": {
            "session": span(sessions=1),
            "rolling": span(),
            "since_mode": span(),
            "before_mode": span(state="shadow"),
        },
        "unmet": [],
        "quant_gate": {"active": False, "since": None, "reason": None, "disabled": []},
        "permit": {
            "stage": "canary",
            "evidence_hash": "ab" * 32,
            "made_at": (NOW - timedelta(days=2)).isoformat(),
            "expires_at": (NOW + timedelta(days=5)).isoformat(),
            "refusal": None,
        },
        "kill": {"engaged": False, "since": None, "why": None},
        "audit": {"recorded_at": NOW.isoformat(), "records": 1234, "checkpoint_at": NOW.isoformat(), "broken": None},
        "evidence": {
            "evidence_hash": "ab" * 32,
            "made_at": (NOW - timedelta(days=2)).isoformat(),
            "stage": "canary",
            "verdict": "PROMOTE",
            "sample": {"d_return_frac": 0.02, "d_max_drawdown_frac": -0.01, "profit_factor": 1.6, "baseline_profit_factor": 1.4},
            "window": {"d_return_frac": 0.004, "d_max_drawdown_frac": 0.0, "profit_factor": 1.5, "baseline_profit_factor": None},
        },
        "canary": {"sessions": 12, "mean": 1e-4, "lower": -2e-3, "upper": 2e-3, "loss_frac": 0.0, "why": None},
        "alerts": [],
    }
    made = copy.deepcopy(made)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place: Any = made
        for part in parents:
            place = place[int(part)] if part.isdigit() else place[part]
        place[int(last) if last.isdigit() else last] = value
    return made
