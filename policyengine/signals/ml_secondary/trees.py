"""Boosted trees as plain arrays: what is fitted once can be stored without code, and is read without the library that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 4_096
"""Rows walked together: one array of rows by trees is then a few MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """K trees of M nodes in all; a prediction is `start` plus the value of one leaf of each tree, added in their order.

    `roots` (K,) are the first nodes; `feature`, `threshold`, `left`, `right`, `missing_left`, `value` (M,). A row goes left where its
    feature is at most the threshold, or is NaN and `missing_left`. A child stands after its parent; a leaf is its own child.
    """

    start: float
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: Floats


def exported(regressor: Any) -> Trees:
    """The trees of a fitted `HistGradientBoostingRegressor` without categorical features; it has no public name for them."""
    grown = [predictor.nodes for (predictor,) in regressor._predictors]
    roots = np.cumsum([0, *(nodes.size for nodes in grown)])
    nodes = np.concatenate(grown)
    leaf = nodes["is_leaf"].astype(np.bool_)
    own = np.arange(nodes.size)
    offset = np.repeat(roots[:-1], np.diff(roots))
    return Trees(
        start=float(regressor._baseline_prediction.item()),
        roots=roots[:-1].astype(np.int32),
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, np.inf, nodes["num_threshold"]),
        left=np.where(leaf, own, offset + nodes["left"]).astype(np.int32),
        right=np.where(leaf, own, offset + nodes["right"]).astype(np.int32),
        missing_left=leaf | nodes["missing_go_to_left"].astype(np.bool_),
        value=np.where(leaf, nodes["value"], 0.0),
    )


def predicted(trees: Trees, x: Floats) -> Floats:
    """Predictions (R,) for rows `x` (R, F), where NaN is missing: to the bit those of the regressor."""
    made = np.full(x.shape[0], trees.start)
    for first in range(0, x.shape[0], ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        for leaves in trees.value[_leaves(trees, x[rows])]:
            made[rows] += leaves
    return made


def _leaves(trees: Trees, x: Floats) -> NDArray[np.intp]:
    """(K, R) the leaf in which each row ends in each tree. It ends, because children stand after their parents."""
    row = np.arange(x.shape[0])
    at = np.repeat(trees.roots.astype(np.intp)[:, None], x.shape[0], axis=1)
    while True:
        seen = x[row, trees.feature[at]]
        goes_left = np.where(np.isnan(seen), trees.missing_left[at], seen <= trees.threshold[at])
        below = np.where(goes_left, trees.left[at], trees.right[at]).astype(np.intp)
        if np.array_equal(below, at):
            return at
        at = below


def flaw(trees: Trees, features: int) -> str | None:
    """The rule that the arrays break, None when they are trees over so many `features`."""
    nodes = trees.value.size
    own = np.arange(nodes)
    for name in ("feature", "threshold", "left", "right", "missing_left"):
        if getattr(trees, name).size != nodes:
            return f"{name} has {getattr(trees, name).size} entries for {nodes} nodes"
    if trees.roots.size == 0 or trees.roots.min() < 0 or trees.roots.max() >= nodes:
        return f"a root is not among the {nodes} nodes"
    if trees.feature.min() < 0 or trees.feature.max() >= features:
        return f"a split on a feature that is not among the {features}"
    leaf = (trees.left == own) & (trees.right == own)
    for child in (trees.left, trees.right):
        if not (leaf | ((child > own) & (child < nodes))).all():
            return "a child does not stand after its parent"
    if np.isnan(trees.threshold).any() or not np.isfinite(trees.value).all() or not np.isfinite(trees.start):
        return "a threshold or a value is not a number"
    return None
