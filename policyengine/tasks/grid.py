"""task=evaluate with a grid: one signal stream, one baseline, and every policy of the grid, or of one part of it, against it.

The policies are logged as trials before the first is replayed; no look is taken. What is done is kept in chunks under the state folder
until all is written, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import grid as in_force
from policyengine.allocation.sizing import codes_of
from policyengine.errors import ConfigError, DataError, Ruined
from policyengine.evidence.artifact import code_hash
from policyengine.evidence.grid import CAUTION, Comparison, cells, changed_paths, ranking, series_of, standing
from policyengine.evidence.grid_files import CHUNK, MATRIX, POLICIES, SUMMARY, Chunk, Chunks, remove_stale
from policyengine.evidence.likeness import weekly
from policyengine.evidence.looks import budget_key
from policyengine.evidence.matrix import flat
from policyengine.evidence.metrics import ArmSeries
from policyengine.evidence.replay import cash_rate, source_key
from policyengine.evidence.trial_log import TrialLog, append_trials
from policyengine.evidence.trials import TrialRecord, overlapping
from policyengine.evidence.windows import as_of, windows
from policyengine.market import PricePanel, open_market
from policyengine.records import BUCKETS, Arm, Finding, Window
from policyengine.reporting.grid import grid_lines
from policyengine.signals.stream import Stream
from policyengine.spec.bind import plain
from policyengine.spec.root import ARM_SECTIONS, ArmSpec, GridPolicy, PolicyGrid, Spec, digest
from policyengine.spec.task import EvaluateTask
from policyengine.store import csv_lines, growing, write_json
from policyengine.tasks.evaluate import partial_windows, short, versions
from policyengine.tasks.inputs import inputs, required, until
from policyengine.tasks.run import Run

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What all policies are replayed on: T sessions. `windows` are those that the configuration names."""

    panel: PricePanel
    stream: Stream
    rate: NDArray[np.float64]
    data_hash: str
    alerts: tuple[Finding, ...]
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one run has to do: the policies of its part, and what turns one of them into rows."""

    grid: PolicyGrid
    comparison: Comparison
    columns: Sequence[str]
    replayed: Callable[[Sequence[GridPolicy]], Iterator[ArmSeries | None]]
    """The decision sample of each policy, in order; None of one that was ruined."""


def evaluate_grid(spec: Spec, grid: PolicyGrid, task: EvaluateTask, run: Run) -> Mapping[str, Any]:
    """Evaluate this run's part of `grid`, write `matrix.csv`, `policies.csv` and `grid.json`, and return what the last holds.

    Raises:
        ConfigError: something is asked for that many policies at once cannot have.
        Ruined: the baseline lost all its capital.
        DataError: no policy gave evidence, which is written; a job of a sweep leaves saying so to who collects.
    """
    _check(spec, task)
    started = run.clock()
    ground = _ground(spec, run)
    baseline = next(_series(spec, ground, [spec.baseline]))
    if baseline is None:
        raise Ruined(f"the baseline, {spec.baseline.name}, lost all its capital; nothing can be compared with it")
    log = append_trials(run.state_dir, _trials(spec, grid, ground, run))
    first = _first_session(spec, ground, baseline, log)
    sample = baseline.between(first, baseline.nav.size - 1)
    work = _work(spec, grid, ground, sample)
    summary = _about(spec, ground, work, sample)
    chunks = Chunks(run.state_dir, summary["grid"])
    standings, resumed = _written(work, run, chunks)
    failed = [one for one in standings if one["error"] is not None]
    summary |= {"failed": len(failed), "ranking": ranking(standings)}
    seconds = run.clock() - started
    write_json(run.folder / SUMMARY, summary)
    about = {"run_id": run.run_id, "created_at": run.created_at, "seconds": seconds, "resumed_policies": resumed}
    write_json(run.folder / "run.json", {**about, **versions("numba")})
    chunks.remove(_firsts(grid))
    remove_stale(run.state_dir, run.now().timestamp())
    files = {name.partition(".")[0]: short(run.folder / name) for name in (MATRIX, POLICIES, SUMMARY)}
    trials = len(overlapping(log.trials, *(date.item() for date in sample.sessions[[0, -1]].astype("datetime64[D]"))))
    for line in grid_lines(summary, files, source=run.choices["source"], seconds=seconds, resumed=resumed, trials=trials):
        run.say(line)
    if len(failed) == len(standings) and not run.in_sweep:
        raise DataError("grid", f"not one of {len(standings)} policies gave evidence; the first: {failed[0]['error']}")
    return summary


def _check(spec: Spec, task: EvaluateTask) -> None:
    if spec.evidence.publish:
        raise ConfigError("evidence.publish", "true in a grid: evaluate the chosen policy alone, and publish that")
    if task.origin_date is not None:
        raise ConfigError("task.origin_date", f"{task.origin_date} in a grid, which takes no look; declare it when one policy is evaluated")
    if find_spec("numba") is None:
        raise ConfigError("grid", "needs numba, which is not installed: pip install 'barbell-policyengine[grid]'")


def _ground(spec: Spec, run: Run) -> _Ground:
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=run.temporary, shipped_dir=run.shipped
    ) as market:
        alerts = market.check()
        given = market.prices(spec.window.calendar) if "prices" in market.views else None
        quoted = required(given, market, f"evidence={spec.evidence.KIND}")
        end = as_of(spec.window, quoted.sessions)
        read = inputs(spec, market, until(quoted, end), run, online_from=0)
        return _Ground(
            panel=read.panel,
            stream=read.stream,
            rate=cash_rate(read.panel, spec.universe.cash_rate_symbol),
            data_hash=market.digest(),
            alerts=alerts,
            windows=windows(spec.window, read.panel.sessions, end),
        )


def _series(spec: Spec, ground: _Ground, arms: Sequence[ArmSpec]) -> Iterator[ArmSeries | None]:
    """Each of `arms` replayed over all sessions, in order; None of one that was ruined."""
    from policyengine.execution.many import outcomes  # noqa: PLC0415 - what compiles is an extra

    panel, capital = ground.panel, spec.evidence.capital
    found = outcomes(
        panel,
        arms,
        ground.stream,
        in_force(ground.stream, spec.universe),
        spec.universe,
        spec.execution,
        rate=ground.rate,
        capital=capital,
        group=codes_of(map(spec.universe.bucket, panel.symbols)),
        groups=len(BUCKETS),
        workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )
    for arm, outcome in zip(arms, found, strict=True):
        yield None if outcome is None else series_of(outcome, panel, arm.name, rate=ground.rate, capital=capital)


def _trials(spec: Spec, grid: PolicyGrid, ground: _Ground, run: Run) -> list[TrialRecord]:
    common = plain(spec.policy(Arm.CANDIDATE))
    days = ground.panel.sessions[[0, -1]].astype("datetime64[D]")
    source = source_key(ground.panel)
    return [
        TrialRecord(
            policy_hash=policy.policy_hash,
            policy={**common, **_own_sections(policy.arm, spec.candidate)},
            source_key=source,
            first_date=days[0].item(),
            last_date=days[1].item(),
            recorded_at=run.created_at,
            run_id=run.run_id,
        )
        for policy in (grid.policies[number] for number in grid.own)
    ]


def _own_sections(arm: ArmSpec, candidate: ArmSpec) -> dict[str, Any]:
    """Those that `arm` does not share with the candidate, so that a thousand policies do not hold a thousand copies."""
    return {name: plain(getattr(arm, name)) for name in ARM_SECTIONS if getattr(arm, name) is not getattr(candidate, name)}


def _first_session(spec: Spec, ground: _Ground, baseline: ArmSeries, log: TrialLog) -> int:
    """Index of the first session of the decision sample, which a look may have fixed, as where a policy is evaluated alone."""
    key = budget_key(source_key(ground.panel), spec.policy_hash(Arm.BASELINE))
    origin = log.binding_budget(key, weekly(baseline.sessions, baseline.excess_returns())).origin_date
    first = 0 if origin is None else int(np.searchsorted(baseline.sessions, np.datetime64(origin)))
    if first == baseline.nav.size:
        raise DataError("origin_date", f"{origin} is after the last session")
    return first


def _work(spec: Spec, grid: PolicyGrid, ground: _Ground, sample: ArmSeries) -> _Work:
    first, last = (day.item() for day in sample.sessions[[0, -1]].astype("datetime64[D]"))
    comparison = Comparison(
        sample,
        [w for w in ground.windows if first <= w.end_date and w.start_date <= last],
        baseline_hash=spec.policy_hash(Arm.BASELINE),
        confidence=spec.gate.test.interval_confidence,
    )
    start = ground.panel.sessions.size - sample.nav.size

    def replayed(policies: Sequence[GridPolicy]) -> Iterator[ArmSeries | None]:
        for series in _series(spec, ground, [policy.arm for policy in policies]):
            yield None if series is None else series.between(start, ground.panel.sessions.size - 1)

    columns = ["policy", *changed_paths(grid.policies), *flat(comparison.whole(sample, ""))]
    return _Work(grid=grid, comparison=comparison, columns=columns, replayed=replayed)


def _about(spec: Spec, ground: _Ground, work: _Work, sample: ArmSeries) -> dict[str, Any]:
    """What is known of a grid before its policies are: `grid` is all that decides what they come to, and how it is written."""
    grid, days = work.grid, sample.sessions.astype("datetime64[D]")
    span = {"start_date": str(days[0]), "end_date": str(days[-1]), "sessions": int(days.size)}
    hashes = {
        "baseline": spec.policy_hash(Arm.BASELINE),
        "config": spec.config_hash(),
        "data": ground.data_hash,
        "source": source_key(ground.panel),
        "code": code_hash(),
    }
    asked = [[policy.policy_hash, plain(policy.changes)] for policy in grid.policies]
    unused = ground.stream.unused
    return {
        "schema": SCHEMA,
        "grid": digest({"asked": asked, "hashes": hashes, "sample": span}),
        "kind": spec.evidence.KIND,
        "asked": grid.asked,
        "policies": len(grid.policies),
        "part": grid.part,
        "parts": grid.parts,
        "evaluated": len(grid.own),
        "windows": len(work.comparison.windows),
        "arms": {arm.value: spec.arm(arm).name for arm in Arm},
        "sample": span,
        "instruments": len(ground.panel.symbols),
        "hashes": hashes,
        "baseline": dict(work.comparison.baseline),
        "findings": [plain(finding) for finding in ground.alerts],
        "notes": [
            *ground.stream.notes,
            *([f"{unused} signals fall outside the sessions of the prices and were not used"] if unused else []),
            *partial_windows(work.comparison.windows, sample.sessions),
        ],
        "caution": CAUTION,
    }


def _firsts(grid: PolicyGrid) -> range:
    """The number of the first policy of each chunk of this part."""
    return range(grid.own.start, grid.own.stop, CHUNK)


def _written(work: _Work, run: Run, chunks: Chunks) -> tuple[list[Mapping[str, Any]], int]:
    """Write the two tables chunk by chunk; how each policy stands, and of how many that was known from an earlier run."""
    standings: list[Mapping[str, Any]] = []
    kept = 0
    with ExitStack() as files:
        matrix, whole = (files.enter_context(growing(run.folder / name)) for name in (MATRIX, POLICIES))
        for write in (matrix, whole):
            write(csv_lines(work.columns, [dict(zip(work.columns, work.columns, strict=True))]))
        for chunk, known in _chunks(work, chunks, run.progress.step("policies")):
            matrix(chunk.matrix)
            whole(chunk.whole)
            standings += chunk.standings
            kept += chunk.policies * known
    run.progress.close()
    return standings, kept


def _chunks(work: _Work, chunks: Chunks, progress: Callable[[int, int], None]) -> Iterator[tuple[Chunk, bool]]:
    """Every chunk of the part, in order, and whether an earlier run made it: those up to the first that is not there, or not whole."""
    own, left = work.grid.own, list(_firsts(work.grid))
    sizes = {first: min(CHUNK, own.stop - first) for first in left}
    while left and (known := chunks.read(left[0], sizes[left[0]])) is not None:
        del left[0]
        yield known, True
    if not left:
        return
    series = work.replayed(work.grid.policies[left[0] : own.stop])
    for first in left:
        done = partial(lambda number, total: progress(number + 1 - own.start, total), total=len(own))
        chunk = _chunk(work, range(first, first + sizes[first]), series, done)
        chunks.write(chunk)
        yield chunk, False


def _chunk(work: _Work, numbers: range, series: Iterator[ArmSeries | None], done: Callable[[int], None]) -> Chunk:
    matrix, whole, standings = [], [], []
    for number in numbers:
        policy, arm = work.grid.policies[number], next(series)
        matrix += [cells(number, policy, row) for row in work.comparison.rows(arm, policy.policy_hash)]
        over_all = work.comparison.whole(arm, policy.policy_hash)
        whole.append(cells(number, policy, over_all))
        standings.append(standing(number, policy, over_all))
        done(number)
    return Chunk(
        first=numbers.start,
        policies=len(numbers),
        matrix=csv_lines(work.columns, matrix),
        whole=csv_lines(work.columns, whole),
        standings=standings,
    )
