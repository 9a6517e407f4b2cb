"""What a task is given besides its configuration: place, time, identity. Made once, in the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from policyengine.reporting.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `folder` is for its results; `state_dir` for what must last; `choices` the chosen option of each config group.

    `in_sweep` tells a job of a sweep, which never publishes. `canonical` is where the canonical artifact stands. `clock` gives seconds,
    `now` the instant in UTC. `environment` is the process's own, as it is when looked at.
    """

    run_id: str
    created_at: str
    folder: Path
    state_dir: Path
    canonical: Path
    shipped: Path
    temporary: Path
    in_sweep: bool
    choices: Mapping[str, str]
    say: Callable[[str], None]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    environment: Mapping[str, str]
    progress: Progress
