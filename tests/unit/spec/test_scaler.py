from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from policyengine import cli
from policyengine.errors import ConfigError
from policyengine.records import Sleeve
from policyengine.spec.bind import bind, plain
from policyengine.spec.scaler import RiskScalerConfig, ScalerSpec, SleeveRiskSpec, check_scaled
from policyengine.spec.sleeves import SleevesSpec
from tests.conftest import composed

NAN, INF = float("nan"), float("inf")


def written(option: str) -> dict[str, Any]:
    container: Any = OmegaConf.to_container(OmegaConf.load(cli.CONF / "scaler" / f"{option}.yaml"), resolve=True)
    return container


def shape(**changes: float) -> RiskScalerConfig:
    return RiskScalerConfig(**{"vol_sensitivity": 1.0, "dd_sensitivity": 1.0, "min_scale": 0.1, "max_scale": 1.5, **changes})


def test_the_shipped_options_bind() -> None:
    none, volatility = (bind(ScalerSpec, written(option), "scaler") for option in ("none", "volatility"))
    assert (none.enabled, dict(none.sleeves)) == (False, {})
    assert volatility.enabled
    assert volatility.config == shape()
    assert (volatility.ewma_lambda, volatility.min_sessions) == (0.94, 20)
    assert set(volatility.sleeves) == set(Sleeve) - {Sleeve.SAFE, Sleeve.TAIL_HEDGE}
    assert bind(ScalerSpec, plain(volatility)) == volatility


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vol_sensitivity": -0.1}, "vol_sensitivity: -0.1 is not in [0, 10]"),
        ({"vol_sensitivity": NAN}, "vol_sensitivity: nan is not in [0, 10]"),
        ({"dd_sensitivity": INF}, "dd_sensitivity: inf is not in [0, 10]"),
        ({"max_scale": INF}, "max_scale: inf is not in [0, 10]"),
        ({"min_scale": 0.0}, "min_scale: 0 is not above 0"),
        ({"min_scale": NAN}, "min_scale: nan is not above 0"),
        ({"min_scale": 1.6}, "min_scale: 1.6 exceeds max_scale 1.5"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shape(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_vol": 0.0}, "target_vol: 0 is not above 0"),
        ({"target_vol": INF}, "target_vol: inf is not in [0, 10]"),
        ({"max_drawdown": 0.0}, "max_drawdown: 0 is not between 0 and 1, both excluded"),
        ({"max_drawdown": 1.0}, "max_drawdown: 1 is not between 0 and 1, both excluded"),
        ({"max_drawdown": NAN}, "max_drawdown: nan is not between 0 and 1, both excluded"),
    ],
)
def test_a_risk_that_cannot_be_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SleeveRiskSpec(**{"target_vol": 0.1, "max_drawdown": 0.2, **changes})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vol_sensitivity": -1.0}, "scaler.vol_sensitivity: -1 is not in [0, 10]"),
        ({"min_scale": 1.2}, "scaler.min_scale: 1.2 is not in [0, 1]"),
        ({"max_scale": 0.9}, "scaler.max_scale: 0.9 is below 1"),
        ({"ewma_lambda": 1.0}, "scaler.ewma_lambda: 1 is not between 0 and 1, both excluded"),
        ({"ewma_lambda": 0.0}, "scaler.ewma_lambda: 0 is not between 0 and 1, both excluded"),
        ({"min_sessions": 1}, "scaler.min_sessions: 1 is below 2"),
        ({"sleeves": {}}, "scaler.sleeves: {} is empty, so nothing would be scaled; enabled: false says so"),
        (
            {"sleeves": {"tail_hedge": {"target_vol": 0.1, "max_drawdown": 0.2}}},
            "scaler.sleeves.tail_hedge: a hedge pays when volatility and drawdowns are high, and is never scaled by them; leave it out",
        ),
        ({"sleeves": {"ts": {"target_vol": 0.1, "max_drawdown": 0.2}}}, "scaler.sleeves.ts: unknown value 'ts'"),
        ({"sleeves": {"ts_core": {"target_vol": 0.1, "max_drawdown": 2}}}, "scaler.sleeves.ts_core.max_drawdown: 2 is not between 0 and 1"),
        ({"sleeves": {"ts_core": {"target_vol": 0.1}}}, "scaler.sleeves.ts_core.max_drawdown: is required and not given"),
    ],
)
def test_bad_values_name_path_value_and_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind(ScalerSpec, {**written("volatility"), **changes}, "scaler")
    assert str(caught.value).startswith(message)


def test_a_scaler_needs_budgets() -> None:
    none, volatility = (bind(ScalerSpec, written(option), "scaler") for option in ("none", "volatility"))
    on, off = (bind(SleevesSpec, composed(f"sleeves.enabled={word}")["sleeves"], "sleeves") for word in ("true", "false"))
    for scaler, sleeves in ((none, off), (none, on), (volatility, on)):
        check_scaled(scaler, sleeves)
    with pytest.raises(ConfigError, match=r"scaler.enabled: true needs sleeves.enabled true"):
        check_scaled(volatility, off)
