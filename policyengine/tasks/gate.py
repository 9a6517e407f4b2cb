"""task=gate: read evidence, decide on it again with the configured gate, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.evidence.artifact import facts_of, verdict_record
from policyengine.evidence.gate import Decision, decide
from policyengine.evidence.store import read_json, rounded
from policyengine.reporting import terminal
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec
from policyengine.spec.task import GateTask
from policyengine.tasks.run import Run


def gate(spec: Spec, task: GateTask, run: Run) -> Decision:
    """Decide for the task's stage on the evidence at its path, or on the canonical artifact.

    Raises:
        DataError: there is no evidence, it is not an artifact, or its verdict does not follow from its own criteria.
    """
    path = run.canonical if task.path is None else Path(task.path)
    if task.path is None and not path.exists():
        raise DataError(
            str(path), "no evidence was published; next: policyengine evidence.publish=true, or task.path=.../evidence.json of a run"
        )
    made = read_json(path)
    if not isinstance(made, Mapping):
        raise DataError(str(path), "is not an artifact: not a mapping")
    decision = decide(facts_of(made, task.stage), spec.gate)
    again: dict[str, Any] = {
        **made,
        "stage": task.stage.value,
        "passed": decision.passed,
        "verdict": decision.verdict.value,
        "criteria": [rounded(plain(c)) for c in decision.criteria],
    }
    for line in terminal.verdict_lines(verdict_record(again, {})):
        run.say(line)
    run.say(f"evidence  {path} ({made['created_at']})")
    return decision
