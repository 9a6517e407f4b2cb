"""task=explain: one decision, back to the signal, the sizes, the limits and the approvals; from the audit log alone."""

from __future__ import annotations

from policyengine.errors import DataError
from policyengine.reporting import explained
from policyengine.rollout.audit_reading import find
from policyengine.spec.root import Spec
from policyengine.spec.task import ExplainTask
from policyengine.tasks.rolled import audit_folder
from policyengine.tasks.run import Run


def explain(_: Spec, task: ExplainTask, run: Run) -> None:
    """Say how the decision came about and what became of it.

    Raises:
        DataError: the log holds no such decision.
        NotStarted: the log does not verify.
    """
    folder = audit_folder(run)
    found = find(folder, task.decision) if folder.exists() else None
    if found is None:
        raise DataError(str(folder), f"holds no decision {task.decision}")
    for line in explained.lines(found):
        run.say(line)
