"""The evidence artifact: everything one decision rests on, in a form that can be read back and decided again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import policyengine
from policyengine.errors import ConfigError, DataError
from policyengine.evidence.evidence import Evidence
from policyengine.evidence.gate import Decision, Facts, Look, independent_rows
from policyengine.evidence.interval import return_difference_interval
from policyengine.evidence.matrix import EvidenceRow, Measures, flat
from policyengine.evidence.trial_log import Head
from policyengine.records import Arm, Criterion, Finding, Stage, Status, Window
from policyengine.spec.bind import bind, plain
from policyengine.spec.root import Spec, differences

SCHEMA = 1


def artifact(
    spec: Spec,
    evidence: Evidence,
    facts: Facts,
    decision: Decision,
    *,
    test: Mapping[str, Any] | None,
    log_head: Head,
    data_hash: str,
    findings: Sequence[Finding],
    run_id: str,
    created_at: str,
) -> dict[str, Any]:
    """The artifact as a mapping that JSON can hold. `run_id` and `created_at` are all that differs between equal runs.

    `test` is what the statistical test reports beside its criteria; None where no look was taken. `log_head` is where the log of
    trials stood, so that a log put back to an earlier day shows.
    """
    sessions = evidence.baseline.sessions.astype("datetime64[D]")
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "created_at": created_at,
        "kind": evidence.kind,
        "stage": facts.stage.value,
        "passed": decision.passed,
        "verdict": decision.verdict.value,
        "arms": {arm.value: spec.arm(arm).name for arm in Arm},
        "hashes": {
            "policy": spec.policy_hash(Arm.CANDIDATE),
            "baseline": spec.policy_hash(Arm.BASELINE),
            "config": spec.config_hash(),
            "data": data_hash,
            "source": evidence.source_key,
            "code": code_hash(),
        },
        "version": policyengine.__version__,
        "config": plain(spec),
        "arm_differences": [
            {"path": p, "baseline": b, "candidate": c} for p, b, c in differences(spec.baseline, spec.candidate) if p != "name"
        ],
        "sample": {"start_date": str(sessions[0]), "end_date": str(sessions[-1]), "sessions": int(sessions.size)},
        "windows": [row_mapping(row) for row in facts.rows],
        "independent_windows": list(independent_rows(facts.rows, spec.gate.floors)),
        "pooled": {
            "baseline": dict(facts.baseline),
            "candidate": dict(facts.candidate),
            "delta": facts.delta,
            "d_return_interval": return_difference_interval(
                evidence.baseline, evidence.candidate, confidence=spec.gate.test.interval_confidence
            ),
        },
        "breaches": facts.breaches,
        "audited_frac": list(facts.audited_frac),
        "criteria": [plain(c) for c in decision.criteria],
        "look": plain(facts.look),
        "judged": [plain(c) for c in facts.judged],
        "harm": [plain(c) for c in facts.harm],
        "test": test,
        "trial_log": plain(log_head),
        "findings": [plain(f) for f in findings],
        "notes": list(evidence.notes),
        "counts": dict(evidence.counts),
        "reconciliation": dict(evidence.reconciliation),
    }


def verdict_record(made: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """What every face of the result is drawn from: the verdict, why, and where the files are."""
    keys = (
        *("schema", "run_id", "created_at", "kind", "stage", "passed", "verdict", "arms", "hashes", "sample"),
        *("criteria", "look", "harm", "test", "findings", "notes"),
    )
    return {**{key: made[key] for key in keys}, "files": dict(files)}


class Inconsistent(DataError):
    """An artifact states what does not follow from what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashes:
    """What an artifact is bound to, as SHA-256 each; `source` is the identity of the data, `data` all of their content."""

    policy: str
    baseline: str
    config: str
    data: str
    source: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The decision sample of an artifact, both days included."""

    start_date: date
    end_date: date
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pooled:
    """The measures of the whole sample. The interval is absent from artifacts that were made before there was one."""

    baseline: Measures
    candidate: Measures
    delta: Measures
    d_return_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An evidence row as stored. The interval is absent from artifacts that were made before there was one."""

    window: str
    start_date: date
    end_date: date
    sessions: int
    policy_hash: str
    baseline_hash: str
    error: str | None
    baseline: Measures
    candidate: Measures
    delta: Measures
    d_return_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What is read back of an artifact, each value of its type. `look` is apart: it is a mapping, or a text that says why there is none."""

    created_at: str
    kind: str
    hashes: Hashes
    sample: Sample
    windows: tuple[_Row, ...]
    pooled: _Pooled
    breaches: int | None
    audited_frac: tuple[float | None, float | None]
    judged: tuple[Criterion, ...]
    harm: tuple[Criterion, ...]
    trial_log: Head


def read_artifact(made: Mapping[str, Any]) -> Read:
    """What a stored artifact holds, before anything is decided on it.

    Raises:
        DataError: it is of another schema, lacks something, or holds something of another type.
    """
    if made.get("schema") != SCHEMA:
        raise DataError("evidence", f"schema {made.get('schema')!r} is not {SCHEMA}")
    try:
        return bind(Read, {f.name: made[f.name] for f in fields(Read) if f.name in made}, "evidence")
    except ConfigError as error:
        raise DataError(error.path, error.rule) from error


def facts_of(made: Mapping[str, Any], stage: Stage) -> Facts:
    """The facts that a stored artifact holds, to decide on again.

    Raises:
        DataError: as `read_artifact`.
        Inconsistent: a criterion's status does not follow from what was observed, or a look stands without its test.
    """
    found = read_artifact(made)
    facts = Facts(
        kind=found.kind,
        stage=stage,
        rows=tuple(map(_row, found.windows)),
        baseline=found.pooled.baseline,
        candidate=found.pooled.candidate,
        breaches=found.breaches,
        audited_frac=found.audited_frac,
        judged=tuple(map(_consistent, found.judged)),
        harm=tuple(map(_consistent, found.harm)),
        look=_look_of(made.get("look")),
    )
    if bool(facts.judged) is isinstance(facts.look, str):
        raise Inconsistent("evidence", "holds a look without its test, or a test without its look")
    return facts


def row_mapping(row: EvidenceRow) -> dict[str, Any]:
    """An evidence row as stored."""
    return {
        **{k: v for k, v in flat(row).items() if not k.startswith(("baseline_", "candidate_", "delta_")) or k == "baseline_hash"},
        "baseline": dict(row.baseline),
        "candidate": dict(row.candidate),
        "delta": row.delta,
        "d_return_interval": row.d_return_interval,
    }


def row_of(stored: Mapping[str, Any]) -> EvidenceRow:
    """The reverse of `row_mapping`.

    Raises:
        ConfigError: it is no such row.
    """
    return _row(bind(_Row, stored, "evidence.windows"))


def _row(stored: _Row) -> EvidenceRow:
    return EvidenceRow(
        window=Window(label=stored.window, start_date=stored.start_date, end_date=stored.end_date),
        sessions=stored.sessions,
        policy_hash=stored.policy_hash,
        baseline_hash=stored.baseline_hash,
        baseline=stored.baseline,
        candidate=stored.candidate,
        d_return_interval=stored.d_return_interval,
        error=stored.error,
    )


def code_hash() -> str:
    """SHA-256 over every Python and SQL file of the package and its schemas, by relative path and content."""
    import schemas  # noqa: PLC0415 - only its place is wanted

    whole = hashlib.sha256()
    for package in (policyengine, schemas):
        root = Path(package.__path__[0])
        for path in sorted((*root.rglob("*.py"), *root.rglob("*.sql"))):
            whole.update(f"{root.name}/{path.relative_to(root).as_posix()}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _consistent(criterion: Criterion) -> Criterion:
    """`criterion`, whose status follows from what was observed.

    Raises:
        DataError: it does not.
    """
    observed, threshold = criterion.observed, criterion.threshold
    status = Status.MISSING
    if observed is not None and threshold is not None:
        holds = {"<=": observed <= threshold, ">=": observed >= threshold, ">": observed > threshold, "<": observed < threshold}
        status = Status.PASS if holds.get(criterion.operator, False) else Status.FAIL
    if criterion.status is not status:
        shown = f"{observed} {criterion.operator} {threshold}"
        raise Inconsistent("evidence", f"{criterion.name}: status '{criterion.status}' does not follow from {shown}")
    return criterion


def _look_of(stored: object) -> Look | str:
    if isinstance(stored, str):
        return stored
    try:
        return bind(Look, stored, "evidence.look")
    except ConfigError as error:
        raise DataError(error.path, error.rule) from error
