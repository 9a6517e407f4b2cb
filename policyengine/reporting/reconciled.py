"""What was asked for, what was allocated and what the limits left of it, as a run stored it."""

from __future__ import annotations

from typing import Any

import numpy as np

from policyengine.records import Arm, Sleeve
from policyengine.reporting.names import STEPS
from policyengine.reporting.series import known, numbers
from policyengine.reporting.stored import StoredRun, Table


def reconciliation(run: StoredRun) -> dict[str, Any] | None:
    """Gross fractions of NAV by decision and arm, the L1 drift that limits caused, and which limits bound; None where none is stored."""
    arms = _by_arm(run)
    if arms is None:
        return None
    days = arms[Arm.CANDIDATE]["session"].astype("datetime64[D]").astype(str).tolist()
    made: dict[str, Any] = {"day": days, "summary": run.evidence["reconciliation"]}
    for arm, table in arms.items():
        made[arm.value] = {step: numbers(table[f"{step}_gross_frac"]) for step in STEPS}
        made[arm.value]["l1_drift"] = numbers(table["l1_drift_frac"])
        made[arm.value]["bound_now"] = [name for name in str(table["bound"][-1]).split(", ") if name]
    return made


def sleeves(run: StoredRun) -> dict[str, Any] | None:
    """Budget of each sleeve at the last decision, its bounds, and `frac`, what it holds at that session. None without budgets."""
    arms = _by_arm(run)
    if arms is None:
        return None
    held = {} if run.exposure is None else run.inside(run.exposure, "session")
    made: dict[str, Any] = {"as_of": str(arms[Arm.CANDIDATE]["session"][-1].astype("datetime64[D]"))}
    for arm, table in arms.items():
        configured = run.evidence["config"][arm.value]["sleeves"]
        made[arm.value] = {
            "enabled": configured["enabled"],
            "lines": [
                {
                    "name": sleeve.value,
                    "frac": known(float(held[column][-1])) if (column := f"{arm}_sleeve_{sleeve}_frac") in held else None,
                    "budget_frac": known(float(table[f"budget_{sleeve}_frac"][-1])),
                    **configured[sleeve.value],
                }
                for sleeve in Sleeve
            ],
        }
    return made


def _by_arm(run: StoredRun) -> dict[Arm, Table] | None:
    """The rows of each arm within the decision sample."""
    if run.reconciliation is None:
        return None
    table = run.inside(run.reconciliation, "session")
    arms = {arm: _rows(table, table["arm"] == arm) for arm in Arm}
    return arms if all(one["session"].size for one in arms.values()) else None


def _rows(table: Table, kept: Any) -> Table:
    return {name: column[np.asarray(kept)] for name, column in table.items()}
