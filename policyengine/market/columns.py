"""The canonical columns: their names, what types they take, and the cast that makes them one type.

A value that cannot be cast is never dropped: `Column.misfit` finds it, and `Market` refuses the view.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from policyengine.market.engine import quoted
from policyengine.records import Bucket

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_FLOATS = ("FLOAT", "DOUBLE", "DECIMAL")
_NAIVE = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_AWARE = "TIMESTAMP WITH TIME ZONE"
_AWARE_NS = "TIMESTAMPTZ_NS"
_NAIVE_TEXT = r"\d\d?:\d\d"
_ZONED_TEXT = r"([A-Za-z]|[+-]\d\d(:?\d\d)?)\s*$"


class Kind(Enum):
    """What a canonical column holds: how errors call it, its DuckDB type, and the types it takes from the user."""

    label: str
    sql_type: str
    takes: tuple[str, ...]

    def __init__(self, label: str, sql_type: str, takes: tuple[str, ...]) -> None:
        """Unpack the member's value."""
        self.label, self.sql_type, self.takes = label, sql_type, takes

    TEXT = ("text", "VARCHAR", ("VARCHAR", "UUID", "ENUM", *_INTEGERS))
    INSTANT = ("an instant", _AWARE, (_AWARE, _AWARE_NS, "DATE", "VARCHAR", *_NAIVE))
    NUMBER = ("a number", "DOUBLE", ("VARCHAR", *_INTEGERS, *_FLOATS))
    FLAG = ("true or false", "BOOLEAN", ("BOOLEAN", "VARCHAR", *_INTEGERS, *_FLOATS))
    DIRECTION = ("BUY, SELL or HOLD (or 1, -1, 0)", "TINYINT", ("VARCHAR", "ENUM", *_INTEGERS, *_FLOATS))
    SIDE = ("BUY or SELL", "TINYINT", ("VARCHAR", "ENUM"))
    BUCKET = ("safe, core, spec or other", "VARCHAR", ("VARCHAR", "ENUM"))


_SIDES = {"BUY": "1", "SELL": "-1"}
_WORDS: dict[Kind, dict[str, str]] = {
    Kind.DIRECTION: {**_SIDES, "HOLD": "0", "1": "1", "-1": "-1", "0": "0", "1.0": "1", "-1.0": "-1", "0.0": "0", "-0.0": "0"},
    Kind.SIDE: _SIDES,
    Kind.BUCKET: {bucket.value.upper(): f"'{bucket.value}'" for bucket in Bucket},
    Kind.FLAG: {"TRUE": "true", "1": "true", "1.0": "true", "FALSE": "false", "0": "false", "0.0": "false"},
}
"""Columns of few values: the words for each, and what they become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One canonical column.

    `required`: the SELECT must give it. `filled`: no row may lack it. `finite`: a number that is NaN or infinite does not fit
    (prices have a check of their own for that).
    """

    name: str
    kind: Kind
    required: bool = False
    filled: bool = False
    finite: bool = True

    def value(self, found: str | None) -> str:
        """SQL of the canonical value, given the type `found` of the user's column (None: the SELECT does not give it)."""
        if found is None or not self._takes(found):
            return f"CAST(NULL AS {self.kind.sql_type})"
        raw = quoted(self.name)
        words = _WORDS.get(self.kind)
        if words is not None and found != "BOOLEAN":
            cases = " ".join(f"WHEN '{word}' THEN {value}" for word, value in words.items())
            return f"CAST(CASE upper(trim(CAST({raw} AS VARCHAR))) {cases} END AS {self.kind.sql_type})"
        return raw if found == self.kind.sql_type else f"TRY_CAST({raw} AS {self.kind.sql_type})"

    def misfit(self, found: str) -> str | None:
        """SQL condition of a value that is there and cannot be taken; None where the type `found` rules that out."""
        raw = quoted(self.name)
        if not self._takes(found):
            return f"{raw} IS NOT NULL"
        if self.kind is Kind.NUMBER and (found in _INTEGERS or found.startswith("DECIMAL")):
            return None
        if self.kind is Kind.INSTANT or (self.kind is Kind.NUMBER and self.finite):
            return f"{raw} IS NOT NULL AND NOT coalesce(isfinite({self.value(found)}), false)"
        value = self.value(found)
        return None if value == raw else f"{raw} IS NOT NULL AND ({value}) IS NULL"

    def naive(self, found: str) -> str | None:
        """SQL condition of an instant that names no zone, and so is read as UTC; a bare date names a day and needs none."""
        raw = quoted(self.name)
        if self.kind is not Kind.INSTANT:
            return None
        if found in _NAIVE:
            return f"{raw} IS NOT NULL"
        if found == "VARCHAR":
            return f"regexp_matches({raw}, '{_NAIVE_TEXT}') AND NOT regexp_matches({raw}, '{_ZONED_TEXT}')"
        return None

    def _takes(self, found: str) -> bool:
        return re.sub(r"\(.*", "", found, flags=re.DOTALL) in (*self.kind.takes, "NULL") and not found.endswith("]")


def _column(name: str, kind: Kind, need: str = "", *, finite: bool = True) -> Column:
    return Column(name=name, kind=kind, required=bool(need), filled=need == "filled", finite=finite)


VIEWS: dict[str, tuple[Column, ...]] = {
    "prices": (
        _column("symbol", Kind.TEXT, "filled"),
        _column("priced_at", Kind.INSTANT, "filled"),
        _column("close", Kind.NUMBER, "required", finite=False),
        _column("open", Kind.NUMBER, finite=False),
        _column("high", Kind.NUMBER, finite=False),
        _column("low", Kind.NUMBER, finite=False),
        _column("volume", Kind.NUMBER, finite=False),
        _column("currency", Kind.TEXT),
    ),
    "signals": (
        _column("signal_id", Kind.TEXT, "filled"),
        _column("symbol", Kind.TEXT, "filled"),
        _column("signalled_at", Kind.INSTANT, "filled"),
        _column("direction", Kind.DIRECTION, "filled"),
        _column("confidence", Kind.NUMBER, "required"),
        _column("strength", Kind.NUMBER),
        _column("edge_score", Kind.NUMBER),
        _column("source", Kind.TEXT),
        _column("horizon_days", Kind.NUMBER),
        _column("expected_return", Kind.NUMBER),
        _column("predicted_volatility", Kind.NUMBER),
        _column("regime", Kind.TEXT),
        _column("cost_bps", Kind.NUMBER),
        _column("gap_frac", Kind.NUMBER),
        _column("funding_bps", Kind.NUMBER),
        _column("participation_frac", Kind.NUMBER),
        _column("leverage", Kind.NUMBER),
    ),
    "trades": (
        _column("trade_id", Kind.TEXT, "filled"),
        _column("symbol", Kind.TEXT, "filled"),
        _column("traded_at", Kind.INSTANT, "filled"),
        _column("side", Kind.SIDE, "filled"),
        _column("quantity", Kind.NUMBER, "filled"),
        _column("realized_pnl", Kind.NUMBER, "required"),
        _column("price", Kind.NUMBER),
        _column("is_close", Kind.FLAG),
        _column("is_synthetic", Kind.FLAG),
        _column("is_diagnostic", Kind.FLAG),
        _column("commission", Kind.NUMBER),
        _column("signal_id", Kind.TEXT),
        _column("run_id", Kind.TEXT),
        _column("base_confidence", Kind.NUMBER),
        _column("effective_confidence", Kind.NUMBER),
        _column("multiplier", Kind.NUMBER),
        _column("bucket", Kind.BUCKET),
        _column("entry_price", Kind.NUMBER),
        _column("entry_at", Kind.INSTANT),
    ),
}
