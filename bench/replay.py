"""The replay of fixed target weights beside vectorbt, bt and a plain Python loop, on the same prices, targets and costs.

    python bench/replay.py [--quick]

All of them buy at the close of the session after the target, and pay the same fraction of what they trade. vectorbt and bt size on NAV
before costs, ours and the loop on NAV after them: vectorbt is given targets that leave the costs out, so that all trade the same; bt
cannot be, which shows in its difference. Prices are positive: vectorbt refuses others. Targets are made one policy at a time and not
timed. Compiled policies run on as many threads as there are processors, as in a grid; the others have one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import measure
import numpy as np
from measure import Case, Piece, Spent, have, seconds
from numpy.typing import NDArray

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.cycle import FixedTargets
from policyengine.allocation.shell import project_batch
from policyengine.allocation.sleeves import SLEEVES
from policyengine.execution.replay import replayed_nav
from policyengine.market.panel import PricePanel
from policyengine.spec.execution import ExecutionSpec

Floats = NDArray[np.float64]
Engine = Callable[["Market", Floats], Floats]
"""NAV (P, T) of targets (P, T, N); those of a session fill at the close of the next."""
CAPITAL = 1e6
THREADS = os.cpu_count() or 1
CHUNK = 10
"""So many policies' targets are in memory at once."""
CAPS = (1.0, 0.3, 0.9, 0.2, 0.1)
"""Of the shell that binds: of all, and of four groups of instruments."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """Random walks, what trading costs, and `policies` random long-only targets (T, N) that spend less than everything."""

    names: int
    sessions: int
    policies: int
    cost_bps: float

    @cached_property
    def panel(self) -> PricePanel:
        """All names fresh on every session."""
        steps = np.random.default_rng(0).normal(0.0002, 0.02, (self.sessions, self.names))
        close = 100.0 * np.exp(steps.cumsum(axis=0))
        return PricePanel(
            sessions=np.arange(np.datetime64("2000-01-01"), np.datetime64("2000-01-01") + self.sessions),
            symbols=tuple(f"S{i:04d}" for i in range(self.names)),
            close=close,
            fresh=np.ones_like(close, dtype=bool),
            calendar_used="all",
            periods_per_year=365,
        )

    def targets(self, policy: int) -> Floats:
        """Those of one policy, the same whenever they are made."""
        return np.random.default_rng([1, policy]).dirichlet(np.ones(self.names + 1), self.sessions)[:, : self.names]

    @cached_property
    def execution(self) -> ExecutionSpec:
        """Costs on what is traded, none on what is held."""
        free = dict.fromkeys(("spread_bps", "slippage_bps", "min_trade_frac", "borrow_bps", "financing_spread_bps"), 0.0)
        return ExecutionSpec(commission_bps=self.cost_bps, allow_short=True, **free)


def unlimited(names: int) -> Constraints:
    """No cap on anything."""
    return Constraints(upper=np.full(names, np.inf), groups=np.ones((1, names)), group_upper=np.array([np.inf]), names=("gross",))


def capped(names: int) -> Constraints:
    """Caps that random targets pass on every session: of a name, of all, and of four groups."""
    kind = np.arange(names) % 4
    groups = np.stack([np.ones(names), *(kind == k for k in range(4))]).astype(np.float64)
    upper = np.full(names, 2.0 / names)
    return Constraints(upper=upper, groups=groups, group_upper=np.array(CAPS), names=("gross", "a", "b", "c", "d"))


def by_reference(market: Market, weights: Floats, limits: Constraints | None = None) -> Floats:
    """The replay that trades and makes every artifact, all policies at once; targets within `limits`."""
    limits = unlimited(market.names) if limits is None else limits
    decider = FixedTargets(weights, [limits] * weights.shape[0])
    return replayed_nav(market.panel, decider, market.execution, rate=np.zeros(market.sessions), capital=CAPITAL)


def compiled(market: Market, limits: Constraints | None = None) -> Engine:
    """The replay of many policies; with `limits`, under a shell that projects every target.

    A target stands as the share of one budget that is all of NAV. Without limits all instruments are alike, and in order as they are.
    """
    from policyengine.execution.arrays import Stage, Terms, book_of, kept_of, shell_of  # noqa: PLC0415 - needs the extra grid
    from policyengine.execution.compiled import Status, replay_one  # noqa: PLC0415

    within = unlimited(market.names) if limits is None else limits
    groups = within.groups > 0.0
    _, kind = np.unique(groups.T, axis=0, return_inverse=True)
    order = np.argsort(kind, kind="stable")
    _, first = np.unique(kind[order], return_index=True)
    price = np.ascontiguousarray(market.panel.close[:, order])
    nobody = np.zeros(price.shape, dtype=np.int8)
    stage = Stage(
        price=price,
        tradable=np.ones(price.shape, dtype=np.bool_),
        rate=np.zeros(market.sessions),
        elapsed=np.ones(market.sessions),
        share=price,
        signal=nobody.astype(np.int32),
        sleeve=nobody,
        charged=nobody,
        starts=np.append(first, order.size).astype(np.int64),
        member=np.vstack([groups[:, order[first]], np.ones((1, first.size), dtype=np.bool_)]),
        group=np.array([0, order.size]),
    )
    terms = Terms(market.execution.cost_frac, 0.0, 0.0, 0.0, 365.0, CAPITAL)
    policy = unscaled(within, order, limited=limits is not None)

    def nav(targets: Floats) -> Floats:
        kept = kept_of(market.sessions, 1)
        own = stage._replace(share=targets if limits is None else np.ascontiguousarray(targets[:, order]))
        status, _, _ = replay_one(own, terms, policy, book_of(order.size), shell_of(*stage.member.shape[::-1]), kept)
        assert status == Status.DONE, Status(status)
        return kept.nav

    def engine(_: Market, weights: Floats) -> Floats:
        with ThreadPoolExecutor(THREADS) as pool:
            return np.stack(list(pool.map(nav, weights)))

    return engine


def unscaled(within: Constraints, order: NDArray[np.intp], *, limited: bool) -> tuple[object, ...]:
    """A policy that follows every signal in full, each sleeve with all of NAV as its budget."""
    from policyengine.execution.arrays import Policy  # noqa: PLC0415

    one, none = np.ones(len(SLEEVES)), np.zeros(len(SLEEVES))
    return Policy(
        retained=np.ones(1),
        limited=limited,
        upper=within.upper[order],
        caps=within.group_upper,
        band=0.0,
        euclidean=False,
        swept=np.zeros(0, dtype=np.int64),
        base=one,
        least=none,
        most=one,
        gross=float(one.sum()),
        room=float(one.sum()),
        scaled=False,
        listed=none > 0.0,
        target_vol=one,
        max_drawdown=one,
        vol_sensitivity=0.0,
        dd_sensitivity=0.0,
        min_scale=1.0,
        max_scale=1.0,
        decay=0.0,
        min_sessions=0,
    )


def by_loop(market: Market, weights: Floats) -> Floats:
    """The definition, in plain Python; and what an independent reader would write to check it."""
    prices = market.panel.close.tolist()
    return np.array([[nav for nav, _ in looped(prices, targets.tolist(), market.cost_bps / 10_000.0)] for targets in weights])


def looped(prices: list[list[float]], targets: list[list[float]], cost_frac: float) -> Iterator[tuple[float, float]]:
    """NAV of each session, and the fraction of NAV that its trades left."""
    cash, held = CAPITAL, [0.0] * len(prices[0])
    decided: list[float] | None = None
    for price, coming in zip(prices, targets, strict=True):
        worth = [q * p for q, p in zip(held, price, strict=True)]
        nav = value = cash + sum(worth)
        if decided is not None:
            side = [1.0 if w * nav > h else -1.0 for w, h in zip(decided, worth, strict=True)]
            for _ in range(4):
                sold = sum(s * h for s, h in zip(side, worth, strict=True))
                bought = sum(s * w for s, w in zip(side, decided, strict=True))
                value = (nav + cost_frac * sold) / (1.0 + cost_frac * bought)
                turned = [1.0 if w * value > h else -1.0 for w, h in zip(decided, worth, strict=True)]
                if turned == side:
                    break
                side = turned
            change = [w * value - h for w, h in zip(decided, worth, strict=True)]
            cost = cost_frac * sum(map(abs, change))
            held = [w * value / p for w, p in zip(decided, price, strict=True)]
            cash += -sum(change) - cost
            value = nav - cost
        decided = coming
        yield value, value / nav


def by_vectorbt(market: Market, weights: Floats) -> Floats:
    """Each policy a group that shares its cash, sells before buys; `weights` leave the costs out."""
    import pandas as pd  # noqa: PLC0415
    import vectorbt as vbt  # noqa: PLC0415

    policies, _, names = weights.shape
    close = pd.DataFrame(np.tile(market.panel.close, policies), index=pd.DatetimeIndex(market.panel.sessions))
    targets = np.concatenate([np.full((policies, 1, names), np.nan), weights[:, :-1]], axis=1)
    book = vbt.Portfolio.from_orders(
        close,
        size=pd.DataFrame(np.concatenate(list(targets), axis=1), index=close.index),
        size_type="targetpercent",
        call_seq="auto",
        cash_sharing=True,
        group_by=np.repeat(np.arange(policies), names),
        fees=market.cost_bps / 10_000.0,
        init_cash=CAPITAL,
        freq="1D",
    )
    return book.value().to_numpy().T.reshape(policies, -1)


def by_bt(market: Market, weights: Floats) -> Floats:
    """One backtest a policy, fractional positions."""
    import bt  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    sessions, frac = weights.shape[1], market.cost_bps / 10_000.0
    days = pd.DatetimeIndex(market.panel.sessions[:sessions])
    close = pd.DataFrame(market.panel.close[:sessions], index=days, columns=list(market.panel.symbols))
    found = []
    for targets in weights:
        algos = [
            bt.algos.RunDaily(run_on_first_date=False),
            bt.algos.SelectAll(),
            bt.algos.WeighTarget(pd.DataFrame(targets, index=days, columns=close.columns).shift(1)),
            bt.algos.Rebalance(),
        ]
        terms = {"initial_capital": CAPITAL, "integer_positions": False, "progress_bar": False}
        backtest = bt.Backtest(bt.Strategy("policy", algos), close, commissions=lambda q, p: abs(q) * p * frac, **terms)
        backtest.run()
        found.append(backtest.strategy.data["value"].to_numpy()[-sessions:])
    return np.stack(found)


def without_costs(market: Market, policy: int) -> Floats:
    """Targets (T, N) of `policy` such that NAV before costs times them is NAV after costs times its own."""
    targets = market.targets(policy)
    left = [frac for _, frac in looped(market.panel.close.tolist(), targets.tolist(), market.cost_bps / 10_000.0)]
    return targets * np.append(left[1:], 1.0)[:, None]


def timed(
    engine: Engine,
    market: Market,
    *,
    policies: int,
    chunk: int = 1,
    sessions: int | None = None,
    targets: Callable[[Market, int], Floats] = Market.targets,
) -> Spent:
    """NAV of the first `policies`, `chunk` at a time, over the first `sessions`; making targets is not timed."""
    spent, found = 0.0, []
    for first in range(0, policies, chunk):
        weights = np.stack([targets(market, p)[:sessions] for p in range(first, min(first + chunk, policies))])
        spent += seconds(lambda weights=weights: found.append(engine(market, weights)))  # type: ignore[misc]
    return Spent(seconds=spent, result=np.concatenate(found))


def gap(first: Floats, other: Floats) -> float:
    """Largest relative difference of NAV, over the policies and sessions that both have."""
    policies, sessions = other.shape
    return float(np.max(np.abs(other / first[:policies, :sessions] - 1.0)))


def pieces(market: Market, *, bt: tuple[int, int], reference: int = 1, loop: int = 1, vectorbt: int = 1) -> dict[str, Piece]:
    """Who replays `market`, and how many of its policies: in one go, but the loop; of bt, one policy or more and how many sessions."""
    every = market.policies
    found = {}
    if have("numba"):
        engine = compiled(market)
        found[f"{measure.OURS}, compiled, {THREADS} threads"] = Piece(run=lambda: timed(engine, market, policies=every, chunk=CHUNK))
    found[f"{measure.OURS}, reference"] = Piece(
        run=lambda: timed(by_reference, market, policies=reference, chunk=reference), part=reference / every, tolerance=1e-10
    )
    found["plain loop"] = Piece(run=lambda: timed(by_loop, market, policies=loop), part=loop / every, tolerance=1e-10)
    if have("vectorbt"):
        near = [without_costs(market, p) for p in range(vectorbt)]
        found["vectorbt"] = Piece(
            run=lambda: timed(by_vectorbt, market, policies=vectorbt, chunk=vectorbt, targets=lambda _, p: near[p]),
            part=vectorbt / every,
            tolerance=1e-7,
        )
    if have("bt"):
        policies, sessions = bt
        found["bt"] = Piece(
            run=lambda: timed(by_bt, market, policies=policies, sessions=sessions),
            part=policies * sessions / (every * market.sessions),
            tolerance=1e-12 if market.cost_bps == 0.0 else 1e-2,
        )
    return found


def shelled(market: Market) -> dict[str, Piece]:
    """The compiled replay under a shell that binds on every session, without it, and the reference on targets projected before."""
    limits, every = capped(market.names), market.policies
    on, off = compiled(market, limits), compiled(market)

    def projected(_: Market, policy: int) -> Floats:
        return project_batch(market.targets(policy), limits.upper, limits.groups, limits.group_upper)

    return {
        f"{measure.OURS}, shell binding": Piece(run=lambda: timed(on, market, policies=every, chunk=CHUNK)),
        f"{measure.OURS}, no shell": Piece(run=lambda: timed(off, market, policies=every, chunk=CHUNK)),
        f"{measure.OURS}, reference, shell not timed": Piece(
            run=lambda: timed(lambda m, w: by_reference(m, w, limits), market, policies=every, chunk=every, targets=projected),
            tolerance=1e-10,
        ),
    }


def cases(*, quick: bool) -> Iterator[Case]:
    """Names x sessions x policies."""
    small, large = Market(names=4, sessions=250, policies=1, cost_bps=8.0), Market(names=500, sessions=2_500, policies=100, cost_bps=8.0)
    demo, middle = Market(names=22, sessions=4_760, policies=2, cost_bps=8.0), Market(names=100, sessions=2_500, policies=10, cost_bps=8.0)
    free = replace(small, cost_bps=0.0)
    yield Case(name="4 x 250 x 1, no costs", build=lambda _: pieces(free, bt=(1, 250)), differ=gap)
    yield Case(name="4 x 250 x 1", build=lambda _: pieces(small, bt=(1, 250)), differ=gap)
    if not quick:
        yield Case(name="22 x 4,760 x 2", build=lambda _: pieces(demo, reference=2, loop=2, vectorbt=2, bt=(1, 250)), differ=gap)
        yield Case(name="100 x 2,500 x 10", build=lambda _: pieces(middle, reference=10, loop=2, vectorbt=10, bt=(1, 100)), differ=gap)
        yield Case(
            name="500 x 2,500 x 100", build=lambda _: pieces(large, reference=10, loop=1, vectorbt=4, bt=(1, 20)), differ=gap, repeat=3
        )
    if have("numba"):
        limited = replace(middle, sessions=250, policies=2) if quick else middle
        name = f"100 x {limited.sessions:,} x {limited.policies}, shell"
        yield Case(name=name, build=lambda _: shelled(limited), differ=gap)


if __name__ == "__main__":
    measure.main("replay", cases, ("numpy", "pandas", "numba", "vectorbt", "bt"), (__doc__ or "").split("\n\n")[2])
