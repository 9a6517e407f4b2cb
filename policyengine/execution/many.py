"""Many policies over one panel and one stream of signals: compiled, on threads, with the reference as the arbiter.

Needs the extra `grid` (Numba). A policy that asks for what `compiled` does not do (lots, a bound on turnover or on a fill), or that
does not settle there, is replayed by `replay.replay`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Cycle, limits_of
from policyengine.allocation.sleeves import Grid
from policyengine.errors import Ruined
from policyengine.execution.compiled import Status
from policyengine.execution.outcome import Outcome, outcome_of
from policyengine.execution.replay import replay
from policyengine.execution.staging import Staging, staging
from policyengine.market.panel import PricePanel
from policyengine.signals.stream import Stream
from policyengine.spec.execution import ExecutionSpec
from policyengine.spec.root import ArmSpec, PolicySpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EACH = 4
"""So many policies a thread may be ahead of who reads them: what they came to waits in memory."""


def outcomes(
    panel: PricePanel,
    policies: Sequence[ArmSpec | PolicySpec],
    stream: Stream,
    asked: Grid,
    universe: UniverseSpec,
    execution: ExecutionSpec,
    *,
    rate: Floats,
    capital: float,
    group: Ints,
    groups: int,
    workers: int = 1,
) -> Iterator[Outcome | None]:
    """Replay each of `policies` over the panel, in their order; None for one that loses all its capital.

    `group` (N,) is the group, below `groups`, that each instrument's exposure and trades count in; the rest as in `replay` and `Cycle`.
    The number of `workers` changes no bit.

    Raises:
        BrokenInvariant: as `replay`.
    """
    stages: dict[bytes, Staging] = {}
    fast = compiles(execution, universe, stream)

    def staged(policy: ArmSpec | PolicySpec) -> Staging:
        key = limits_of(policy, universe, stream.rows.symbols).groups.tobytes() + bytes([policy.sleeves.enabled])
        if key not in stages:
            stages[key] = staging(policy, panel, stream, asked, universe, execution, rate=rate, capital=capital, group=group, groups=groups)
        return stages[key]

    def by_reference(policy: ArmSpec | PolicySpec) -> Outcome | None:
        cycle = Cycle([policy], stream, asked, universe, allow_short=execution.allow_short, periods_per_year=panel.periods_per_year)
        try:
            return outcome_of(replay(panel, cycle, execution, rate=rate, capital=capital), 0, group, groups)
        except Ruined:
            return None

    def one(policy: ArmSpec | PolicySpec, stage: Staging | None) -> Outcome | None:
        status, outcome = (Status.UNSETTLED, None) if stage is None else stage.replay(policy)
        return by_reference(policy) if status is Status.UNSETTLED else outcome

    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[Outcome | None]] = deque()
        for policy in policies:
            waiting.append(pool.submit(one, policy, staged(policy) if fast else None))
            if len(waiting) > EACH * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def compiles(execution: ExecutionSpec, universe: UniverseSpec, stream: Stream) -> bool:
    """Whether the compiled replay does what this execution asks for."""
    known = (universe.instruments.get(symbol) for symbol in stream.rows.symbols)
    lots = any(instrument is not None and instrument.lot_size is not None for instrument in known)
    return execution.turnover_max_frac is None and execution.max_fill_notional is None and not lots
