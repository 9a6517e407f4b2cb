"""A grid: many policies, each named by what it changes of the candidate arm, before any of them is bound."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from policyengine.errors import ConfigError
from policyengine.spec.bind import bind, unknown
from policyengine.spec.rules import at_least

MAX_POLICIES = 10_000
"""More are no comparison: each is a trial, and the test asks of the one that is chosen that it stands out among all of them."""
KEYS = ("axes", "policies", "part", "parts")
_RANGE = ("start", "stop", "step", "num")
_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNIFICANT_DIGITS = 12

Changes = Mapping[str, Any]
"""Values by dotted path, as they were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One policy that is asked for: its `changes`, and its place in `grid.policies`; None where the axes make it."""

    changes: Changes
    place: int | None = None

    def located(self, path: str) -> str:
        """Where the value at `path` of the policy was asked for, for an error; all that it changes where no single axis is at fault."""
        if self.place is not None:
            return f"grid.policies[{self.place}]{'.' if path else ''}{path}"
        if any(path == axis or path.startswith(f"{axis}.") for axis in self.changes):
            return f"grid.axes.{path}"
        return f"grid.axes: {' '.join(words(self.changes))}: {path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Values from `start` to `stop`, both included: so many, or so far apart."""

    start: float
    stop: float
    step: float | None = None
    num: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no range, or more values than a grid may have policies."""
        if (self.step is None) is (self.num is None):
            raise ConfigError("", f"{self.start:g} to {self.stop:g} wants either step or num")
        if self.stop < self.start:
            raise ConfigError("stop", f"{self.stop:g} is below start {self.start:g}")
        if self.step is not None and self.step <= 0.0:
            raise ConfigError("step", f"{self.step:g} is not above 0")
        if self.num is not None:
            at_least("num", self.num, 2)
        if not self._steps < MAX_POLICIES:
            raise ConfigError("", f"{self.start:g} to {self.stop:g} is more than {MAX_POLICIES:,} values")

    @property
    def _steps(self) -> float:
        """How many steps lead to `stop`, or nearly; what misses it by rounding alone reaches it."""
        return self.num - 1 if self.num is not None else (self.stop - self.start) / (self.step or 1.0) * (1.0 + 1e-12)

    def values(self) -> list[float | int]:
        """The values, to twelve digits, so that 0.1 + 0.2 is 0.3; whole numbers where all that was given are."""
        steps = math.floor(self._steps)
        step = self.step if self.step is not None else (self.stop - self.start) / steps
        found = [float(f"{self.start + k * step:.{_SIGNIFICANT_DIGITS}g}") for k in range(steps + 1)]
        whole = all(value.is_integer() for value in (self.start, step))
        return [int(value) for value in found] if whole else list(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSpec:
    """Policies as asked for: the product of `axes`, values by dotted path, the last the fastest; then `policies`, one by one.

    A run evaluates part `part` of `parts`, counted from 1.
    """

    axes: Mapping[str, Sequence[Any]]
    policies: Sequence[Changes]
    part: int = 1
    parts: int = 1

    @property
    def size(self) -> int:
        """How many policies are asked for, those that are the same included."""
        return (math.prod(map(len, self.axes.values())) if self.axes else 0) + len(self.policies)

    def points(self) -> Iterator[Point]:
        """Every policy that is asked for, in order."""
        for values in product(*self.axes.values()) if self.axes else ():
            yield Point(changes=dict(zip(self.axes, values, strict=True)))
        for place, changes in enumerate(self.policies):
            yield Point(changes=changes, place=place)


def bind_grid(value: object, sections: Sequence[str]) -> GridSpec:
    """The section `grid`, whose policies may change `sections` of the candidate.

    Raises:
        ConfigError: naming the path, the value and the rule.
    """
    given = _mapping(value, "grid")
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"grid.{key}", unknown("key", str(key), KEYS))
    part = bind(_Part, {k: given[k] for k in ("part", "parts") if k in given}, "grid")
    axes = {path: _values(path, values) for path, values in _axes(given.get("axes"), sections)}
    policies = given.get("policies")
    if not isinstance(policies, list | tuple | None):
        raise ConfigError("grid.policies", f"{policies!r} is not a list of policies")
    listed = [_listed(k, policy, sections) for k, policy in enumerate(policies or ())]
    grid = GridSpec(axes=axes, policies=listed, part=part.part, parts=part.parts)
    if not grid.size:
        raise ConfigError("grid", "names no policy; give grid.axes={sizing.multipliers.spec:[0.5,0.8]} or grid.policies")
    if grid.size > MAX_POLICIES:
        raise ConfigError("grid", f"names {grid.size:,} policies; {MAX_POLICIES:,} is the most")
    return grid


def nested(changes: Changes) -> dict[str, Any]:
    """`changes` as the nested mapping that an arm is configured by."""
    result: dict[str, Any] = {}
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return result


def words(changes: Changes) -> list[str]:
    """`changes` as the command line takes them."""
    return [f"{path}={written(value)}" for path, value in changes.items()]


def written(value: object) -> str:
    """A value as the command line takes it."""
    if isinstance(value, str) and _PLAIN_WORD.fullmatch(value) and value not in {"true", "false", "null"}:
        return value
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    return json.dumps(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    part: int = 1
    parts: int = 1

    def __post_init__(self) -> None:
        """Refuse a part that there is not."""
        at_least("parts", self.parts, 1)
        if not 1 <= self.part <= self.parts:
            raise ConfigError("part", f"{self.part} is not in [1, {self.parts}], the parts that there are")


def _axes(value: object, sections: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Every axis by its dotted path, whichever way it is nested."""
    seen: list[str] = []
    for path, values in _flat(_mapping(value, "grid.axes") if value is not None else {}, is_leaf=_is_axis):
        _check_section(f"grid.axes.{path}", path, sections)
        for other in seen:
            if path == other or path.startswith(f"{other}.") or other.startswith(f"{path}."):
                raise ConfigError(f"grid.axes.{path}", f"and {other} are both axes, and one holds the other; give one of them")
        seen.append(path)
        yield path, values


def _is_axis(value: object) -> bool:
    """Whether a mapping is a range, and no mapping of axes."""
    return not isinstance(value, Mapping) or (bool(value) and all(key in _RANGE for key in value))


def _values(path: str, values: object) -> list[Any]:
    where = f"grid.axes.{path}"
    if isinstance(values, Mapping):
        return bind(_Range, values, where).values()
    if not isinstance(values, list | tuple):
        raise ConfigError(where, f"{values!r} is neither a list of values nor a range {{start, stop, step or num}}")
    if not values:
        raise ConfigError(where, "[] holds no value")
    return list(values)


def _listed(place: int, policy: object, sections: Sequence[str]) -> Changes:
    changes: dict[str, Any] = {}
    for path, value in _flat(
        _mapping(policy, f"grid.policies[{place}]"), is_leaf=lambda inner: not isinstance(inner, Mapping) or not inner
    ):
        where = f"grid.policies[{place}].{path}"
        if path != "name":
            _check_section(where, path, sections)
        if path in changes:
            raise ConfigError(where, "stands twice, dotted and nested")
        changes[path] = value
    return changes


def _flat(value: Mapping[str, Any], *, is_leaf: Callable[[object], bool], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        own = f"{path}.{key}" if path else str(key)
        if is_leaf(inner):
            yield own, inner
        else:
            yield from _flat(inner, is_leaf=is_leaf, path=own)


def _check_section(where: str, path: str, sections: Sequence[str]) -> None:
    section, _, rest = path.partition(".")
    if section not in sections:
        known = ", ".join(sections)
        raise ConfigError(
            where, f"'{section}' is not of an arm's own sections ({known}), and a grid shares all else, its signals too; sweep it with -m"
        )
    if not rest:
        raise ConfigError(where, f"is a whole section; name the value in it, as in {section}.enabled")


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(path, f"{value!r} is not a mapping")
    return value
