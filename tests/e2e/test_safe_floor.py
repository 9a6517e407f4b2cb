"""The safe floor over whole replays of real prices: after every rebalance, at fill prices, and in between."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from policyengine.allocation.cycle import Cycle, grid
from policyengine.allocation.nav import in_base_currency
from policyengine.cli import DATA
from policyengine.evidence.replay import cash_rate
from policyengine.execution.replay import Curves, replay
from policyengine.market import PricePanel, open_market
from policyengine.records import Arm, Bucket
from policyengine.signals.stream import engine_stream
from policyengine.spec.root import Spec
from tests.conftest import composed_spec


def real_universe() -> list[str]:
    folder = Path(os.environ["POLICYENGINE_SHARED_DATA"])
    return ["source=real_universe", "universe=real_universe", f"source.path={folder / 'prices_2010_2018.csv.gz'}"]


def replayed(spec: Spec, temporary: Path) -> tuple[PricePanel, Curves]:
    with open_market(spec.source, spec.universe, memory_limit_mb=512, temp_dir=temporary, shipped_dir=DATA) as market:
        panel = in_base_currency(market.prices(spec.window.calendar), spec.universe)
    stream = engine_stream(spec.signals, panel)
    cycle = Cycle(
        [spec.arm(arm) for arm in Arm],
        stream,
        grid(stream, spec.universe),
        spec.universe,
        allow_short=spec.execution.allow_short,
        periods_per_year=panel.periods_per_year,
    )
    rate = cash_rate(panel, spec.universe.cash_rate_symbol)
    return panel, replay(panel, cycle, spec.execution, rate=rate, capital=spec.evidence.capital)


def check_floor(spec: Spec, temporary: Path) -> int:
    """Sessions on which the floor was reached, the candidate's and the baseline's together."""
    panel, curves = replayed(spec, temporary)
    limits = spec.candidate.limits
    floor, band = limits.buckets[Bucket.SAFE].min_frac, limits.drift_band
    assert (floor, band) == (0.75, 0.02)
    risky = np.array([spec.universe.bucket(s) is not Bucket.SAFE for s in panel.symbols])
    close = np.where(np.isnan(panel.close), 0.0, panel.close)
    reached = 0
    for p in range(len(Arm)):
        own = curves.fills.policy == p
        moved = np.zeros(panel.close.shape)
        moved[curves.fills.session[own], curves.fills.instrument[own]] = curves.fills.quantity[own]
        held = moved.cumsum(axis=0)
        before = np.concatenate([np.zeros((1, held.shape[1])), held[:-1]])
        stuck = (~panel.fresh & (held != 0.0)).any(axis=1)
        safe = 1.0 - np.abs(curves.exposure[p][:, risky]).sum(axis=1)
        rebalanced = (moved != 0.0).any(axis=1)
        assert (safe[rebalanced & ~stuck] >= floor - 1e-9).all()
        assert (safe[~stuck] >= floor - band - 1e-9).all()
        # What a night of prices did, before that session's orders.
        nav = curves.nav[p] + curves.cost[p]
        drifted = 1.0 - np.abs(before * close)[:, risky].sum(axis=1) / nav
        reduced = ((np.abs(held) < np.abs(before)) & risky).any(axis=1)
        assert reduced[(drifted < floor - band - 1e-9) & panel.fresh.all(axis=1)].all()
        reached += int((safe < floor + 1e-6).sum())
    assert not curves.breach.any()
    return reached


@pytest.mark.parametrize("overrides", [[], ["limits=barbell_swept"], ["scaler=volatility"]])
def test_the_floor_holds_on_the_demo(tmp_path: Path, overrides: list[str]) -> None:
    check_floor(composed_spec(*overrides), tmp_path)


def test_the_floor_holds_on_the_demo_where_everything_is_asked_of_risk(tmp_path: Path) -> None:
    """Without budgets the signals ask for all of NAV: the floor binds on more than a quarter of them."""
    assert check_floor(composed_spec("sleeves.enabled=false"), tmp_path) > 2_500


@pytest.mark.shared
@pytest.mark.parametrize("overrides", [[], ["sleeves.enabled=false", "signals.ts_core.thresholds.confidence_min=0.45"]])
def test_the_floor_holds_on_the_real_universe(tmp_path: Path, overrides: list[str]) -> None:
    """Crypto and spot oil included, which trade on other days than the rest."""
    reached = check_floor(composed_spec(*real_universe(), *overrides), tmp_path)
    assert reached > (1_300 if overrides else -1)
