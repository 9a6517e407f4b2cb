"""task=dashboard: the report of a run and what an account left last, live, for this machine alone."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

from policyengine.errors import ConfigError
from policyengine.monitoring.snapshot import Kill
from policyengine.rollout.kill_records import event_of
from policyengine.rollout.latch import latch_of
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec
from policyengine.spec.task import DashboardTask
from policyengine.tasks.run import Run

NEEDS = ("starlette", "uvicorn", "prometheus_client")


def dashboard(spec: Spec, task: DashboardTask, run: Run) -> None:
    """Serve until told to stop, and say where.

    Raises:
        ConfigError: the port or the account cannot be used, or an extra is not installed.
        DataError: there is no run in that folder, or its report cannot be drawn.
    """
    for name in NEEDS:
        if find_spec(name) is None:
            raise ConfigError("dashboard", f"needs {name}, which is not installed: pip install 'barbell-policyengine[dashboard]'")
    from policyengine.reporting.live.published import Published  # noqa: PLC0415 - what it needs is an extra
    from policyengine.reporting.live.server import serve  # noqa: PLC0415

    def ready(address: str) -> None:
        run.say(f"dashboard {address}")
        run.say(f"of        {task.path} and account {task.account}; Ctrl+C stops it")

    live = Published(Path(task.path), run.state_dir, task.account, spec.monitor, run.now, lambda: plain(latched(run.state_dir)))
    asyncio.run(serve(live, run.now, port=task.port, ready=ready))


def latched(state_dir: Path) -> Kill | None:
    """The latch of the kill switch as it stands, looked at and not touched; None where none was begun."""
    names, wrong = latch_of(state_dir).look()
    if wrong is not None:
        return Kill(engaged=True, since=None, why=wrong)
    if not names:
        return None
    event = event_of(names[0])
    return Kill(engaged=event is not None, since=None if event is None else event.at, why=None if event is None else event.sentence)
