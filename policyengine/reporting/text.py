"""Text and numbers as a person reads them, harmless wherever they come from."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence

UNKNOWN = "\N{EN DASH}"
"""Stands where a number is not known. It is never a zero."""

_FORMULA = tuple("=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}")


def visible(text: object) -> str:
    """`text` with what has no form of its own - control, bidirectional and other invisible characters - spelt out as an escape."""
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(_spelt(ch) if _is_hidden(ch) else ch for ch in shown)


def esc(text: object) -> str:
    """`text` for any place in HTML, visible and without markup."""
    return html.escape(visible(text), quote=True)


def csv_text(text: str) -> str:
    """`text` for a cell of a CSV file: visible, and quoted by ' where a spreadsheet would run it."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) or text[:1] in {"\t", "\r", "\n"} else shown


def money(value: float | None, currency: str = "") -> str:
    """1,550,738.41, with its currency before it where that is given."""
    if value is None:
        return UNKNOWN
    return f"{currency} {value:,.2f}".strip()


def percent(frac: float | None, digits: int = 2) -> str:
    """A fraction as a percentage."""
    return UNKNOWN if frac is None else f"{100.0 * frac:.{digits}f}%"


def points(value: float | None, *, scale: float = 1.0) -> str:
    """A signed difference, two digits; `scale` 100 turns fractions into percentage points."""
    return UNKNOWN if value is None else f"{value * scale + 0.0:+.2f}"


def between(interval: Sequence[float] | None, *, scale: float = 1.0) -> str:
    """The two edges of an interval as `points`."""
    return UNKNOWN if interval is None else " to ".join(points(edge, scale=scale) for edge in interval)


def level(confidence: float) -> str:
    """95%, or 99.5% where it is that: a confidence is never rounded up to certainty."""
    return f"{100.0 * confidence:g}%"


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separators."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def short(value: float | None) -> str:
    """A number of any size, four significant digits."""
    return UNKNOWN if value is None else f"{value:.4g}"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun: 1 trial, 2 trials."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _is_hidden(ch: str) -> bool:
    return ch != "\n" and (unicodedata.category(ch)[0] == "C" or unicodedata.category(ch) in {"Zl", "Zp"})


def _spelt(ch: str) -> str:
    return ch.encode("unicode_escape").decode()
