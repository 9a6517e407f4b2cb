"""Data invariants. Each is a SQL file that returns the broken rows as text, the first five, with their count."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policyengine.market.columns import VIEWS
from policyengine.market.engine import Engine, printable, quoted, statement
from policyengine.market.selects import mapped
from policyengine.records import SPLIT_WITHIN, SPLITS, Finding, Severity
from policyengine.spec.source import ChecksSpec

ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One invariant: the key of its severity, its SQL file, the columns without which it is silent, the rule, and what the SQL is given."""

    name: str
    sql: str
    needs: tuple[str, ...]
    rule: str
    given: Mapping[str, object] = field(default_factory=dict)


CHECKS = (
    Check(
        name="duplicate_keys",
        sql="duplicate_prices",
        needs=("prices.symbol",),
        rule="prices: no two bars share symbol and priced_at",
    ),
    Check(name="duplicate_keys", sql="duplicate_signals", needs=("signals.signal_id",), rule="signals: signal_id is unique"),
    Check(name="duplicate_keys", sql="duplicate_trades", needs=("trades.trade_id",), rule="trades: trade_id is unique"),
    Check(
        name="non_finite_prices",
        sql="non_finite_prices",
        needs=("prices.close",),
        rule="prices: close is there, and open, high, low and close are finite",
    ),
    Check(name="negative_volumes", sql="negative_volumes", needs=("prices.volume",), rule="prices: volume is not negative"),
    Check(
        name="bars_out_of_order",
        sql="bars_out_of_order",
        needs=("prices.priced_at",),
        rule="prices: the bars of a symbol stand in the order of time",
    ),
    Check(
        name="split_like_prices",
        sql="split_like_prices",
        needs=("prices.close",),
        rule="prices: no close is a whole multiple or part of the one before it, as after a split that was not adjusted for",
        given={"splits": list(SPLITS), "within": SPLIT_WITHIN},
    ),
    Check(
        name="symbols_in_two_buckets",
        sql="symbols_in_two_buckets",
        needs=("trades.bucket",),
        rule="trades: a symbol is in one bucket, the one that the universe says",
    ),
    Check(
        name="trades_without_signal",
        sql="trades_without_signal_id",
        needs=("trades.signal_id",),
        rule="trades: every trade names the signal it acted on",
    ),
    Check(
        name="trades_without_signal",
        sql="trades_without_signal_row",
        needs=("trades.signal_id", "signals.signal_id"),
        rule="trades: every signal_id is in view signals",
    ),
    Check(
        name="pnl_all_positive",
        sql="pnl_all_positive",
        needs=("trades.realized_pnl",),
        rule="trades: some closing trade did not gain",
    ),
    Check(
        name="pnl_on_one_date",
        sql="pnl_on_one_date",
        needs=("trades.realized_pnl",),
        rule="trades: closing trades fall on more than one UTC date",
    ),
    Check(
        name="pnl_unexplained",
        sql="pnl_beyond_range",
        needs=("trades.realized_pnl", "prices.close"),
        rule="trades: |realized_pnl| is at most quantity x (highest high - lowest low up to the trade's date) + commission",
    ),
    Check(
        name="pnl_unexplained",
        sql="pnl_beyond_entry",
        needs=("trades.realized_pnl", "trades.price", "trades.entry_price"),
        rule="trades: |realized_pnl| is at most quantity x |price - entry_price| + commission",
    ),
)


def severity(checks: ChecksSpec, name: str) -> Severity:
    """Severity of the check `name`."""
    found = getattr(checks, name)
    assert isinstance(found, Severity)  # noqa: S101 - CHECKS names fields of ChecksSpec, which a test holds
    return found


def run_checks(engine: Engine, found: Mapping[str, Mapping[str, str]], checks: ChecksSpec, origin: str) -> list[Finding]:
    """Findings of every check that applies and is not ignored; naive times first."""
    findings = _naive_times(engine, found, checks, origin)
    given = {f"{view}.{column}" for view, columns in found.items() for column in columns}
    for check in CHECKS:
        if severity(checks, check.name) is Severity.IGNORE or not given.issuperset(check.needs):
            continue
        rows = engine.run(statement(check.sql), place=origin, parameters=check.given)
        finding = _finding(check.name, severity(checks, check.name), check.rule, rows)
        findings += [] if finding is None else [finding]
    return findings


def _naive_times(engine: Engine, found: Mapping[str, Mapping[str, str]], checks: ChecksSpec, origin: str) -> list[Finding]:
    if checks.naive_times is Severity.IGNORE:
        return []
    findings = []
    for view, columns in found.items():
        for column in VIEWS[view]:
            condition = column.naive(columns[column.name]) if column.name in columns else None
            if condition is None:
                continue
            shown = f"CAST({quoted(column.name)} AS VARCHAR)"
            rows = engine.run(broken_rows(shown, mapped(view), condition), place=origin)
            rule = f"{view}: {column.name} names its zone; read as UTC"
            finding = _finding("naive_times", checks.naive_times, rule, rows)
            findings += [] if finding is None else [finding]
    return findings


def broken_rows(shown: str, table: str, condition: str) -> str:
    """SQL in the form of the check files: the text `shown` of the first rows of `table` that meet `condition`, and their count."""
    return f"SELECT {shown}, (SELECT count(*) FROM {table} WHERE {condition}) FROM {table} WHERE {condition} LIMIT {ROWS_SHOWN}"


def _finding(name: str, how_bad: Severity, rule: str, rows: list[tuple[str, int]]) -> Finding | None:
    if not rows:
        return None
    shown = tuple(printable(row[0]) for row in rows[:ROWS_SHOWN])
    return Finding(check=name, severity=how_bad, count=int(rows[0][1]), rule=rule, rows=shown)
