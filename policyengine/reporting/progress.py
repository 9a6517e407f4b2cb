"""Progress on anything longer than a second: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

BAR = 20
PATIENCE_SECONDS = 1.0


class Progress:
    """A bar on `stream` that appears once a step has taken a second, and is wiped when it is done."""

    def __init__(self, stream: TextIO, clock: Callable[[], float], *, enabled: bool) -> None:
        """`enabled` is whether a person watches `stream`; `clock` gives seconds."""
        self._stream, self._clock, self._enabled = stream, clock, enabled
        self._started, self._shown = clock(), ""

    def step(self, name: str) -> Callable[[int, int], None]:
        """Start a step; the result is to be told (done, total)."""
        self.close()
        self._started = self._clock()

        def update(done: int, total: int) -> None:
            if not self._enabled or self._clock() - self._started < PATIENCE_SECONDS:
                return
            filled = BAR * done // max(total, 1)
            text = f"{name} [{'#' * filled}{'.' * (BAR - filled)}] {100 * done // max(total, 1):3d}%"
            if text != self._shown:
                self._stream.write("\r" + text)
                self._stream.flush()
                self._shown = text

        return update

    def close(self) -> None:
        """Wipe the bar."""
        if self._shown:
            self._stream.write("\r" + " " * len(self._shown) + "\r")
            self._stream.flush()
            self._shown = ""
