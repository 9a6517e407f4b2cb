"""Deciding again what the audit log says was decided: the sizes of both arms from the log alone, to the bit.

`Basis` holds what a session's sizes follow from, `Policy` what decides them. They go through `allocation.cycle.Cycle`, as they did when
they were decided. Of other code other bits may follow: what it decided is counted, and not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from policyengine.allocation.cycle import Cycle
from policyengine.allocation.scaler import RiskState
from policyengine.allocation.sizing import Sized
from policyengine.allocation.sleeves import SLEEVES, Grid
from policyengine.errors import PolicyEngineError
from policyengine.execution.chain import Chain, of_kind
from policyengine.execution.journal import JournalBroken
from policyengine.market.rows import SignalRows
from policyengine.records import Arm
from policyengine.rollout.audit_reading import bound, coded
from policyengine.rollout.audit_records import Basis, Checkpoint, Intent, Measured, Policy, Record, flaws
from policyengine.signals.stream import Stream
from policyengine.spec.bind import bind
from policyengine.spec.root import PolicySpec

Sizes = Mapping[str, tuple[float, float]]
"""By symbol what the baseline and the candidate hold, signed fractions of NAV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """So many `decisions` have the sizes that follow from the log; `other_code` were decided by code that is not installed."""

    decisions: int
    other_code: int


def recompute(folder: Path, code_hash: str) -> Recomputed:
    """Decide again every decision in the log; `code_hash` is that of the code at hand.

    Raises:
        NotStarted: AUDIT_BROKEN, naming the first record whose sizes, confidences or absence do not follow from the records before it;
            AUDIT_UNWRITABLE where the files cannot be read.
    """
    with coded(folder):
        chain, again = Chain(folder), _Again(code_hash)
        for found in chain.records(of_kind(Policy.KIND, Basis.KIND, Intent.KIND, Checkpoint.KIND)):
            seq, record = bound(chain, found)
            for flaw in again.flaws(record):
                raise JournalBroken(chain.place(seq), f"record {seq}: {flaw}", seq)
        return Recomputed(decisions=again.decisions, other_code=again.other_code)


def sizes_of(basis: Basis, policies: Mapping[Arm, PolicySpec]) -> Sizes:
    """What each arm holds of each of `basis.symbols`.

    Raises:
        PolicyEngineError: nothing follows from it.
    """
    stream, asked = _signals(basis)
    universe, execution = policies[Arm.CANDIDATE].universe, policies[Arm.CANDIDATE].execution
    both = [policies[arm] for arm in Arm]
    cycle = Cycle(both, stream, asked, universe, allow_short=execution.allow_short, periods_per_year=basis.periods_per_year)
    # What regimes and frictions made of a confidence is on record; they themselves are not.
    cycle.sized = tuple(_sized([getattr(signal, arm.value) for signal in basis.signals]) for arm in Arm)
    weights = cycle.decide(0, None if basis.risk is None else risk_state(basis.risk)).weights
    return dict(zip(basis.symbols, zip(*weights.tolist(), strict=True), strict=True))


def risk_state(measured: Measured) -> RiskState:
    """One account's risk as the allocation reads it, (1, S)."""
    return RiskState(**{f.name: np.array([getattr(measured, f.name)]) for f in fields(Measured)})


def _sized(effective: list[float]) -> Sized:
    return Sized(effective=np.array(effective, dtype=np.float64), names=(), factors=np.empty((0, len(effective))))


def _signals(basis: Basis) -> tuple[Stream, Grid]:
    """The signals in force as a stream of one session."""
    signals, place = basis.signals, {symbol: i for i, symbol in enumerate(basis.symbols)}
    at, shape = [place[signal.symbol] for signal in signals], (1, len(place))
    in_force = np.full(shape, -1, dtype=np.int32)
    base, direction, sleeve = np.zeros(shape), np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=np.int8)
    in_force[0, at] = np.arange(len(signals), dtype=np.int32)
    base[0, at] = [signal.base for signal in signals]
    direction[0, at] = [signal.direction for signal in signals]
    sleeve[0, at] = [SLEEVES.index(signal.sleeve) for signal in signals]
    unknown = {f.name: np.full(len(signals), np.nan) for f in fields(SignalRows)}
    known: dict[str, Any] = {
        "symbols": basis.symbols,
        "code": np.array(at, dtype=np.intp),
        "direction": direction[0, at],
        "confidence": base[0, at],
        "regime": np.full(len(signals), None, dtype=object),
    }
    rows = SignalRows(**{**unknown, **known})
    stream = Stream(rows=rows, in_force=in_force, considered=len(signals), origin="audit")
    return stream, Grid(signal=in_force, base=base, direction=direction, sleeve=sleeve)


class _Again:
    """Holds intents to the basis before them, as the records come."""

    def __init__(self, code_hash: str) -> None:
        self._code_hash = code_hash
        self._policies: dict[str, str] = {}
        self._bound: dict[str, PolicySpec] = {}
        self._basis: Basis | None = None
        self._sizes: Sizes | None = None
        self._seen: set[str] = set()
        self.decisions = self.other_code = 0

    def flaws(self, record: Record) -> Iterator[str]:
        """What of `record` cannot be, or does not follow from those before it."""
        yield from flaws(record)
        match record:
            case Policy():
                self._policies[record.policy_hash] = record.policy
            case Basis():
                yield from self._begin(record)
            case Intent():
                yield from self._held(record)
            case Checkpoint() if self._basis is not None and record.session == self._basis.session:
                for symbol, sizes in (self._sizes or {}).items():
                    if any(sizes) and symbol not in self._seen:
                        yield f"{symbol} has sizes {sizes} on {record.session}, and no decision is on record"
            case _:
                pass

    def _begin(self, basis: Basis) -> Iterator[str]:
        before = self._basis
        if before is None or (before.account, before.session) != (basis.account, basis.session):
            self._seen = set()
        self._basis, self._sizes = basis, None
        if basis.code_hash != self._code_hash:
            return
        try:
            hashes = {Arm.BASELINE: basis.baseline_hash, Arm.CANDIDATE: basis.candidate_hash}
            self._sizes = sizes_of(basis, {arm: self._policy(name) for arm, name in hashes.items()})
        except KeyError as error:
            yield f"policy {error} is not on record"
        except (PolicyEngineError, ValueError) as error:
            yield f"the sizes of {basis.session} cannot be decided again: {error}"

    def _policy(self, name: str) -> PolicySpec:
        if name not in self._bound:
            self._bound[name] = bind(PolicySpec, json.loads(self._policies[name]), "policy")
        return self._bound[name]

    def _held(self, intent: Intent) -> Iterator[str]:
        basis = self._basis
        if basis is None or (basis.account, basis.session) != (intent.account, intent.session):
            yield f"decision {intent.decision_id} has nothing on record that it follows from"
            return
        if (intent.policy_hash, intent.code_hash) != (basis.candidate_hash, basis.code_hash):
            yield f"decision {intent.decision_id} is by another policy or other code than what it follows from"
        self._seen.add(intent.symbol)
        if self._sizes is None:
            self.other_code += 1
            return
        yield from _differences(intent, basis, self._sizes)
        self.decisions += 1


def _differences(intent: Intent, basis: Basis, sizes: Sizes) -> Iterator[str]:
    """What the intent says otherwise than the basis, bit for bit."""
    signal = next((signal for signal in basis.signals if signal.symbol == intent.symbol), None)
    baseline, candidate = sizes.get(intent.symbol, (None, None))
    wanted = {
        "base_confidence": None if signal is None else signal.base,
        "effective_confidence": None if signal is None else signal.candidate,
        "sleeve": intent.sleeve if signal is None or signal.base == 0.0 else signal.sleeve,
        "baseline_size": baseline,
        "candidate_size": candidate,
    }
    for name, follows in wanted.items():
        stated = getattr(intent, name)
        if repr(stated) != repr(follows):  # tells -0.0 from 0.0
            yield f"{name} of decision {intent.decision_id} is {stated}, and {follows} follows"
