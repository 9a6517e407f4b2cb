"""The page, and the files that a report leaves beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyengine.reporting.payload import payload_of, write_payload
from policyengine.reporting.report import charts, sections
from policyengine.reporting.report.figures import figures
from policyengine.reporting.report.text import esc
from policyengine.reporting.report.trades import trades_csv
from policyengine.reporting.report.verdict import tiles, verdict
from policyengine.reporting.stored import read_run
from policyengine.store import write_bytes

REPORT, TRADES = "report.html", "trades.csv"
STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

LEGEND = "d is candidate less baseline, pp percentage points. A dash stands for what is not known, which is never zero."


def write_report(folder: Path) -> Path:
    """Write report.html for the run in `folder`, with dashboard_data.json and trades.csv, which it is drawn from; its path.

    Raises:
        DataError: the folder is not that of a run, or a file of it lacks something.
        ConfigError: the extra that draws is not installed.
        OutputError: the folder cannot be written.
    """
    charts.load()
    run = read_run(folder)
    body = payload_of(run)
    page = render(body)
    if run.trades is not None:
        write_bytes(folder / TRADES, trades_csv(run.inside(run.trades, "traded_at")))
    write_payload(folder, body)
    write_bytes(folder / REPORT, page.encode())
    return folder / REPORT


def render(body: Mapping[str, Any]) -> str:
    """The page of a payload: no script, nothing loaded, well-formed as XML too."""
    meta = body["meta"]
    arms = meta["arms"]
    title = f"{body['verdict']['verdict']}: {arms['candidate']} against {arms['baseline']}"
    about = (
        f"policyengine {meta['version']}: {arms['candidate']} against {arms['baseline']}, {meta['kind'].replace('_', ' ')} on "
        f"{meta['data_origin']}, {meta['start_date']} to {meta['as_of']}, {meta['sessions']:,} sessions. "
        f"Run {meta['run_id']}, {meta['created_at'][:16].replace('T', ' ')} UTC."
    )
    parts = (
        verdict(body),
        tiles(body),
        sections.alerts(body),
        sections.matrix(body),
        sections.risk(body),
        sections.pictures(figures(body), body),
        sections.trades(body),
        sections.differences(body),
        sections.provenance(body),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="color-scheme" content="light dark"/>'
        f'<link rel="icon" href="data:,"/><title>{esc(title)}</title><style>{STYLE.read_text(encoding="utf-8")}</style></head>'
        f'<body><header><p class="about">{esc(about)}</p></header><main>{"".join(parts)}</main>'
        f'<footer><p class="note">{LEGEND}</p></footer></body></html>\n'
    )
