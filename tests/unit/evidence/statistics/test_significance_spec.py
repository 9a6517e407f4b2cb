"""The thresholds: shipped values and what is refused."""

import pytest

from policyengine.errors import ConfigError
from policyengine.spec.bind import bind
from policyengine.spec.significance import EffectKind, SignificanceSpec


def test_shipped_thresholds() -> None:
    gate = SignificanceSpec()
    assert (gate.alpha, gate.min_effect, gate.n_boot, gate.min_sessions) == (0.05, 0.10, 9999, 60)
    assert (gate.spans, gate.min_agreeing_spans) == (3, 2)
    assert (gate.drawdown_guard_frac, gate.drawdown_confidence) == (0.25, 0.95)
    assert gate.alpha_at(119, 0.05) == pytest.approx(0.04)
    assert gate.alpha_at(120, 0.05) == 0.05


def test_growth_needs_more_sessions() -> None:
    assert SignificanceSpec().least_sessions == 60
    assert SignificanceSpec(effect=EffectKind.GROWTH_AT_ES).least_sessions == 120


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alpha", 0.0),
        ("alpha", 0.6),
        ("short_alpha_factor", 1.5),
        ("short_sessions", 59),
        ("min_sessions", 59),
        ("growth_min_sessions", 20),
        ("min_effect", -0.1),
        ("n_boot", 98),
        ("min_block_sessions", 1),
        ("max_block_frac", 0.6),
        ("spans", 0),
        ("spans", 7),
        ("min_agreeing_spans", 4),
        ("min_agreeing_spans", 0),
        ("drawdown_guard_frac", -1.0),
        ("drawdown_confidence", 1.0),
        ("interval_confidence", 0.4),
        ("target_effect", 0.05),
        ("target_power", 1.0),
    ],
)
def test_out_of_range_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^gate.significance.{key}: "):
        bind(SignificanceSpec, {key: value}, "gate.significance")


def test_resamples_must_be_able_to_reach_alpha() -> None:
    with pytest.raises(ConfigError, match="n_boot"):
        SignificanceSpec(alpha=0.001, n_boot=999)


@pytest.mark.parametrize("effect", ["omega", "Sharpe", 1])
def test_other_effects_are_refused(effect: object) -> None:
    with pytest.raises(ConfigError, match="effect"):
        bind(SignificanceSpec, {"effect": effect})


def test_binds_from_yaml() -> None:
    assert bind(SignificanceSpec, {"effect": "growth_at_es", "scheme": "week"}).effect is EffectKind.GROWTH_AT_ES
