"""The shell beside solvers of the same quadratic program, in one process over the same infeasible requests.

    python bench/shell.py [--quick]

The plain Python loop is not exact: it scales each group under its cap, one after the other, and only gets under the caps. Clarabel
called directly, CVXPY with parameters on Clarabel, DAQP and OSQP solve the proportional problem with the shell's own matrices; the
difference is their largest distance from the shell's answer. OSQP runs at its default accuracy.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator
from types import ModuleType

import measure
import numpy as np
from measure import Case, Piece, have
from numpy.typing import NDArray

from policyengine.allocation.shell import project, project_batch

Floats = NDArray[np.float64]
Solver = Callable[[Floats], Floats]

CAPS = {"gross": 1.0, "risk": 0.25, "safe": 0.95, "core": 0.2, "spec": 0.1, "crypto": 0.1, "em": 0.1, "ngx": 0.05}


def barbell(n: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """The default limits over n instruments: half of them safe, a quarter core, a quarter spec, markets at random."""
    bucket = np.array([0, 0, 1, 2])[np.arange(n) % 4]
    market = np.where(bucket > 0, rng.integers(0, 4, n), 0)
    groups = [bucket >= 0, bucket > 0, bucket == 0, bucket == 1, bucket == 2, market == 1, market == 2, market == 3]
    position = np.select([bucket == 0, bucket == 1], [0.5, 0.1], 0.05)
    return position * min(1.0, 40 / n), np.array(groups, dtype=np.float64), np.array(list(CAPS.values()))


def infeasible(count: int, upper: Floats, groups: Floats, caps: Floats, rng: np.random.Generator) -> Floats:
    """Requests that sum to 1 or 1.3 and pass at least one group cap."""
    found = np.empty((0, len(upper)))
    while len(found) < count:
        w = rng.dirichlet(np.ones(len(upper)), count) * rng.choice([1.0, 1.3], (count, 1))
        found = np.vstack([found, w[(np.minimum(w, upper) @ groups.T > caps).any(axis=1)]])
    return found[:count]


def cap_loop(upper: Floats, groups: Floats, caps: Floats) -> Solver:
    """Scale each group under its cap, one after the other."""
    members = [np.flatnonzero(row).tolist() for row in groups]

    def solve(w: Floats) -> Floats:
        x = [min(max(v, 0.0), u) for v, u in zip(w.tolist(), upper.tolist(), strict=True)]
        for group, cap in zip(members, caps.tolist(), strict=True):
            total = 0.0
            for i in group:
                total += x[i]
            if total > cap:
                factor = cap / total
                for i in group:
                    x[i] *= factor
        return np.array(x)

    return solve


def by_clarabel(clarabel: ModuleType, upper: Floats, groups: Floats, caps: Floats) -> Solver:
    """One cold solve a call, sparse matrices built beforehand but for the diagonal that depends on the request."""
    sparse = importlib.import_module("scipy.sparse")
    n = len(upper)
    rows = sparse.vstack([sparse.csc_matrix(groups), sparse.eye(n), -sparse.eye(n)]).tocsc()
    bounds = np.concatenate([caps, upper, np.zeros(n)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cones = [clarabel.NonnegativeConeT(len(bounds))]

    def solve(w: Floats) -> Floats:
        curvature = sparse.csc_matrix((2 / w, np.arange(n), np.arange(n + 1)), shape=(n, n))
        return np.array(clarabel.DefaultSolver(curvature, np.full(n, -2.0), rows, bounds, cones, settings).solve().x)

    return solve


def by_cvxpy(cp: ModuleType, upper: Floats, groups: Floats, caps: Floats) -> Solver:
    """A parametrised problem, compiled by the first call, on Clarabel."""
    n = len(upper)
    x, root, inverse = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(cp.multiply(inverse, x) - root)), [x >= 0, x <= upper, groups @ x <= caps])

    def solve(w: Floats) -> Floats:
        root.value, inverse.value = np.sqrt(w), 1 / np.sqrt(w)
        problem.solve(solver=cp.CLARABEL)
        return np.array(x.value)

    return solve


def by_daqp(daqp: ModuleType, upper: Floats, groups: Floats, caps: Floats) -> Solver:
    """Dense, cold, with the tolerance at which it is exact."""
    n, m = len(upper), len(caps)
    rows, above = np.ascontiguousarray(groups), np.concatenate([upper, caps])
    below, sense = np.concatenate([np.zeros(n), np.full(m, -1e30)]), np.zeros(n + m, dtype=np.intc)

    def solve(w: Floats) -> Floats:
        return np.array(daqp.solve(np.diag(2 / w), np.full(n, -2.0), rows, above, below, sense, primal_tol=1e-10)[0])

    return solve


def by_osqp(osqp: ModuleType, upper: Floats, groups: Floats, caps: Floats) -> Solver:
    """Set up and solved at each call, default accuracy."""
    sparse = importlib.import_module("scipy.sparse")
    n, m = len(upper), len(caps)
    rows = sparse.vstack([sparse.csc_matrix(groups), sparse.eye(n)]).tocsc()
    below, above = np.concatenate([np.full(m, -np.inf), np.zeros(n)]), np.concatenate([caps, upper])

    def solve(w: Floats) -> Floats:
        solver = osqp.OSQP()
        solver.setup(sparse.diags(2 / w).tocsc(), np.full(n, -2.0), rows, below, above, verbose=False)
        return np.array(solver.solve().x)

    return solve


PEERS: dict[str, tuple[str, Callable[..., Solver], int, float]] = {
    "Clarabel": ("clarabel", by_clarabel, 5000, 1e-4),
    "CVXPY on Clarabel": ("cvxpy", by_cvxpy, 500, 1e-4),
    "DAQP": ("daqp", by_daqp, 500, 1e-9),
    "OSQP": ("osqp", by_osqp, 5000, 1e-2),
}
"""Module, solver, the most instruments it is tried with, and how far from exact it may be."""


def single(n: int, count: int) -> dict[str, Piece]:
    """One request at a time."""
    rng = np.random.default_rng(n)
    upper, groups, caps = barbell(n, rng)
    requests = infeasible(count, upper, groups, caps, rng)
    calls = itertools.count(1)

    def anew(w: Floats) -> Floats:
        """Caps that never come again: others are read once and kept."""
        return project(w, upper, groups, caps * (1 + next(calls) * 2.0**-50))

    def every(solve: Solver, tolerance: float | None = None) -> Piece:
        return Piece(run=lambda: np.stack([solve(w) for w in requests]), tolerance=tolerance)

    pieces = {
        f"{measure.OURS}, proportional": every(lambda w: project(w, upper, groups, caps)),
        f"{measure.OURS}, euclidean": every(lambda w: project(w, upper, groups, caps, metric="euclidean")),
        f"{measure.OURS}, caps ever new": every(anew, 1e-9),
        "plain cap loop": every(cap_loop(upper, groups, caps)),
    }
    for name, (module, build, most, tolerance) in PEERS.items():
        if n <= most and have(module):
            pieces[name] = every(build(importlib.import_module(module), upper, groups, caps), tolerance)
    return pieces


def batched(n: int, count: int) -> dict[str, Piece]:
    """Many requests at once, beside one at a time."""
    rng = np.random.default_rng(n)
    upper, groups, caps = barbell(n, rng)
    requests = infeasible(count, upper, groups, caps, rng)
    return {
        f"{measure.OURS}, batch": Piece(run=lambda: project_batch(requests, upper, groups, caps)),
        f"{measure.OURS}, batch, euclidean": Piece(run=lambda: project_batch(requests, upper, groups, caps, metric="euclidean")),
        f"{measure.OURS}, one by one": Piece(run=lambda: np.stack([project(w, upper, groups, caps) for w in requests]), tolerance=0.0),
    }


def apart(first: Floats, other: Floats) -> float:
    """Largest distance of a weight."""
    return float(np.max(np.abs(first - other)))


def cases(*, quick: bool) -> Iterator[Case]:
    """Instruments, under eight groups."""
    for n, count in ((8, 200), (20, 200)) if quick else ((8, 200), (20, 200), (500, 40), (5000, 20)):
        yield Case(
            name=f"n = {n:,}, {count} infeasible requests",
            build=lambda _, n=n, count=count: single(n, count),  # type: ignore[misc]
            differ=apart,
            units=count,
            unit="request",
        )
    count = 1_000 if quick else 10_000
    yield Case(name=f"n = 20, {count:,} infeasible requests", build=lambda _: batched(20, count), differ=apart, units=count, unit="request")


if __name__ == "__main__":
    measure.main("shell", cases, ("numpy", "clarabel", "cvxpy", "daqp", "osqp"))
