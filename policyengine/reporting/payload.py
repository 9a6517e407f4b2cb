"""dashboard_data.json: everything that a run stored, in one documented form, so that no reader needs its other files.

docs/dashboard.md says what each key holds, docs/dashboard.schema.json checks it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.evidence.gate import meets_floors
from policyengine.market.files import without_password
from policyengine.monitoring.snapshot import Snapshot
from policyengine.records import Arm
from policyengine.reporting.legacy import LEGACY_KEYS, legacy
from policyengine.reporting.names import PAYLOAD
from policyengine.reporting.reconciled import reconciliation, sleeves
from policyengine.reporting.risk import alerts, risk_now
from policyengine.reporting.series import (
    Curves,
    confidence_counts,
    curves,
    known,
    lines,
    month_returns,
    numbers,
    orders_by_bucket,
    pnl_by_month,
)
from policyengine.reporting.stored import Column, StoredRun, Table, read_run
from policyengine.spec.bind import bind, plain
from policyengine.spec.gate import FloorsSpec
from policyengine.store import rounded, write_bytes

SCHEMA = 1
SHOWN_TRADES = 500


def payload(folder: Path, account: Snapshot | None = None) -> dict[str, Any]:
    """What the run in `folder` stored, and `account` where a snapshot of one is given, as docs/dashboard.md defines it.

    Unknown is None, floats have 12 significant digits, nothing is NaN.

    Raises:
        DataError: the folder is not that of a run, or a file of it lacks something.
    """
    return payload_of(read_run(folder), account)


def write_payload(folder: Path) -> Path:
    """Write `payload` of the folder into it whole or not at all, so that readers may come at any time; the path.

    Raises:
        DataError: as `payload`.
        OutputError: the folder cannot be written.
    """
    write_bytes(folder / PAYLOAD, encoded(payload(folder)))
    return folder / PAYLOAD


def encoded(body: Mapping[str, Any]) -> bytes:
    """A payload as it stands in its file: without the indentation of the others, since programs read it, and half the size."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def payload_of(run: StoredRun, account: Snapshot | None = None) -> dict[str, Any]:
    """`payload` of a run that was read.

    Raises:
        DataError: the artifact lacks something.
    """
    try:
        made = _payload(run) | _account(account)
    except (KeyError, TypeError) as error:
        raise DataError(str(run.folder), f"lacks what a report is drawn from: {type(error).__name__} {error}") from error
    return {key: rounded(value) for key, value in made.items()}


def _payload(run: StoredRun) -> dict[str, Any]:
    drawn, made = curves(run), run.evidence
    now = risk_now(run, drawn)
    pooled = {arm.value: made["pooled"][arm.value] for arm in Arm}
    shown = _trades(run)
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "meta": _meta(run),
        "verdict": dict(run.verdict),
        "nav": None if drawn is None else _nav(run, drawn),
        "pooled": {**pooled, "delta": made["pooled"]["delta"], "d_return_interval": made["pooled"].get("d_return_interval")},
        "risk": now,
        "sleeves": sleeves(run),
        "reconciliation": reconciliation(run),
        "exposure": None if drawn is None else _exposure(drawn),
        "equity": None if drawn is None else _equity(drawn),
        "drawdown": None if drawn is None else _drawdown(drawn),
        "months": None if drawn is None else month_returns(drawn),
        "evidence": {"rows": _rows(run), "all": _all_sessions(run), "confidence": made["config"]["gate"]["test"]["interval_confidence"]},
        "pnl_by_bucket_and_month": pnl_by_month(run),
        "reject_rate": {**{arm: of.get("reject_rate") for arm, of in pooled.items()}, "by_bucket": orders_by_bucket(run)},
        "turnover": {arm: of.get("turnover") for arm, of in pooled.items()},
        "cost_bps": {arm: of.get("cost_bps") for arm, of in pooled.items()},
        "confidence": confidence_counts(run, _buckets(run)),
        "trades": shown,
        "alerts": alerts(run, now),
        "config_differences": made["arm_differences"],
        "provenance": _provenance(run),
    }
    return {**body, **legacy(run, body)}


def _account(account: Snapshot | None) -> dict[str, Any]:
    """The snapshot as it is, and what is looked for under names of its own; null without one."""
    if account is None:
        return {"account": None, "risk_scale": None, "quant_gate": None, "permit": None}
    stored = plain(account)
    scaled = ("sleeve", "scale", "realised_vol", "target_vol", "drawdown", "max_drawdown")
    return {
        "account": stored,
        "risk_scale": {"as_of": stored["as_of"], "sleeves": [{name: line[name] for name in scaled} for line in stored["sleeves"]]},
        "quant_gate": stored["quant_gate"],
        "permit": stored["permit"],
    }


def _meta(run: StoredRun) -> dict[str, Any]:
    made, sample = run.evidence, run.evidence["sample"]
    return {
        "run_id": made["run_id"],
        "created_at": made["created_at"],
        "kind": made["kind"],
        "stage": made["stage"],
        "version": made["version"],
        "arms": made["arms"],
        "start_date": sample["start_date"],
        "as_of": sample["end_date"],
        "sessions": sample["sessions"],
        "currency": made["config"]["universe"]["base_currency"],
        "data_origin": _origin(made["config"]["source"]),
        "synthetic": made["config"]["source"].get("synthetic"),
        "config_hash": made["hashes"]["config"],
        "digest": run.digest,
        # What older readers look for under other names.
        "ts": made["created_at"],
        "generated_utc": made["created_at"],
        "payload_schema_version": SCHEMA,
        "payload_required_sections": list(LEGACY_KEYS),
        "ticker_buckets": _buckets(run),
    }


def _nav(run: StoredRun, drawn: Curves) -> dict[str, Any]:
    return {
        "currency": run.evidence["config"]["universe"]["base_currency"],
        "as_of": str(drawn.days[-1]),
        "basis": drawn.basis,
        "opening": {arm.value: drawn.opening[arm] for arm in Arm},
        **{arm.value: known(float(drawn.nav[arm][-1])) for arm in Arm},
    }


def _equity(drawn: Curves) -> dict[str, Any]:
    return {"day": drawn.days.astype(str).tolist(), **{arm.value: numbers(drawn.nav[arm]) for arm in Arm}}


def _drawdown(drawn: Curves) -> dict[str, Any]:
    return {"day": drawn.days.astype(str).tolist(), **{arm.value: numbers(drawn.drawdown(arm)) for arm in Arm}}


def _exposure(drawn: Curves) -> dict[str, Any] | None:
    """Fractions of NAV at each session, buckets and cash of which sum to 1."""
    if drawn.held is None:
        return None
    held = {arm.value: {name: numbers(series) for name, series in lines(drawn.held[arm]).items()} for arm in Arm}
    return {"day": drawn.days.astype(str).tolist(), **held}


def _rows(run: StoredRun) -> list[dict[str, Any]]:
    """The evidence rows, each with whether it counts as independent, and why not."""
    floors = bind(FloorsSpec, run.evidence["config"]["gate"]["floors"], "config.gate.floors")
    independent = set(run.evidence["independent_windows"])
    rows = []
    for stored, row in zip(run.evidence["windows"], run.facts.rows, strict=True):
        counts = "yes" if row.window.label in independent else "overlap" if meets_floors(row, floors) else "few"
        rows.append({**stored, "counts": "error" if row.error is not None else counts, "d_return_interval": plain(row.d_return_interval)})
    return rows


def _all_sessions(run: StoredRun) -> dict[str, Any] | None:
    """The mean return difference a year with its studentised interval, on the sessions that were judged; None without a test."""
    test = run.verdict["test"]
    if test is None:
        return None
    reported, gate = test["reported"], run.evidence["config"]["gate"]["test"]
    return {
        "sessions": test["sessions"],
        "d_return_a_year": reported["mean_difference"],
        "d_return_interval": reported["mean_difference_interval"],
        "confidence": gate["interval_confidence"],
    }


def _trades(run: StoredRun) -> dict[str, Any] | None:
    """The last trades of both arms in their order, and how many there are; None where the run stored none."""
    if run.trades is None:
        return None
    table = run.inside(run.trades, "traded_at")
    size = int(table["trade_id"].size)
    last = {name: column[max(0, size - SHOWN_TRADES) :] for name, column in table.items()}
    count = size if run.ledger is None else len(Arm) * int(run.inside(run.ledger, "session")["closing_trades"].sum())
    return {"count": count, "stored": size, "shown": min(size, SHOWN_TRADES), "rows": trade_rows(last)}


TRADE_TEXTS = ("trade_id", "arm", "symbol", "bucket", "traded_at", "signal_id")
TRADE_NUMBERS = ("quantity", "price", "cost", "closed_quantity", "realized_pnl", "base_confidence", "effective_confidence")


def trade_rows(trades: Table) -> list[dict[str, Any]]:
    """Trades as rows with every column of the contract; what a kind of evidence does not store is None.

    `multiplier` is effective over base confidence: what the overlay made of it.
    """
    size = trades["trade_id"].size
    columns: dict[str, list[Any]] = {}
    for name in TRADE_TEXTS:
        columns[name] = _texts(trades[name]) if name in trades else [None] * size
    for name in TRADE_NUMBERS:
        columns[name] = numbers(trades[name]) if name in trades else [None] * size
    pairs = zip(columns["base_confidence"], columns["effective_confidence"], strict=True)
    columns["multiplier"] = [None if base is None or effective is None or base <= 0.0 else effective / base for base, effective in pairs]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _texts(column: Column) -> list[str | None]:
    """Texts, None for an absent or empty one; instants in ISO 8601."""
    return [text or None for text in (column if column.dtype == object else column.astype(str)).tolist()]


def _provenance(run: StoredRun) -> dict[str, Any]:
    made, about = run.evidence, run.about or {}
    source = made["config"]["source"]
    return {
        "hashes": made["hashes"],
        "files": dict(run.files),
        "trial_log": made["trial_log"],
        "seed": made["config"]["seed"],
        "source": {"kind": source["kind"], "place": _origin(source), "selects": source["views"]},
        "checks": source["checks"],
        "counts": made["counts"],
        "notes": made["notes"],
        "version": made["version"],
        "python": about.get("python"),
        "versions": about.get("versions"),
        "seconds": about.get("seconds"),
        "runtime_rise": about.get("runtime_rise"),
    }


def _origin(source: Mapping[str, Any]) -> str:
    """Where the data are, without what may be secret, and whether they were made up."""
    place = source["uri"] if source["kind"] == "postgres" else source["path"]
    made_up = " (synthetic)" if source.get("synthetic") else ""
    return f"{source['kind']} {without_password(place) if '://' in place else place}{made_up}"


def _buckets(run: StoredRun) -> dict[str, str]:
    return {symbol: instrument["bucket"] for symbol, instrument in run.evidence["config"]["universe"]["instruments"].items()}
