"""What holds for every request: fuzzed over barbell, overlapping, nested and duplicate groups, and requests of every size."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import quadprog
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policyengine.allocation.projection_batch import SMALL
from policyengine.allocation.projection_row import Metric
from policyengine.allocation.shell import project, project_batch, project_with_multipliers

Floats = NDArray[np.float64]
METRICS: tuple[Metric, ...] = ("proportional", "euclidean")
VIOLATION = 1e-12
DISTANCE = 1e-9


class Limits(NamedTuple):
    upper: Floats
    groups: Floats
    caps: Floats


def barbell(rng: np.random.Generator, n: int) -> Limits:
    bucket, market = rng.integers(0, 3, n), rng.integers(0, 4, n)
    groups = [bucket >= 0, bucket > 0, bucket == 0, bucket == 1, bucket == 2, market == 1, market == 2, market == 3]
    upper = np.select([bucket == 0, bucket == 1], [0.5, 0.1], 0.05)
    return Limits(upper, np.array(groups, dtype=np.float64), np.array([1.0, 0.25, 0.95, 0.2, 0.1, 0.1, 0.1, 0.05]))


def other_limits(rng: np.random.Generator, n: int) -> Limits:
    m, kind = int(rng.integers(1, 11)), rng.integers(0, 3)
    if kind == 0:
        groups = rng.random((m, n)) < rng.uniform(0.1, 0.9)
    elif kind == 1:
        order = rng.permutation(n)
        groups = np.array([np.isin(np.arange(n), order[: rng.integers(1, n + 1)]) for _ in range(m)])
    else:
        groups = (rng.random((max(1, m // 2), n)) < 0.5)[rng.integers(0, max(1, m // 2), m)]
    caps, upper = rng.uniform(0.02, 1.2, m), rng.uniform(0.01, 0.5, n)
    if rng.random() < 0.4:
        caps, upper = np.round(caps, 1), np.round(upper, 1)
    upper[rng.random(n) < rng.choice([0.0, 0.3, 1.0])] = rng.choice([0.0, np.inf])
    caps[rng.random(m) < 0.1] = rng.choice([0.0, np.inf])
    return Limits(upper, groups.astype(np.float64), caps)


def some_limits(rng: np.random.Generator, n: int) -> Limits:
    return barbell(rng, n) if rng.random() < 0.4 else other_limits(rng, n)


def one_request(rng: np.random.Generator, n: int, limits: Limits) -> Floats:
    """Concentrated, no safe name, net short turned absolute, sums 0, .5, 1, 1.3, huge, tiny, of all sizes at once, rounded, negative."""
    w = rng.dirichlet(np.full(n, rng.choice([0.2, 1.0]))) * rng.choice([0.0, 0.5, 1.0, 1.3])
    match rng.integers(0, 9):
        case 0:
            w = np.where(np.arange(n) == rng.integers(n), rng.choice([0.5, 1.0, 1.3, 5.0]), 0.0)
        case 1:
            w = np.where(limits.groups[-1] > 0, w, 0.0)
        case 2:
            w = np.abs(rng.normal(-0.3, 1.0, n)) / n
        case 3:
            w = rng.random(n) * 1e6
        case 4:
            w = rng.random(n) * 1e-12
        case 5:
            w = 10.0 ** rng.uniform(-12, 6, n)
        case 6:
            w = np.round(rng.random(n), 1)
        case 7:
            w = rng.normal(0.0, 0.5, n)
        case _:
            pass
    return np.asarray(w, dtype=np.float64)


def problems(seed: int, count: int, batch: int) -> Iterator[tuple[Floats, Limits]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.choice([1, 3, 8, 8, 20, 20, 40, SMALL + 12], p=[0.1, 0.1, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05]))
        limits = some_limits(rng, n)
        yield np.array([one_request(rng, n, limits) for _ in range(batch)]), limits


def worst_violation(x: Floats, limits: Limits) -> float:
    finite = np.isfinite(limits.caps)
    sums = (x @ limits.groups.T - limits.caps)[..., finite]
    return float(max((-x).max(initial=0.0), (x - limits.upper).max(initial=0.0), sums.max(initial=0.0)))


@pytest.mark.long
@pytest.mark.parametrize("metric", METRICS)
def test_fuzz_of_forty_thousand_requests_in_each_metric(metric: Metric) -> None:
    """Feasible, never above the request, idempotent to the bit, feasible rows untouched, batch and single the same bits."""
    seen = solved = 0
    for number, (w, limits) in enumerate(problems(4, 400, 100)):
        x = project_batch(w, *limits, metric=metric)
        assert np.isfinite(x).all()
        assert worst_violation(x, limits) <= VIOLATION
        assert (x <= np.maximum(w, 0.0)).all()
        assert project_batch(x, *limits, metric=metric).tobytes() == x.tobytes()
        inside = (w >= 0).all(axis=1) & (w <= limits.upper).all(axis=1) & (w @ limits.groups.T <= limits.caps).all(axis=1)
        assert x[inside].tobytes() == w[inside].tobytes()
        for row in range(number % 7, len(w), 7):
            assert project(w[row], *limits, metric=metric).tobytes() == x[row].tobytes()
        seen, solved = seen + len(w), solved + int((~inside).sum())
    assert seen >= 40_000
    assert solved >= 20_000


def by_quadprog(w: Floats, limits: Limits, metric: Metric) -> Floats | None:
    """The same problem by Goldfarb and Idnani's method, in y = x / sqrt(d); None where it gives up (dependent constraints)."""
    held = w > 0
    if not held.any():
        return np.zeros_like(w)
    scale = np.sqrt(w[held]) if metric == "proportional" else np.ones(held.sum())
    rows = np.vstack([-limits.groups[:, held] * scale, -np.diag(scale), np.diag(scale)])
    bounds = np.concatenate([-limits.caps, -limits.upper[held], np.zeros(len(scale))])
    norms = np.linalg.norm(rows, axis=1)
    use = (norms > 0) & np.isfinite(bounds)
    rows, bounds = rows[use] / norms[use, None], bounds[use] / norms[use]
    try:
        y = quadprog.solve_qp(np.eye(len(scale)), w[held] / scale, rows.T.copy(), bounds)[0]
    except ValueError:
        return None
    x = np.zeros_like(w)
    x[held] = y * scale
    return x


@pytest.mark.parametrize("metric", METRICS)
def test_an_independent_solver_finds_the_same_point(metric: Metric) -> None:
    """Up to a few thousand times the caps; beyond that the other solver is off by more than the tolerance (see below)."""
    compared = 0
    for w, limits in problems(9, 60, 40):
        for row in w[np.abs(w).max(axis=1) <= 1e3]:
            expected = by_quadprog(row, limits, metric)
            if expected is not None:
                assert np.abs(project(row, *limits, metric=metric) - expected).max() <= DISTANCE
                compared += 1
    assert compared >= 1_500


@pytest.mark.parametrize("metric", METRICS)
def test_the_optimality_conditions_hold_in_exact_arithmetic(metric: Metric) -> None:
    """For requests of any size: x follows from the multipliers, and only groups at their cap have one, in rational numbers."""
    for w, limits in problems(12, 50, 8):
        for row in w:
            result = project_with_multipliers(row, *limits, metric=metric)
            half = [Fraction(float(v)) / 2 for v in result.group_multipliers]
            for i in np.flatnonzero(row > 0):
                asked = Fraction(float(row[i]))
                taken = sum((half[k] for k in np.flatnonzero(limits.groups[:, i])), Fraction(0))
                z = asked * (1 - taken) if metric == "proportional" else asked - taken
                nearest = max(Fraction(0), z if np.isinf(limits.upper[i]) else min(z, Fraction(float(limits.upper[i]))))
                assert abs(nearest - Fraction(float(result.x[i]))) <= DISTANCE
            for k in np.flatnonzero(result.group_multipliers > 0):
                total = sum((Fraction(float(v)) for v in result.x[limits.groups[k] > 0]), Fraction(0))
                assert abs(total - Fraction(float(limits.caps[k]))) <= VIOLATION


@pytest.mark.parametrize("metric", METRICS)
def test_multipliers_balance_the_gradient(metric: Metric) -> None:
    for w, limits in problems(15, 40, 5):
        for row in w[(np.abs(w) < 10).all(axis=1)]:
            result = project_with_multipliers(row, *limits, metric=metric)
            assert result.x.tobytes() == project(row, *limits, metric=metric).tobytes()
            assert (result.upper_multipliers >= 0).all()
            assert (result.group_multipliers >= 0).all()
            held = row > 0
            d = row[held] if metric == "proportional" else np.ones(held.sum())
            pull = (
                2 * (result.x[held] - row[held]) / d + result.upper_multipliers[held] + (limits.groups.T @ result.group_multipliers)[held]
            )
            tolerance = 1e-9 * np.maximum(1.0, 1.0 / d)
            assert (pull >= -tolerance).all()
            assert (pull <= tolerance)[result.x[held] > 0].all()


def test_euclidean_projection_never_moves_two_requests_apart() -> None:
    for w, limits in problems(21, 100, 20):
        near = w + np.random.default_rng(5).normal(0.0, 0.1, w.shape) * np.abs(w).max()
        moved = np.linalg.norm(project_batch(w, *limits, metric="euclidean") - project_batch(near, *limits, metric="euclidean"), axis=1)
        apart = np.linalg.norm(w - near, axis=1)
        assert (moved <= apart * (1 + 1e-12) + 1e-12).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=12), st.floats(0.0, 1.0), st.floats(1e-3, 0.999))
def test_one_binding_cap_shrinks_its_members_by_one_factor(w: list[float], outside: float, share: float) -> None:
    cap = share * sum(w)
    x = project([*w, outside], [np.inf] * (len(w) + 1), [[1] * len(w) + [0]], [cap])
    np.testing.assert_allclose(x[:-1], np.array(w) * share, rtol=1e-11)
    assert x[-1] == outside


@pytest.mark.parametrize("metric", METRICS)
def test_any_order_of_instruments_gives_the_same_bits(metric: Metric) -> None:
    rng = np.random.default_rng(33)
    cases = [*problems(33, 150, 3), *((rng.random((1, SMALL + 12)) / 10, barbell(rng, SMALL + 12)) for _ in range(10))]
    for w, limits in cases:
        w[:, rng.random(w.shape[1]) < 0.3] = w[0, 0]
        order = rng.permutation(w.shape[1])
        turned = Limits(limits.upper[order], limits.groups[:, order], limits.caps)
        for row in w:
            assert project(row[order], *turned, metric=metric).tobytes() == project(row, *limits, metric=metric)[order].tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_of_a_batch_does_not_depend_on_the_others(metric: Metric) -> None:
    rng = np.random.default_rng(41)
    for n in (8, 20, SMALL + 12):
        limits = barbell(rng, n)
        w = rng.dirichlet(np.ones(n), 300) * 1.3
        x = project_batch(w, *limits, metric=metric)
        part = rng.permutation(300)[:37]
        assert project_batch(w[part], *limits, metric=metric).tobytes() == x[part].tobytes()
        for row in range(0, 300, 60):
            assert project(w[row], *limits, metric=metric).tobytes() == x[row].tobytes()


def digest() -> str:
    """A hash of results over many requests."""
    found = hashlib.sha256()
    for metric in METRICS:
        for w, limits in problems(77, 15, 10):
            found.update(project_batch(w, *limits, metric=metric).tobytes())
            found.update(project(w[0], *limits, metric=metric).tobytes())
    return found.hexdigest()


def test_eight_hash_seeds_give_the_same_bits() -> None:
    code = f"import runpy; print(runpy.run_path({__file__!r})['digest']())"
    running = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=subprocess.PIPE, text=True)
        for seed in range(8)
    ]
    assert {process.communicate()[0].strip() for process in running} == {digest()}
