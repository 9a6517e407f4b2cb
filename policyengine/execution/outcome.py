"""What a policy comes to in a replay, small enough to keep for thousands of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.orders import GUARDRAILS
from policyengine.execution.replay import Curves

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One policy over T sessions and G groups of instruments.

    `nav`, `cost`, `traded` (T,) in base currency; `requests`, `rejects` (T,) counts, guardrail rejects only; `exposure` (T, G) sums of
    absolute fractions of NAV after the session's fills. Of closing trades, (T, G): `closed`, `won`, `lost` count all, those with net
    realised P&L above 0 and below; `profit`, `loss`, both >= 0, are their sums in base currency. `breaches`, `held_over` count
    sessions as in `Curves`.
    """

    nav: Floats
    cost: Floats
    traded: Floats
    requests: Ints
    rejects: Ints
    exposure: Floats
    closed: Ints
    won: Ints
    lost: Ints
    profit: Floats
    loss: Floats
    breaches: int
    held_over: int


def outcome_of(curves: Curves, p: int, group: Ints, groups: int) -> Outcome:
    """What `curves` hold of policy `p`; `group` (N,) is the group, below `groups`, that each instrument counts in."""
    fills = curves.fills
    sessions = curves.nav.shape[1]
    closing = (fills.policy == p) & (fills.closed > 0.0)
    cell = fills.session[closing] * groups + group[fills.instrument[closing]]
    pnl = fills.realized[closing]

    def summed(weights: Floats) -> Floats:
        total: Floats = np.bincount(cell, weights, minlength=sessions * groups).astype(np.float64)
        return total.reshape(sessions, groups)

    return Outcome(
        nav=curves.nav[p],
        cost=curves.cost[p],
        traded=curves.traded[p],
        requests=curves.requests[p],
        rejects=curves.rejects[p][:, list(GUARDRAILS)].sum(axis=1),
        exposure=np.stack([np.abs(curves.exposure[p])[:, group == g].sum(axis=1) for g in range(groups)], axis=1),
        closed=summed(np.ones(pnl.size)).astype(np.int64),
        won=summed(np.where(pnl > 0.0, 1.0, 0.0)).astype(np.int64),
        lost=summed(np.where(pnl < 0.0, 1.0, 0.0)).astype(np.int64),
        profit=summed(np.maximum(pnl, 0.0)),
        loss=summed(np.maximum(-pnl, 0.0)),
        breaches=int(curves.breach[p].sum()),
        held_over=int(curves.held_over[p].sum()),
    )
