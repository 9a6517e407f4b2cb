"""The terminal's account of signal health: the level, both shares with their ceilings, what was left out and why, what to do."""

from __future__ import annotations

from collections.abc import Iterator

from policyengine.monitoring.health import Health, Level, Tally
from policyengine.monitoring.quant_gate import QuantGate
from policyengine.reporting.terminal import ascii_text, item
from policyengine.spec.health import CeilingsSpec

_MEANS = {
    Level.GREEN: "signals are within their ceilings",
    Level.YELLOW: "signals are near their ceilings",
    Level.RED: "signals are not fit to open risk on",
}


def lines(
    health: Health, *, judged: str, fail: CeilingsSpec, negative: CeilingsSpec, strict: bool, gate: QuantGate | None
) -> Iterator[str]:
    """What a health check says; `judged` are the records it looked at, `gate` the quant gate if it was fed."""
    tally = health.tally
    yield f"HEALTH    {health.level}   {_MEANS[health.level]}"
    for why in health.why:
        yield from item("why", why)
    yield f"fail      {_share(health.fail_frac, tally.failed, tally.passed)}   {_ceilings(fail)}"
    yield f"negative  {_share(health.negative_frac, tally.losses, tally.no_losses)}   {_ceilings(negative)}"
    yield f"records   {tally.judged:,} judged of {ascii_text(judged)}"
    yield from _left_out(tally, strict=strict)
    if gate is not None:
        yield from _gate(gate)
    yield f"next      {_next(health, strict=strict, gate=gate)}"


def _share(share: float | None, part: int, rest: int) -> str:
    return f"{'unknown':>8}" if share is None else f"{100.0 * share:>7.2f}%   {part:,} of {part + rest:,}"


def _ceilings(ceilings: CeilingsSpec) -> str:
    return f"yellow above {100.0 * ceilings.warn:g}%, red above {100.0 * ceilings.red:g}%"


def _left_out(tally: Tally, *, strict: bool) -> Iterator[str]:
    if tally.left_out:
        others = ", ".join(f"{count:,} by {name}" for name, count in tally.left_out.items())
        yield f"filtered  {sum(tally.left_out.values()):,}: {others}"
    for flaw, count in tally.flaws.items():
        first = f"; the first is line {tally.first[flaw]:,}" if flaw in tally.first else ""
        yield from item("flawed" if strict else "left out", f"{count:,} {flaw}{first}")


def _gate(gate: QuantGate) -> Iterator[str]:
    if not gate.active:
        yield "gate      inactive: every bucket may open positions"
        return
    yield f"gate      active since {gate.since}: nothing new in {', '.join(gate.buckets)}; instruments: {len(gate.disabled)}"
    yield from item("reason", gate.reason or "")


def _next(health: Health, *, strict: bool, gate: QuantGate | None) -> str:
    if health.level is Level.GREEN and health.clean:
        return "nothing; check again after the next run"
    if health.level is not Level.RED:
        return "look at what fails before it is red; nothing was stopped" if gate is None or not gate.active else "GREEN clears the gate"
    if health.fail_frac is None or health.negative_frac is None:
        return "widen the filters, or give a log with task.path=FILE; unknown is not healthy"
    if strict and not health.clean:
        return "mend what cannot be read, or count it and go on with task.strict=false"
    return "look at the reasons of what fails; task.gate=true keeps new risk out meanwhile" if gate is None else "GREEN clears the gate"
