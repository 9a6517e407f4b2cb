"""Names that what writes the payload and what draws it share. It imports nothing, so that a process that only draws starts at once."""

from __future__ import annotations

SAFE_WEIGHT = "safe_weight"
"""Cash and what is in the safe bucket: NAV less everything that is not safe."""
STEPS = ("desired", "allocated", "projected")
"""Gross weights before sizing, after it, and after the limits."""
EVIDENCE, VERDICT, ABOUT, SWEEP = "evidence.json", "verdict.json", "run.json", "sweep.json"
PAYLOAD, REPORT, TRADES = "dashboard_data.json", "report.html", "trades.csv"
"""What reporting leaves in the folder of a run."""
