"""task=dashboard: the report of a run and what an account left last, live, for this machine alone."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path

from policyengine.errors import ConfigError
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
        sys.stdout.flush()  # somebody waits for the address, also behind a pipe

    live = Published(Path(task.path), run.state_dir, task.account, spec.monitor, run.now)
    asyncio.run(serve(live, run.now, port=task.port, ready=ready))
