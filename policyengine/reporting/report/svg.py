"""Vega-Lite as a static SVG that stands inside a page: small, titled, without scripts, styles or references."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

from policyengine.reporting.text import visible

_SVG = "http://www.w3.org/2000/svg"
_NOISE = frozenset(
    {"pointer-events", "aria-hidden", "aria-label", "aria-roledescription", "role", "class", "stroke-miterlimit", "width", "height"}
)
_DECIMALS = re.compile(r"\d+\.\d{2,}")


def draw(spec: dict[str, Any]) -> str:
    """Render `spec` as it comes, offline."""
    import vl_convert  # noqa: PLC0415 - 30 MB, only where something is drawn

    drawn: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return drawn


def svg_of(spec: dict[str, Any], *, key: str, title: str, description: str) -> str:
    """Render `spec` offline; `title` and `description` are for those who do not see it, under ids made of `key`."""
    root = ET.fromstring(draw(spec))  # noqa: S314 - the renderer's own output, whose texts it escapes
    box = root.attrib["viewBox"]
    _strip(root)
    _plain_names(root)
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-labelledby": f"{key}-title {key}-desc"})
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{key}-{tag}"})
        element.text = visible(text)
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _strip(parent: ET.Element) -> None:
    """Drop what draws nothing, and digits that no eye can tell apart."""
    for child in list(parent):
        _strip(child)
        path = child.get("d")
        empty = child.tag == f"{{{_SVG}}}g" and len(child) == 0
        invisible = child.get("display") == "none" or path in {"", "M0,0h0v0h0Z"} or child.get("class") == "background"
        if empty or invisible:
            parent.remove(child)
            continue
        own_size = child.tag == f"{{{_SVG}}}rect"
        for name in _NOISE & child.attrib.keys():
            if not (own_size and name in {"width", "height"}):
                del child.attrib[name]
        if child.get("opacity") == "1":
            del child.attrib["opacity"]
        for name in ("d", "transform"):
            if name in child.attrib:
                child.set(name, _DECIMALS.sub(lambda found: f"{float(found[0]):.1f}", child.attrib[name]))


def _plain_names(root: ET.Element) -> None:
    """HTML knows the elements of an SVG without their namespace."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
