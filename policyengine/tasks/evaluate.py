"""task=evaluate: evidence for the configured windows, matrix, gate, artifact."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Cycle, grid
from policyengine.errors import ConfigError
from policyengine.evidence.artifact import artifact, row_mapping, verdict_record
from policyengine.evidence.decision import EARLIER, SWEEP, Returns, Sitting, decide_on, reported
from policyengine.evidence.evidence import Evidence
from policyengine.evidence.gate import Facts
from policyengine.evidence.matrix import columns, flat
from policyengine.evidence.replay import replay_evidence
from policyengine.evidence.trade_history import trade_history_evidence
from policyengine.evidence.trade_history import trial_returns as ledger_returns
from policyengine.evidence.trial_series import trial_returns
from policyengine.evidence.windows import LONGEST_HOLIDAY_DAYS, as_of, windows
from policyengine.market import Market, PricePanel, open_market
from policyengine.records import Arm, Finding, Window
from policyengine.reporting import routed, terminal
from policyengine.signals.stream import Stream
from policyengine.spec.evidence import ReplayEvidence, TradeHistoryEvidence, WalkForwardEvidence
from policyengine.spec.health import REPLAY
from policyengine.spec.root import Spec
from policyengine.spec.task import EvaluateTask
from policyengine.store import parquet_bytes, write_bytes, write_csv, write_json
from policyengine.tasks.inputs import inputs, required, until
from policyengine.tasks.run import Run

DRAWN_BY = ("altair", "vl_convert")
"""What a report needs besides; without it a run has none."""


def evaluate(spec: Spec, task: EvaluateTask, run: Run) -> Mapping[str, Any]:
    """Make the evidence, decide, write everything, and return the artifact; of a grid, what its policies came to instead."""
    if spec.grid is not None:
        from policyengine.tasks.grid import evaluate_grid  # noqa: PLC0415 - what it needs is an extra

        return evaluate_grid(spec, spec.grid, task, run)
    started = run.clock()
    if spec.evidence.publish and run.in_sweep:
        raise ConfigError("evidence.publish", "true in a sweep: a sweep's job never becomes the canonical artifact")
    with _opened(spec, run) as market, ThreadPoolExecutor(1) as aside:
        made = _make(spec, run, market)
        tables = aside.submit(_packed, made.evidence)
        sitting = _sitting(spec, task, run, made)
        evidence = replace(made.evidence, notes=(*made.evidence.notes, *partial_windows(sitting.windows, made.evidence.baseline.sessions)))
        decided = decide_on(spec, evidence, sitting)
    run.progress.close()
    stored = artifact(
        spec,
        decided.evidence,
        decided.facts,
        decided.decision,
        test=reported(decided.judgement),
        log_head=decided.log_head,
        data_hash=made.data_hash,
        findings=(*made.alerts, *made.evidence.findings),
        run_id=run.run_id,
        created_at=run.created_at,
    )
    files = _write(run, stored, decided.facts, tables.result())
    if isinstance(spec.evidence, WalkForwardEvidence) and not run.in_sweep:
        _keep(spec, run, made)
    if spec.evidence.publish:
        write_json(run.canonical, stored)
        files["published"] = str(run.canonical)
    drawn = task.report and not run.in_sweep and all(find_spec(name) is not None for name in DRAWN_BY)
    if drawn:
        files["report"] = short(run.folder / "report.html")
    record = verdict_record(stored, files)
    write_json(run.folder / "verdict.json", record)
    write_json(run.folder / "run.json", _about(spec, run, made, run.clock() - started))
    _show(run, stored, record, made)
    if drawn:
        from policyengine.reporting.report import write_report  # noqa: PLC0415 - the verdict need not wait for it

        write_report(run.folder)
    return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """Evidence, and what it was made from. `returns_of` replays other policies on the same data, as long as the source is open.

    `end` is the last day that is evaluated, `last` the last that the source has.
    """

    evidence: Evidence
    end: date
    last: date
    data_hash: str
    alerts: tuple[Finding, ...]
    returns_of: Returns
    panel: PricePanel | None = None
    stream: Stream | None = None


def _opened(spec: Spec, run: Run) -> AbstractContextManager[Market]:
    limit = spec.runtime.memory_limit_mb
    return open_market(spec.source, spec.universe, memory_limit_mb=limit, temp_dir=run.temporary, shipped_dir=run.shipped)


def _make(spec: Spec, run: Run, market: Market) -> _Made:
    """Check the source, and make the evidence."""
    alerts = market.check()
    panel = market.prices(spec.window.calendar) if "prices" in market.views else None
    match spec.evidence:
        case ReplayEvidence() | WalkForwardEvidence():
            return _replayed(spec, run, market, alerts, required(panel, market, f"evidence={spec.evidence.KIND}"))
        case TradeHistoryEvidence():
            return _scaled(spec, market, alerts, panel)


def _replayed(spec: Spec, run: Run, market: Market, alerts: tuple[Finding, ...], quoted: PricePanel) -> _Made:
    end = as_of(spec.window, quoted.sessions)
    read = inputs(spec, market, until(quoted, end), run, online_from=0)
    panel, stream = read.panel, read.stream
    return _Made(
        evidence=replay_evidence(spec, panel, stream, progress=run.progress.step("replay"), clock=run.clock),
        end=end,
        last=_day(quoted.sessions[-1]),
        data_hash=market.digest(),
        alerts=alerts,
        returns_of=lambda policies: trial_returns(spec, panel, policies, read.stream_of, progress=run.progress.step("trials")),
        panel=panel,
        stream=stream,
    )


def _scaled(spec: Spec, market: Market, alerts: tuple[Finding, ...], panel: PricePanel | None) -> _Made:
    evidence = trade_history_evidence(spec, market, panel)
    end, last = as_of(spec.window, evidence.baseline.sessions), _day(evidence.baseline.sessions[-1])
    evidence = replace(evidence, baseline=evidence.baseline.until(end), candidate=evidence.candidate.until(end))
    size = evidence.baseline.nav.size
    return _Made(
        evidence=evidence,
        end=end,
        last=last,
        data_hash=market.digest(),
        alerts=alerts,
        returns_of=lambda policies: ledger_returns(spec, market, panel, policies)[:size],
        panel=panel,
    )


def _sitting(spec: Spec, task: EvaluateTask, run: Run, made: _Made) -> Sitting:
    return Sitting(
        state_dir=run.state_dir,
        run_id=run.run_id,
        recorded_at=run.created_at,
        stage=task.stage,
        windows=windows(spec.window, made.evidence.baseline.sessions, made.end),
        no_look=SWEEP if run.in_sweep else EARLIER if made.end < made.last else None,
        declared_origin=task.origin_date,
        returns_of=made.returns_of,
    )


def partial_windows(found: Sequence[Window], sessions: NDArray[np.datetime64]) -> list[str]:
    """A note for each window that reaches beyond the sessions by more than a holiday."""
    slack, first, last = timedelta(days=LONGEST_HOLIDAY_DAYS), _day(sessions[0]), _day(sessions[-1])
    return [
        f"window {w.label}, {w.start_date} to {w.end_date}, reaches beyond the sessions, {first} to {last}"
        for w in found
        if w.start_date < first - slack or w.end_date > last + slack
    ]


def _day(session: np.datetime64) -> date:
    value: date = session.astype("datetime64[D]").item()
    return value


def _packed(evidence: Evidence) -> dict[str, bytes]:
    """The files that the report draws from; made on a thread while the evidence is judged, and written once it is."""
    return {f"{name}.parquet": parquet_bytes(table) for name, table in evidence.tables.items()}


def _write(run: Run, made: Mapping[str, Any], facts: Facts, packed: Mapping[str, bytes]) -> dict[str, str]:
    for name, content in packed.items():
        write_bytes(run.folder / name, content)
    stamp = run.created_at.replace("-", "").replace(":", "").split(".")[0]
    flat_rows = [flat(row) for row in facts.rows]
    write_csv(run.folder / "matrix.csv", columns(flat_rows), flat_rows)
    matrix = run.folder / f"barbell_pnl_matrix_{stamp}.json"
    write_json(matrix, {"run_id": run.run_id, "created_at": run.created_at, "rows": [row_mapping(row) for row in facts.rows]})
    write_json(run.folder / "evidence.json", made)
    return {"evidence": short(run.folder / "evidence.json"), "matrix": short(run.folder / "matrix.csv")}


def _about(spec: Spec, run: Run, made: _Made, seconds: float) -> dict[str, Any]:
    """What differs between equal runs and decides nothing: times, versions, and what asking for signals took."""
    evidence = made.evidence
    before, after = (evidence.seconds.get(arm, 0.0) for arm in Arm)
    rise = after / before - 1.0 if before > 0.0 else None
    return {
        "run_id": run.run_id,
        "created_at": run.created_at,
        "seconds": seconds,
        "arm_seconds": {arm.value: value for arm, value in evidence.seconds.items()},
        "runtime_rise": rise,
        "runtime_regression": None if rise is None else rise > spec.gate.floors.runtime_rise_max,
        "asked": {} if made.stream is None else dict(made.stream.counts),
        **versions(),
    }


def versions(*more: str) -> dict[str, Any]:
    """What ran: Python, and the packages that results rest on, `more` among them."""
    names = ("barbell-policyengine", "duckdb", "numpy", "pandas", "pandera", "hydra-core", *more)
    return {"versions": {name: version(name) for name in names}, "python": platform.python_version()}


def _keep(spec: Spec, run: Run, made: _Made) -> None:
    """Keep what was signalled, and what validation says of what was acted on, for task=health."""
    from policyengine.tasks.signalled import acted_on, keep_signals, keep_validation  # noqa: PLC0415 - contracts take half a second

    panel, stream = made.panel, made.stream
    assert panel is not None and stream is not None  # noqa: S101, PT018 - a walk-forward has both
    periods, short = panel.periods_per_year, spec.execution.allow_short
    cycle = Cycle([spec.baseline], stream, grid(stream, spec.universe), spec.universe, allow_short=short, periods_per_year=periods)
    every = np.arange(panel.sessions.size)
    keep_signals(spec, run, panel, stream, every)
    acted = acted_on(stream, every, cycle.desired()[0], made.evidence.baseline.nav)
    keep_validation(spec, run, stream, acted, mode=REPLAY)


def _routed(evidence: Evidence) -> list[str]:
    """Who spoke, where there was a choice or engines were tried; and why nothing traded, where nothing did."""
    columns = evidence.tables.get("routing")
    if columns is None:
        return []
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    lines: list[str] = []
    if evidence.kind == WalkForwardEvidence.KIND or len({row["source"] for row in rows}) > 1:
        lines += routed.routing_lines(rows)
    if not any(arm.trades.closed.any() for arm in (evidence.baseline, evidence.candidate)):
        lines += routed.no_trade_lines(rows, evidence.counts)
    return lines


def short(path: Path) -> str:
    """`path` relative to the working folder where it lies inside it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _show(run: Run, stored: Mapping[str, Any], record: Mapping[str, Any], made: _Made) -> None:
    stream, panel = made.stream, made.panel
    signals = None if stream is None else f"{stream.rows.direction.size:,} actionable of {stream.considered:,} ({stream.origin})"
    instruments = None if panel is None else len(panel.symbols)
    lines = [
        *terminal.headline(stored, source=run.choices["source"], instruments=instruments, signals=signals),
        *_routed(made.evidence),
        "",
        *terminal.window_table(stored),
        *terminal.arm_lines(stored),
        "",
        *terminal.verdict_lines(record),
        *terminal.file_lines(record["files"]),
        terminal.next_line(record),
    ]
    for line in lines:
        run.say(line)
