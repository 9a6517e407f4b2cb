from __future__ import annotations

import io
import re
import sys

import pytest

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


class Tty(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


LINES = [
    "VERDICT   REJECT   rejected for canary: 1 of 17 hard criteria is open",
    "  significance  fail: p is above 0.05",
    "  materiality  missing (soft): nothing is known of [/x] and [bold]y[/bold] :smile:",
    "2018-Q3       63  226/30   30/5 -0.27 [-0.45, -0.09]      -0.03    -0.03 ok",
    "evidence  " + "/a-very-long-folder" * 12 + "/evidence.json",
    "",
]


MEASURES = {"total_trades": 212.0, "losing_trades": 88.0}
DELTA = {"total_return_pct": 0.31, "max_drawdown": -0.0084, "sharpe": 0.12}
ROW = {
    "window": "2018-Q1",
    "sessions": 61,
    "error": None,
    "baseline": MEASURES,
    "candidate": MEASURES | {"total_trades": 215.0},
    "delta": DELTA,
    "d_return_interval": [-0.52, 1.1],
}


def table(*rows: dict[str, object], pooled: object = None) -> list[str]:
    """The table of windows of which the first alone counts."""
    made = {
        "windows": rows,
        "independent_windows": ["2018-Q1"],
        "config": {"gate": {"floors": {"trades_min": 30, "losing_trades_min": 5}, "test": {"interval_confidence": 0.95}}},
        "pooled": {"baseline": MEASURES, "candidate": MEASURES, "delta": DELTA, "d_return_interval": pooled},
        "sample": {"sessions": 4760},
    }
    return list(terminal.window_table(made))


def test_one_line_a_window_with_n_effect_and_interval() -> None:
    short = {**ROW, "window": "few", "baseline": MEASURES | {"total_trades": 3.0}, "d_return_interval": None}
    assert table(ROW, short, {**ROW, "window": "a-name-that-is-long"}, {**ROW, "window": "2030", "error": "no session"}) == [
        "window      days  trades losers d.return pp [95%]    d.maxDD pp d.Sharpe floors",
        "2018-Q1       61  212/30   88/5 +0.31 [-0.52, +1.10]      -0.84    +0.12 ok",
        "few           61    3/30   88/5 +0.31 [-]                 -0.84    +0.12 few",
        "a-name-tha    61  212/30   88/5 +0.31 [-0.52, +1.10]      -0.84    +0.12 overlap",
        "2030         no session",
        "all         4760     212     88 +0.31 [-]                 -0.84    +0.12",
    ]


@pytest.mark.parametrize(
    ("seen", "interval", "shown"),
    [
        (-9.5, [-12.25, -6.75], "-9.5 [-12.2, -6.8]"),
        (-12.94, [-18.1, 12.2], "-12.9 [-18.1, +12.2]"),
        (129.4, [-181.0, 1220.3], "+129 [-181, +1220]"),
    ],
)
def test_wide_intervals_lose_digits_before_columns_lose_their_place(seen: float, interval: list[float], shown: str) -> None:
    line = table({**ROW, "delta": DELTA | {"total_return_pct": seen}, "d_return_interval": interval})[1]
    assert line == f"2018-Q1       61  212/30   88/5 {shown:<20}      -0.84    +0.12 ok"


def test_a_pipe_gets_the_bytes_and_nothing_else() -> None:
    stream = io.StringIO()
    say = terminal.speaker(stream)
    for line in LINES:
        say(line)
    assert stream.getvalue() == "\n".join([*LINES, ""])


def test_a_terminal_gets_the_same_words_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Tty()
    say = terminal.speaker(stream)
    for line in LINES:
        say(line)
    shown = stream.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "\n".join([*LINES, ""])
    coloured = [line for line in shown.splitlines() if "\x1b[" in line]
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == LINES[:3]
    assert coloured[0].startswith("\x1b[1;31m")


def test_who_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Tty()
    terminal.speaker(stream)(LINES[1])
    assert stream.getvalue() == LINES[1] + "\n"


def test_without_rich_a_terminal_gets_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    stream = Tty()
    terminal.speaker(stream)(LINES[0])
    assert stream.getvalue() == LINES[0] + "\n"
