"""The replay against a plain loop over plain numbers, and off against a path that knows neither sleeves nor limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.allocation.constraints import Constraints
from policyengine.allocation.cycle import Cycle, FixedTargets, grid
from policyengine.execution.replay import replay
from policyengine.market import PricePanel
from policyengine.records import Arm
from policyengine.signals.stream import engine_stream
from tests.conftest import composed_spec
from tests.property.test_replay import SPEC, SYMBOLS, market


def unbounded(n: int) -> Constraints:
    return Constraints(upper=np.full(n, np.inf), groups=np.ones((1, n)), group_upper=np.array([np.inf]), names=("gross",))


def plain_loop(
    prices: Sequence[Sequence[float]], weights: Sequence[Sequence[float]], cost: float, rates: Sequence[float], cash: float
) -> list[float]:
    """NAV of one policy that trades every name on every session to `weights` of the session before, at `cost` of the notional.

    What is left after costs solves V = NAV - cost sum |w V - h|, here by bisection: no formula is shared with the replay.
    """
    held = [0.0] * len(prices[0])
    navs = []
    for t, price in enumerate(prices):
        cash += cash * rates[t]
        nav = cash + sum(q * p for q, p in zip(held, price, strict=True))
        if t > 0:
            exposure = [q * abs(p) for q, p in zip(held, price, strict=True)]
            low, high = 0.0, nav
            for _ in range(200):
                middle = (low + high) / 2.0
                left = nav - cost * sum(abs(w * middle - h) for w, h in zip(weights[t - 1], exposure, strict=True))
                low, high = (middle, high) if left > middle else (low, middle)
            for i, p in enumerate(price):
                after = weights[t - 1][i] * low / abs(p)
                cash -= (after - held[i]) * p + cost * abs(after - held[i]) * abs(p)
                held[i] = after
            nav = cash + sum(q * p for q, p in zip(held, price, strict=True))
        navs.append(nav)
    return navs


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cost_bps=st.sampled_from([0.0, 4.0, 100.0]), negative=st.booleans(), short=st.booleans())
def test_nav_is_that_of_a_plain_loop(seed: int, cost_bps: float, negative: bool, short: bool) -> None:
    """Prices that turn negative and short positions included, to 1e-10."""
    rng = np.random.default_rng(seed)
    sessions, names = 60, 4
    close = 100.0 * np.exp(rng.normal(0.0, 0.02, (sessions, names)).cumsum(axis=0))
    if negative:
        close[sessions // 2 :, 0] *= -1.0
        close[sessions // 2, 0] = -0.5 * close[sessions // 2 - 1, 0]
    weights = rng.dirichlet(np.ones(names + 1), sessions)[:, :names] * 0.3
    if short:
        weights *= rng.choice([-1.0, 1.0], weights.shape)
    rates = np.full(sessions, 1e-4)
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-01-01") + sessions)
    panel = PricePanel(
        sessions=days, symbols=tuple("ABCD"), close=close, fresh=np.ones_like(close, dtype=bool), calendar_used="all", periods_per_year=365
    )
    execution = replace(
        SPEC.execution,
        commission_bps=cost_bps,
        spread_bps=0.0,
        slippage_bps=0.0,
        min_trade_frac=0.0,
        borrow_bps=0.0,
        financing_spread_bps=0.0,
    )
    curves = replay(panel, FixedTargets(weights[None], [unbounded(names)]), execution, rate=rates, capital=1e6)
    expected = plain_loop(close.tolist(), weights.tolist(), cost_bps / 1e4, rates.tolist(), 1e6)
    np.testing.assert_allclose(curves.nav[0], expected, rtol=1e-10)


def test_switched_off_the_order_stream_is_that_of_a_path_without_sleeves_and_limits() -> None:
    """More than 10,000 decisions, to the bit: quantities, prices, costs and P&L of every fill."""
    off = composed_spec("limits=unlimited", "sleeves.enabled=false", "execution.allow_short=true")
    panel = market(3, 4500)
    stream = engine_stream(off.signals, panel)
    arm = off.arm(Arm.CANDIDATE)
    cycle = Cycle([arm], stream, grid(stream, off.universe), off.universe, allow_short=True, periods_per_year=252)
    rate = np.zeros(4500)
    made = replay(panel, cycle, off.execution, rate=rate, capital=1e6)

    signal = stream.in_force
    decisions = int((signal >= 0).sum())
    assert decisions > 10_000
    weights = np.zeros(signal.shape)
    for t in range(4500):
        names = [i for i in range(len(SYMBOLS)) if signal[t, i] >= 0]
        base = np.array([stream.rows.confidence[signal[t, i]] if i in names else 0.0 for i in range(len(SYMBOLS))])
        for i in names:
            multiplier = arm.sizing.multipliers[off.universe.bucket(SYMBOLS[i])]
            effective = min(max(base[i] * multiplier, 0.0), 1.0)
            weight = base[i] / base.sum() * stream.rows.direction[signal[t, i]] * (effective / base[i])
            weights[t, i] = 0.0 if weight < 0.0 and off.universe.bucket(SYMBOLS[i]) == "safe" else weight
    plain = replay(panel, FixedTargets(weights[None], [unbounded(len(SYMBOLS))]), off.execution, rate=rate, capital=1e6)
    assert made.fills.quantity.size > 10_000
    for name in ("session", "instrument", "quantity", "price", "cost", "closed", "realized"):
        assert getattr(made.fills, name).tobytes() == getattr(plain.fills, name).tobytes(), name
    assert made.nav.tobytes() == plain.nav.tobytes()


def test_a_decision_that_must_not_be_stops_the_cycle() -> None:
    """The runtime assertions themselves, each on what it is there for."""
    from policyengine.allocation import cycle as module
    from policyengine.errors import BrokenInvariant

    weights = np.array([[0.1, 0.2]])
    module._check_untouched(weights, weights.copy())
    with pytest.raises(BrokenInvariant, match="off"):
        module._check_untouched(np.nextafter(weights, 1.0), weights)
    with pytest.raises(BrokenInvariant, match="larger"):
        module._check_projected(np.nextafter(weights, 1.0), weights)
    with pytest.raises(BrokenInvariant, match="larger"):
        module._check_projected(-weights, weights)
    with pytest.raises(BrokenInvariant, match="finite"):
        module._check_projected(np.array([[0.1, np.nan]]), weights)
    with pytest.raises(BrokenInvariant, match="limit"):
        module._check_limits(weights, replace(unbounded(2), group_upper=np.array([0.29])))
