"""The few shapes of HTML that a report is made of. Every text goes through `esc`; the result is well-formed XML as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policyengine.reporting.text import esc

PROSE = 7
"""So many columns of text make a table of words, whose last column wraps."""


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, label: str, texts: int = 1, caption: str = "", first_is_total: bool = False
) -> str:
    """A table in a box that scrolls by itself, below its caption; `label` names it, the first `texts` columns are not numbers."""
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{esc(cell)}</td>' for cell in row)}</tr>" for row in rows)
    above = f'<p class="note">{esc(caption)}</p>' if caption else ""
    kind = f"t{texts}{' total' if first_is_total else ''}"
    inner = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'{above}<div class="scroll" role="region" tabindex="0" aria-label="{esc(label)}">{inner}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names with what is to be said of them; texts, not markup."""
    return '<dl class="facts">' + "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in pairs) + "</dl>"


def folded(summary: str, content: str, *, opened: bool = False) -> str:
    """What is shown when it is asked for."""
    tag = '<details open="open">' if opened else "<details>"
    return f"{tag}<summary>{esc(summary)}</summary>{content}</details>"


def section(key: str, title: str, content: str) -> str:
    """A part of the page."""
    return f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{esc(title)}</h2>{content}</section>'


def tile(label: str, value: str, below: str, *, alarm: bool = False) -> str:
    """One figure with what it is and what it is held against; `alarm` where a person should look."""
    return (
        f'<div class="tile{" alarm" if alarm else ""}"><p class="muted">{esc(label)}</p>'
        f'<p class="value">{esc(value)}</p><p class="muted">{esc(below)}</p></div>'
    )
