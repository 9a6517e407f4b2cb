"""The shell on cases that can be worked by hand, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from policyengine.allocation import projection, projection_batch, projection_row, projection_wide, shell
from policyengine.allocation.projection_batch import SMALL
from policyengine.allocation.projection_row import Metric
from policyengine.allocation.shell import project, project_batch, project_with_multipliers
from policyengine.errors import BrokenInvariant, ConfigError

Floats = NDArray[np.float64]
Numbers = list[float]
METRICS: tuple[Metric, ...] = ("proportional", "euclidean")
NO_CAP = [np.inf, np.inf, np.inf]


@pytest.mark.parametrize(
    ("metric", "w", "upper", "groups", "caps", "expected"),
    [
        # One cap: one factor, or one amount.
        ("proportional", [0.3, 0.2, 0.1], NO_CAP, [[1, 1, 1]], [0.3], [0.15, 0.10, 0.05]),
        ("euclidean", [0.3, 0.2, 0.1], NO_CAP, [[1, 1, 1]], [0.3], [0.2, 0.1, 0.0]),
        # An instrument at its own cap gives its share to the others: 0.2 left for 0.2 + 0.2.
        ("proportional", [0.6, 0.2, 0.2], [0.1, 1, 1], [[1, 1, 1]], [0.3], [0.1, 0.1, 0.1]),
        ("proportional", [0.6, 0.3, 0.1], [0.1, 1, 1], [[1, 1, 1]], [0.3], [0.1, 0.15, 0.05]),
        # Nested: inner members carry both factors, 1 - 1/2 - 1/4 and 1 - 1/2.
        ("proportional", [0.2, 0.2, 0.4], NO_CAP, [[1, 1, 1], [1, 1, 0]], [0.3, 0.1], [0.05, 0.05, 0.2]),
        # Two groups that share the middle one: by symmetry 1 - mu outside, 1 - 2 mu inside, mu = 2/9.
        ("proportional", [0.2, 0.4, 0.2], NO_CAP, [[1, 1, 0], [0, 1, 1]], [0.4, 0.4], [0.16, 0.24, 0.16]),
        # The same group twice, and a wider cap on the same members.
        ("proportional", [0.3, 0.3, 0.0], NO_CAP, [[1, 1, 0], [1, 1, 0], [1, 1, 1]], [0.3, 0.3, 0.5], [0.15, 0.15, 0.0]),
        # A group without room takes its members to exactly 0 and leaves the others alone.
        ("proportional", [0.3, 0.2, 0.1], NO_CAP, [[1, 0, 1]], [0.0], [0.0, 0.2, 0.0]),
        ("euclidean", [0.3, 0.2, 0.1], [0.0, 0.1, 1.0], [[1, 1, 1]], [1.0], [0.0, 0.1, 0.1]),
        # Two capped positions fill their group exactly: nothing is free.
        ("proportional", [0.4, 0.4, 0.4], [0.05, 0.05, 0.05], [[1, 1, 0], [1, 1, 1]], [0.1, 0.15], [0.05, 0.05, 0.05]),
        # Sums of requests that are no exposure at all.
        ("proportional", [-0.3, 0.2, 0.0], NO_CAP, [[1, 1, 1]], [0.1], [0.0, 0.1, 0.0]),
        # No groups.
        ("proportional", [0.3, 0.2, 0.1], [0.1, 0.1, 0.1], np.empty((0, 3)), [], [0.1, 0.1, 0.1]),
    ],
)
def test_nearest_point_by_hand(metric: Metric, w: Numbers, upper: Numbers, groups: ArrayLike, caps: Numbers, expected: Numbers) -> None:
    x = project(w, upper, groups, caps, metric=metric)
    np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(project_batch(np.array([w]), upper, groups, caps, metric=metric), [x])


def test_nothing_asked_nothing_held() -> None:
    assert project([], [], np.empty((2, 0)), [0.1, 0.2]).shape == (0,)
    assert project_batch(np.empty((0, 2)), [1, 1], [[1, 1]], [0.1]).shape == (0, 2)
    np.testing.assert_array_equal(project_batch(np.zeros((3, 2)), [1, 1], [[1, 1]], [0.0]), np.zeros((3, 2)))


def test_a_feasible_request_comes_back_bit_for_bit_as_a_new_array() -> None:
    w = np.array([0.1, 0.1, 0.1, 0.0, -0.0])
    x = project(w, [0.1] * 5, [[1, 1, 1, 1, 1]], [0.3])  # Three times 0.1 is more than 0.3, in the last place.
    assert x.tobytes() == w.tobytes()
    assert x is not w
    rows = project_batch(w[None], [0.1] * 5, [[1, 1, 1, 1, 1]], [0.3])
    assert rows.tobytes() == w.tobytes()
    assert not np.shares_memory(rows, w)


def test_a_request_above_its_cap_by_more_than_rounding_is_cut() -> None:
    w = [0.15, 0.15 + 1e-12]
    assert sum(project(w, [1, 1], [[1, 1]], [0.3])) <= 0.3 + 1e-16


def test_instrument_caps_hold_exactly_however_small() -> None:
    x = project([1e-13, 0.5], [0.0, 1e-14], [[1, 1]], [1.0])
    np.testing.assert_array_equal(x, [0.0, 1e-14])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e31])
@pytest.mark.parametrize("n", [3, SMALL + 1])
def test_a_request_that_is_no_number_is_a_broken_invariant(value: float, n: int) -> None:
    w = np.full(n, 0.1)
    w[1] = value
    with pytest.raises(BrokenInvariant, match=r"exposure .* at \[1\]"):
        project(w, np.ones(n), np.ones((1, n)), [1.0])
    with pytest.raises(BrokenInvariant, match=r"exposure .* at \[1, 1\]"):
        project_batch([np.zeros(n), w], np.ones(n), np.ones((1, n)), [1.0])


@pytest.mark.parametrize("value", [np.nan, -0.1, -np.inf])
def test_caps_that_are_negative_or_no_number_are_refused_by_name(value: float) -> None:
    with pytest.raises(ConfigError, match=r"^upper: .* at \[1\]"):
        project([0.1, 0.1], [0.1, value], [[1, 1]], [1.0])
    with pytest.raises(ConfigError, match=r"^group_upper: .* at \[0\]"):
        project([0.1, 0.1], [0.1, 0.1], [[1, 1]], [value])
    with pytest.raises(ConfigError, match=r"^group_upper: .* at \[1, 0\]"):
        project_batch([[0.1, 0.1], [0.2, 0.2]], [0.1, 0.1], [[1, 1]], [[1.0], [value]])


@pytest.mark.parametrize(
    ("w", "upper", "groups", "caps"),
    [
        ([0.1], [0.1, 0.1], [[1, 1]], [1.0]),
        ([0.1, 0.1], [0.1], [[1, 1]], [1.0]),
        ([0.1, 0.1], [0.1, 0.1], [[1, 1]], [1.0, 1.0]),
        ([0.1, 0.1], [0.1, 0.1], [1, 1], [1.0, 1.0]),
        ([[0.1, 0.1]], [0.1, 0.1], [[1, 1]], [1.0]),
        ([0.1, 0.1], [0.1, 0.1], [[1, 0.5]], [1.0]),
        ([0.1, 0.1], [0.1, 0.1], [[1, np.nan]], [1.0]),
    ],
)
def test_shapes_and_memberships_that_do_not_fit_are_refused(w: ArrayLike, upper: Numbers, groups: ArrayLike, caps: Numbers) -> None:
    with pytest.raises(ConfigError):
        project(w, upper, groups, caps)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="manhattan"):
        project([0.1], [0.1], [[1]], [1.0], metric="manhattan")  # type: ignore[arg-type]


def test_multipliers_are_the_price_of_each_limit() -> None:
    # Minimise (x - 0.4)^2 / 0.4 + (y - 0.4)^2 / 0.4 with x <= 0.1 and x + y <= 0.3: y = 0.2.
    result = project_with_multipliers([0.4, 0.4, 0.1], [0.1, 1, 1], [[1, 1, 0], [0, 0, 1]], [0.3, 0.5])
    np.testing.assert_allclose(result.x, [0.1, 0.2, 0.1], rtol=1e-14)
    np.testing.assert_allclose(result.group_multipliers, [2 * 0.2 / 0.4, 0.0], rtol=1e-12)
    np.testing.assert_allclose(result.upper_multipliers, [2 * 0.3 / 0.4 - 1.0, 0.0, 0.0], rtol=1e-12)


def test_multipliers_without_groups_in_the_way_and_without_any_limit() -> None:
    capped = project_with_multipliers([0.4, 0.1], [0.1, 1], [[1, 1]], [1.0], metric="euclidean")
    np.testing.assert_allclose(capped.upper_multipliers, [0.6, 0.0])
    np.testing.assert_array_equal(capped.group_multipliers, [0.0])
    free = project_with_multipliers([0.4, 0.1], [np.inf, np.inf], [[1, 1]], [np.inf])
    np.testing.assert_array_equal(free.upper_multipliers, [0.0, 0.0])


def test_multipliers_of_groups_without_room() -> None:
    result = project_with_multipliers([0.4, 0.2, 0.1], [1, 1, 1], [[1, 0, 0], [1, 1, 0], [0, 0, 0]], [0.0, 0.0, 0.0], metric="euclidean")
    np.testing.assert_array_equal(result.x, [0.0, 0.0, 0.1])
    np.testing.assert_allclose(result.group_multipliers, [0.8, 0.4, 0.0])


def test_batch_limits_by_row() -> None:
    x = project_batch([[0.4, 0.4], [0.4, 0.4]], [[0.1, 1.0], [1.0, 1.0]], [[1, 1]], [[0.3], [0.4]])
    np.testing.assert_allclose(x, [[0.1, 0.2], [0.2, 0.2]], rtol=1e-14)


def some_problems(n: int = 12, count: int = 60) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
    rng = np.random.default_rng(20)
    for _ in range(count):
        groups = rng.random((6, n)) < 0.5
        groups[3] = groups[0]
        yield (
            rng.dirichlet(np.full(n, 0.5)) * rng.choice([1.0, 1.3, 1e5]),
            rng.choice([0.05, 0.1, 0.5, np.inf], n),
            groups.astype(float),
            rng.choice([0.1, 0.2, 0.25, 1.0], 6),
        )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("path", ["safe rounds", "decimals"])
def test_every_path_of_the_method_leads_to_the_same_point(monkeypatch: pytest.MonkeyPatch, metric: Metric, path: str) -> None:
    problems = list(some_problems())
    expected = [project(*problem, metric=metric) for problem in problems]
    if path == "safe rounds":
        monkeypatch.setattr(projection, "ROUNDS", 0)
    else:
        monkeypatch.setattr(projection_row, "REBASES", 0)
    for problem, x in zip(problems, expected, strict=True):
        np.testing.assert_allclose(project(*problem, metric=metric), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("path", ["safe rounds", "decimals", "as it is"])
def test_many_instruments_take_the_same_way_over_arrays(monkeypatch: pytest.MonkeyPatch, metric: Metric, path: str) -> None:
    problems = list(some_problems(n=SMALL))
    expected = [project(*problem, metric=metric) for problem in problems]
    for module in (shell, projection_batch):
        monkeypatch.setattr(module, "SMALL", SMALL - 1)
    if path == "safe rounds":
        monkeypatch.setattr(projection, "ROUNDS", 0)
    elif path == "decimals":
        monkeypatch.setattr(projection_row, "REBASES", 0)
    for problem, x in zip(problems, expected, strict=True):
        wide = project_with_multipliers(*problem, metric=metric)
        np.testing.assert_allclose(wide.x, x, rtol=1e-10, atol=1e-10)
        assert project_batch(problem[0][None], *problem[1:], metric=metric)[0].tobytes() == wide.x.tobytes()


def test_many_feasible_instruments_come_back_bit_for_bit() -> None:
    n = SMALL + 1
    w = np.random.default_rng(1).random(n) / n
    result = project_with_multipliers(w, np.ones(n), np.ones((1, n)), [1.0])
    assert result.x.tobytes() == w.tobytes()
    assert result.x is not w
    np.testing.assert_array_equal(project(w, np.full(n, 1e-3), np.ones((1, n)), [1.0]), np.minimum(w, 1e-3))


def test_a_result_that_exact_sums_call_infeasible_is_scaled_until_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 1000
    monkeypatch.setattr(projection_wide, "minimise", lambda terms: (np.full(n, (1 + 1e-12) / n), [0.5]))
    x = project(np.full(n, 2 / n), np.ones(n), np.ones((1, n)), [1.0])
    assert 1 - 1e-12 < x.sum() <= 1 + 2e-13


def test_a_search_that_ends_without_a_point_is_a_broken_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "ROUNDS", 0)
    monkeypatch.setattr(projection, "SAFE_ROUNDS", 0)
    with pytest.raises(BrokenInvariant, match="no nearest point found for 2 exposures"):
        project([0.3, 0.2], [1, 1], [[1, 1]], [0.1])


def test_columns_are_summed_one_row_after_the_other() -> None:
    rng = np.random.default_rng(3)
    for shape in [(1, 1), (9, 1), (300, 1), (300, 2), (40, 7), (300, 500)]:
        terms = rng.random(shape) * 10.0 ** rng.integers(-8, 8, shape)
        for array in (terms, np.asfortranarray(terms)):
            expected = np.zeros(shape[1])
            for row in terms:
                expected = expected + row
            assert projection_batch.total(array).tobytes() == expected.tobytes()
