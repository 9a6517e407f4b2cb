"""The evidence matrix: one row per (policy, window, arm pair), failures included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from policyengine.evidence.interval import return_difference_interval
from policyengine.evidence.metrics import ArmSeries, measure
from policyengine.evidence.windows import span
from policyengine.records import Window

Measures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRow:
    """Both arms over one window. `error` says why there are no measures; then all of them are empty.

    `d_return_interval` is that of the difference in `total_return_pct`, percentage points; None where there is none. It gates nothing.
    """

    window: Window
    sessions: int
    policy_hash: str
    baseline_hash: str
    baseline: Measures
    candidate: Measures
    d_return_interval: tuple[float, float] | None = None
    error: str | None = None

    @property
    def delta(self) -> dict[str, float | None]:
        """Candidate less baseline, metric by metric; None where either is."""
        return delta(self.baseline, self.candidate)


def delta(baseline: Measures, candidate: Measures) -> dict[str, float | None]:
    """Candidate less baseline; None where either is unknown."""
    result: dict[str, float | None] = {}
    for name, left in baseline.items():
        right = candidate.get(name)
        result[name] = None if left is None or right is None else right - left
    return result


def evidence_rows(
    baseline: ArmSeries, candidate: ArmSeries, windows: Sequence[Window], *, policy_hash: str, baseline_hash: str, confidence: float
) -> tuple[EvidenceRow, ...]:
    """One row for each window, in their order, with intervals at `confidence`. A window without sessions is a row with an error."""
    rows = []
    for window in windows:
        inside = span(window, baseline.sessions)
        row = EvidenceRow(
            window=window,
            sessions=int(inside.size),
            policy_hash=policy_hash,
            baseline_hash=baseline_hash,
            baseline={},
            candidate={},
            error=f"no session from {window.start_date} to {window.end_date}",
        )
        if inside.size:
            before, after = (arm.between(int(inside[0]), int(inside[-1])) for arm in (baseline, candidate))
            interval = return_difference_interval(before, after, confidence=confidence)
            row = replace(row, baseline=measure(before), candidate=measure(after), d_return_interval=interval, error=None)
        rows.append(row)
    return tuple(rows)


def flat(row: EvidenceRow) -> dict[str, object]:
    """A row as it stands in the matrix: identity, each metric of the baseline, the candidate and their difference, and the interval."""
    cells: dict[str, object] = {
        "window": row.window.label,
        "start_date": row.window.start_date.isoformat(),
        "end_date": row.window.end_date.isoformat(),
        "sessions": row.sessions,
        "policy_hash": row.policy_hash,
        "baseline_hash": row.baseline_hash,
        "error": row.error,
    }
    differences = row.delta
    for name, value in row.baseline.items():
        cells |= {f"baseline_{name}": value, f"candidate_{name}": row.candidate.get(name), f"delta_{name}": differences[name]}
    low, high = row.d_return_interval if row.d_return_interval is not None else (None, None)
    return {**cells, "delta_total_return_pct_low": low, "delta_total_return_pct_high": high}


def columns(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Columns of a matrix whose rows may lack some, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))
