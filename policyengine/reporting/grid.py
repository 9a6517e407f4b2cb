"""What a person reads after a grid: how many policies, the best and the worst of them, a caution, and how to evaluate one alone."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from policyengine.reporting.terminal import WIDTH, ascii_text, file_lines, item
from policyengine.reporting.text import plural
from policyengine.spec.grid import words, written

RANKED_BY = "sharpe"


def grid_lines(
    made: Mapping[str, Any], files: Mapping[str, str], *, source: str, seconds: float, resumed: int, trials: int
) -> Iterator[str]:
    """The whole screen of a grid that ran for `seconds`, `resumed` of whose policies an earlier run had evaluated."""
    sample = made["sample"]
    yield from _count(made)
    yield f"data      {ascii_text(source)}: {made['instruments']} instruments, {sample['start_date']} to {sample['end_date']}"
    cells = made["evaluated"] * made["windows"]
    each = 1000.0 * seconds / cells
    pace = "" if resumed else f", {each:,.0f} ms each" if each >= 10.0 else f", {each:.2g} ms each"
    yield f"{made['kind'].replace('_', ' '):<9} {plural(cells, 'cell')} over {sample['sessions']:,} sessions in {seconds:.1f} s{pace}"
    if resumed:
        yield f"resumed   {plural(resumed, 'policy', 'policies')} of a run that was stopped"
    yield from ranking_lines(made)
    if made["failed"]:
        yield f"failed    {plural(made['failed'], 'policy', 'policies')}; matrix.csv says why"
    yield from item("caution", f"{made['caution']}. Trials on these days: {trials:,}")
    for finding in made["findings"]:
        yield from item(f"alert {finding['check']}", f"{finding['count']:,} x {finding['rule']}")
    for note in made["notes"]:
        yield from item("note", note)
    yield from file_lines(files)
    yield from next_lines(made)


def ranking_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """The baseline, and the best and the worst by the difference in Sharpe over the whole sample."""
    ranked = made["ranking"][RANKED_BY]
    base = made["baseline"]
    sharpe = "-" if base["sharpe"] is None else f"{base['sharpe']:.2f}"
    yield ""
    yield (
        f"{ascii_text(made['arms']['baseline'])[:13]:<13} profit {base['total_profit']:>14,.2f}  return {base['total_return_pct']:>7.2f}%"
        f"  maxDD {100.0 * base['max_drawdown']:>5.2f}%  Sharpe {sharpe:>5}"
    )
    yield f"{'policy':>6} {'hash':<7}{'d.return pp':>12}{'d.maxDD pp':>11}{'d.Sharpe':>9}  changes"
    worst = [one for one in ranked["worst"] if one not in ranked["best"]]
    for one in ranked["best"]:
        yield _ranked(one)
    if worst:
        yield "... the worst"
        yield from map(_ranked, worst)
    yield ""


def next_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """The command that evaluates the best policy alone."""
    best = made["ranking"][RANKED_BY]["best"]
    if not best:
        yield "next      give other policies: none of these can be ranked"
        return
    given = " ".join(shlex.quote(f"++evidence.arms.candidate.{word}") for word in words(best[0]["changes"]))
    yield f"next      evaluate policy {best[0]['policy']} alone, with the rest as given here but for the grid:"
    yield f"          policyengine {given}".rstrip()


def _count(made: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"grid      {made['grid'][:6]} of {ascii_text(made['arms']['candidate'])[:24]}: {plural(made['policies'], 'policy', 'policies')}"
        f" x {plural(made['windows'], 'window')}"
    )
    if made["parts"] > 1:
        yield f"part      {made['part']} of {made['parts']}: {plural(made['evaluated'], 'policy', 'policies')}"
    if made["asked"] > made["policies"]:
        yield f"equal     {made['asked'] - made['policies']:,} of {made['asked']:,} that were asked for are equal to another"


def _ranked(one: Mapping[str, Any]) -> str:
    delta = one["delta"]
    numbers = "".join(
        f"{'-' if delta[name] is None else f'{scale * delta[name]:+.2f}':>{width}}"
        for name, scale, width in (("total_return_pct", 1.0, 12), ("max_drawdown", 100.0, 11), ("sharpe", 1.0, 9))
    )
    line = f"{one['policy']:>6} {one['policy_hash'][:6]:<7}{numbers}  {ascii_text(_changes(one['changes']))}"
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def _changes(changes: Mapping[str, Any]) -> str:
    """What a policy changes, by the last part of each path where that tells it from the others."""
    seen = Counter(path.rpartition(".")[2] for path in changes)
    named = {path: path.rpartition(".")[2] for path in changes}
    return " ".join(f"{named[path] if seen[named[path]] == 1 else path}={written(value)}" for path, value in changes.items())
