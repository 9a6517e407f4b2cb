"""The whole configuration, the two arms it names, and the hashes that identify what decides sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from policyengine.errors import ConfigError
from policyengine.records import Arm
from policyengine.spec.bind import bind, plain, unknown
from policyengine.spec.evidence import EvidenceSpec, TradeHistoryEvidence, WalkForwardEvidence
from policyengine.spec.execution import ExecutionSpec
from policyengine.spec.gate import GateSpec
from policyengine.spec.grid import Changes, GridSpec, Point, bind_grid, nested
from policyengine.spec.limits import LimitsSpec, check_sweep
from policyengine.spec.monitor import MonitorSpec
from policyengine.spec.rollout import RolloutSpec
from policyengine.spec.rules import at_least
from policyengine.spec.scaler import ScalerSpec, check_scaled
from policyengine.spec.signals import SignalsSpec
from policyengine.spec.sizing import SizingSpec
from policyengine.spec.sleeves import SleevesSpec, check_budgets
from policyengine.spec.source import SourceSpec
from policyengine.spec.task import EvaluateTask, TaskSpec
from policyengine.spec.universe import UniverseSpec
from policyengine.spec.window import WindowSpec

ARM_SECTIONS = ("sizing", "sleeves", "scaler", "limits")
"""What an arm may change. Everything else is common to both, so that nothing but the sizing policy differs."""


UNBOUND = ("task", "runtime", "rollout", "monitor", "grid")
"""Sections that no evidence is bound to: what is done with it, on which machine, how far the rollout is, who is told, what else is
tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """One sizing policy in full."""

    name: str
    sizing: SizingSpec
    sleeves: SleevesSpec
    scaler: ScalerSpec
    limits: LimitsSpec


_SECTIONS: Mapping[str, type[Any]] = {"sizing": SizingSpec, "sleeves": SleevesSpec, "scaler": ScalerSpec, "limits": LimitsSpec}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """What decides sizes, and nothing else: what a trial is, known by its hash. The name of an arm is not part of it.

    `selects` are the SELECTs of the source, which may filter what is traded; where the file lies is not part of it.
    """

    universe: UniverseSpec
    selects: Mapping[str, str]
    signals: SignalsSpec
    sizing: SizingSpec
    sleeves: SleevesSpec
    scaler: ScalerSpec
    limits: LimitsSpec
    execution: ExecutionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """What a run may use of the machine."""

    memory_limit_mb: int
    state_dir: str | None = None

    def __post_init__(self) -> None:
        """Refuse less memory than the engine starts with, and a folder without a name."""
        at_least("memory_limit_mb", self.memory_limit_mb, 64)
        if self.state_dir is not None and not self.state_dir.strip():
            raise ConfigError("state_dir", f"{self.state_dir!r} is empty; null is the default folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPolicy:
    """One policy of a grid: what it changes of the candidate, as given; the arm that it makes; the hash of what decides its sizes."""

    changes: Changes
    arm: ArmSpec
    policy_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGrid:
    """Policies that are evaluated together, each once, in the order in which they were asked for; `asked` counts the equal ones too.

    A run evaluates part `part` of `parts`, counted from 1.
    """

    policies: tuple[GridPolicy, ...]
    asked: int
    part: int
    parts: int

    @property
    def own(self) -> range:
        """Indices of the policies of this part; the parts follow each other and differ by one policy at most."""
        first, last = ((part * len(self.policies)) // self.parts for part in (self.part - 1, self.part))
        return range(first, last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that one run is told."""

    universe: UniverseSpec
    source: SourceSpec
    signals: SignalsSpec
    execution: ExecutionSpec
    window: WindowSpec
    evidence: EvidenceSpec
    gate: GateSpec
    rollout: RolloutSpec
    monitor: MonitorSpec
    task: TaskSpec
    runtime: RuntimeSpec
    seed: int
    baseline: ArmSpec
    candidate: ArmSpec
    grid: PolicyGrid | None = None

    def arm(self, arm: Arm) -> ArmSpec:
        """The sizing policy of `arm`."""
        return self.baseline if arm is Arm.BASELINE else self.candidate

    def policy(self, arm: Arm) -> PolicySpec:
        """What decides the sizes of `arm`."""
        return self.policy_of(self.arm(arm))

    def policy_of(self, spec: ArmSpec) -> PolicySpec:
        """What decides the sizes of an arm."""
        origin = self.signals.origin
        if isinstance(self.evidence, WalkForwardEvidence):
            origin = "engine"
        elif origin == "auto":
            origin = "source" if "signals" in self.source.views else "engine"
        return PolicySpec(
            universe=self.universe,
            selects=self.source.views,
            signals=replace(self.signals, origin=origin),
            sizing=spec.sizing,
            sleeves=spec.sleeves,
            scaler=spec.scaler,
            limits=spec.limits,
            execution=self.execution,
        )

    def policy_hash(self, arm: Arm) -> str:
        """Identity of what decides the sizes of `arm`."""
        return digest(self.policy(arm))

    def config_hash(self) -> str:
        """Identity of the resolved configuration, but for what cannot change a result: `UNBOUND` and where the artifact goes."""
        bound = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name not in UNBOUND}
        bound["evidence"] = {k: v for k, v in bound["evidence"].items() if k != "publish"}
        return digest(bound)


def bind_spec(value: Mapping[str, Any]) -> Spec:
    """Bind the composed configuration.

    `evidence.arms` gives each arm a `name` and what it changes of the composed sections; the rest is as composed.

    Raises:
        ConfigError: naming the path, the value and the rule.
    """
    sections = [*ARM_SECTIONS, *(f.name for f in fields(Spec) if f.name not in tuple(Arm))]
    for key in value:
        if key not in sections:
            raise ConfigError(str(key), unknown("key", str(key), sections))
    rest = {k: v for k, v in value.items() if k not in ARM_SECTIONS}
    composed = {name: value.get(name) for name in ARM_SECTIONS}
    for name, section in composed.items():
        if section is None:
            raise ConfigError(name, "is required and not given")
    # Here, so that a mistake is named where it was made and not under an arm.
    # Limits first: sleeves repeat their numbers.
    limits = bind(LimitsSpec, composed["limits"], "limits")
    bind(SizingSpec, composed["sizing"], "sizing")
    sleeves, scaler = bind(SleevesSpec, composed["sleeves"], "sleeves"), bind(ScalerSpec, composed["scaler"], "scaler")
    universe = bind(UniverseSpec, rest.get("universe"), "universe")
    _check_together(sleeves, scaler, limits, universe)
    evidence = dict(_mapping(rest.get("evidence"), "evidence"))
    arms = _mapping(evidence.pop("arms", None), "evidence.arms")
    asked = rest.pop("grid", None)
    grid = None if asked is None else bind_grid(asked, ARM_SECTIONS)
    rest["evidence"] = evidence
    bound = {}
    for arm in Arm:
        changes = _mapping(arms.get(arm.value), f"evidence.arms.{arm}")
        bound[arm.value] = plain(bind(ArmSpec, _merge(composed, changes), f"evidence.arms.{arm}"))
    for key in arms:
        if key not in bound:
            raise ConfigError(f"evidence.arms.{key}", f"unknown arm '{key}'; known: {', '.join(Arm)}")
    spec = bind(Spec, {**rest, **bound})
    for arm in Arm:
        one = spec.arm(arm)
        try:
            _check_together(one.sleeves, one.scaler, one.limits, spec.universe)
        except ConfigError as error:
            raise type(error)(f"evidence.arms.{arm}.{error.path}", error.rule) from None
    return spec if grid is None else replace(spec, grid=_bound_grid(grid, _merge(composed, arms[Arm.CANDIDATE.value]), spec))


def _bound_grid(grid: GridSpec, candidate: Mapping[str, Any], spec: Spec) -> PolicyGrid:
    """Every policy of `grid`, bound and checked, over the mapping `candidate` that the candidate of `spec` was bound from."""
    if not isinstance(spec.task, EvaluateTask):
        raise ConfigError("grid", f"is for task=evaluate; task={spec.task.KIND} has no use for it")
    if isinstance(spec.evidence, TradeHistoryEvidence):
        raise ConfigError("grid", "replays its policies, over evidence=replay or walk_forward; sweep evidence=trade_history with -m")
    found: dict[str, GridPolicy] = {}
    for point in grid.points():
        try:
            arm = _grid_arm(point, candidate, spec)
        except ConfigError as error:
            raise type(error)(point.located(error.path), error.rule) from None
        policy_hash = digest(spec.policy_of(arm))
        found.setdefault(policy_hash, GridPolicy(changes=point.changes, arm=arm, policy_hash=policy_hash))
    if grid.parts > len(found):
        raise ConfigError("grid.parts", f"{grid.parts} is more than the policies that there are, {len(found)}")
    return PolicyGrid(policies=tuple(found.values()), asked=grid.size, part=grid.part, parts=grid.parts)


def _grid_arm(point: Point, candidate: Mapping[str, Any], spec: Spec) -> ArmSpec:
    """The candidate with the changes of `point`; what it does not change is shared."""
    changes = nested(point.changes)
    name = changes.pop("name", spec.candidate.name)
    bound = {section: bind(_SECTIONS[section], _merge(candidate[section], inner), section) for section, inner in changes.items()}
    if not isinstance(name, str):
        raise ConfigError("name", f"{name!r} is not a text")
    arm = replace(spec.candidate, **bound, name=name)
    _check_together(arm.sleeves, arm.scaler, arm.limits, spec.universe)
    return arm


def _check_together(sleeves: SleevesSpec, scaler: ScalerSpec, limits: LimitsSpec, universe: UniverseSpec) -> None:
    """What sections must say of each other."""
    check_budgets(sleeves, limits)
    check_scaled(scaler, sleeves)
    check_sweep(limits, universe)


def digest(value: object) -> str:
    """SHA-256 of `value` in canonical JSON: sorted keys, no spaces, shortest floats, no NaN."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def differences(left: object, right: object, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted paths at which two configurations differ, with both values; an absent one is None."""
    left, right = plain(left), plain(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}):
            yield from differences(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif left != right:
        yield path, left, right


def _merge(base: object, changes: object) -> Any:
    if isinstance(base, Mapping) and isinstance(changes, Mapping):
        return {**base, **{k: _merge(base.get(k), v) for k, v in changes.items()}}
    return changes


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if value is None:
        raise ConfigError(path, "is required and not given")
    if not isinstance(value, Mapping):
        raise ConfigError(path, f"{value!r} is not a mapping")
    return value
