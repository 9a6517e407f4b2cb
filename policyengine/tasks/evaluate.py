"""task=evaluate: evidence for the configured windows, matrix, gate, artifact."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from policyengine.errors import ConfigError, DataError
from policyengine.evidence.artifact import artifact, row_mapping, verdict_record
from policyengine.evidence.evidence import Evidence
from policyengine.evidence.gate import Facts, decide
from policyengine.evidence.matrix import columns, evidence_rows, flat
from policyengine.evidence.metrics import measure
from policyengine.evidence.replay import replay_evidence
from policyengine.evidence.store import write_csv, write_json, write_parquet
from policyengine.evidence.trade_history import trade_history_evidence
from policyengine.evidence.windows import as_of, windows
from policyengine.market import Market, open_market
from policyengine.market.panel import PricePanel
from policyengine.records import Arm, Window
from policyengine.reporting import terminal
from policyengine.signals.stream import Stream, engine_stream, source_stream
from policyengine.spec.evidence import ReplayEvidence, TradeHistoryEvidence
from policyengine.spec.root import Spec
from policyengine.spec.task import EvaluateTask
from policyengine.tasks.run import Run


def evaluate(spec: Spec, task: EvaluateTask, run: Run) -> Mapping[str, Any]:
    """Make the evidence, decide, write everything, and return the artifact."""
    started = run.clock()
    if spec.evidence.publish and run.in_sweep:
        raise ConfigError("evidence.publish", "true in a sweep: a sweep's job never becomes the canonical artifact")
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=run.temporary, shipped_dir=run.shipped
    ) as market:
        alerts = market.check()
        panel = market.prices(spec.window.calendar) if "prices" in market.views else None
        stream = None
        match spec.evidence:
            case ReplayEvidence():
                panel = _required(panel, market)
                end = as_of(spec.window, panel.sessions)
                panel = _until(panel, end)
                stream = signal_stream(spec, market, panel)
                evidence = replay_evidence(spec, panel, stream, progress=run.progress.step("replay"), clock=run.clock)
            case TradeHistoryEvidence():
                evidence = trade_history_evidence(spec, market.closing_trades(), panel)
                end = as_of(spec.window, evidence.baseline.sessions)
                evidence = replace(evidence, baseline=evidence.baseline.until(end), candidate=evidence.candidate.until(end))
        data_hash = market.digest()
    run.progress.close()
    found = windows(spec.window, evidence.baseline.sessions, end)
    facts = _facts(spec, task, evidence, found)
    decision = decide(facts, spec.gate)
    made = artifact(
        spec,
        evidence,
        facts,
        decision,
        data_hash=data_hash,
        findings=(*alerts, *evidence.findings),
        run_id=run.run_id,
        created_at=run.created_at,
    )
    files = _write(run, made, facts, evidence)
    if spec.evidence.publish:
        write_json(run.canonical, made)
        files["published"] = str(run.canonical)
    record = verdict_record(made, files)
    write_json(run.folder / "verdict.json", record)
    write_json(run.folder / "run.json", _about(spec, run, evidence, run.clock() - started))
    _show(run, made, record, panel, stream)
    return made


def signal_stream(spec: Spec, market: Market, panel: PricePanel) -> Stream:
    """The signals of the run: the source's own, or the engine's."""
    if spec.signals.origin == "source" and "signals" not in market.views:
        raise ConfigError("signals.origin", "'source', but the source declares no view 'signals'; 'engine' makes signals from prices")
    rows = market.signals() if spec.signals.origin != "engine" and "signals" in market.views else None
    return engine_stream(spec.signals, panel) if rows is None else source_stream(spec.signals, panel, rows)


def _required(panel: PricePanel | None, market: Market) -> PricePanel:
    if panel is None:
        raise DataError(market.origin, "declares no view 'prices', which evidence=replay needs; evidence=trade_history does not")
    return panel


def _until(panel: PricePanel, end: date) -> PricePanel:
    """The panel up to the day that is evaluated: what came later is not looked at."""
    last = int(np.searchsorted(panel.sessions, np.datetime64(end), side="right"))
    return replace(panel, sessions=panel.sessions[:last], close=panel.close[:last], fresh=panel.fresh[:last])


def _facts(spec: Spec, task: EvaluateTask, evidence: Evidence, found: tuple[Window, ...]) -> Facts:
    rows = evidence_rows(
        evidence.baseline,
        evidence.candidate,
        found,
        policy_hash=spec.policy_hash(Arm.CANDIDATE),
        baseline_hash=spec.policy_hash(Arm.BASELINE),
    )
    return Facts(
        kind=evidence.kind,
        stage=task.stage,
        rows=rows,
        baseline=measure(evidence.baseline),
        candidate=measure(evidence.candidate),
        breaches=evidence.breaches,
        audited_frac=evidence.audited_frac,
    )


def _write(run: Run, made: Mapping[str, Any], facts: Facts, evidence: Evidence) -> dict[str, str]:
    stamp = run.created_at.replace("-", "").replace(":", "").split(".")[0]
    for name, table in evidence.tables.items():
        write_parquet(run.folder / f"{name}.parquet", table)
    flat_rows = [flat(row) for row in facts.rows]
    write_csv(run.folder / "matrix.csv", columns(flat_rows), flat_rows)
    matrix = run.folder / f"barbell_pnl_matrix_{stamp}.json"
    write_json(matrix, {"run_id": run.run_id, "created_at": run.created_at, "rows": [row_mapping(row) for row in facts.rows]})
    write_json(run.folder / "evidence.json", made)
    return {"evidence": _short(run.folder / "evidence.json"), "matrix": _short(run.folder / "matrix.csv")}


def _about(spec: Spec, run: Run, evidence: Evidence, seconds: float) -> dict[str, Any]:
    """What differs between equal runs and decides nothing: times and versions."""
    before, after = (evidence.seconds.get(arm, 0.0) for arm in Arm)
    rise = after / before - 1.0 if before > 0.0 else None
    return {
        "run_id": run.run_id,
        "created_at": run.created_at,
        "seconds": seconds,
        "arm_seconds": {arm.value: value for arm, value in evidence.seconds.items()},
        "runtime_rise": rise,
        "runtime_regression": None if rise is None else rise > spec.gate.floors.runtime_rise_max,
        "versions": {name: version(name) for name in ("barbell-policyengine", "duckdb", "numpy", "pandas", "pandera", "hydra-core")},
        "python": platform.python_version(),
    }


def _short(path: Path) -> str:
    """`path` relative to the working folder where it lies inside it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _show(run: Run, made: Mapping[str, Any], record: Mapping[str, Any], panel: PricePanel | None, stream: Stream | None) -> None:
    signals = None if stream is None else f"{stream.rows.direction.size:,} actionable of {stream.considered:,} ({stream.origin})"
    instruments = None if panel is None else len(panel.symbols)
    lines = [
        *terminal.headline(made, source=run.choices["source"], instruments=instruments, signals=signals),
        "",
        *terminal.window_table(made),
        *terminal.arm_lines(made),
        "",
        *terminal.verdict_lines(record),
        *terminal.file_lines(record["files"]),
        terminal.next_line(record),
    ]
    for line in lines:
        run.say(line)
