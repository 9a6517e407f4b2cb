"""Every shipped option composes and binds, and says of itself what its file says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from policyengine import cli
from policyengine.errors import ConfigError
from policyengine.records import Arm
from policyengine.spec.root import bind_spec, differences
from policyengine.spec.significance import SignificanceSpec
from tests.conftest import composed, composed_spec

REQUIRED = {
    "source=real_universe": ["source.path=x.csv"],
    "source=portfolio_maximizer": ["source.path=x.db"],
    "source=round_trips": ["source.path=x.csv"],
    "source=postgres": ["source.uri=postgresql://localhost/x"],
    "task=collect": ["task.path=x"],
    "task=report": ["task.path=x"],
    "task=approve": ["task.stage=canary", "task.person=x", "task.reason=x"],
    "task=kill": ["task.person=x", "task.reason=x"],
    "task=reset": ["task.event=k_0", "task.person=x", "task.reason=x"],
    "task=explain": ["task.decision=d_0"],
    "task=dashboard": ["task.path=x"],
    "signals/llm_fallback=openai_compatible": ["signals.llm_fallback.base_url=http://127.0.0.1:9/v1", "signals.llm_fallback.model=x"],
    "window=ranges": ["window.ranges=[{label: a, start_date: 2008-01-01, end_date: 2008-12-31}]"],
}
OPTIONS = sorted(f"{p.relative_to(cli.CONF).parent.as_posix()}={p.stem}" for p in cli.CONF.rglob("*/*.yaml") if not p.stem.startswith("_"))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_binds(option: str) -> None:
    composed_spec(option, *REQUIRED.get(option, []))


@pytest.mark.parametrize("option", sorted(REQUIRED))
def test_what_a_preset_needs_is_asked_for(option: str, pe: object) -> None:
    result = pe(option)  # type: ignore[operator]
    key = REQUIRED[option][0].partition("=")[0]
    assert result.returncode == 1
    assert f"{key}: is required and not given" in result.stderr


def test_the_arms_differ_in_the_sizing_switch_alone() -> None:
    spec = composed_spec()
    assert [path for path, _, _ in differences(spec.baseline, spec.candidate)] == ["name", "sizing.enabled"]
    assert (spec.baseline.name, spec.candidate.name) == ("TS_ONLY", "BARBELL_SIZED")


def test_a_policy_is_known_by_what_decides_its_sizes() -> None:
    spec = composed_spec()
    same = composed_spec("window=30d", "evidence.arms.candidate.name=OTHER", "gate.floors.trades_min=50", "task.stage=live")
    other = composed_spec("sizing.multipliers.spec=0.7")
    assert same.policy_hash(Arm.CANDIDATE) == spec.policy_hash(Arm.CANDIDATE)
    assert other.policy_hash(Arm.CANDIDATE) != spec.policy_hash(Arm.CANDIDATE)
    assert other.policy_hash(Arm.BASELINE) != spec.policy_hash(Arm.CANDIDATE)
    assert composed_spec("runtime.memory_limit_mb=512", "task.stage=live").config_hash() == spec.config_hash()
    assert composed_spec("execution.spread_bps=4.000000001").config_hash() != spec.config_hash()


def test_the_shipped_thresholds_are_those_of_the_library() -> None:
    assert composed_spec().gate.test == SignificanceSpec()
    written = composed()["gate"]["test"]
    assert set(written) == {f.name for f in fields(SignificanceSpec)} - {"alpha"}


def test_quoting_keeps_words_that_yaml_would_turn() -> None:
    for path in cli.CONF.rglob("*.yaml"):
        for line in Path(path).read_text().splitlines():
            assert not line.rstrip().endswith((": off", ": on", ": yes", ": no")), f"{path}: {line}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["limits.buckets.safe.min_frac=0.99"], "limits.buckets.safe.min_frac: 0.99 exceeds max_frac 0.95"),
        (
            ["+limits.buckets.spec.min_frac=0.1", "+limits.buckets.core.min_frac=0.2"],
            "limits: buckets.safe.min_frac 0.75 + buckets.core.min_frac 0.2 + buckets.spec.min_frac 0.1 = 1.05 > 1",
        ),
        (
            ["+limits.buckets.core.min_frac=0.15", "limits.risk_max_frac=0.1"],
            "limits: buckets.core.min_frac 0.15 = 0.15 > risk_max_frac 0.1",
        ),
        (["~limits.buckets.other"], "limits.buckets.other: is required and not given; 'max_frac: 0.0' forbids a bucket"),
        (["limits.gross_max_frac=1.5"], "limits.gross_max_frac: 1.5 is not in [0, 1]"),
        (["sleeves.ts_core.base_nav_frac=0.3"], "sleeves.ts_core.base_nav_frac: 0.3 exceeds max_nav_frac 0.2"),
        (
            ["sleeves.ts_core.base_nav_frac=0.2"],
            "sleeves.base_nav_frac: safe 0.75 + ts_core 0.2 + ml_secondary 0.04 + llm_fallback 0.01 + tail_hedge 0.02 + ngx_risk 0.02 "
            "+ em_risk 0.01 = 1.05 > 1",
        ),
        (["sizing.multipliers.spec=-0.1"], "sizing.multipliers.spec: -0.1 is not in [0, 2]"),
        (["+sizing.overlays={cost: {soft_cap: 5, hard_cap: 5, floor: 0.5}}"], "sizing.overlays.cost.hard_cap: 5 is not above soft_cap 5"),
        (
            ["+sizing.overlays={gapp: {soft_cap: 1, hard_cap: 5, floor: 0.5}}"],
            "sizing.overlays.gapp: unknown value 'gapp'; did you mean 'gap'?",
        ),
        (["evidence.initial_capital=0"], "evidence.initial_capital: 0 is below 1"),
        (["evidence.initial_capital=null"], "evidence.initial_capital: is required and not given, in base currency"),
        (["+evidence.arms.challenger={name: X}"], "evidence.arms.challenger: unknown arm 'challenger'; known: baseline, candidate"),
        (
            ["+evidence.arms.baseline.execution={}"],
            "evidence.arms.baseline.execution: unknown key 'execution'; known: limits, name, scaler, sizing, sleeves",
        ),
        (["window.as_of=12:30:00"], "window.as_of: '12:30:00' is not a date (YYYY-MM-DD)"),
        (["+gate.test.alpha=0.2"], "gate.test.alpha: 0.2: the level of a look follows from looks.max and is not set by hand"),
        (["gate.test.n_boot=10"], "gate.test.n_boot: 10 is below 99"),
        (["gate.looks.max=0"], "gate.looks.max: 0 is below 1"),
        (["gate.floors.trades_min=0"], "gate.floors.trades_min: 0 is below 1"),
        (["universe.instruments.AAPL.bucket=speculative"], "universe.instruments.AAPL.bucket: unknown value 'speculative'"),
        (["universe.cash_rate_symbol=BIL"], "universe.cash_rate_symbol: 'BIL' is not in universe.instruments"),
        (["+universe.instruments.AAPL.currency=EUR"], "universe.instruments.AAPL.currency: 'EUR' is not the base currency 'USD'"),
        (["signals.ts_core.thresholds.confidence_min=1.1"], "signals.ts_core.thresholds.confidence_min: 1.1 is not in [0, 1]"),
        (["~source.views.prices"], "source.views: {} is empty"),
        (["+source.views.positions=SELECT 1"], "source.views.positions: unknown view 'positions'; known: prices, signals, trades"),
    ],
)
def test_bad_values_name_path_value_and_rule(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_spec(composed(*overrides))
    assert str(caught.value).startswith(message)
