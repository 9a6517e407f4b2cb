"""Many policies against one baseline, which is measured once for each window; and how they stand to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policyengine.evidence.interval import return_difference_interval
from policyengine.evidence.matrix import EvidenceRow, Measures, flat
from policyengine.evidence.metrics import ArmSeries, Floats, TradeSums, measure
from policyengine.evidence.windows import span
from policyengine.execution.outcome import Outcome
from policyengine.market.panel import PricePanel
from policyengine.records import Window
from policyengine.spec.grid import written
from policyengine.spec.root import GridPolicy
from policyengine.store import rounded

Standing = Mapping[str, Any]
Ranking = Mapping[str, Mapping[str, Sequence[Standing]]]

RUINED = "lost all its capital in the replay"
RANKED = ("sharpe", "total_return_pct")
"""What policies are ranked by: the difference from the baseline over the whole sample."""
SHOWN = ("total_return_pct", "max_drawdown", "sharpe")
BEST = 5
CAUTION = "the best of many is no evidence: part of it is luck, the more the more were tried; one evaluated alone is judged against all"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """One window: the indices of its first and last session, and the baseline between them; None where it holds none."""

    window: Window
    sessions: int
    first: int
    last: int
    baseline: ArmSeries | None
    measures: Measures


class Comparison:
    """`evidence_rows` of many candidates against one `baseline`, which it measures once for each window."""

    def __init__(self, baseline: ArmSeries, windows: Sequence[Window], *, baseline_hash: str, confidence: float) -> None:
        self._hash, self._confidence = baseline_hash, confidence
        days = baseline.sessions.astype("datetime64[D]")
        whole = Window(label="all", start_date=days[0].item(), end_date=days[-1].item())
        self.windows = tuple(windows)
        self._whole, *self._spans = [_span_of(window, baseline) for window in (whole, *windows)]

    @property
    def baseline(self) -> Measures:
        """The baseline over all sessions."""
        return self._whole.measures

    def rows(self, candidate: ArmSeries | None, policy_hash: str) -> list[EvidenceRow]:
        """One row for each window, in their order; None is a candidate that was ruined."""
        return [self._row(one, candidate, policy_hash) for one in self._spans]

    def whole(self, candidate: ArmSeries | None, policy_hash: str) -> EvidenceRow:
        """One row over all sessions."""
        return self._row(self._whole, candidate, policy_hash)

    def _row(self, one: _Span, candidate: ArmSeries | None, policy_hash: str) -> EvidenceRow:
        about: dict[str, Any] = {"window": one.window, "sessions": one.sessions, "policy_hash": policy_hash, "baseline_hash": self._hash}
        if candidate is None or one.baseline is None:
            error = f"no session from {one.window.start_date} to {one.window.end_date}" if one.baseline is None else RUINED
            return EvidenceRow(**about, baseline={}, candidate={}, error=error)
        part = candidate.between(one.first, one.last)
        return EvidenceRow(
            **about,
            baseline=one.measures,
            candidate=measure(part),
            d_return_interval=return_difference_interval(one.baseline, part, confidence=self._confidence),
        )


def _span_of(window: Window, baseline: ArmSeries) -> _Span:
    inside = span(window, baseline.sessions)
    if not inside.size:
        return _Span(window=window, sessions=0, first=0, last=0, baseline=None, measures={})
    first, last = int(inside[0]), int(inside[-1])
    part = baseline.between(first, last)
    return _Span(window=window, sessions=int(inside.size), first=first, last=last, baseline=part, measures=measure(part))


def series_of(outcome: Outcome, panel: PricePanel, name: str, *, rate: Floats, capital: float) -> ArmSeries:
    """What a replay over `panel` came to, as a series; `rate` (T,) and `capital` are those that it was replayed with."""
    return ArmSeries(
        name=name,
        sessions=panel.sessions,
        nav=outcome.nav,
        capital=capital,
        rate=rate,
        periods_per_year=panel.periods_per_year,
        trades=TradeSums(closed=outcome.closed, won=outcome.won, lost=outcome.lost, profit=outcome.profit, loss=outcome.loss),
        cost=outcome.cost,
        traded=outcome.traded,
        requests=outcome.requests,
        rejects=outcome.rejects,
        exposure=outcome.exposure,
    )


def changed_paths(policies: Iterable[GridPolicy]) -> list[str]:
    """What any of `policies` changes, as columns, in the order in which they first do."""
    return list(dict.fromkeys(path for policy in policies for path in policy.changes))


def cells(number: int, policy: GridPolicy, row: EvidenceRow) -> dict[str, object]:
    """A row of the matrix: which policy it is and what it changes, then as in any matrix."""
    return {"policy": number, **{path: _cell(value) for path, value in policy.changes.items()}, **flat(row)}


def _cell(value: object) -> object:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else written(value)


def standing(number: int, policy: GridPolicy, row: EvidenceRow) -> Standing:
    """What is kept of a policy to rank it: its difference from the baseline over the whole sample, as it is stored."""
    return {
        "policy": number,
        "policy_hash": policy.policy_hash,
        "changes": dict(policy.changes),
        "error": row.error,
        "delta": rounded({name: row.delta.get(name) for name in SHOWN}),
    }


def ranking(standings: Iterable[Standing]) -> Ranking:
    """By each measure that policies are ranked by: the best, the best first, and the worst. What is unknown ranks nowhere."""
    known = list(standings)
    return {name: _ranked(known, name) for name in RANKED}


def merged(rankings: Sequence[Ranking]) -> Ranking:
    """The ranking of all policies that stand in `rankings` of different ones."""
    return {name: _ranked([one for each in rankings for end in ("best", "worst") for one in each[name][end]], name) for name in RANKED}


def _ranked(standings: Iterable[Standing], name: str) -> dict[str, list[Standing]]:
    each = {one["policy"]: one for one in standings if one["delta"][name] is not None}
    ranked = sorted(each.values(), key=lambda one: (-one["delta"][name], one["policy"]))
    return {"best": ranked[:BEST], "worst": ranked[-1:]}
