from __future__ import annotations

import io

from policyengine.reporting import terminal
from policyengine.reporting.progress import Progress


def test_nothing_a_symbol_is_called_can_disturb_a_terminal() -> None:
    assert terminal.ascii_text("[/x]<img>") == "[/x]<img>"
    assert terminal.ascii_text("a\x1b[31m\u202eb\n") == "a\\x1b[31m\\u202eb\\n"


def test_points_are_wrapped_at_80_columns() -> None:
    lines = terminal.item("name", "word " * 40)
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("  name  word")


def test_progress_waits_a_second_then_shows_and_is_wiped() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(stream, lambda: now[0], enabled=True)
    update = progress.step("replay")
    update(1, 10)
    assert stream.getvalue() == ""
    now[0] = 1.5
    update(5, 10)
    assert stream.getvalue() == "\rreplay [##########..........]  50%"
    progress.close()
    assert stream.getvalue().endswith("\r" + " " * 34 + "\r")


def test_progress_is_silent_in_a_pipe() -> None:
    now = [0.0]
    stream = io.StringIO()
    update = Progress(stream, lambda: now[0], enabled=False).step("replay")
    now[0] = 9.0
    update(5, 10)
    assert stream.getvalue() == ""
