"""Negative controls of the gate on re-tilted books: scalings, nulls, harm and real improvements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.evidence.controls.plain_rule import plain_promotions
from policyengine.evidence.controls.rows import ControlRow, Run, row
from policyengine.evidence.controls.simulate import Sample, bucket_drifts, solve_drifts, tilted
from policyengine.evidence.statistics.judge import Judgement, judge
from policyengine.records import Status, Verdict

_Floats = NDArray[np.float64]

EVEN = np.ones(3)
MILD, TILT, CUT = np.array([1.0, 0.9, 0.8]), np.array([1.0, 0.72, 0.55]), np.array([1.0, 1.0, 0.2])
CARRY, TICKET = 0.03 / 252.0, 0.00002
"""Interest on the account a day; cost of a trade whatever its size, as a fraction of capital."""
PLAIN = "3 of 3 windows"


@dataclass(slots=True)
class _Count:
    promoted: int = 0
    rejected: int = 0
    tested: int = 0
    plain: int = 0

    def add(self, judgement: Judgement) -> None:
        self.promoted += judgement.verdict is Verdict.PROMOTE
        self.rejected += judgement.verdict is Verdict.REJECT
        own = {"significance", "spans", "materiality"}
        self.tested += all(c.status is Status.PASS for c in judgement.criteria if c.name in own)


def _judged(
    run: Run,
    stream: int,
    draw: Callable[[np.random.Generator, int], Sample],
    *,
    carry: float = 0.0,
    ticket: float = 0.0,
) -> _Count:
    count = _Count()
    for rng, reps in run.chunks(stream):
        sample = draw(rng, len(reps))
        # A ticket is paid on days with a trade, in both arms; interest is excess of nothing, so the gate never sees it.
        baseline, candidate = (arm - ticket * (sample.baseline != 0.0) for arm in (sample.baseline, sample.candidate))
        count.plain += int(np.count_nonzero(plain_promotions(baseline, candidate, carry)))
        b, c = (arm.sum(axis=2) + carry for arm in (baseline, candidate))
        for i, rep in enumerate(reps):
            count.add(judge(b[i] - carry, c[i] - carry, seed=rep, n_boot=run.n_boot))
            run.tick()
    return count


def _tilts(n: int, drifts: _Floats, multipliers: _Floats, noise: float = 0.0) -> Callable[[np.random.Generator, int], Sample]:
    return lambda rng, reps: tilted(rng, reps, n, drifts, multipliers, noise)


def scale(run: Run) -> Iterator[ControlRow]:
    """Everything times 0.8 or 1.25: no promotion and no rejection, ever."""
    for i, multiplier in enumerate((0.8, 1.25)):
        for j, (costs, carry, ticket) in enumerate((("no costs", 0.0, 0.0), ("3% carry, ticket cost", CARRY, TICKET))):
            for k, sharpe in enumerate((0.0, 1.0, -0.5)):
                draw = _tilts(250, solve_drifts((EVEN,), (sharpe,)), multiplier * EVEN)
                count = _judged(run, 100 + 10 * i + 5 * j + k, draw, carry=carry, ticket=ticket)
                case = f"x{multiplier:g} at {sharpe:g}, {costs}"
                hits = count.promoted + count.rejected
                yield row(run, "scale", case, 250, "promoted or rejected", hits, "<=", 0.0, plain=count.plain, plain_rule=PLAIN)


def null_tilt(run: Run) -> Iterator[ControlRow]:
    """A re-tilt that leaves the Sharpe ratio where it was."""
    for i, (case, multipliers, sharpe) in enumerate((("1/.9/.8 at 0", MILD, 0.0), ("1/.72/.55 at 1", TILT, 1.0))):
        drifts = solve_drifts((EVEN, multipliers), (sharpe, sharpe))
        for n in (60, 120, 250, 500):
            count = _judged(run, 200 + 10 * i + n, _tilts(n, drifts, multipliers))
            yield row(run, "null tilt", case, n, "promoted", count.promoted, "<=", 0.05, plain=count.plain, plain_rule=PLAIN)
            yield row(run, "null tilt", case, n, "rejected", count.rejected, "<=", 0.06)


def null_noise(run: Run) -> Iterator[ControlRow]:
    """Sizes times noise: nothing gained, a little Sharpe lost."""
    for n in (60, 120, 250, 500):
        count = _judged(run, 1000 + n, _tilts(n, solve_drifts((EVEN,), (1.0,)), EVEN, 0.3))
        yield row(run, "null noise", "lognormal .3", n, "promoted", count.promoted, "<=", 0.05, plain=count.plain, plain_rule=PLAIN)


def harm(run: Run) -> Iterator[ControlRow]:
    """A re-tilt that halves the Sharpe ratio."""
    drifts = solve_drifts((EVEN, TILT), (1.0, 0.5))
    for n, power in ((120, 0.70), (250, 0.85), (500, 0.95)):
        count = _judged(run, 2000 + n, _tilts(n, drifts, TILT))
        yield row(run, "harm", "1 -> .5", n, "promoted", count.promoted, "<=", 0.005, plain=count.plain, plain_rule=PLAIN)
        yield row(run, "harm", "1 -> .5", n, "rejected", count.rejected, ">=", power)


def real(run: Run) -> Iterator[ControlRow]:
    """A re-tilt that raises the Sharpe ratio by a half; and how much of the test's power floors and guard leave."""
    drifts = solve_drifts((EVEN, TILT), (1.0, 1.5))
    yield from _powers(run, 3000, "real", "1 -> 1.5", drifts, TILT, ((60, 0.40), (120, 0.65), (250, 0.87), (500, 0.95)))


def cut(run: Run) -> Iterator[ControlRow]:
    """Most of a losing bucket is cut."""
    drifts = bucket_drifts((1.2, 1.2, -1.0))
    yield from _powers(run, 4000, "cuts a losing bucket", ".07 -> 1.10", drifts, CUT, ((250, 0.54), (500, 0.77)))


def _powers(
    run: Run, stream: int, scenario: str, case: str, drifts: _Floats, multipliers: _Floats, bounds: tuple[tuple[int, float], ...]
) -> Iterator[ControlRow]:
    for n, power in bounds:
        count = _judged(run, stream + n, _tilts(n, drifts, multipliers))
        yield row(run, scenario, case, n, "promoted", count.promoted, ">=", power, plain=count.plain, plain_rule=PLAIN)
        if n >= 120:
            yield row(run, scenario, case, n, "kept of the test's power", count.promoted, ">=", 0.95, reps=max(count.tested, 1))
