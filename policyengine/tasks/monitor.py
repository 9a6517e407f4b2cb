"""task=monitor: look at what an account left, raise and clear alerts, tell whoever is to be told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from policyengine.errors import DataError
from policyengine.monitoring.alerts import evaluate
from policyengine.monitoring.delivery import Clock, deliver
from policyengine.monitoring.snapshot import Snapshot, read_snapshot
from policyengine.monitoring.watch import Standing, Watch
from policyengine.reporting.terminal import ascii_text, item
from policyengine.spec.root import Spec
from policyengine.spec.task import MonitorTask
from policyengine.tasks.run import Run
from policyengine.tasks.watched import now_of

NEXT: Mapping[str, str] = {
    "snapshot_absent": "run task=trade for this account, with this state folder; then look here again",
    "snapshot_stale": "find out why task=trade no longer runs",
    "safe_below_floor": "run task=trade: the next session reduces what is above its limit; see its lines on what waits",
    "risk_above_maximum": "run task=trade: the next session reduces what is above its limit; see its lines on what waits",
    "reject_rate_jump": "read the reasons in orders.csv of the last runs, and go a stage down until they are understood",
    "exposure_not_whole": "do not rely on this account's numbers: compare its journal with what is held",
    "quant_gate_active": "task=health says which signals fail",
    "evidence_expiring": "task=evaluate evidence.publish=true, then task=approve",
    "audit_broken": "keep the files as they are and find out who changed them; docs/operations.md",
    "canary_bound_crossed": "read why in the audit log; up again from rollout=shadow only",
    "kill_engaged": "find out why, mend it, then task=reset",
}
"""What a person does first."""
WIDTHS = (22, 9, 21, 14, 14)


def monitor(spec: Spec, task: MonitorTask, run: Run, conclude: Callable[[bool], None]) -> bool:
    """Whether nothing fires, everything could be told and everybody was; `conclude` hears it before it is shown.

    Raises:
        JournalLocked: another process looks at this account.
        DataError: the history of its alerts was changed.
        OutputError: it cannot be written.
    """
    found: Snapshot | str
    try:
        found = now_of(read_snapshot(run.state_dir, task.account), spec, run)
    except DataError as error:
        found = str(error)
    now = run.now()
    with Watch(run.state_dir, task.account) as watch:
        standing = watch.look(evaluate(found, spec.monitor, now), spec.monitor, now)
        undelivered = deliver(watch, spec.monitor, Clock(seconds=run.clock, now=lambda: run.now().isoformat(), sleep=time.sleep))
    ok = not undelivered and all(one.state in ("ok", "pending") for one in standing)
    conclude(ok)
    for line in lines(task.account, found, standing, undelivered):
        run.say(line)
    return ok


def lines(account: str, found: Snapshot | str, standing: Sequence[Standing], undelivered: Sequence[str]) -> Iterator[str]:
    """What fires first, then the table, why, and what to do."""
    firing = [one for one in standing if one.state == "firing"]
    fires = ", ".join(one.alert for one in firing) or "nothing fires"
    yield f"MONITOR   {'ALERT: ' if firing else ''}{fires}   account {account}"
    if isinstance(found, Snapshot):
        yield f"snapshot  of {found.as_of}, published {found.published_at[:19]} UTC; {found.state}, mode {found.mode}"
    else:
        yield from item("snapshot", found)
    yield ""
    yield _row(("alert", "state", "since", "observed", "limit"))
    for one in standing:
        reading = one.reading
        limit = "-" if reading is None or reading.limit is None else f"{reading.operator} {_number(reading.limit)}"
        observed = "-" if reading is None or reading.observed is None else _number(reading.observed)
        yield _row((one.alert, one.state, "-" if one.since is None else one.since[:19], observed, limit))
    for one in standing:
        if one.reading is not None and one.state in ("firing", "pending"):
            yield from item(one.alert, one.reading.why)
    for problem in undelivered:
        yield from item("delivery", problem)
    yield ""
    yield f"next      {NEXT[firing[0].alert] if firing else _quiet(standing, undelivered)}"


def _quiet(standing: Sequence[Standing], undelivered: Sequence[str]) -> str:
    if undelivered:
        return "see why nobody could be told; it is tried again at the next look"
    if any(one.state == "pending" for one in standing):
        return "look again within monitor.gap_minutes: what is pending fires once it held for monitor.for_minutes"
    return "nothing to do; look again within monitor.gap_minutes"


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{ascii_text(cell):<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _number(value: float) -> str:
    return f"{value:.6g}"
