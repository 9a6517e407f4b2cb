"""What was asked for, what was allocated and what the shell left of it, at every decision of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints, bound
from policyengine.allocation.cycle import Cycle
from policyengine.allocation.sleeves import SLEEVES
from policyengine.evidence.evidence import Table
from policyengine.execution.replay import Curves
from policyengine.market.panel import PricePanel
from policyengine.records import Arm
from policyengine.store import Words

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """`tables` to store: weights by name and session, totals by session. `summary` by arm, for the artifact."""

    tables: Mapping[str, Table]
    summary: Mapping[str, Any]


def reconciliation(panel: PricePanel, cycle: Cycle, curves: Curves) -> Reconciliation:
    """Reconcile the decisions of both arms.

    Desired are the weights at base confidence and base budgets, allocated those after overlay and risk scaling, projected those
    after the shell. L1 drift is sum |projected - allocated|: what the limits took, and what a cash sweep added.
    """
    desired = cycle.desired()
    drift = np.abs(curves.weights - curves.allocated).sum(axis=2)
    held = [_bound(curves.allocated[p], curves.weights[p], limits) for p, limits in enumerate(cycle.limits)]
    rows = np.nonzero((desired != 0.0) | (curves.allocated != 0.0) | (curves.weights != 0.0))
    arms = tuple(arm.value for arm in Arm)
    day = panel.sessions.astype("datetime64[s]")
    weights: Table = {
        "session": day[rows[1]],
        "arm": Words(codes=rows[0], words=arms),
        "symbol": Words(codes=rows[2], words=panel.symbols),
        "desired_frac": desired[rows],
        "allocated_frac": curves.allocated[rows],
        "projected_frac": curves.weights[rows],
    }
    totals = {
        name: np.abs(part).sum(axis=2)
        for name, part in (("desired", desired), ("allocated", curves.allocated), ("projected", curves.weights))
    }
    policies, sessions = drift.shape
    by_session: dict[str, object] = {
        "session": np.tile(day, policies),
        "arm": Words(codes=np.repeat(np.arange(policies), sessions), words=arms),
        **{f"{name}_gross_frac": total.ravel() for name, total in totals.items()},
        "l1_drift_frac": drift.ravel(),
        "bound": _joined(held),
        **{f"budget_{sleeve}_frac": curves.fracs[:, :, s].ravel() for s, sleeve in enumerate(SLEEVES)},
    }
    summary = {
        arm: {
            "decisions": sessions,
            **{f"{name}_gross_frac_mean": float(total[p].mean()) for name, total in totals.items()},
            "l1_drift_frac_mean": float(drift[p].mean()),
            "l1_drift_frac_max": float(drift[p].max()),
            "bound_sessions": {name: int(count) for name, count in zip(held[p].names, held[p].bound.sum(axis=0), strict=True) if count},
        }
        for p, arm in enumerate(arms)
    }
    return Reconciliation(tables={"weights": weights, "reconciliation": by_session}, summary=summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Which limits, by the path they are written at, held the decisions: `bound` (T, K)."""

    names: tuple[str, ...]
    bound: NDArray[np.bool_]


def _bound(allocated: Floats, projected: Floats, limits: Constraints) -> _Held:
    """Limits that share a path, the position caps of a bucket's instruments, are one."""
    asked = np.abs(allocated)
    each = bound(asked, np.minimum(np.abs(projected), asked), limits)
    paths = [origin.path for origin in limits.origins]
    names = tuple(dict.fromkeys(paths))
    code = np.array([names.index(path) for path in paths])
    return _Held(names=names, bound=np.stack([each[:, code == k].any(axis=1) for k in range(len(names))], axis=1))


def _joined(held: list[_Held]) -> Words:
    """The names of what bound, joined, one text for each row of all arms."""
    words: dict[str, int] = {}
    codes = []
    for one in held:
        kinds, inverse = np.unique(one.bound, axis=0, return_inverse=True)
        texts = [", ".join(name for name, on in zip(one.names, kind, strict=True) if on) for kind in kinds]
        of = np.array([words.setdefault(text, len(words)) for text in texts])
        codes.append(of[inverse.ravel()])
    return Words(codes=np.concatenate(codes), words=tuple(words))
