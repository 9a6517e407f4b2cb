"""Trials: every policy that was ever evaluated, and which of them count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

from policyengine.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One evaluation of one policy: `policy` is the mapping that replays it again, `policy_hash` its digest.

    Evaluated on the source `source_key` from `first_date` to `last_date`, both included; `recorded_at` is an instant in UTC, ISO 8601.
    """

    KIND: ClassVar[str] = "trial"
    policy_hash: str
    policy: Mapping[str, Any]
    source_key: str
    first_date: date
    last_date: date
    recorded_at: str
    run_id: str

    def __post_init__(self) -> None:
        """Refuse an end before the start."""
        if self.last_date < self.first_date:
            raise ConfigError("last_date", f"{self.last_date} is before first_date {self.first_date}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialsRecord:
    """Evaluations of many policies on the same days of one source, as one record: all of them are logged, or none.

    `policies` holds by hash what a policy has besides the sections that all `shared`.
    """

    KIND: ClassVar[str] = "trials"
    shared: Mapping[str, Any]
    policies: Mapping[str, Mapping[str, Any]]
    source_key: str
    first_date: date
    last_date: date
    recorded_at: str
    run_id: str

    def each(self) -> Iterator[TrialRecord]:
        """One record for each policy, by hash."""
        for policy_hash, own in self.policies.items():
            yield TrialRecord(
                policy_hash=policy_hash,
                policy={**self.shared, **own},
                source_key=self.source_key,
                first_date=self.first_date,
                last_date=self.last_date,
                recorded_at=self.recorded_at,
                run_id=self.run_id,
            )


def together(records: Sequence[TrialRecord]) -> TrialRecord | TrialsRecord:
    """Evaluations of different policies on the same days, by one run, as one record.

    Raises:
        ValueError: they are not.
    """
    first = records[0]
    alike = ("source_key", "first_date", "last_date", "recorded_at", "run_id")
    for name in alike:
        if len({getattr(record, name) for record in records}) > 1:
            raise ValueError(f"{name} differs between evaluations that are logged together")
    if len(records) == 1:
        return first
    sections = set.intersection(*(set(record.policy) for record in records))
    shared = {k: v for k, v in first.policy.items() if k in sections and all(record.policy[k] == v for record in records)}
    own = {record.policy_hash: {k: v for k, v in record.policy.items() if k not in shared} for record in records}
    return TrialsRecord(shared=shared, policies=dict(sorted(own.items())), **{name: getattr(first, name) for name in alike})


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Calendar days, both ends included, on which a policy was evaluated on a source."""

    source_key: str
    first_date: date
    last_date: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One policy ever evaluated: what replays it, and the union of the days that it was evaluated on."""

    policy_hash: str
    policy: Mapping[str, Any]
    spans: tuple[Span, ...]
    first_recorded_at: str


def fold(records: Iterable[TrialRecord]) -> tuple[Trial, ...]:
    """One trial for each policy hash; days that overlap or touch, on the same source, are one span."""
    found: dict[str, Trial] = {}
    for record in records:
        span = Span(source_key=record.source_key, first_date=record.first_date, last_date=record.last_date)
        known = found.get(record.policy_hash)
        if known is None:
            known = Trial(policy_hash=record.policy_hash, policy=record.policy, spans=(), first_recorded_at=record.recorded_at)
        found[record.policy_hash] = dataclasses.replace(known, spans=_merged((*known.spans, span)))
    return tuple(found.values())


def overlapping(trials: Iterable[Trial], first_date: date, last_date: date, *, source_key: str | None = None) -> tuple[Trial, ...]:
    """The trials that count toward K for the decision sample [first_date, last_date]: those evaluated on any day of it.

    Whatever was evaluated only before the sample began does not count, however much there was: a policy chosen then and frozen, alone
    since, has K = 1. The candidate counts itself, so it is logged before this is asked. A `source_key` leaves out trials on other data;
    None, the stricter, counts them too.
    """
    return tuple(
        trial
        for trial in trials
        if any(s.first_date <= last_date and first_date <= s.last_date and source_key in (None, s.source_key) for s in trial.spans)
    )


def _merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    result: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.source_key, s.first_date)):
        last = result[-1] if result else None
        if last is not None and last.source_key == span.source_key and span.first_date <= last.last_date + timedelta(days=1):
            result[-1] = dataclasses.replace(last, last_date=max(last.last_date, span.last_date))
        else:
            result.append(span)
    return tuple(result)
