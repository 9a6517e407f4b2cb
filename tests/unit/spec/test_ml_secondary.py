from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from policyengine import cli
from policyengine.errors import ConfigError
from policyengine.spec.bind import bind, plain
from policyengine.spec.ml_secondary import GradientBoosting, NoMl


def shipped(name: str) -> dict[str, Any]:
    made: Any = OmegaConf.to_container(OmegaConf.load(cli.CONF / "signals" / "ml_secondary" / f"{name}.yaml"))
    return dict(made)


def test_the_shipped_options_bind_and_read_back() -> None:
    assert bind(NoMl, shipped("none")) == NoMl()
    engine = bind(GradientBoosting, shipped("gradient_boosting"))
    assert plain(engine) == shipped("gradient_boosting")
    assert engine.model is None


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("spans", [], "spans: is empty"),
        ("spans", [0, 5], "spans: 0 is below 1"),
        ("spans", [5, 5], "spans: 5 does not exceed 5 before it"),
        ("horizon_sessions", 0, "horizon_sessions: 0 is below 1"),
        ("embargo_sessions", -1, "embargo_sessions: -1 is below 0"),
        ("fold_sessions", 0, "fold_sessions: 0 is below 1"),
        ("refit_sessions", 0, "refit_sessions: 0 is below 1"),
        ("warmup_sessions", 267, "warmup_sessions: 267 leaves nothing to train on: fold, horizon and embargo take 267"),
        ("train_sessions", 755, "train_sessions: 755 is below warmup_sessions 756"),
        ("trees.max_iter", 0, "trees.max_iter: 0 is not in [1, 10000]"),
        ("trees.learning_rate", 0.0, "trees.learning_rate: 0 is not above 0 and at most 1"),
        ("trees.feature_frac", 1.5, "trees.feature_frac: 1.5 is not above 0 and at most 1"),
        ("trees.max_leaf_nodes", 1, "trees.max_leaf_nodes: 1 is not in [2, 1000]"),
        ("trees.min_samples_leaf", 0, "trees.min_samples_leaf: 0 is below 1"),
        ("trees.l2", -0.1, "trees.l2: -0.1 is below 0"),
        ("trees.seed", 2**32, "trees.seed: 4.29497e+09 is not in [0, 4.29497e+09]"),
        ("model", {"path": " ", "sha256": "0" * 64}, "model.path: ' ' is empty"),
        ("model", {"path": "m.json", "sha256": "0" * 63}, f"model.sha256: '{'0' * 63}' is not 64 lower-case hexadecimal digits"),
    ],
)
def test_what_cannot_be_is_refused_by_name(path: str, value: object, rule: str) -> None:
    given = shipped("gradient_boosting")
    *parents, last = path.split(".")
    section = given
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(ConfigError) as refused:
        bind(GradientBoosting, given)
    assert str(refused.value).startswith(rule)


def test_the_least_warm_up_leaves_one_row_to_train_on() -> None:
    assert bind(GradientBoosting, {**shipped("gradient_boosting"), "warmup_sessions": 268}).warmup_sessions == 268
