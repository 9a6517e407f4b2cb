"""ts_core, kind `statsforecast`: AutoARIMA, AutoETS or Theta for the drift, an exponentially weighted volatility.

What is modelled is the level S_t = r_1 + ... + r_t of an instrument's returns since the start of its training span, not the returns:
exponential smoothing and Theta read trends of a level, and of returns they would read a drift that grows; ARIMA finds the order of
differencing by its own test. Nor is it the logarithm of the price, which may be negative.

    expected return = S^_{t+h} - S_t,    predicted volatility = sqrt(h v_t)
    confidence = Phi(|expected return| / predicted volatility)

with v_t the weighted mean of r_t^2, which follows the market faster than the errors of a model over its training span. Between fits the
model is applied to the level as it grows, its parameters unchanged; one that expects more of the horizon than its training span ever
showed has lost its footing, and is not heard.

The models are not seasonal, and draw no random numbers. AutoARIMA looks at up to two lags and selects by conditional sums of squares,
then fits by maximum likelihood: more lags of daily returns are noise, and take three times as long. Linear algebra runs in one thread:
how many there are would show in the last bits.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import numpy as np
import scipy
import statsforecast
from numpy.typing import NDArray
from statsforecast.models import AutoARIMA, AutoETS, Theta
from threadpoolctl import threadpool_limits

from policyengine.signals.fitted import Progress, fitted
from policyengine.signals.forecasts import Floats, Opinions, Silence
from policyengine.signals.kept import Kept
from policyengine.signals.normal import normal_cdf
from policyengine.signals.returns import returns, weighted_mean
from policyengine.spec.ts_core import StatsforecastEngine

_MODELS = {
    "AutoARIMA": partial(AutoARIMA, season_length=1, max_p=2, max_q=2, approximation=True),
    "AutoETS": partial(AutoETS, season_length=1),
    "Theta": partial(Theta, season_length=1),
}
_VERSIONS = {"statsforecast": statsforecast.__version__, "scipy": scipy.__version__}


def opinions(
    engine: StatsforecastEngine, close: Floats, fresh: NDArray[np.bool_], *, kept: Kept | None = None, progress: Progress | None = None
) -> Opinions:
    """What the engine thinks of closes (T, N) on the sessions where they are `fresh` (T, N)."""
    change = returns(close, fresh)
    variance = weighted_mean(change * change, engine.vol_halflife_sessions)
    expected, silence = fitted(
        engine, partial(horizon_return, engine), change, close, fresh, versions=_VERSIONS, kept=kept, progress=progress
    )
    predicted = np.sqrt(engine.horizon_sessions * np.where(silence == Silence.SPEAKS, variance, np.nan))
    return Opinions(
        expected_return=expected,
        predicted_volatility=predicted,
        confidence=normal_cdf(np.abs(expected) / predicted),
        silence=silence,
    )


def horizon_return(engine: StatsforecastEngine, train: Floats, later: Floats) -> Floats | None:
    """Expected return over the horizon after the last return of `train` and after each of `later`; None where the fit failed."""
    # from 0 on, so that no level is positive throughout and the errors of a model are added, never multiplied
    level = np.concatenate(([0.0], np.cumsum(np.concatenate((train, later)))))
    with threadpool_limits(limits=1), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model = _MODELS[engine.model]().fit(level[: train.size + 1])
        except Exception:  # noqa: BLE001 - a plain Exception is what the library raises where no model can be estimated
            return None
        made = np.array([_ahead(model, level[:end], engine.horizon_sessions) for end in range(train.size + 1, level.size + 1)])
    return np.where(np.abs(made) <= _largest_move(level[: train.size + 1], engine.horizon_sessions), made, np.nan)


def _largest_move(level: Floats, horizon: int) -> float:
    return float(np.abs(level[horizon:] - level[:-horizon]).max())


def _ahead(model: Any, level: Floats, horizon: int) -> float:
    """Change of the level over the horizon; NaN where this model cannot be applied to it."""
    try:
        return float(model.forward(level, h=horizon)["mean"][-1]) - float(level[-1])
    except Exception:  # noqa: BLE001 - as above; one session without a forecast leaves the others theirs
        return math.nan
