"""Trials replayed again: the excess returns of every policy that competes with the candidate, on the decision dates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import grid, targets
from policyengine.evidence.replay import cash_rate
from policyengine.execution.replay import replay
from policyengine.market.panel import PricePanel
from policyengine.signals.stream import Stream
from policyengine.spec.root import PolicySpec, Spec, digest
from policyengine.spec.signals import SignalsSpec

Floats = NDArray[np.float64]
BATCH = 32
"""Policies replayed at once: their arrays stay small, and a sweep of any length fits."""


def trial_returns(
    spec: Spec,
    panel: PricePanel,
    policies: Sequence[PolicySpec],
    stream_of: Callable[[SignalsSpec], Stream],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Excess returns (T, K) of K stored `policies` over the panel, in their order.

    Policies that share signals and execution are replayed together. `stream_of` gives the signal stream of a trial's settings.

    Raises:
        BrokenInvariant: a replay whose books do not add up.
    """
    returns = np.empty((panel.sessions.size, len(policies)))
    rate = cash_rate(panel, spec.universe.cash_rate_symbol)
    capital = spec.evidence.capital
    done = 0
    for members in _groups(policies).values():
        first = policies[members[0]]
        stream = stream_of(first.signals)
        asked = grid(stream, spec.universe)
        for start in range(0, len(members), BATCH):
            batch = members[start : start + BATCH]
            wanted = [targets(policies[k], stream, asked, spec.universe, allow_short=first.execution.allow_short) for k in batch]
            weights, limits = np.stack([w.weights for w in wanted]), [w.limits for w in wanted]
            nav = replay(panel, weights, limits, first.execution, rate=rate, capital=capital).nav
            before = np.concatenate([np.full((len(batch), 1), capital), nav[:, :-1]], axis=1)
            returns[:, batch] = (nav / before - 1.0 - rate).T
            done += len(batch)
            if progress is not None:
                progress(done, len(policies))
    return returns


def _groups(policies: Sequence[PolicySpec]) -> Mapping[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for k, policy in enumerate(policies):
        groups.setdefault(digest([policy.signals, policy.execution]), []).append(k)
    return groups
