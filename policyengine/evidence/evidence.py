"""What every kind of evidence comes to: two arms over the same sessions, and what is known of how they traded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from policyengine.evidence.metrics import ArmSeries
from policyengine.records import Arm, Finding

Table = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Both arms, and what the gate and the files need of how they came about.

    `source_key` is the identity of the data, which later days, another folder or another name of a file do not change.
    `breaches` counts sessions that ended above an enforced limit, None where positions are unknown; `audited_frac` is the
    share of fills that name their signal, by arm; `notes` say what this kind of evidence cannot show; `tables` are columns
    to store, by file name; `counts` are facts for the record; `reconciliation` says by arm what limits took; `seconds` what deciding
    cost each arm, empty where it was not timed.
    """

    kind: str
    source_key: str
    baseline: ArmSeries
    candidate: ArmSeries
    breaches: int | None
    audited_frac: tuple[float | None, float | None]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    reconciliation: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[Arm, float] = field(default_factory=dict)
