"""Trials replayed again: the excess returns of every policy that competes with the candidate, on the decision dates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Cycle, grid
from policyengine.errors import Ruined
from policyengine.evidence.replay import cash_rate
from policyengine.execution.replay import replayed_nav
from policyengine.market.panel import PricePanel
from policyengine.signals.stream import Stream
from policyengine.spec.execution import ExecutionSpec
from policyengine.spec.root import PolicySpec, Spec, digest
from policyengine.spec.signals import SignalsSpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]
BATCH = 32
"""Policies replayed at once: their arrays stay small, and a sweep of any length fits."""


def trial_returns(
    spec: Spec,
    panel: PricePanel,
    policies: Sequence[PolicySpec],
    stream_of: Callable[[SignalsSpec, ExecutionSpec], Stream],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Excess returns (T, A) of those of K stored `policies` that can be replayed on the panel, in their order.

    One that read the source by other SELECTs, values an instrument otherwise, knows other symbols or loses all its capital cannot
    be aligned and has no column.
    Policies that share universe, signals, execution and whether they have sleeves are replayed together. `stream_of` gives the signal
    stream of a trial's settings and costs.
    """
    rate = cash_rate(panel, spec.universe.cash_rate_symbol)
    found: dict[int, Floats] = {}
    alike = [k for k, p in enumerate(policies) if dict(p.selects) == dict(spec.source.views) and _values_alike(p.universe, spec.universe)]
    for members in _groups(policies, alike).values():
        stream = stream_of(policies[members[0]].signals, policies[members[0]].execution)
        for start in range(0, len(members), BATCH):
            batch = members[start : start + BATCH]
            found |= _replayed(spec, panel, policies, batch, stream, rate)
            if progress is not None:
                progress(len(found), len(policies))
    return np.stack([found[k] for k in sorted(found)], axis=1) if found else np.empty((panel.sessions.size, 0))


def _replayed(
    spec: Spec, panel: PricePanel, policies: Sequence[PolicySpec], batch: Sequence[int], stream: Stream, rate: Floats
) -> dict[int, Floats]:
    """Returns by index of those of `batch` that keep some capital."""
    first = policies[batch[0]]
    capital = spec.evidence.capital
    asked = grid(stream, first.universe)
    cycle = Cycle(
        [policies[k] for k in batch],
        stream,
        asked,
        first.universe,
        allow_short=first.execution.allow_short,
        periods_per_year=panel.periods_per_year,
    )
    try:
        nav = replayed_nav(panel, cycle, first.execution, rate=rate, capital=capital)
    except Ruined:
        if len(batch) == 1:
            return {}
        return {i: r for k in batch for i, r in _replayed(spec, panel, policies, [k], stream, rate).items()}
    before = np.concatenate([np.full((len(batch), 1), capital), nav[:, :-1]], axis=1)
    return dict(zip(batch, nav / before - 1.0 - rate, strict=True))


def _values_alike(one: UniverseSpec, other: UniverseSpec) -> bool:
    """Whether a panel in base currency is the same under both."""
    if (one.base_currency, one.options, dict(one.fx)) != (other.base_currency, other.options, dict(other.fx)):
        return False
    return all(
        (one.currency(s), one.multiplier(s), one.is_option(s)) == (other.currency(s), other.multiplier(s), other.is_option(s))
        for s in {*one.instruments, *other.instruments}
    )


def _groups(policies: Sequence[PolicySpec], members: Sequence[int]) -> Mapping[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for k in members:
        policy = policies[k]
        groups.setdefault(digest([policy.universe, policy.signals, policy.execution, policy.sleeves.enabled]), []).append(k)
    return groups
