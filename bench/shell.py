"""The shell against its peers, in one process: median seconds over the same infeasible requests. Recorded, never gating.

    python bench/shell.py [--repeat 15]

Peers: a plain Python proportional cap loop (not exact: it only gets under the caps), always; Clarabel called directly, CVXPY with
parameters on Clarabel, DAQP and OSQP where they are installed. Every exact peer solves the proportional problem with the shell's
own matrices; its largest distance from the shell's answer is printed beside its time.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import itertools
import platform
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
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


def medians(solvers: dict[str, Solver], requests: Floats, repeat: int) -> dict[str, float]:
    """Median over requests and repeats of the seconds that one call takes; solvers in turn, so that a busy moment meets all of them."""
    spent: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(repeat):
        for name, solve in solvers.items():
            for w in requests:
                start = time.perf_counter()
                solve(w)
                spent[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in spent.items()}


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


PEERS: dict[str, tuple[str, Callable[..., Solver], int]] = {
    "Clarabel": ("clarabel", by_clarabel, 5000),
    "CVXPY on Clarabel": ("cvxpy", by_cvxpy, 500),
    "DAQP": ("daqp", by_daqp, 500),
    "OSQP": ("osqp", by_osqp, 5000),
}


def load(name: str) -> Any:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def single(n: int, repeat: int, peers: dict[str, Any]) -> None:
    """One request at a time."""
    rng = np.random.default_rng(n)
    upper, groups, caps = barbell(n, rng)
    requests = infeasible(200 if n < 100 else 40, upper, groups, caps, rng)
    own: dict[str, Solver] = {
        "shell, proportional": lambda w: project(w, upper, groups, caps),
        "shell, euclidean": lambda w: project(w, upper, groups, caps, metric="euclidean"),
    }
    calls = itertools.count(1)

    def anew(w: Floats) -> Floats:
        """Caps that never come again: others are read once and kept."""
        return project(w, upper, groups, caps * (1 + next(calls) * 2.0**-50))

    quick = medians({**own, "shell, caps ever new": anew, "plain cap loop": cap_loop(upper, groups, caps)}, requests, repeat)
    print(f"n = {n}, m = {len(caps)}, {len(requests)} infeasible requests")
    for name, seconds in quick.items():
        print(f"  {name:24}{seconds * 1e6:12.1f} us   {seconds / quick['plain cap loop']:.1f} times the loop")
    exact = {
        name: build(peers[module], upper, groups, caps) for name, (module, build, most) in PEERS.items() if peers[module] and n <= most
    }
    slow = medians({**own, **exact}, requests[:12], max(1, repeat // 3))
    for name, solve in exact.items():
        distance = max(float(np.abs(solve(w) - project(w, upper, groups, caps)).max()) for w in requests[:10])
        times = slow[name] / slow["shell, proportional"]
        print(f"  {name:24}{slow[name] * 1e6:12.1f} us   {times:.1f} times the shell, distance {distance:.0e}")


def batched(n: int, batch: int, repeat: int) -> None:
    """Many requests at once."""
    rng = np.random.default_rng(n)
    upper, groups, caps = barbell(n, rng)
    requests = infeasible(batch, upper, groups, caps, rng)
    for metric in ("proportional", "euclidean"):
        spent = []
        for _ in range(repeat):
            start = time.perf_counter()
            project_batch(requests, upper, groups, caps, metric=metric)
            spent.append(time.perf_counter() - start)
        print(f"batch of {batch}, n = {n}, {metric}: {batch / float(np.median(spent)):,.0f} infeasible projections a second")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    repeat = parser.parse_args().repeat
    peers = {module: load(module) for module, _, _ in PEERS.values()}
    absent = [name for name, (module, _, _) in PEERS.items() if peers[module] is None]
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, one process; median of {repeat} runs in turn")
    versions = [f"{module} {importlib.metadata.version(module)}" for module, found in peers.items() if found is not None]
    print(f"peers: {', '.join(versions) or 'none'}; absent: {', '.join(absent) or 'none'}")
    for n in (8, 20, 500, 5000):
        single(n, repeat, peers)
    for batch in (1000, 10_000):
        batched(20, batch, repeat)


if __name__ == "__main__":
    main()
