"""The decisions of the audit log as a DuckDB view over its files, which the caller has verified: nothing here does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from policyengine.errors import DataError
from policyengine.market.engine import Engine, literal, statement

if TYPE_CHECKING:
    import pandas as pd


def read_decisions(segments: Sequence[Path], count: int, *, memory_limit_mb: int, temp_dir: Path) -> pd.DataFrame:
    """One row for each decision in the first `count` records of `segments`, as verification found them, in order of `seq`.

    The row is that of the decision's last intent, with its outcome where `has_outcome`; `schemas.audit.DECISIONS` says what it holds.
    Texts and numbers that are unknown are absent; `multipliers`, `limits` and `reasons` are JSON texts.

    Raises:
        SourceUnavailable: a segment cannot be read.
        DataError: there is no record, or the frame breaks its contract.
    """
    from schemas import audit, market  # noqa: PLC0415 - pandera costs 0.45 s

    if not segments:
        raise DataError("audit log", "holds no record")
    place = str(segments[0].parent)
    engine = Engine(memory_limit_mb=memory_limit_mb, temp_dir=temp_dir, secrets={})
    try:
        files = [str(path) for path in segments]
        engine.lock(files)
        listed = f"[{', '.join(map(literal, files))}]"
        engine.run(statement("audit_decisions_view").format(segments=listed, count=count), place=place)
        frame: pd.DataFrame = engine.table("SELECT * FROM canonical.audit_decisions ORDER BY seq", place=place).to_pandas()
    finally:
        engine.close()
    try:
        audit.validate_decisions(frame)
    except market.ContractBroken as error:
        raise DataError(place, str(error)) from error
    return frame
