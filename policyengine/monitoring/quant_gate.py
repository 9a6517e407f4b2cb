"""The quant gate: while signal health is bad, instruments in the risk buckets open nothing. One file in the state folder.

| health | the gate |
|---|---|
| RED, no usable records included | active; since when is kept from its first activation |
| YELLOW | stays as it is |
| GREEN | inactive, unless something could not be read or understood: then it stays as it is |

Deciding and enforcing are apart: here it is judged, and whoever trades asks `disabled`. A file that is absent is an inactive gate; one that
cannot be read or understood is an active one, over every bucket but safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from policyengine.errors import ConfigError, DataError
from policyengine.monitoring.health import Health, Level
from policyengine.records import Bucket
from policyengine.spec.bind import bind, plain
from policyengine.spec.universe import UniverseSpec
from policyengine.store import read_json, write_json

FILE = "quant_gate.json"
SCHEMA = 1
RISK = (Bucket.CORE, Bucket.SPEC, Bucket.OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantGate:
    """As it stands: `since` when, for what `reason` and over which `buckets` it is active; None and nothing where it is not.

    `level` and `judged_at` are of the last judgement, `judged` says which records that was about. `disabled` names the instruments that
    the buckets were in the universe of that judgement, for whoever reads the file: what is enforced follows from the buckets and the
    universe at hand.
    """

    schema: int
    active: bool
    since: str | None
    reason: str | None
    level: Level
    judged_at: str
    judged: str
    buckets: tuple[Bucket, ...]
    disabled: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what says two things."""
        if self.schema != SCHEMA:
            raise ConfigError("schema", f"{self.schema} is not {SCHEMA}")
        if {self.since is not None, self.reason is not None, bool(self.buckets)} != {self.active}:
            said = f"since {self.since!r}, reason {self.reason!r} and buckets {[b.value for b in self.buckets]}"
            raise ConfigError("active", f"{str(self.active).lower()} with {said}")
        if Bucket.SAFE in self.buckets:
            raise ConfigError("buckets", "'safe' is no risk bucket")


def read_gate(state_dir: Path) -> QuantGate | None:
    """The gate of the state folder; None where none was ever fed.

    Raises:
        DataError: the file is there and cannot be read or understood.
    """
    path = state_dir / FILE
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(str(path), f"cannot be looked at: {error.strerror or error}") from error
    try:
        return bind(QuantGate, read_json(path))
    except ConfigError as error:
        raise DataError(str(path), f"is no quant gate: {error}") from error


def feed(state_dir: Path, health: Health, universe: UniverseSpec, *, buckets: tuple[Bucket, ...], judged_at: str, judged: str) -> QuantGate:
    """Write what `health` makes of the gate; returns it.

    Raises:
        OutputError: it cannot be written; it stands as it was.
    """
    since, reason, over = _before(state_dir, judged_at)
    if health.level is Level.RED:
        since, reason, over = since or judged_at, "; ".join(health.why), buckets
    elif health.level is Level.GREEN and health.clean:
        since, reason, over = None, None, ()
    active = since is not None
    gate = QuantGate(
        schema=SCHEMA,
        active=active,
        since=since,
        reason=reason,
        level=health.level,
        judged_at=judged_at,
        judged=judged,
        buckets=over,
        disabled=tuple(sorted(_in_buckets(universe, over))),
    )
    write_json(state_dir / FILE, plain(gate))
    return gate


def disabled(state_dir: Path, universe: UniverseSpec) -> tuple[frozenset[str], str | None]:
    """The instruments of `universe` that may open nothing, and why; none and None where the gate is inactive."""
    try:
        gate = read_gate(state_dir)
    except DataError as error:
        return frozenset(_in_buckets(universe, RISK)), f"the quant gate counts as active: {error}"
    if gate is None or not gate.active:
        return frozenset(), None
    return frozenset(_in_buckets(universe, gate.buckets)), f"the quant gate is active since {gate.since}: {gate.reason}"


def _before(state_dir: Path, judged_at: str) -> tuple[str | None, str | None, tuple[Bucket, ...]]:
    """Since when, why and over what it is active before this judgement; one that cannot be read, since now and over all risk."""
    try:
        gate = read_gate(state_dir)
    except DataError as error:
        return judged_at, str(error), RISK
    return (None, None, ()) if gate is None else (gate.since, gate.reason, gate.buckets)


def _in_buckets(universe: UniverseSpec, buckets: Iterable[Bucket]) -> set[str]:
    wanted = frozenset(buckets)
    return {symbol for symbol in universe.instruments if universe.bucket(symbol) in wanted}
