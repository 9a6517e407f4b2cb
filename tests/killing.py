"""Processes that do their work until they are killed, at any moment, and say what was acknowledged before that."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator

from tests.faults.test_trials import in_child

Say = Callable[[str], None]
KILLS = int(os.environ.get("POLICYENGINE_TEST_KILLS", "40"))
"""How often each writer is killed."""


def killed_again_and_again(work: Callable[[Say], None], *, seed: int, within: float, kills: int = KILLS) -> Iterator[list[str]]:
    """Start `work` in a process of its own and kill it, `kills` times; what it had said was done each time.

    `work` never ends. It says something once it is acknowledged. Two of three are killed within `within` seconds after they first said
    something, the others within that of their start, maybe before they have done anything.
    """
    rng = random.Random(seed)
    for turn in range(kills):
        reading, writing = os.pipe()
        pid = in_child(lambda pipe=writing: work(lambda said: os.write(pipe, f"{said}\n".encode()) and None))  # type: ignore[misc]
        os.close(writing)
        if turn % 3:
            select.select([reading], [], [], 10.0)
        time.sleep(rng.uniform(0.0, within))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"kill {turn}: the work had ended, with status {status}"
        with os.fdopen(reading) as pipe:
            yield [line.rstrip("\n") for line in pipe if line.endswith("\n")]
