"""task=report: the report of a run again, from its folder alone."""

from __future__ import annotations

from pathlib import Path

from policyengine.monitoring.snapshot import read_snapshot
from policyengine.reporting.report import write_report
from policyengine.spec.root import Spec
from policyengine.spec.task import ReportTask
from policyengine.tasks.run import Run


def report(_: Spec, task: ReportTask, run: Run) -> Path:
    """Write report.html, trades.csv and dashboard_data.json into the folder of the task's run, and say where the report is.

    Raises:
        DataError: there is no run in that folder, or a file of it or the account's snapshot cannot be used.
        ConfigError: the extra that draws is not installed.
        OutputError: the folder cannot be written.
    """
    account = None if task.account is None else read_snapshot(run.state_dir, task.account)
    written = write_report(Path(task.path), account)
    run.say(f"report    {written}")
    return written
