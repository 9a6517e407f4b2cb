"""Panels and a small engine for the tests of ml_secondary: fits take milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.market.panel import PricePanel
from policyengine.signals.forecasts import Opinions
from policyengine.signals.ml_secondary import opinions
from policyengine.spec.ml_secondary import GradientBoosting, TreesSpec
from policyengine.spec.thresholds import ThresholdsSpec

Floats = NDArray[np.float64]

ENGINE = GradientBoosting(
    spans=(1, 3, 8),
    horizon_sessions=3,
    train_sessions=150,
    warmup_sessions=90,
    fold_sessions=40,
    refit_sessions=50,
    embargo_sessions=2,
    trees=TreesSpec(max_iter=15, learning_rate=0.1, max_leaf_nodes=4, min_samples_leaf=20, l2=1.0, feature_frac=0.6, seed=1),
    thresholds=ThresholdsSpec(edge_min=0.1, confidence_min=0.55),
    calibration=None,
    model=None,
)
"""Fits at sessions 95, 145, 195, ..."""


def panel_of(close: Floats, fresh: NDArray[np.bool_] | None = None) -> PricePanel:
    """Closes (T, N) on successive days, with a bar wherever there is a close unless `fresh` says otherwise."""
    return PricePanel(
        sessions=np.datetime64("2010-01-01") + np.arange(close.shape[0]),
        symbols=tuple(f"S{i:02d}" for i in range(close.shape[1])),
        close=close,
        fresh=~np.isnan(close) if fresh is None else fresh,
        calendar_used="all",
        periods_per_year=365,
    )


def walk(rng: np.random.Generator, sessions: int, names: int, *, memory: float = 0.0) -> Floats:
    """Prices (T, N) whose returns repeat `memory` of the one before."""
    shocks = 0.01 * rng.normal(size=(sessions, names))
    for t in range(1, sessions):
        shocks[t] += memory * shocks[t - 1]
    return 100.0 * np.exp(shocks.cumsum(axis=0))


def volatility_of(panel: PricePanel, warmup: int = 10) -> Floats:
    """Root mean square of the returns of the last 20 bars, by hand; NaN before there are `warmup`, and without a bar."""
    made = np.full(panel.close.shape, np.nan)
    for i in range(panel.close.shape[1]):
        bars = np.flatnonzero(panel.fresh[:, i] & np.isfinite(panel.close[:, i]))
        price = panel.close[bars, i]
        with np.errstate(all="ignore"):
            squared = (np.diff(price) / np.abs(price[:-1])) ** 2
        for k in range(warmup, bars.size):
            made[bars[k], i] = np.sqrt(np.nanmean(np.where(np.isfinite(squared), squared, np.nan)[max(0, k - 20) : k]))
    return made


def said(panel: PricePanel, models: Path, spec: GradientBoosting = ENGINE, progress: Any = None) -> Opinions:
    return opinions(spec, panel, volatility_of(panel), models=models, progress=progress)


def bits(opinions: Opinions, until: int | None = None) -> list[bytes]:
    """Everything in the opinions of the sessions before `until`."""
    rows = slice(0, until)
    fields = (opinions.expected_return, opinions.predicted_volatility, opinions.confidence, opinions.silence)
    return [field[rows].tobytes() for field in fields]


def hit_rate(opinions: Opinions, panel: PricePanel, horizon: int) -> float:
    """The share of expected returns that have the sign of what came."""
    came = panel.close[horizon:] - panel.close[:-horizon]
    expected = opinions.expected_return[:-horizon]
    spoken = np.isfinite(expected) & (expected != 0.0)
    return float(np.mean(np.sign(expected[spoken]) == np.sign(came[spoken])))


def files(models: Path) -> Sequence[Path]:
    """The models in the folder, oldest fit first."""
    return sorted(models.glob("*.json"))


def cut(panel: PricePanel, rows: slice) -> PricePanel:
    """The panel on some of its sessions only."""
    return replace(panel, sessions=panel.sessions[rows], close=panel.close[rows], fresh=panel.fresh[rows])
