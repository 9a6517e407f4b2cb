"""ts_core, kind `garch`: the drift of `ewma`, the volatility of a GARCH(1,1).

With the drift m_t of `policyengine.signals.ewma` and the surprises e_t = r_t - m_{t-1}, a model is fitted to the last surprises by
maximum likelihood (Bollerslev 1986, by `arch`), and carried from session to session by its own recursion:

    s_{t+1} = w + a e_t^2 + b s_t,    s_{t+k+1} = w + (a + b) s_{t+k}
    expected return = h m_t,    predicted volatility = sqrt(s_{t+1} + ... + s_{t+h})

The confidence is that of `ewma`, with this volatility. Surprises are divided by their root mean square before a fit, so that its result
does not depend on the instrument's scale.
"""

from __future__ import annotations

import warnings
from functools import partial

import arch
import numpy as np
import scipy
from arch.univariate import GARCH, Normal, StudentsT, ZeroMean
from numpy.typing import NDArray

from policyengine.signals.ewma import drift_confidence
from policyengine.signals.fitted import Progress, fitted
from policyengine.signals.forecasts import Floats, Opinions, Silence
from policyengine.signals.kept import Kept
from policyengine.signals.returns import returns, surprises, weighted_mean
from policyengine.spec.ts_core import GarchEngine

_DISTRIBUTIONS = {"normal": Normal, "t": StudentsT}
_VERSIONS = {"arch": arch.__version__, "scipy": scipy.__version__}


def opinions(
    engine: GarchEngine, close: Floats, fresh: NDArray[np.bool_], *, kept: Kept | None = None, progress: Progress | None = None
) -> Opinions:
    """What the engine thinks of closes (T, N) on the sessions where they are `fresh` (T, N)."""
    change = returns(close, fresh)
    drift = weighted_mean(change, engine.drift_halflife_sessions)
    variance, silence = fitted(
        engine,
        partial(horizon_variance, engine),
        surprises(change, drift),
        close,
        fresh,
        versions=_VERSIONS,
        kept=kept,
        progress=progress,
    )
    expected = engine.horizon_sessions * np.where(silence == Silence.SPEAKS, drift, np.nan)
    predicted = np.sqrt(variance)
    return Opinions(
        expected_return=expected,
        predicted_volatility=predicted,
        confidence=drift_confidence(expected, predicted, engine.drift_halflife_sessions, engine.horizon_sessions),
        silence=silence,
    )


def horizon_variance(engine: GarchEngine, train: Floats, later: Floats) -> Floats | None:
    """Variance over the horizon after the last surprise of `train` and after each of `later`; None where the fit failed."""
    scale = float(np.sqrt(np.mean(train * train)))
    model = ZeroMean(train / scale, volatility=GARCH(p=1, q=1), distribution=_DISTRIBUTIONS[engine.dist](), rescale=False)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fit = model.fit(disp="off", show_warning=False)
    except (ValueError, np.linalg.LinAlgError):
        return None
    omega, alpha, beta = (float(value) for value in fit.params.to_numpy()[:3])
    variance = float(fit.conditional_volatility[-1]) ** 2
    if fit.convergence_flag != 0 or not np.isfinite([omega, alpha, beta, variance]).all():
        return None
    after = []
    for surprise in (np.append(train[-1], later) / scale).tolist():
        variance = omega + alpha * surprise * surprise + beta * variance
        after.append(variance)
    return scale * scale * over_horizon(np.array(after), omega, alpha + beta, engine.horizon_sessions)


def over_horizon(variance: Floats, omega: float, persistence: float, horizon: int) -> Floats:
    """Sum of the variances of `horizon` sessions, the first of which is `variance`."""
    total, ahead = variance.copy(), variance
    for _ in range(horizon - 1):
        ahead = omega + persistence * ahead
        total = total + ahead
    return total
