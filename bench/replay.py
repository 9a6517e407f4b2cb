"""The replay's NAV and speed beside vectorbt's, on the same prices and targets, in one process. Recorded, never gating.

    python bench/replay.py [--repeat 5]

vectorbt rebalances to target percentages with `call_seq="auto"` (sells before buys) and no costs; the replay does the same targets without
costs and limits. Prices are positive: vectorbt refuses others. Needs vectorbt 1.x beside this package.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pandas as pd
import vectorbt as vbt
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.cycle import FixedTargets
from policyengine.execution.replay import replayed_nav
from policyengine.market.panel import PricePanel
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]
FREE = ExecutionSpec(
    commission_bps=0.0,
    spread_bps=0.0,
    slippage_bps=0.0,
    min_trade_frac=0.0,
    allow_short=True,
    borrow_bps=0.0,
    financing_spread_bps=0.0,
)
CASES = ((4, 250, 1), (22, 4_760, 2), (100, 2_500, 10))


def case(names: int, sessions: int, policies: int, seed: int = 0) -> tuple[PricePanel, Floats]:
    """Random walks and long-only targets (P, T, N) that spend less than everything."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(rng.normal(0.0002, 0.02, (sessions, names)).cumsum(axis=0))
    weights = rng.dirichlet(np.ones(names + 1), (policies, sessions))[:, :, :names]
    days = np.arange(np.datetime64("2000-01-01"), np.datetime64("2000-01-01") + sessions)
    panel = PricePanel(
        sessions=days,
        symbols=tuple(f"S{i:04d}" for i in range(names)),
        close=close,
        fresh=np.ones_like(close, dtype=bool),
        calendar_used="all",
        periods_per_year=365,
    )
    return panel, weights


def ours(panel: PricePanel, weights: Floats) -> Floats:
    """NAV (P, T); targets of a session fill at the close of the next."""
    n = weights.shape[2]
    unlimited = Constraints(upper=np.full(n, np.inf), groups=np.ones((1, n)), group_upper=np.array([np.inf]), names=("gross",))
    decider = FixedTargets(weights, [unlimited] * weights.shape[0])
    return replayed_nav(panel, decider, FREE, rate=np.zeros(panel.sessions.size), capital=1e6)


def theirs(panel: PricePanel, weights: Floats) -> Floats:
    """NAV (P, T) by vectorbt, each policy a group that shares its cash."""
    policies, _, names = weights.shape
    close = pd.DataFrame(np.tile(panel.close, policies), index=pd.DatetimeIndex(panel.sessions))
    targets = np.concatenate([np.full((policies, 1, names), np.nan), weights[:, :-1]], axis=1)
    book = vbt.Portfolio.from_orders(
        close,
        size=pd.DataFrame(np.concatenate(list(targets), axis=1), index=close.index),
        size_type="targetpercent",
        call_seq="auto",
        cash_sharing=True,
        group_by=np.repeat(np.arange(policies), names),
        init_cash=1e6,
        freq="1D",
    )
    return book.value().to_numpy().T.reshape(policies, -1)


def median(run: Callable[[], object], repeat: int) -> float:
    """Median seconds."""
    spent = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return float(np.median(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print(f"python {platform.python_version()}, numpy {np.__version__}, pandas {pd.__version__}, vectorbt {version('vectorbt')}")
    print(f"{'names':>6}{'sessions':>10}{'policies':>10}{'ours s':>10}{'vectorbt s':>12}{'ratio':>8}{'largest relative difference':>30}")
    for names, sessions, policies in CASES:
        panel, weights = case(names, sessions, policies)
        mine, other = ours(panel, weights), theirs(panel, weights)
        gap = float(np.max(np.abs(mine / other - 1.0)))
        a, b = median(lambda p=panel, w=weights: ours(p, w), repeat), median(lambda p=panel, w=weights: theirs(p, w), repeat)
        print(f"{names:>6}{sessions:>10,}{policies:>10}{a:>10.3f}{b:>12.3f}{b / a:>8.1f}{gap:>30.1e}")


if __name__ == "__main__":
    main()
