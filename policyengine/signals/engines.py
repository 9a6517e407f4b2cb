"""What the configured engines forecast: time series, then machine learning, then the language model where both are silent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError, DataError
from policyengine.market.panel import PricePanel
from policyengine.signals.finish import finish
from policyengine.signals.forecasts import Floats, Forecasts, Opinions, Silence, Source
from policyengine.signals.kept import Kept
from policyengine.signals.regimes import regimes
from policyengine.signals.returns import returns, weighted_mean
from policyengine.signals.ts_core import forecast
from policyengine.spec.bind import plain
from policyengine.spec.llm_fallback import OpenAiCompatible
from policyengine.spec.ml_secondary import GradientBoosting
from policyengine.spec.signals import SignalsSpec

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What engines may use besides prices.

    `round_trip_frac` is what buying and selling again costs, as a fraction of notional. `folder` keeps what is dear to make again: fits,
    models, answers; None where no engine needs one. `secret` looks up the language model's key by its variable; the network is asked from
    session `online_from` on, before it only what is kept answers; None asks it at no session. `sleep` and `clock` are in seconds;
    `progress` begins a named step.
    """

    round_trip_frac: float = 0.0
    folder: Path | None = None
    secret: Callable[[str], str | None] = lambda _: None
    online_from: int | None = None
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    progress: Callable[[str], Callable[[int, int], None]] = lambda _: lambda *_: None


ALONE = Means()
"""Prices and nothing else: free of costs, and nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One source's forecasts, the settings that its signals are known by, what making them came to, and what a reader must know of it."""

    source: Source
    forecasts: Forecasts
    settings: object
    horizon_sessions: int
    counts: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None


def time_series(spec: SignalsSpec, panel: PricePanel, means: Means) -> Forecast:
    """What `ts_core` forecasts.

    Raises:
        ConfigError: its extra is not installed.
    """
    made = forecast(
        spec.ts_core,
        panel.close,
        panel.fresh,
        cost_frac=means.round_trip_frac,
        kept=None if means.folder is None else Kept(folder=means.folder / "fits"),
        progress=means.progress(f"signals {plain(spec.ts_core)['kind']}"),
    )
    return Forecast(source=Source.TS, forecasts=made, settings=spec.ts_core, horizon_sessions=spec.ts_core.horizon_sessions)


def machine_learning(spec: SignalsSpec, panel: PricePanel, means: Means) -> Forecast | None:
    """What `ml_secondary` forecasts; None where it is off. By a named model that is not to be used it says nothing, and why.

    Raises:
        ConfigError: its extra is not installed, or there is no folder for its models.
    """
    engine = spec.ml_secondary
    if not isinstance(engine, GradientBoosting):
        return None
    from policyengine.signals.ml_secondary import opinions  # noqa: PLC0415 - only where it is on

    note = None
    try:
        made = opinions(
            engine,
            panel,
            _volatility(spec, panel),
            models=_folder(means, "ml_secondary") / "models",
            progress=means.progress("signals ml_secondary"),
        )
    except DataError as error:  # a model that is named and not to be used: the other sources go on
        made, note = _nothing(panel), f"ml_secondary says nothing: {error}"
    finished = _finished(made, engine, spec, panel, means)
    return Forecast(source=Source.ML, forecasts=finished, settings=engine, horizon_sessions=engine.horizon_sessions, note=note)


def language_model(spec: SignalsSpec, panel: PricePanel, silent: Bools, means: Means) -> Forecast | None:
    """What `llm_fallback` says where the others are `silent` (T, N); None where it is off.

    Raises:
        ConfigError: it is to be asked and its key is missing, or there is no folder for its answers.
    """
    engine = spec.llm_fallback
    if not isinstance(engine, OpenAiCompatible):
        return None
    from policyengine.signals.llm_fallback import ask  # noqa: PLC0415 - only where it is on

    sessions = panel.sessions.size
    online = sessions if means.online_from is None else means.online_from
    made, counts = ask(
        engine,
        panel,
        silent,
        _volatility(spec, panel) * math.sqrt(engine.horizon_sessions),
        cache=_folder(means, "llm_fallback") / "answers",
        key=None if engine.api_key_env is None else means.secret(engine.api_key_env),
        online_from=online,
        sleep=means.sleep,
        clock=means.clock,
        progress=means.progress("signals llm_fallback"),
    )
    told = {f"llm_{name}": value for name, value in plain(counts).items() if isinstance(value, int)}
    finished = _finished(made, engine, spec, panel, means)
    return Forecast(source=Source.LLM, forecasts=finished, settings=engine, horizon_sessions=engine.horizon_sessions, counts=told)


def _finished(made: Opinions, engine: GradientBoosting | OpenAiCompatible, spec: SignalsSpec, panel: PricePanel, means: Means) -> Forecasts:
    return finish(
        made,
        engine.thresholds,
        engine.calibration if isinstance(engine, GradientBoosting) else None,
        regimes(spec.ts_core.regimes, panel.close, panel.fresh),
        horizon_sessions=engine.horizon_sessions,
        close=panel.close,
        fresh=panel.fresh,
        cost_frac=means.round_trip_frac,
    )


def _volatility(spec: SignalsSpec, panel: PricePanel) -> Floats:
    """Of one session's return, (T, N): the root of an exponentially weighted mean of squares; NaN where it is unknown."""
    root: Floats = np.sqrt(weighted_mean(returns(panel.close, panel.fresh) ** 2, spec.volatility_halflife_sessions))
    return root


def _nothing(panel: PricePanel) -> Opinions:
    unknown = np.full(panel.close.shape, np.nan)
    silence = np.where(panel.fresh, Silence.NOT_FITTED, Silence.NO_BAR).astype(np.int8)
    return Opinions(expected_return=unknown, predicted_volatility=unknown, confidence=unknown, silence=silence)


def _folder(means: Means, engine: str) -> Path:
    if means.folder is None:
        raise ConfigError(f"signals.{engine}.kind", "needs a state folder, to keep what it learned or was told")
    return means.folder
