"""The terminal: the verdict and its reasons in at most 80 columns of plain ASCII, in colour where a person looks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, TextIO

WIDTH = 80
SHOWN_WINDOWS = 8
EFFECT_WIDTH = 20
"""Of a difference with its interval; wider ones lose digits."""
STYLES = (
    (re.compile(r"VERDICT +PROMOTE"), "bold green"),
    (re.compile(r"VERDICT +REJECT"), "bold red"),
    (re.compile(r"VERDICT +INCONCLUSIVE"), "bold yellow"),
    (re.compile(r"window +days"), "bold"),
    (re.compile(r"  \S+  (fail|missing)( \(soft\))?:"), "red"),
    (re.compile(r"  alert "), "yellow"),
    (re.compile(r".*[-\d] (few|overlap)$|\.\.\. "), "dim"),
)
"""How a line looks that begins so. Colour adds nothing that the words do not say."""
EXIT_WORD = {"PROMOTE": "promoted", "INCONCLUSIVE": "not promoted", "REJECT": "rejected"}


def headline(made: Mapping[str, Any], *, source: str, instruments: int | None, signals: str | None) -> Iterator[str]:
    """What was run on what."""
    arms, sample = {arm: ascii_text(name)[:24] for arm, name in made["arms"].items()}, made["sample"]
    size = "" if instruments is None else f"{instruments} instruments, "
    yield from _fill(
        [
            f"policyengine {made['version']}",
            f"policy {arms['candidate']} ({made['hashes']['policy'][:6]})",
            f"data {source}: {size}{sample['start_date']} to {sample['end_date']}",
        ]
    )
    if signals is not None:
        yield f"signals   {signals}"
    yield f"{made['kind'].replace('_', ' '):<9} {arms['baseline']} and {arms['candidate']}, {sample['sessions']:,} sessions"


def window_table(made: Mapping[str, Any]) -> Iterator[str]:
    """One line a window, the latest last: trades and losers of the arm that has fewer, candidate less baseline, and how sure it is."""
    rows = made["windows"]
    floors = made["config"]["gate"]["floors"]
    independent = set(made["independent_windows"])
    sure = f"d.return pp [{100.0 * made['config']['gate']['test']['interval_confidence']:g}%]"
    yield f"{'window':<11}{'days':>5}{'trades':>8}{'losers':>7} {sure:<{EFFECT_WIDTH}}{'d.maxDD pp':>11}{'d.Sharpe':>9} floors"
    if len(rows) > SHOWN_WINDOWS:
        yield f"... {len(rows) - SHOWN_WINDOWS} earlier windows are in matrix.csv"
    for row in rows[-SHOWN_WINDOWS:]:
        if row["error"] is not None:
            yield _clip(f"{ascii_text(row['window'])[:10]:<11}  {ascii_text(row['error'])}")
            continue
        trades = _least(row, "total_trades")
        losers = _least(row, "losing_trades")
        met = row["window"] in independent
        short = trades < floors["trades_min"] or losers < floors["losing_trades_min"]
        delta = row["delta"]
        yield (
            f"{ascii_text(row['window'])[:10]:<11}{row['sessions']:>5}{_of(trades, floors['trades_min']):>8}"
            f"{_of(losers, floors['losing_trades_min']):>7} {_effect(row):<{EFFECT_WIDTH}}"
            f"{_signed(delta['max_drawdown'], 100.0):>11}{_signed(delta['sharpe'], 1.0):>9}"
            f" {'ok' if met else 'few' if short else 'overlap'}"
        )
    pooled = made["pooled"]["delta"]
    yield (
        f"{'all':<11}{made['sample']['sessions']:>5}{_count(made, 'total_trades'):>8}{_count(made, 'losing_trades'):>7} "
        f"{_effect(made['pooled']):<{EFFECT_WIDTH}}{_signed(pooled['max_drawdown'], 100.0):>11}{_signed(pooled['sharpe'], 1.0):>9}"
    )


def arm_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """Both arms over the whole sample."""
    for arm, name in made["arms"].items():
        of = made["pooled"][arm]
        sharpe = "-" if of["sharpe"] is None else f"{of['sharpe']:.2f}"
        yield (
            f"{ascii_text(name)[:13]:<13} profit {of['total_profit']:>14,.2f}  return {of['total_return_pct']:>7.2f}%"
            f"  maxDD {100.0 * of['max_drawdown']:>5.2f}%  Sharpe {sharpe:>5}"
        )


def verdict_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The verdict, then one line for each criterion that is open, each data alert and each note."""
    criteria: Sequence[Mapping[str, Any]] = record["criteria"]
    hard = [c for c in criteria if c["hard"]]
    open_ = [c for c in hard if c["status"] != "pass"]
    are = "is" if len(open_) == 1 else "are"
    why = f"all {len(hard)} hard criteria pass" if not open_ else f"{len(open_)} of {len(hard)} hard criteria {are} open"
    yield f"VERDICT   {record['verdict']}   {EXIT_WORD[record['verdict']]} to {record['stage']}: {why}"
    if record["test"] is not None and record["verdict"] != "INCONCLUSIVE":
        yield from item("why", record["test"]["headline"])
    for criterion in open_:
        yield from item(f"{criterion['name']}", f"{criterion['status']}: {criterion['reason']}")
    for criterion in criteria:
        if not criterion["hard"] and criterion["status"] != "pass":
            yield from item(f"{criterion['name']}", f"{criterion['status']} (soft): {criterion['reason']}")
    yield from _look_lines(record)
    for finding in record["findings"]:
        yield from item(f"alert {finding['check']}", f"{finding['count']:,} x {finding['rule']}")
    for note in record["notes"]:
        yield from item("note", note)


def _look_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """Where the looks stand, and what is missing."""
    look, test = record["look"], record["test"]
    if isinstance(look, str) or test is None:
        return
    ahead = "it was the last" if look["next_sessions"] is None else f"next at {look['next_sessions']:,}, about {look['next_date']}"
    trials = "1 trial" if look["trials"] == 1 else f"{look['trials']} trials"
    yield f"look      {look['number']} of {look['planned']} on {look['sessions']:,} sessions, {trials}; {ahead}"
    missing = test["reported"]["missing"]
    if record["verdict"] == "INCONCLUSIVE" and missing is not None:
        wanted = f"to see {missing['target_effect']:+g} with power {missing['power']:g}"
        trades = "" if missing["trades"] is None else f" and {missing['trades']:,} trades"
        more = f"about {missing['sessions']:,} more sessions{trades}" if missing["sessions"] else "nothing: the sample is large enough"
        yield f"missing   {more} {wanted}"


def file_lines(files: Mapping[str, str]) -> Iterator[str]:
    """Where the results are; paths are never cut."""
    for name, path in files.items():
        yield f"{name:<9} {path}"


def next_line(record: Mapping[str, Any]) -> str:
    """What to do now."""
    if record["verdict"] == "PROMOTE":
        return f"next      policyengine evidence.publish=true, then task=gate task.stage={record['stage']}"
    return "next      keep the baseline running; nothing was changed"


def speaker(stream: TextIO) -> Callable[[str], None]:
    """Says a line on `stream`: byte for byte as it is, and on a terminal in the colour of its STYLES where rich is installed."""
    if not stream.isatty() or find_spec("rich") is None:
        return lambda line: print(line, file=stream, flush=True)  # in a pipe too, a verdict does not wait for the report

    def say(line: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - 50 ms, only where somebody looks
        from rich.text import Text  # noqa: PLC0415

        style = next((style for pattern, style in STYLES if pattern.match(line)), "")
        # A Text has no markup, so that a symbol [/x] is one; without wrapping, since a path is never cut.
        Console(file=stream, highlight=False).print(Text(line, style), soft_wrap=True)

    return say


def ascii_text(text: str) -> str:
    """`text` with everything that is not printable ASCII escaped, so that no symbol can disturb a terminal."""
    return "".join(ch if " " <= ch <= "~" else ch.encode("unicode_escape").decode() for ch in text)


def item(name: str, text: str) -> list[str]:
    """One point of a list, wrapped and indented."""
    return textwrap.wrap(f"{name}  {ascii_text(text)}", WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False)


def _fill(parts: Sequence[str]) -> Iterator[str]:
    line = ""
    for part in parts:
        if line and len(line) + 3 + len(part) > WIDTH:
            yield line
            line = part
        else:
            line = f"{line}   {part}" if line else part
    yield line


def _least(row: Mapping[str, Any], metric: str) -> float:
    return float(min(row["baseline"][metric], row["candidate"][metric]))


def _count(made: Mapping[str, Any], metric: str) -> str:
    return f"{min(made['pooled'][arm][metric] for arm in ('baseline', 'candidate')):.0f}"


def _of(count: float, floor: float) -> str:
    return f"{count:.0f}/{floor}"


def _signed(value: float | None, scale: float) -> str:
    return "-" if value is None else f"{value * scale:+.2f}"


def _effect(row: Mapping[str, Any]) -> str:
    """The return difference and its interval, with as many digits, at most two, as stand in EFFECT_WIDTH."""
    seen, interval = row["delta"]["total_return_pct"], row["d_return_interval"]

    def shown(digits: int) -> str:
        edges = "-" if interval is None else ", ".join(f"{edge:+.{digits}f}" for edge in interval)
        return f"{seen:+.{digits}f} [{edges}]"

    return next((text for digits in (2, 1) if len(text := shown(digits)) <= EFFECT_WIDTH), shown(0))


def _clip(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
