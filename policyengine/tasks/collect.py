"""task=collect: one matrix and one decision for each policy from the results of a sweep's jobs. Running it again changes nothing.

A job that was killed left nothing; the sweep's plan knows it, and it becomes a row that says so. Jobs that are parts of one grid give the
files that one run of the whole grid gives, byte for byte; on a grid's policies nothing is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.evidence.artifact import facts_of, row_of
from policyengine.evidence.gate import Decision, decide
from policyengine.evidence.grid import merged
from policyengine.evidence.grid_files import MATRIX, POLICIES, SUMMARY, join, read_rows
from policyengine.evidence.matrix import EvidenceRow, columns, flat
from policyengine.records import Stage
from policyengine.reporting import terminal
from policyengine.reporting.grid import ranking_lines
from policyengine.spec.bind import plain
from policyengine.spec.gate import GateSpec
from policyengine.store import read_json, write_csv, write_json

PLAN = "sweep.json"
RESULT = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a sweep came to: `errors` by job number, of `jobs`; `decisions` by policy hash, and the `words` that made each policy.

    `grid` is how the policies stand of a grid whose parts the jobs were.
    """

    jobs: int
    errors: Mapping[int, str]
    decisions: Mapping[str, Decision]
    words: Mapping[str, str]
    grid: Mapping[str, Any] | None = None


def write_plan(folder: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Note which jobs a sweep will run, by their overrides, before the first starts."""
    write_json(folder / PLAN, {"jobs": [list(job) for job in jobs]})


def collect(folder: Path, gate: GateSpec, stage: Stage) -> Collected:
    """Build `matrix.csv`, `matrix.json` and `verdict.json` of the sweep in `folder`.

    Raises:
        DataError: the folder holds no sweep.
    """
    plan = folder / PLAN
    if not plan.exists():
        raise DataError(str(folder), f"holds no sweep: {PLAN} is not there")
    jobs = read_json(plan)["jobs"]
    results = [_result(folder / str(number)) for number in range(len(jobs))]
    errors = {number: str(result["error"]) for number, result in enumerate(results) if result["error"] is not None}
    grid = _one_grid(results)
    if grid:
        return _joined(folder, jobs, grid, errors)
    rows = [row for number, result in enumerate(results) for row in _rows(number, jobs[number], result)]
    decisions = {policy: _decide(found, gate, stage) for policy, found in _by_policy(results).items()}
    write_csv(folder / "matrix.csv", columns(rows), rows)
    write_json(folder / "matrix.json", {"rows": rows})
    write_json(
        folder / "verdict.json",
        {
            policy: {"verdict": d.verdict.value, "passed": d.passed, "criteria": [plain(c) for c in d.criteria]}
            for policy, d in decisions.items()
        },
    )
    return Collected(jobs=len(jobs), errors=errors, decisions=decisions, words=_words(jobs, results))


def summary(folder: Path, collected: Collected) -> list[str]:
    """What a person reads after a sweep."""
    lines = [f"sweep     {collected.jobs - len(collected.errors)} of {collected.jobs} jobs gave evidence"]
    for number, error in collected.errors.items():
        lines += terminal.item(f"job {number}", error)
    for policy, decision in collected.decisions.items():
        hard = sum(c.hard for c in decision.criteria)
        lines.append(f"policy    {policy[:6]}   {decision.verdict.value}   {len(decision.open)} of {hard} hard criteria are open")
        lines += terminal.item("made by", collected.words[policy]) if collected.words[policy] else []
        for criterion in decision.open:
            lines += terminal.item(criterion.name, f"{criterion.status}: {criterion.reason}")
    if collected.grid is not None:
        made = collected.grid
        lines += [
            f"grid      {made['evaluated']:,} of {made['policies']:,} policies, {made['failed']:,} of them failed",
            *ranking_lines(made),
        ]
        lines += terminal.item("caution", made["caution"])
    return [*lines, f"matrix    {folder / 'matrix.csv'}"]


def _result(folder: Path) -> Mapping[str, Any]:
    if not (folder / RESULT).exists():
        return {"error": "left no result: the job was killed or never started"}
    try:
        error = read_json(folder / RESULT)["error"]
        if error is not None:
            return {"error": error}
        if (folder / SUMMARY).exists():
            return {"error": None, "grid": read_json(folder / SUMMARY), "folder": folder}
        return {"error": None, "evidence": read_json(folder / "evidence.json")}
    except (DataError, KeyError, TypeError) as error:
        return {"error": f"left no usable result: {error}"}


def _one_grid(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The results that are different parts of one and the same grid, in their order; none if there is anything else."""
    found = sorted((result for result in results if result["error"] is None and "grid" in result), key=lambda r: r["grid"]["part"])
    grids = {(result["grid"]["grid"], result["grid"]["parts"]) for result in found}
    different = {result["grid"]["part"] for result in found}
    alone = all("evidence" not in result for result in results)
    return found if alone and len(grids) == 1 and len(different) == len(found) else []


def _joined(folder: Path, jobs: Sequence[Sequence[str]], parts: Sequence[Mapping[str, Any]], errors: Mapping[int, str]) -> Collected:
    """The files of the whole grid; each job without result is a row at their end."""
    missing = [{"error": f"job {number}, {' '.join(jobs[number])}: {error}"} for number, error in errors.items()]
    for name in (MATRIX, POLICIES):
        join(folder / name, [part["folder"] / name for part in parts], missing)
    made = [part["grid"] for part in parts]
    whole = {
        **made[0],
        "part": 1,
        "parts": 1,
        "evaluated": sum(one["evaluated"] for one in made),
        "failed": sum(one["failed"] for one in made),
        "ranking": merged([one["ranking"] for one in made]),
    }
    write_json(folder / SUMMARY, whole)
    none = "not one of its policies gave evidence"
    failed = errors if whole["failed"] < whole["evaluated"] else {number: errors.get(number, none) for number in range(len(jobs))}
    return Collected(jobs=len(jobs), errors=failed, decisions={}, words={}, grid=whole)


def _rows(number: int, overrides: Sequence[str], result: Mapping[str, Any]) -> list[dict[str, object]]:
    about: dict[str, object] = {"job": number, "overrides": " ".join(overrides)}
    if result["error"] is not None:
        return [{**about, "error": result["error"]}]
    if "grid" in result:
        return [{**about, **row} for row in read_rows(result["folder"] / MATRIX)]
    return [{**about, **flat(row_of(stored))} for stored in result["evidence"]["windows"]]


def _words(jobs: Sequence[Sequence[str]], results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The overrides that all jobs of a policy share, but for those that all jobs of the sweep share."""
    shared: dict[str, list[str]] = {}
    for overrides, result in zip(jobs, results, strict=True):
        if "evidence" in result:
            policy = result["evidence"]["hashes"]["policy"]
            shared[policy] = [word for word in shared.get(policy, overrides) if word in overrides]
    common = set.intersection(*(set(words) for words in jobs))
    return {policy: " ".join(word for word in words if word not in common) for policy, words in shared.items()}


def _by_policy(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if "evidence" in result:
            grouped.setdefault(result["evidence"]["hashes"]["policy"], []).append(result["evidence"])
    return grouped


def _decide(found: Sequence[Mapping[str, Any]], gate: GateSpec, stage: Stage) -> Decision:
    """Decide on all windows of one policy together, pooled over the longest of the jobs' samples."""
    facts = facts_of(max(found, key=lambda made: (made["sample"]["sessions"], made["sample"]["end_date"])), stage)
    rows: dict[tuple[date, date, str], EvidenceRow] = {}
    for made in found:
        for row in facts_of(made, stage).rows:
            rows.setdefault((row.window.end_date, row.window.start_date, row.window.label), row)
    return decide(replace(facts, rows=tuple(rows[key] for key in sorted(rows))), gate)
