"""A run's folder, read back: the artifact, its verdict, and the tables beside them. Whatever is shown is drawn from here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.evidence.artifact import facts_of
from policyengine.evidence.gate import Facts
from policyengine.records import Arm, Stage
from policyengine.reporting.names import ABOUT, EVIDENCE, PAYLOAD, SWEEP, TRADES, VERDICT
from policyengine.store import read_json

Column = NDArray[Any]
Table = Mapping[str, Column]

SIGNAL_COLUMNS = ("symbol", "signalled_at", "direction", "source", "base_confidence", "effective_confidence")
"""All of a signal that is shown; the file is the longest of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """One run as its files tell it. `evidence` and `verdict` are of the same run; `about` is None where times were not kept.

    `facts` are what the artifact says that is decided on. Tables are columns of equal length, None where the kind of evidence has none.
    They reach beyond the decision sample where the source does: `inside` cuts them. Of a long ledger `trades` are the newest only, and
    `ledger` adds up all of them by session. `digest` is the SHA-256 of evidence.json as it
    lies there, `files` of each file of the run.
    """

    folder: Path
    evidence: Mapping[str, Any]
    facts: Facts
    verdict: Mapping[str, Any]
    about: Mapping[str, Any] | None
    digest: str
    files: Mapping[str, str]
    exposure: Table | None
    trades: Table | None
    ledger: Table | None
    signals: Table | None
    reconciliation: Table | None

    @property
    def sample(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last day of the decision sample."""
        sample = self.evidence["sample"]
        return np.datetime64(sample["start_date"], "D"), np.datetime64(sample["end_date"], "D")

    def inside(self, table: Table, time: str) -> Table:
        """The rows of `table` whose column `time` lies in the decision sample, in their order."""
        first, last = self.sample
        days = table[time].astype("datetime64[D]")
        kept = (days >= first) & (days <= last)
        return {name: column[kept] for name, column in table.items()}


def read_run(folder: Path) -> StoredRun:
    """Read what a run left in `folder`.

    Raises:
        DataError: there is no such folder, it is not that of a run, a file of it cannot be read, or its files disagree.
    """
    if not folder.is_dir():
        raise DataError(str(folder), "is not a folder; give that of a run, as printed by it: outputs/DAY/RUN")
    if not (folder / EVIDENCE).exists():
        inside = f"is a sweep; give the folder of one of its jobs, as {folder / '0'}"
        raise DataError(str(folder), inside if (folder / SWEEP).exists() else f"holds no run: {EVIDENCE} is not there")
    evidence, verdict = _mapping(folder / EVIDENCE), _mapping(folder / VERDICT)
    stage = evidence.get("stage")
    if stage not in set(Stage):
        raise DataError(str(folder / EVIDENCE), f"stage {stage!r} is none of {', '.join(Stage)}")
    facts = facts_of(evidence, Stage(stage))
    for key in ("run_id", "verdict", "passed", "stage"):
        if verdict.get(key) != evidence.get(key):
            raise DataError(str(folder / VERDICT), f"says {key} {verdict.get(key)!r} where {EVIDENCE} says {evidence.get(key)!r}")
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.suffix in {".json", ".parquet", ".csv"}}
    return StoredRun(
        folder=folder,
        evidence=evidence,
        facts=facts,
        verdict=verdict,
        about=_mapping(folder / ABOUT) if (folder / ABOUT).exists() else None,
        digest=files[EVIDENCE],
        files={name: digest for name, digest in files.items() if name not in {PAYLOAD, TRADES}},
        exposure=_parquet(folder / "exposure.parquet"),
        trades=_by_arm(_parquet(folder / "trades.parquet")),
        ledger=_parquet(folder / "ledger.parquet"),
        signals=_parquet(folder / "signals.parquet", SIGNAL_COLUMNS),
        reconciliation=_parquet(folder / "reconciliation.parquet"),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    found = read_json(path)
    if not isinstance(found, Mapping):
        raise DataError(str(path), "is not a mapping")
    return found


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}") from error


def _parquet(path: Path, columns: Sequence[str] | None = None) -> dict[str, Column] | None:
    """Columns of a Parquet file, all or those named; text as objects, a null number as NaN, a null text as None."""
    import pyarrow as pa  # noqa: PLC0415 - 0.3 s, only where a run is read
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.exists():
        return None
    try:
        with pq.ParquetFile(path) as file:  # read_table would import pandas, 0.3 s, and use none of it
            table = file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(str(path), f"is not a Parquet file that can be read: {str(error).splitlines()[0]}") from error
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _by_arm(trades: dict[str, Column] | None) -> Table | None:
    """One row for each trade and arm. A ledger scaled after the fact has one row a trade with a P&L for each arm."""
    if trades is None or "arm" in trades:
        return trades
    own = [f"{arm}_realized_pnl" for arm in Arm]
    size = trades["trade_id"].size
    return {
        **{name: np.repeat(column, len(own)) for name, column in trades.items() if name not in own},
        "arm": np.tile(np.array([arm.value for arm in Arm], dtype=object), size),
        "realized_pnl": np.stack([trades[name] for name in own], axis=1).ravel(),
    }
