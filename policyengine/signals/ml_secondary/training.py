"""Which rows a fit may know, and the fit itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError
from policyengine.signals.ml_secondary.trees import Trees, exported, predicted
from policyengine.spec.ml_secondary import GradientBoosting, TreesSpec

Floats = NDArray[np.float64]

TARGET_LIMIT = 5.0
"""Returns beyond so many standard deviations count as this many: squared errors would otherwise be about a handful of days."""

QUANTILES = 200
"""The sizes of errors are kept as so many quantiles, in the middle of equal shares: no confidence is 1."""

FEWEST_ERRORS = 20
"""With fewer in the fold one outcome moves a probability by more than the distance between two thresholds."""

SHARES = (np.arange(QUANTILES) + 0.5) / QUANTILES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """Trees, the `slope` of outcomes on what they predict, in [0, 1], and quantiles (QUANTILES,) of the size of the `errors` left."""

    trees: Trees
    slope: float
    errors: Floats


def fit_sessions(spec: GradientBoosting, sessions: int) -> range:
    """The sessions of a panel of so many `sessions` at which a model is fitted; each speaks from there until the next."""
    return range(spec.warmup_sessions + spec.horizon_sessions + spec.embargo_sessions, sessions, spec.refit_sessions)


def last_known_row(spec: GradientBoosting, session: int) -> int:
    """The last row s that may be known at `session`: s + horizon < session - embargo."""
    return session - spec.embargo_sessions - spec.horizon_sessions - 1


def training_rows(spec: GradientBoosting, session: int) -> tuple[range, range]:
    """The rows that a fit at `session` trains on, and its fold: the last of what is known, of which the training rows know nothing."""
    last = last_known_row(spec, session)
    first = max(0, last - spec.train_sessions + 1)
    fold = last - spec.fold_sessions + 1
    return range(first, last_known_row(spec, fold) + 1), range(fold, last + 1)


def targets(spec: GradientBoosting, close: Floats, fresh: NDArray[np.bool_], volatility: Floats) -> Floats:
    """Returns from each session over the horizon, in standard deviations of such a return, (T, N), clipped to +-TARGET_LIMIT.

    From a bar to the last known close at the end, as a position is valued. NaN where there is no bar at the start or none since, at a
    price of 0, and without volatility.
    """
    h = spec.horizon_sessions
    made = np.full(close.shape, np.nan)
    if close.shape[0] <= h:
        return made
    bars = np.cumsum(fresh, axis=0)
    base, end = close[:-h], close[h:]
    known = fresh[:-h] & (bars[h:] > bars[:-h]) & (base != 0.0)
    with np.errstate(all="ignore"):
        scaled = (end - base) / np.abs(base) / (volatility[:-h] * math.sqrt(h))
    made[:-h] = np.where(known & ~np.isnan(scaled), np.clip(scaled, -TARGET_LIMIT, TARGET_LIMIT), np.nan)
    return made


def library_versions() -> dict[str, str]:
    """The libraries whose arithmetic is in a fit.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        return {name: version(name) for name in ("numpy", "scikit-learn")}
    except PackageNotFoundError as error:
        raise _missing(str(error.name)) from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """R rows with a target: features `x` (R, F), targets `y` (R,), and the number of their `instrument` (R,)."""

    x: Floats
    y: Floats
    instrument: NDArray[np.intp]


def fit(spec: TreesSpec, train: Rows, fold: Rows) -> Fitted | None:
    """Fit `train`, measure on `fold`; None when either has too few rows to say anything.

    Raises:
        ConfigError: the extra is not installed.
    """
    if train.y.size < 2 * spec.min_samples_leaf or fold.y.size < FEWEST_ERRORS:
        return None
    boosting, one_thread = _libraries()
    regressor = boosting(
        loss="squared_error",
        max_iter=spec.max_iter,
        learning_rate=spec.learning_rate,
        max_leaf_nodes=spec.max_leaf_nodes,
        min_samples_leaf=spec.min_samples_leaf,
        l2_regularization=spec.l2,
        max_features=spec.feature_frac,
        early_stopping=False,
        random_state=spec.seed,
    )
    # One thread: the bits are the same with more, but threads that spin while a core is busy made fits five times slower.
    with one_thread(limits=1, user_api="openmp"):
        # A column without a value cannot be binned, and one of equal values is never split on.
        trees = exported(regressor.fit(np.where(np.isnan(train.x).all(axis=0), 0.0, train.x), train.y))
    said = predicted(trees, fold.x)
    slope = _slope(said, fold)
    return Fitted(trees=trees, slope=slope, errors=np.quantile(np.abs(fold.y - slope * said), SHARES))


def _slope(said: Floats, fold: Rows) -> float:
    """The slope of targets on what was `said` of them, through 0: the median of the instruments, in [0, 1].

    The median, because one instrument that only ever rises, such as cash, would vouch for all others.
    """
    power = np.bincount(fold.instrument, said * said)
    counted = power > 0.0
    slopes = np.bincount(fold.instrument, said * fold.y)[counted] / power[counted]
    return min(max(float(np.median(slopes)), 0.0), 1.0) if slopes.size else 0.0


def confidence(errors: Floats, expected: Floats) -> Floats:
    """The probability (R,) in [0.5, 1) that the outcome has the sign of what is `expected` (R,): half of the larger errors turn it.

    Errors to either side count alike: one fold has too few outcomes of its own to know a drift that the trees do not.
    """
    return 0.5 + 0.5 * np.interp(np.abs(expected), errors, SHARES, left=0.0)


def _libraries() -> tuple[Any, Any]:
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - an extra, and a second to import
        from threadpoolctl import threadpool_limits  # noqa: PLC0415
    except ImportError as error:
        raise _missing(str(error.name)) from error
    return HistGradientBoostingRegressor, threadpool_limits


def _missing(name: str) -> ConfigError:
    return ConfigError(
        "signals.ml_secondary.kind",
        f"gradient_boosting needs {name}, which is not installed: pip install 'barbell-policyengine[ml]'",
    )
