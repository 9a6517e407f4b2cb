"""How the benchmarks measure: pieces in turn in one process, the memory of each in a process of its own, one form of table for all.

A topic is a module of this folder with `cases`. Each case builds its pieces, the first of which is ours. Before a piece is timed its
result is held against the first one's; one that computed something else ends the run. Nothing here decides anything: times are recorded,
never gating.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OURS = "policyengine"
MB = 2.0**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a piece that times itself took, and the most memory that it found it used."""

    seconds: float
    result: Any = None
    peak_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One way to do the work of a case.

    `run` gives its result, or `Spent`. `part` is the fraction of the work that it does, where all of it would take too long: its time is
    divided by it. `tolerance` is how far its result may be from the first piece's; None where there is nothing to compare.
    """

    run: Callable[[], Any]
    part: float = 1.0
    tolerance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Some work, done by each of the pieces that `build` makes in a folder for what they read and write.

    `differ` tells how far a result is from the first piece's. `units` of `unit` are done in one run.
    """

    name: str
    build: Callable[[Path], Mapping[str, Piece]]
    differ: Callable[[Any, Any], float] | None = None
    repeat: int = 5
    units: float = 1.0
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one piece: seconds, resident megabytes above what its inputs took."""

    topic: str
    case: str
    who: str
    median: float
    least: float
    most: float
    runs: int
    times_ours: float
    peak_mb: float | None
    difference: float | None
    part: float
    units: float
    unit: str


@dataclass(slots=True)
class _Absent:
    names: list[str] = field(default_factory=list)


_ABSENT = _Absent()


class Disagreement(SystemExit):
    """Two pieces of a case did not compute the same."""


def have(module: str) -> bool:
    """Whether a peer is installed; one that is not is named in the table."""
    found = importlib.util.find_spec(module) is not None
    if not found and module not in _ABSENT.names:
        _ABSENT.names.append(module)
    return found


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measured(topic: str, case: Case, place: Path, *, quick: bool) -> Iterator[Row]:
    """Compare, time in turn, so that a busy moment meets all pieces, and then look at memory.

    Raises:
        Disagreement: naming the piece whose result is too far from the first one's.
    """
    pieces = case.build(place)
    differences = _compared(case, pieces)
    spent: dict[str, list[float]] = {who: [] for who in pieces}
    for _ in range(2 if quick else case.repeat):
        for who, piece in pieces.items():
            gc.collect()
            spent[who].append(_timed(piece))
    ours = statistics.median(next(iter(spent.values())))
    for who, times in spent.items():
        yield Row(
            topic=topic,
            case=case.name,
            who=who,
            median=statistics.median(times),
            least=min(times),
            most=max(times),
            runs=len(times),
            times_ours=statistics.median(times) / ours,
            peak_mb=_alone(topic, case.name, who, place, quick=quick),
            difference=differences[who],
            part=pieces[who].part,
            units=case.units,
            unit=case.unit,
        )


def _compared(case: Case, pieces: Mapping[str, Piece]) -> dict[str, float | None]:
    """Each piece once, which warms it up, and how far its result is from the first one's."""
    differences: dict[str, float | None] = {}
    first = None
    for who, piece in pieces.items():
        found = piece.run()
        result = found.result if isinstance(found, Spent) else found
        if not differences:
            first, differences[who] = result, None
            continue
        differences[who] = None
        if case.differ is not None and piece.tolerance is not None:
            gap = differences[who] = case.differ(first, result)
            if not gap <= piece.tolerance:
                raise Disagreement(f"{case.name}: {who} differs by {gap:.2g}, more than {piece.tolerance:g}: not the same was computed")
    return differences


def _timed(piece: Piece) -> float:
    started = time.perf_counter()
    found = piece.run()
    wall = time.perf_counter() - started
    return (found.seconds if isinstance(found, Spent) else wall) / piece.part


def _alone(topic: str, case: str, who: str, place: Path, *, quick: bool) -> float | None:
    """Peak megabytes of one piece in a fresh process, what it loads and compiles at its first call included; None where unknown."""
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe(duplex=False)
    child = context.Process(target=_peak, args=(far, topic, case, who, place, quick))
    child.start()
    far.close()
    try:
        found: float | None = near.recv()
    except EOFError:
        found = None
    child.join()
    return found


def _peak(answer: Any, topic: str, case: str, who: str, place: Path, quick: bool) -> None:
    module = importlib.import_module(topic)
    piece = next(c for c in module.cases(quick=quick) if c.name == case).build(place)[who]
    gc.collect()
    before = _resident("VmRSS")
    if before is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    found = piece.run()
    if isinstance(found, Spent) and found.peak_mb is not None:
        answer.send(found.peak_mb)
        return
    after = _resident("VmHWM")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
    answer.send(None if before is None or after is None else after - before + children)


def _resident(name: str) -> float | None:
    """A line of /proc/self/status in megabytes; None where there is no such file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 / MB for line in status.read_text().splitlines() if line.startswith(name))


def machine() -> str:
    """What it was measured on, without names of hosts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2.0**30
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {model}, {cores} cores, {memory:.0f} GB, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


def versions(names: Iterable[str]) -> str:
    """Installed versions of distributions, and which are absent."""
    known = []
    for name in names:
        try:
            known.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            known.append(f"{name} absent")
    return ", ".join(known)


def shown(value: float) -> str:
    """Seconds in the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
    return f"{value * 1e6:.3g} us"


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Lines of text in columns; `columns` says of each whether it is aligned left, `<`, or right, `>`."""
    texts = [{name: name for name in columns}, *rows]
    widths = {name: max(len(row[name]) for row in texts) for name in columns}
    return ["  ".join(f"{row[name]:{side}{widths[name]}}" for name, side in columns.items()).rstrip() for row in texts]


def row_lines(rows: Iterable[Row]) -> list[str]:
    """The table of one topic."""
    columns = {"case": "<", "who": "<", "median": ">", "least": ">", "most": ">", "runs": ">", "each": ">"}
    columns |= {"times ours": ">", "peak MB": ">", "difference": ">", "": "<"}
    lines = []
    last = None
    for row in rows:
        lines.append(
            {
                "case": "" if row.case == last else row.case,
                "who": row.who,
                "median": shown(row.median),
                "least": shown(row.least),
                "most": shown(row.most),
                "runs": str(row.runs),
                "each": f"{shown(row.median / row.units)} a {row.unit}" if row.unit else "",
                "times ours": f"{row.times_ours:.3g}",
                "peak MB": "?" if row.peak_mb is None else f"{row.peak_mb:,.0f}",
                "difference": "" if row.difference is None else f"{row.difference:.1e}",
                "": "" if row.part == 1.0 else f"timed on {row.part:.3g} of it",
            }
        )
        last = row.case
    return table(columns, lines)


def main(topic: str, cases: Callable[..., Iterable[Case]], distributions: Iterable[str], notes: str = "") -> None:
    """Command line of a topic: print its table, and leave its rows where `--rows` says."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small cases, two runs each: whether it works, not how fast it is")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    rows: list[Row] = []
    print(f"{topic}: {' '.join(notes.split())}" if notes else topic)
    print(machine())
    print(versions(distributions), flush=True)
    with tempfile.TemporaryDirectory() as place:
        for case in cases(quick=given.quick):
            folder = Path(place) / f"{len(rows)}"
            folder.mkdir()
            rows += measured(topic, case, folder, quick=given.quick)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print("\n".join(row_lines(rows)))
    if _ABSENT.names:
        print(f"not installed, so not measured: {', '.join(_ABSENT.names)}")
    if given.rows is not None:
        given.rows.write_text(json.dumps([asdict(row) for row in rows]))


def child_seconds(command: list[str], until: str, folder: Path) -> tuple[float, float]:
    """Seconds until a command prints a line that starts with `until`, and its peak resident megabytes at the end.

    Raises:
        SystemExit: it never did.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [time.perf_counter() - started for line in process.stdout if line.startswith(until)]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not said:
        raise SystemExit(f"{command[0]} never printed '{until}' and ended with {process.returncode}")
    return said[-1], usage.ru_maxrss * 1024 / MB
