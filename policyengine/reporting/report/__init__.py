"""report.html: one file that needs nothing else, drawn from what a run stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from policyengine.monitoring.snapshot import Snapshot
from policyengine.reporting.names import PAYLOAD, REPORT, TRADES
from policyengine.reporting.report.drawing import drawing
from policyengine.store import write_bytes


def write_report(folder: Path, account: Snapshot | None = None) -> Path:
    """Write report.html for the run in `folder`, with dashboard_data.json and trades.csv, which it is drawn from; its path.

    With `account`, the snapshot of one, it shows what that left last too.

    Raises:
        DataError: the folder is not that of a run, or a file of it lacks something.
        ConfigError: the extra that draws is not installed.
        OutputError: the folder cannot be written.
    """
    with drawing() as draw, ThreadPoolExecutor(1) as aside:
        # After the other process was started, which needs none of it: they import at the same time.
        from policyengine.reporting.payload import encoded, payload_of  # noqa: PLC0415
        from policyengine.reporting.report.trades import trades_csv  # noqa: PLC0415
        from policyengine.reporting.stored import read_run  # noqa: PLC0415

        run = read_run(folder)
        body = encoded(payload_of(run, account))
        table = None if run.trades is None else aside.submit(trades_csv, run.inside(run.trades, "traded_at"))
        page = draw(body)
        if table is not None:
            write_bytes(folder / TRADES, table.result())
    write_bytes(folder / PAYLOAD, body)
    write_bytes(folder / REPORT, page)
    return folder / REPORT
