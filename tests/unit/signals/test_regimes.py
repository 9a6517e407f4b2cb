from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policyengine.errors import ConfigError
from policyengine.signals.forecasts import Regime
from policyengine.signals.regimes import regimes
from policyengine.spec.thresholds import RegimesSpec
from tests import engines

SPEC = RegimesSpec(vol_sessions=5, memory_sessions=21, trend_sessions=9, trend_min=1.5, high_ratio=1.5, crisis_ratio=3.0)


def prices(returns: np.ndarray) -> np.ndarray:
    return 100.0 * np.cumprod(np.append(1.0, 1.0 + returns))[:, None]


def label(returns: np.ndarray) -> str:
    close = prices(returns)
    code = int(regimes(SPEC, close, np.ones(close.shape, dtype=bool))[-1, 0])
    return "unknown" if code < 0 else list(Regime)[code].value


def reference(spec: RegimesSpec, close: np.ndarray) -> int:
    """The words of the spec, on the prices of one instrument up to now."""
    r = np.diff(close) / np.abs(close[:-1])
    if r.size < spec.vol_sessions + spec.memory_sessions - 1:
        return -1
    vol = [np.sqrt(np.mean(r[k - spec.vol_sessions : k] ** 2)) for k in range(spec.vol_sessions, r.size + 1)]
    last = r[-spec.trend_sessions :]
    trends = abs(last.mean()) >= spec.trend_min * np.sqrt(np.mean(last**2)) / np.sqrt(last.size)
    ratio = vol[-1] / np.median(vol[-spec.memory_sessions :])
    if ratio >= spec.crisis_ratio:
        return list(Regime).index(Regime.CRISIS)
    if ratio >= spec.high_ratio:
        return list(Regime).index(Regime.HIGH_VOL_TRENDING)
    return list(Regime).index(Regime.MODERATE_TRENDING if trends else Regime.LIQUID_RANGEBOUND)


SWING = 0.01 * (-1.0) ** np.arange(40)


@pytest.mark.parametrize(
    ("returns", "wanted"),
    [
        (SWING, "LIQUID_RANGEBOUND"),
        (np.append(SWING[:30], np.full(10, 0.01)), "MODERATE_TRENDING"),
        (np.append(SWING[:30], np.full(10, -0.01)), "MODERATE_TRENDING"),
        (np.append(SWING[:35], 2 * SWING[:5]), "HIGH_VOL_TRENDING"),
        (np.append(SWING[:35], 4 * SWING[:5]), "CRISIS"),
        (np.append(np.zeros(35), SWING[:5]), "CRISIS"),
        (np.zeros(40), "unknown"),
        (SWING[:24], "unknown"),
        (SWING[:25], "LIQUID_RANGEBOUND"),
    ],
)
def test_names_the_market(returns: np.ndarray, wanted: str) -> None:
    assert label(returns) == wanted


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, vol_sessions=7, memory_sessions=9, trend_sessions=40, trend_min=0.5, high_ratio=1.1)])
def test_follows_the_words_of_its_spec(spec: RegimesSpec) -> None:
    close = engines.walk(4, 150, 18)
    close *= 1.0 + 0.3 * (np.arange(150)[:, None] > 90) * np.random.default_rng(1).normal(0, 0.1, close.shape)
    made = regimes(spec, close, np.ones(close.shape, dtype=bool))
    first = max(spec.vol_sessions + spec.memory_sessions - 1, spec.trend_sessions)
    assert (made[:first] == -1).all()
    wanted = [[reference(spec, close[: t + 1, i]) for i in range(18)] for t in range(first, 150)]
    assert made[first:].tolist() == wanted
    assert {0, 1, 2, 3} <= set(made.ravel().tolist())


def test_a_gap_is_as_if_it_were_not() -> None:
    close = engines.walk(6, 80, 1)
    fresh = np.ones(close.shape, dtype=bool)
    fresh[[30, 31, 55]] = False
    whole = regimes(SPEC, close[fresh][:, None], np.ones((77, 1), dtype=bool))
    made = regimes(SPEC, close, fresh)
    assert made[fresh].tolist() == whole[:, 0].tolist()
    assert (made[~fresh] == -1).all()


def test_a_shock_that_is_past_leaves_nothing_behind() -> None:
    close = engines.walk(7, 120, 1)
    shocked = close.copy()
    shocked[20] = 1e90
    fresh = np.ones(close.shape, dtype=bool)
    assert regimes(SPEC, shocked, fresh)[70:].tobytes() == regimes(SPEC, close, fresh)[70:].tobytes()


def test_less_history_than_any_window_is_unknown() -> None:
    close = engines.walk(8, 3, 2)
    assert (regimes(SPEC, close, np.ones(close.shape, dtype=bool)) == -1).all()


def test_a_crisis_is_not_calmer_than_what_is_high() -> None:
    with pytest.raises(ConfigError, match="crisis_ratio: 1.2 is below high_ratio 1.5"):
        replace(SPEC, crisis_ratio=1.2)
