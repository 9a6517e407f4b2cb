"""Binding plain mappings to frozen dataclasses. Strict: nothing is guessed, coerced or left over.

Rules: an unknown key is refused with the nearest known one; every error carries the dotted path; enums and dates are
given by value; a bool is not a number and a float is not an int; a float is finite; a class whose `KIND` is set is one
member of a union, told apart by the key `kind`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from functools import cache
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from policyengine.errors import ConfigError


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=_Dataclass)


def bind(cls: type[T], value: object, path: str = "") -> T:
    """Bind mapping `value` to dataclass `cls`; `path` is where the mapping stands, for errors.

    Raises:
        ConfigError: naming the path, the value and the rule. Errors raised by `cls.__post_init__` are prefixed with the path.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(path, f"{_show(value)} is not a mapping")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = _hints(cls)
    given = {k: v for k, v in value.items() if not (k == "kind" and hasattr(cls, "KIND"))}
    for key in given:
        if key not in fields:
            raise ConfigError(_join(path, str(key)), unknown("key", str(key), fields))
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(_join(path, name), "is required and not given")
    bound = {name: _bind_value(hints[name], given[name], _join(path, name)) for name in given}
    try:
        return cls(**bound)
    except ConfigError as error:
        raise type(error)(_join(path, error.path), error.rule) from None


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _bind_value(hint: Any, value: object, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _bind_union(get_args(hint), value, path)
    if origin is tuple:
        return _bind_tuple(hint, value, path)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(path, f"{_show(value)} is not a mapping")
        key_hint, value_hint = get_args(hint)
        return {_bind_value(key_hint, k, _join(path, str(k))): _bind_value(value_hint, v, _join(path, str(k))) for k, v in value.items()}
    if origin is Literal:
        if value not in get_args(hint) or isinstance(value, bool):
            raise ConfigError(path, unknown("value", _text(value), [str(a) for a in get_args(hint)]))
        return value
    if dataclasses.is_dataclass(hint):
        return bind(cast("type[Any]", hint), value, path)
    return _bind_scalar(hint, value, path)


def _bind_union(members: tuple[Any, ...], value: object, path: str) -> Any:
    if value is None and type(None) in members:
        return None
    members = tuple(m for m in members if m is not type(None))
    if len(members) == 1:
        return _bind_value(members[0], value, path)
    kinds = {m.KIND: m for m in members}
    if not isinstance(value, Mapping):
        raise ConfigError(path, f"{_show(value)} is not a mapping")
    if "kind" not in value:
        raise ConfigError(_join(path, "kind"), f"is required and not given; one of {', '.join(sorted(kinds))}")
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(_join(path, "kind"), unknown("kind", _text(kind), kinds))
    return bind(kinds[kind], value, path)


def _bind_tuple(hint: Any, value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(path, f"{_show(value)} is not a list")
    args = get_args(hint)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    elif len(args) != len(value):
        raise ConfigError(path, f"{_show(value)} has {len(value)} entries; {len(args)} are wanted")
    return tuple(_bind_value(h, v, f"{path}[{i}]") for i, (h, v) in enumerate(zip(args, value, strict=True)))


def _bind_scalar(hint: Any, value: object, path: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        if not isinstance(value, str) or value not in {m.value for m in hint}:
            raise ConfigError(path, unknown("value", _text(value), [str(m.value) for m in hint]))
        return hint(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ConfigError(path, f"{_show(value)} is not finite")
        return number
    if hint is str and isinstance(value, str):
        return value
    if hint is date and isinstance(value, date) and not isinstance(value, datetime):
        return value
    if hint is date and isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ConfigError(path, f"{_show(value)} is not a date (YYYY-MM-DD)") from None
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", date: "a date (YYYY-MM-DD)"}
    raise ConfigError(path, f"{_show(value)} is not {wanted[hint]}")


def plain(value: object) -> Any:
    """The reverse of `bind`: dataclasses, enums, dates and tuples as mappings, texts and lists that JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = getattr(value, "KIND", None)
        items = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return items if kind is None else {"kind": kind, **items}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The rule for a name that is none of `known`, with the nearest of them."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1)
    if near:
        return f"unknown {what} '{name}'; did you mean '{near[0]}'?"
    return f"unknown {what} '{name}'; known: {', '.join(options)}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key


def _text(value: object) -> str:
    return value if isinstance(value, str) else _show(value)


def _show(value: object) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."
