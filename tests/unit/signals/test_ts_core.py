from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.errors import ConfigError
from policyengine.signals.forecasts import Silence
from policyengine.signals.ts_core import forecast
from policyengine.spec.bind import bind
from policyengine.spec.thresholds import ThresholdsSpec
from policyengine.spec.ts_core import EwmaEngine, GarchEngine, StatsforecastEngine
from tests import engines
from tests.conftest import composed


def all_fresh(close: np.ndarray) -> np.ndarray:
    return np.ones(close.shape, dtype=bool)


def test_a_rise_is_a_signal_to_buy_and_its_cost_is_taken_off() -> None:
    close = np.array([100.0, 101.0, 100.5, 102.0, 103.0, 102.5, 104.0, 106.0, 105.0])[:, None]
    free, charged = (forecast(engines.ewma(), close, all_fresh(close), cost_frac=cost) for cost in (0.0, 0.01))
    assert (free.direction[-1, 0], charged.direction[-1, 0]) == (1, 1)
    e, v = free.expected_return[-1, 0], free.predicted_volatility[-1, 0]
    assert free.edge_score[-1, 0] == pytest.approx(e / v, rel=1e-14)
    assert charged.edge_score[-1, 0] == pytest.approx((e - 0.01) / v, rel=1e-14)
    assert forecast(engines.ewma(), close, all_fresh(close), cost_frac=e).silence[-1, 0] == Silence.COST


def test_below_a_threshold_it_is_silent() -> None:
    close = engines.walk(2, 60, 1)
    for thresholds, reason in (
        (ThresholdsSpec(edge_min=50.0, confidence_min=0.0), Silence.LOW_EDGE),
        (ThresholdsSpec(edge_min=0.0, confidence_min=1.0), Silence.LOW_CONFIDENCE),
    ):
        made = forecast(engines.ewma(thresholds=thresholds), close, all_fresh(close), cost_frac=0.0)
        assert (made.silence[5:] == reason).all()
        assert (made.direction == 0).all()


def test_a_fresh_close_that_is_no_number_is_no_bar() -> None:
    close = engines.walk(2, 60, 1)
    fresh = all_fresh(close)
    gap = fresh.copy()
    gap[30] = False
    close[30] = np.nan
    engines.same(forecast(engines.ewma(), close, fresh, cost_frac=0.0), forecast(engines.ewma(), close, gap, cost_frac=0.0), 60)


@pytest.mark.parametrize("engine", [engines.ewma(warmup_sessions=60), engines.garch()])
def test_each_symbol_that_cannot_be_judged_has_its_reason_and_leaves_the_others_theirs(engine: EwmaEngine | GarchEngine) -> None:
    engine = replace(engine, calibration=None)
    symbols, close, fresh = engines.sample(160)
    made = forecast(engine, close, fresh, cost_frac=0.0)
    last = dict(zip(symbols, (Silence(code) for code in made.silence[-1].tolist()), strict=True))
    spoke = {symbol for symbol, code in last.items() if code in (Silence.SPEAKS, Silence.LOW_EDGE, Silence.LOW_CONFIDENCE)}
    assert spoke == {"fine", "negative", "zero", "gaps", "late"} - {s for s in ("gaps",) if not fresh[-1, symbols.index(s)]}
    assert last["constant"] is Silence.CONSTANT
    assert last["ended"] is last["never"] is Silence.NO_BAR
    assert last["short"] is Silence.SHORT_HISTORY
    assert made.silence[150, symbols.index("zero")] == Silence.UNUSABLE_PRICE
    for i, symbol in enumerate(symbols):
        alone = forecast(engine, close[:, [i]], fresh[:, [i]], cost_frac=0.0)
        for name in engines.FIELDS:
            assert getattr(alone, name)[:, 0].tobytes() == getattr(made, name)[:, i].tobytes(), (symbol, name)


def test_five_hundred_symbols_over_ten_years(capsys: pytest.CaptureFixture[str]) -> None:
    """A second is wanted; five of the processor's are a program that no longer works on whole rows."""
    close = engines.walk(1, 2500, 500)
    fresh = np.random.default_rng(1).random(close.shape) < 0.97
    engine = bind(EwmaEngine, composed()["signals"]["ts_core"])
    started, clock = time.process_time(), time.perf_counter()
    made = forecast(engine, close, fresh, cost_frac=0.0008)
    used, taken = time.process_time() - started, time.perf_counter() - clock
    with capsys.disabled():
        sys.stderr.write(f"\newma, 500 symbols x 2,500 sessions: {taken:.2f} s, {used:.2f} s of the processor\n")
    assert (made.direction != 0).any()
    assert used < 5.0


def test_the_libraries_of_other_engines_are_not_imported() -> None:
    code = "import sys, policyengine.signals.ts_core; print(sorted({'arch', 'statsforecast', 'scipy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("engine", "library", "module"),
    [
        (engines.garch(), "arch", "policyengine.signals.garch"),
        (engines.statsforecast(), "statsforecast", "policyengine.signals.statsforecast_engine"),
    ],
)
def test_an_extra_that_is_missing_is_named(engine: Any, library: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ConfigError) as caught:
        forecast(engine, np.ones((3, 1)), np.ones((3, 1), dtype=bool), cost_frac=0.0)
    wanted = (
        f"signals.ts_core.kind: '{library if library != 'arch' else 'garch'}' needs the extra {engine.KIND}, {library} is not installed: "
        f"pip install 'barbell-policyengine[{engine.KIND}]'"
    )
    assert str(caught.value) == wanted


@pytest.mark.parametrize(("cls", "option"), [(EwmaEngine, "ewma"), (StatsforecastEngine, "statsforecast"), (GarchEngine, "garch")], ids=str)
def test_the_shipped_engines_bind_and_are_held_to_the_same(cls: Any, option: str) -> None:
    engine = bind(cls, composed(f"signals/ts_core={option}")["signals"]["ts_core"])
    shared = bind(EwmaEngine, composed()["signals"]["ts_core"])
    assert (engine.calibration, engine.regimes) == (shared.calibration, shared.regimes)
    assert option == engine.KIND


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (engines.ewma, {"drift_halflife_sessions": 0.5}, "drift_halflife_sessions: 0.5 is below 1"),
        (engines.ewma, {"vol_halflife_sessions": 0.0}, "vol_halflife_sessions: 0 is below 1"),
        (engines.ewma, {"warmup_sessions": 1}, "warmup_sessions: 1 is below 2"),
        (engines.ewma, {"horizon_sessions": 0}, "horizon_sessions: 0 is below 1"),
        (engines.garch, {"drift_halflife_sessions": 0.0}, "drift_halflife_sessions: 0 is below 1"),
        (engines.garch, {"warmup_sessions": 49}, "warmup_sessions: 49 is below 50"),
        (engines.statsforecast, {"vol_halflife_sessions": 0.9}, "vol_halflife_sessions: 0.9 is below 1"),
        (engines.statsforecast, {"train_sessions": 59}, "train_sessions: 59 is below warmup_sessions 60"),
        (engines.statsforecast, {"refit_sessions": 0}, "refit_sessions: 0 is below 1"),
        (engines.statsforecast, {"horizon_sessions": 0}, "horizon_sessions: 0 is not in [1, 60]"),
        (engines.garch, {"horizon_sessions": 61}, "horizon_sessions: 61 is not in [1, 60]"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(make: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**changes)
    assert str(caught.value) == message


def test_the_command_that_names_an_extra_names_ours() -> None:
    """The message is only of use while the distribution is called so."""
    root = Path(__file__).resolve().parents[3]
    assert 'name = "barbell-policyengine"' in (root / "pyproject.toml").read_text()
