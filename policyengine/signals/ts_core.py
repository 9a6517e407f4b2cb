"""ts_core: the engine that `signals.ts_core.kind` names, from closes to forecasts.

A library that an engine needs is imported where that engine is asked for: `arch` and `statsforecast` take a second each.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError
from policyengine.signals import ewma
from policyengine.signals.finish import finish
from policyengine.signals.fitted import Progress
from policyengine.signals.forecasts import Floats, Forecasts, Opinions
from policyengine.signals.kept import Kept
from policyengine.signals.regimes import regimes
from policyengine.spec.ts_core import EwmaEngine, GarchEngine, StatsforecastEngine, TsCoreSpec


def forecast(
    engine: TsCoreSpec,
    close: Floats,
    fresh: NDArray[np.bool_],
    *,
    cost_frac: float,
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> Forecasts:
    """Forecast from closes (T, N) on the sessions where they are `fresh` (T, N); row t knows sessions up to t only.

    `cost_frac` is the round trip, as a fraction of what is traded. A fresh close that is not finite is no bar. An engine that fits models
    tells `progress` how many instruments are done, of how many, and does none again whose result is `kept`.

    Raises:
        ConfigError: the engine needs an extra that is not installed.
        OutputError: `kept` cannot be read or written.
    """
    fresh = fresh & np.isfinite(close)
    return finish(
        _opinions(engine, close, fresh, kept, progress),
        engine.thresholds,
        engine.calibration,
        regimes(engine.regimes, close, fresh),
        horizon_sessions=engine.horizon_sessions,
        close=close,
        fresh=fresh,
        cost_frac=cost_frac,
    )


def _opinions(engine: TsCoreSpec, close: Floats, fresh: NDArray[np.bool_], kept: Kept | None, progress: Progress | None) -> Opinions:
    match engine:
        case EwmaEngine():
            return ewma.opinions(engine, close, fresh)
        case GarchEngine():
            module = _needs_extra("policyengine.signals.garch", engine.KIND)
        case StatsforecastEngine():
            module = _needs_extra("policyengine.signals.statsforecast_engine", engine.KIND)
        case _:
            assert_never(engine)
    made: Opinions = module.opinions(engine, close, fresh, kept=kept, progress=progress)
    return made


def _needs_extra(module: str, kind: str) -> Any:
    """The engine's module; its extra is called like its kind. What its libraries do to the warning filters is undone."""
    try:
        with warnings.catch_warnings():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        rule = f"'{kind}' needs the extra {kind}, {error.name} is not installed: pip install 'barbell-policyengine[{kind}]'"
        raise ConfigError("signals.ts_core.kind", rule) from error
