from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import ClassVar, Literal

import pytest

from policyengine.errors import ConfigError
from policyengine.spec.bind import bind, plain


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    KIND: ClassVar[str] = "circle"
    radius: float

    def __post_init__(self) -> None:
        if self.radius < 0:
            raise ConfigError("radius", f"{self.radius:g} is below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    KIND: ClassVar[str] = "square"
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    shape: Circle | Square
    colour: Colour
    on_date: date | None = None
    visible: bool = True
    label: str = ""
    ends: tuple[float, float] = (0.0, 1.0)
    tags: tuple[str, ...] = ()
    weights: dict[Colour, float] = field(default_factory=dict)
    style: Literal["thin", "thick"] = "thin"


GOOD = {"shape": {"kind": "circle", "radius": 2}, "colour": "red"}


def test_binds_unions_enums_dates_tuples_and_mappings() -> None:
    drawing = bind(Drawing, {**GOOD, "on_date": "2020-02-29", "tags": ["a", "b"], "weights": {"blue": 1}, "style": "thick"})
    assert drawing.shape == Circle(radius=2.0)
    assert drawing.on_date == date(2020, 2, 29)
    assert drawing.tags == ("a", "b")
    assert drawing.weights == {Colour.BLUE: 1.0}


def test_plain_is_the_reverse() -> None:
    drawing = bind(Drawing, {**GOOD, "on_date": date(2020, 1, 1)})
    assert bind(Drawing, plain(drawing)) == drawing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": "red"}, "color: unknown key 'color'; did you mean 'colour'?"),
        ({"colour": "rad"}, "colour: unknown value 'rad'; did you mean 'red'?"),
        ({"colour": True}, "colour: unknown value 'true'; known: blue, red"),
        ({"shape": {"kind": "circel", "radius": 1}}, "shape.kind: unknown kind 'circel'; did you mean 'circle'?"),
        ({"shape": {"radius": 1}}, "shape.kind: is required and not given; one of circle, square"),
        ({"shape": 3}, "shape: 3 is not a mapping"),
        ({"shape": {"kind": "circle", "radius": -1}}, "shape.radius: -1 is below 0"),
        ({"shape": {"kind": "circle"}}, "shape.radius: is required and not given"),
        ({"shape": {"kind": "circle", "radius": True}}, "shape.radius: true is not a number"),
        ({"shape": {"kind": "circle", "radius": float("inf")}}, "shape.radius: inf is not finite"),
        ({"shape": {"kind": "circle", "radius": float("nan")}}, "shape.radius: nan is not finite"),
        ({"shape": {"kind": "circle", "radius": "2"}}, "shape.radius: '2' is not a number"),
        ({"shape": {"kind": "square", "side": 1.0}}, "shape.side: 1.0 is not a whole number"),
        ({"shape": {"kind": "square", "side": False}}, "shape.side: false is not a whole number"),
        ({"visible": "off"}, "visible: 'off' is not true or false"),
        ({"visible": 1}, "visible: 1 is not true or false"),
        ({"label": 1}, "label: 1 is not a text"),
        ({"on_date": "2020-02-30"}, "on_date: '2020-02-30' is not a date (YYYY-MM-DD)"),
        ({"on_date": 45000}, "on_date: 45000 is not a date (YYYY-MM-DD)"),
        ({"ends": [1, 2, 3]}, "ends: [1, 2, 3] has 3 entries; 2 are wanted"),
        ({"ends": [1, "x"]}, "ends[1]: 'x' is not a number"),
        ({"tags": "ab"}, "tags: 'ab' is not a list"),
        ({"weights": {"green": 1}}, "weights.green: unknown value 'green'; known: blue, red"),
        ({"weights": [1]}, "weights: [1] is not a mapping"),
        ({"style": "thik"}, "style: unknown value 'thik'; did you mean 'thick'?"),
    ],
)
def test_refuses_naming_path_value_and_rule(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind(Drawing, {**GOOD, **change})
    assert str(caught.value) == message


def test_refuses_what_is_not_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"^top: \[\] is not a mapping$"):
        bind(Drawing, [], "top")
