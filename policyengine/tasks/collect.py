"""task=collect: one matrix and one decision for each policy from the results of a sweep's jobs. Running it again changes nothing.

A job that was killed left nothing; the sweep's plan knows it, and it becomes a row that says so.
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
from policyengine.evidence.matrix import EvidenceRow, columns, flat
from policyengine.records import Stage
from policyengine.reporting import terminal
from policyengine.spec.bind import plain
from policyengine.spec.gate import GateSpec
from policyengine.store import read_json, write_csv, write_json

PLAN = "sweep.json"
RESULT = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a sweep came to: `errors` by job number, of `jobs`; `decisions` by policy hash, and the `words` that made each policy."""

    jobs: int
    errors: Mapping[int, str]
    decisions: Mapping[str, Decision]
    words: Mapping[str, str]


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
    errors = {number: str(result["error"]) for number, result in enumerate(results) if result["error"] is not None}
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
    return [*lines, f"matrix    {folder / 'matrix.csv'}"]


def _result(folder: Path) -> Mapping[str, Any]:
    if not (folder / RESULT).exists():
        return {"error": "left no result: the job was killed or never started"}
    try:
        error = read_json(folder / RESULT)["error"]
        return {"error": error} if error is not None else {"error": None, "evidence": read_json(folder / "evidence.json")}
    except (DataError, KeyError, TypeError) as error:
        return {"error": f"left no usable result: {error}"}


def _rows(number: int, overrides: Sequence[str], result: Mapping[str, Any]) -> list[dict[str, object]]:
    about: dict[str, object] = {"job": number, "overrides": " ".join(overrides)}
    if result["error"] is not None:
        return [{**about, "error": result["error"]}]
    return [{**about, **flat(row_of(stored))} for stored in result["evidence"]["windows"]]


def _words(jobs: Sequence[Sequence[str]], results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The overrides that all jobs of a policy share, but for those that all jobs of the sweep share."""
    shared: dict[str, list[str]] = {}
    for overrides, result in zip(jobs, results, strict=True):
        if result["error"] is None:
            policy = result["evidence"]["hashes"]["policy"]
            shared[policy] = [word for word in shared.get(policy, overrides) if word in overrides]
    common = set.intersection(*(set(words) for words in jobs))
    return {policy: " ".join(word for word in words if word not in common) for policy, words in shared.items()}


def _by_policy(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if result["error"] is None:
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
