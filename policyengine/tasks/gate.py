"""task=gate: read evidence, decide on it again with the configured gate, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.evidence.artifact import facts_of, verdict_record
from policyengine.evidence.decision import rivals_of
from policyengine.evidence.gate import Decision, Facts, Look, decide
from policyengine.evidence.store import read_json, rounded
from policyengine.evidence.trial_log import Head, read_log
from policyengine.reporting import terminal
from policyengine.spec.bind import bind, plain
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
    decision = decide(_against_log(facts_of(made, task.stage), made, path, run), spec.gate)
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


def _against_log(facts: Facts, made: Mapping[str, Any], path: Path, run: Run) -> Facts:
    """The facts with the number of trials that the log holds now.

    Raises:
        DataError: the log is not the one that the evidence was made with, or an earlier state of it.
    """
    if not isinstance(facts.look, Look):
        return facts
    log = read_log(run.state_dir)
    if not log.extends(bind(Head, made.get("trial_log"), "trial_log")):
        raise DataError(str(path), f"was made with a log of trials that is not the one in {run.state_dir}, or was put back since")
    own = (made["hashes"]["policy"], made["hashes"]["baseline"])
    rivals = rivals_of(log, own, facts.look.first_date, facts.look.last_date)
    return replace(facts, look=replace(facts.look, trials_now=1 + len(rivals)))
