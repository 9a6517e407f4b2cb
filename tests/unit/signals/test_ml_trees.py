from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from policyengine.signals.ml_secondary import trees as module
from policyengine.signals.ml_secondary.trees import Trees, exported, flaw, predicted


@pytest.fixture(scope="module")
def grown() -> tuple[Any, Trees]:
    """A regressor on features with missing values, one of which says something by being missing."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3_000, 5))
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.where(np.isnan(x[:, 1]), 3.0, np.nan_to_num(x[:, 0] * x[:, 2])) + rng.normal(size=3_000)
    regressor = HistGradientBoostingRegressor(
        max_iter=40, max_leaf_nodes=12, min_samples_leaf=10, max_features=0.6, early_stopping=False, random_state=3
    )
    regressor.fit(x, y)
    return regressor, exported(regressor)


def test_predictions_are_those_of_the_regressor_to_the_bit(grown: tuple[Any, Trees]) -> None:
    regressor, trees = grown
    rng = np.random.default_rng(2)
    x = 3.0 * rng.normal(size=(module.ROWS_AT_ONCE + 500, 5))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[0], x[1], x[2] = np.nan, 1e300, -np.inf
    edges = trees.threshold[np.isfinite(trees.threshold)]
    x[3 : 3 + edges.size] = edges[:, None]
    assert predicted(trees, x).tobytes() == regressor.predict(np.where(np.isinf(x), -1e308, x)).tobytes()
    assert np.isinf(trees.threshold[trees.left != np.arange(trees.left.size)]).any(), "no split tells missing from not missing"


def test_no_rows_are_no_predictions(grown: tuple[Any, Trees]) -> None:
    assert predicted(grown[1], np.empty((0, 5))).size == 0


def test_a_tree_by_hand() -> None:
    """x0 <= 1 gives 10, else x1 <= 0 gives 20 and more 30; missing x0 goes right, missing x1 left. And a tree of one leaf, 0.5."""
    trees = Trees(
        start=1.0,
        roots=np.array([0, 5], dtype=np.int32),
        feature=np.array([0, 0, 1, 0, 0, 0], dtype=np.int32),
        threshold=np.array([1.0, np.inf, 0.0, np.inf, np.inf, np.inf]),
        left=np.array([1, 1, 3, 3, 4, 5], dtype=np.int32),
        right=np.array([2, 1, 4, 3, 4, 5], dtype=np.int32),
        missing_left=np.array([False, True, True, True, True, True]),
        value=np.array([0.0, 10.0, 0.0, 20.0, 30.0, 0.5]),
    )
    nan = np.nan
    x = np.array([[1.0, nan], [1.1, 0.0], [1.1, 0.1], [nan, nan], [nan, 5.0]])
    assert flaw(trees, 2) is None
    assert predicted(trees, x).tolist() == [11.5, 21.5, 31.5, 21.5, 31.5]


@pytest.mark.parametrize(
    ("name", "at", "value", "rule"),
    [
        ("left", 0, 0, "a child does not stand after its parent"),
        ("right", 0, -1, "a child does not stand after its parent"),
        ("right", 0, 10**6, "a child does not stand after its parent"),
        ("roots", 0, -1, "a root is not among the"),
        ("roots", 0, 10**6, "a root is not among the"),
        ("feature", 0, 5, "a split on a feature that is not among the 5"),
        ("feature", 0, -1, "a split on a feature that is not among the 5"),
        ("threshold", 0, np.nan, "a threshold or a value is not a number"),
        ("value", -1, np.inf, "a threshold or a value is not a number"),
    ],
)
def test_arrays_that_are_no_trees_are_told(grown: tuple[Any, Trees], name: str, at: int, value: float, rule: str) -> None:
    """A walk along them would not end, would leave the arrays or would say nothing."""
    assert flaw(grown[1], 5) is None
    broken = getattr(grown[1], name).copy()
    broken[at] = value
    assert str(flaw(replace(grown[1], **{name: broken}), 5)).startswith(rule)


def test_arrays_of_other_lengths_are_told(grown: tuple[Any, Trees]) -> None:
    assert str(flaw(replace(grown[1], left=grown[1].left[:-1]), 5)).startswith("left has")
    nothing = {name: getattr(grown[1], name)[:0] for name in ("roots", "feature", "threshold", "left", "right", "missing_left", "value")}
    assert str(flaw(replace(grown[1], **nothing), 5)).startswith("a root is not among the 0 nodes")
