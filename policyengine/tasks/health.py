"""task=health: are the signals fit to open risk on, by their validation records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from policyengine.market.signals_view import count_records, segments
from policyengine.monitoring.health import Health, Profit, Seen, Tally, judge, tally
from policyengine.monitoring.quant_gate import feed
from policyengine.monitoring.validation_log import Filters, tally_log
from policyengine.reporting import health as reporting
from policyengine.signals.envelope import VALIDATION
from policyengine.spec.root import Spec
from policyengine.spec.task import HealthTask
from policyengine.tasks.run import Run


def health(spec: Spec, task: HealthTask, run: Run, conclude: Callable[[Health], None]) -> Health:
    """Judge, feed the quant gate if asked to, and say so; `conclude` hears it before it is shown.

    Raises:
        SourceUnavailable: the log cannot be read.
        OutputError: the quant gate cannot be written.
    """
    counted = _stored(spec, task, run) if task.path is None else tally_log(Path(task.path), _filters(task))
    found = judge(counted, fail=task.fail_frac, negative=task.negative_frac, strict=task.strict)
    judged = _judged(task, run)
    gate = (
        feed(run.state_dir, found, spec.universe, buckets=task.buckets, judged_at=run.now().isoformat(), judged=judged)
        if task.gate
        else None
    )
    conclude(found)
    for line in reporting.lines(found, judged=judged, fail=task.fail_frac, negative=task.negative_frac, strict=task.strict, gate=gate):
        run.say(line)
    return found


def _filters(task: HealthTask) -> Filters:
    return Filters(run_id=task.run_id, span=task.span, mode=task.mode, action=task.action)


def _stored(spec: Spec, task: HealthTask, run: Run) -> Tally:
    stored = segments(run.state_dir / VALIDATION)
    if not stored:
        return tally({}, 0)
    rows, broken = count_records(
        stored,
        run_id=task.run_id,
        span=task.span,
        mode=task.mode,
        action=task.action,
        memory_limit_mb=spec.runtime.memory_limit_mb,
        temp_dir=run.temporary,
    )
    seen: dict[Seen, int] = {}
    for in_run, in_span, in_mode, in_action, status, profit, count in rows:
        one = Seen(in_run, in_span, in_mode, in_action, status, Profit(profit))
        seen[one] = seen.get(one, 0) + int(count)
    return tally(seen, len(broken))


def _judged(task: HealthTask, run: Run) -> str:
    """Which records were judged, in words."""
    asked = {"run": task.run_id, "since": task.since, "until": task.until, "mode": task.mode, "action": task.action}
    words = [f"{name} {value}" for name, value in asked.items() if value is not None]
    return ", ".join([task.path or str(run.state_dir / VALIDATION), *words])
