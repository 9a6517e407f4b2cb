"""task=gate: read evidence, decide on it again with the configured gate, and say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.evidence.anchoring import anchored
from policyengine.evidence.artifact import facts_of, verdict_record
from policyengine.evidence.gate import Decision, decide
from policyengine.records import Stage, Verdict
from policyengine.reporting import terminal
from policyengine.spec.bind import bind, plain
from policyengine.spec.gate import GateSpec
from policyengine.spec.root import Spec, differences
from policyengine.spec.task import GateTask
from policyengine.store import read_json, rounded
from policyengine.tasks.run import Run


def gate(spec: Spec, task: GateTask, run: Run, conclude: Callable[[Decision], None]) -> Decision:
    """Decide for the task's stage on the evidence at its path, or on the canonical artifact; `conclude` hears it before it is shown.

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
    facts = facts_of(made, task.stage)
    _refuse_other_settings(made, spec, path)
    decision = decide(anchored(facts, made, run.state_dir, str(path)), spec.gate)
    conclude(decision)
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


def _refuse_other_settings(made: Mapping[str, Any], spec: Spec, path: Path) -> None:
    """Floors are decided anew; the test cannot be, so it must have been made as it is configured now.

    Raises:
        DataError: it was not, or the verdict does not follow from what the artifact holds.
    """
    facts = facts_of(made, _stage(made.get("stage"), path))
    config = made.get("config")
    if not isinstance(config, Mapping):
        raise DataError(str(path), "is not an artifact: it holds no configuration")
    own = bind(GateSpec, config.get("gate"), "config.gate")
    stated, follows = made.get("verdict"), decide(facts, own).verdict.value
    if stated != follows or made.get("passed") is not (follows == Verdict.PROMOTE.value):
        raise DataError(str(path), f"states {stated}, passed {made.get('passed')}; its own criteria give {follows}")
    for name in ("test", "looks"):
        for key, then, now in differences(getattr(own, name), getattr(spec.gate, name), f"gate.{name}"):
            raise DataError(str(path), f"was tested with {key}={then}, and {now} is configured; evaluate again")


def _stage(value: object, path: Path) -> Stage:
    if not isinstance(value, str) or value not in set(Stage):
        raise DataError(str(path), f"stage {value!r} is none of {', '.join(Stage)}")
    return Stage(value)
