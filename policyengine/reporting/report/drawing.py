"""Drawing in a process of its own: Altair and the renderer's engine start there while the run is read here, and leave no memory behind.

What it is given and what it gives back are bytes: a payload as JSON, and the page.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from policyengine.errors import BrokenInvariant, ConfigError

NEEDS = ("altair", "vl_convert")


def command(*, live: bool = False) -> list[str]:
    """The process that reads a payload from its standard input and writes its page; `live` for a server that may put what is now into it.

    Raises:
        ConfigError: the extra that draws is not installed.
    """
    for name in NEEDS:
        if find_spec(name) is None:
            raise ConfigError("report", f"needs {name}, which is not installed: pip install 'barbell-policyengine[report]'")
    # -P: what lies in the working folder is not what is meant to be run.
    return [sys.executable, "-P", "-c", f"from policyengine.reporting.report.drawing import main; main(live={live})"]


@contextmanager
def drawing() -> Iterator[Callable[[bytes], bytes]]:
    """Start the process; what is given draws one payload and returns its page.

    Raises:
        ConfigError: as `command`.
        BrokenInvariant: on drawing, the payload cannot be drawn.
    """
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603

        def page(payload: bytes) -> bytes:
            drawn, said = process.communicate(payload)
            if process.returncode != 0:
                raise BrokenInvariant(f"the page was not drawn: {reason(said)}")
            return drawn

        try:
            yield page
        finally:
            process.kill()  # of nothing, where it has drawn


def reason(said: bytes) -> str:
    """What a process that failed said last."""
    return (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]


def main(*, live: bool) -> None:
    """The process itself."""
    gc.disable()  # it lives for a second
    from policyengine.reporting.report import charts, page, svg  # noqa: PLC0415 - after the collector is off: a fifth of the time

    charts.load()
    svg.draw({"mark": "point", "data": {"values": []}})  # the engine starts before there is anything to draw
    sys.stdout.buffer.write(page.render(json.loads(sys.stdin.buffer.read()), live=live).encode())
