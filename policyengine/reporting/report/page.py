"""The page, from the payload alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyengine.monitoring.snapshot import bound_snapshot
from policyengine.reporting.now import now
from policyengine.reporting.report import sections
from policyengine.reporting.report.figures import figures
from policyengine.reporting.report.verdict import tiles, verdict
from policyengine.reporting.text import esc

STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

NOW = "<!--now-->"
LIVE_HEAD = '<link rel="stylesheet" href="live.css"/><script src="live.js" defer="defer"></script>'
LEGEND = "d is candidate less baseline, pp percentage points. A dash stands for what is not known, which is never zero."


def render(body: Mapping[str, Any], *, live: bool = False) -> str:
    """The page of a payload: no script, nothing loaded, well-formed as XML too.

    With `live` it is the same page for a server, whose headers say what it may load: its style and its script are files beside it, and
    NOW stands where what is now belongs.
    """
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
        "" if live else _account(body),
        sections.matrix(body),
        sections.risk(body),
        sections.pictures(figures(body), body),
        sections.trades(body),
        sections.differences(body),
        sections.provenance(body),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="color-scheme" content="light dark"/>'
        f'<link rel="icon" href="data:,"/><title>{esc(title)}</title>{LIVE_HEAD if live else _head()}</head>'
        f'<body><header><p class="about">{esc(about)}</p></header><main>{NOW if live else ""}{"".join(parts)}</main>'
        f'<footer><p class="note">{LEGEND}</p></footer></body></html>\n'
    )


def _account(body: Mapping[str, Any]) -> str:
    """What an account left last, where the payload has it; a server has that at first hand."""
    if body["account"] is None:
        return ""
    found = bound_snapshot(body["account"], "account")
    return now(found, found.alerts, account=found.account)


def _head() -> str:
    """What a page brings along that stands alone."""
    return f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/><style>{STYLE.read_text(encoding="utf-8")}</style>'
