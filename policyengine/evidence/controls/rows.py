"""What a negative control reports, and what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK = 100
"""Repetitions simulated at a time."""
_SLACK = 3.0
"""Monte Carlo standard errors that a measured rate may be beyond its bound: with some sixty bounds a correct gate then rarely fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """One measured rate and its bound. Rates are fractions of `reps`; `error` is the Monte Carlo standard error of `rate`.

    `plain` is what the rule named by `plain_rule` shows on the same samples, None where there is none; `plain_bound` the least that it
    must show.
    """

    scenario: str
    case: str
    n_sessions: int
    measure: str
    plain_rule: str
    plain: float | None
    plain_bound: float | None
    rate: float
    error: float
    operator: str
    bound: float
    reps: int

    @property
    def ok(self) -> bool:
        """Whether the bound holds up to Monte Carlo error, and the plain rule fails as it should."""
        slack = _SLACK * math.sqrt(self.bound * (1.0 - self.bound) / self.reps)
        holds = self.rate <= self.bound + slack if self.operator == "<=" else self.rate >= self.bound - slack
        if self.plain is None or self.plain_bound is None:
            return holds
        return holds and self.plain >= self.plain_bound - _SLACK * math.sqrt(self.plain_bound * (1.0 - self.plain_bound) / self.reps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a control is given: repetitions, resamples a test, seed, and whom to tell of progress (done and total repetitions)."""

    reps: int
    seed: int
    n_boot: int
    tick: Callable[[], None]

    def chunks(self, stream: int) -> Iterator[tuple[np.random.Generator, range]]:
        """A generator and the repetitions of each chunk; `stream` tells the controls of one run apart."""
        for start in range(0, self.reps, _CHUNK):
            yield np.random.default_rng([self.seed, stream, start]), range(start, min(start + _CHUNK, self.reps))


Control = Callable[[Run], Iterable[ControlRow]]


def row(
    run: Run,
    scenario: str,
    case: str,
    n: int,
    measure: str,
    hits: float,
    operator: str,
    bound: float,
    *,
    plain: float | None = None,
    plain_rule: str = "",
    plain_bound: float | None = None,
    reps: int | None = None,
) -> ControlRow:
    """The row for `hits` of `reps` (None means of all repetitions); `plain` counts hits of the plain rule over all repetitions."""
    reps = run.reps if reps is None else reps
    rate = hits / reps if reps else math.nan
    return ControlRow(
        scenario=scenario,
        case=case,
        n_sessions=n,
        measure=measure,
        plain_rule=plain_rule,
        plain=None if plain is None else plain / run.reps,
        plain_bound=plain_bound,
        rate=rate,
        error=math.sqrt(max(rate * (1.0 - rate), 0.0) / reps) if reps else math.nan,
        operator=operator,
        bound=bound,
        reps=reps,
    )
