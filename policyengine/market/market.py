"""A source that is open: its canonical views, checked and read."""
# ruff: noqa: S608 - SQL is built from names that are ours or quoted; values never stand in it

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from policyengine.errors import ConfigError, DataError
from policyengine.market.border import admit_frame
from policyengine.market.checks import broken_rows, run_checks
from policyengine.market.columns import VIEWS, Kind
from policyengine.market.digest import digest_views
from policyengine.market.engine import Engine, printable, quoted, statement
from policyengine.market.panel import Calendar, PricePanel, arrange
from policyengine.market.rows import ClosingTrades, LedgerSums, SignalRows, read_closing_trades, read_ledger_sums, read_signals
from policyengine.market.selects import blanks, checked, create_views, mapped, misfits, tables_wanted
from policyengine.market.source import admit, bring, find
from policyengine.records import Bucket, Finding, Severity
from policyengine.spec.source import ChecksSpec, SourceSpec
from policyengine.spec.universe import UniverseSpec

_SYMBOLS_SHOWN = 50
EXCERPT = 100_000
"""Closing trades that are held in memory at most."""


@contextmanager
def open_market(source: SourceSpec, universe: UniverseSpec, *, memory_limit_mb: int, temp_dir: Path, shipped_dir: Path) -> Iterator[Market]:
    """Open `source`: an in-memory DuckDB with one canonical view for each of its SELECTs, limited to its paths, its settings locked.

    `memory_limit_mb` bounds DuckDB, which spills to `temp_dir`; `shipped_dir` holds the files that `shipped:NAME` means.

    Raises:
        ConfigError: a path, URI or type is not one, or a SELECT is not exactly one SELECT statement.
        SourceUnavailable: the source is not there, unreadable or truncated, or needs what is not installed.
        DataError: a table or column that a SELECT or the canonical view needs is not there.
    """
    place = find(source, shipped_dir=shipped_dir)
    engine = Engine(memory_limit_mb=memory_limit_mb, temp_dir=temp_dir, secrets=place.secrets)
    try:
        admit(engine, place)
        selects = {view: checked(engine, view, source.views[view]) for view in sorted(source.views)}
        tables = bring(engine, source, place, tables_wanted(engine, selects))
        types = create_views(engine, selects, place.origin, tables)
        yield Market(engine, universe, origin=place.origin, types=types, checks=source.checks)
    finally:
        engine.close()


class Market:
    """The canonical views of one source. Reading a view first makes sure that every value in it has its canonical type.

    `views` are the canonical views that the source declares; `origin` is what may be printed of where it is.
    """

    def __init__(
        self, engine: Engine, universe: UniverseSpec, *, origin: str, types: Mapping[str, Mapping[str, str]], checks: ChecksSpec
    ) -> None:
        """Use `open_market`. `types` are the columns that each view's SELECT gives, with their DuckDB types."""
        self.origin = origin
        self.views = frozenset(types)
        self._engine = engine
        self._universe = universe
        self._types = types
        self._checks = checks
        self._fitting: set[str] = set()
        listed = universe.instruments
        instruments = {
            "symbols": list(listed),
            "buckets": [instrument.bucket.value for instrument in listed.values()],
            "currencies": [instrument.currency for instrument in listed.values()],
            "types": [instrument.type for instrument in listed.values()],
        }
        engine.run(statement("instruments"), place=origin, parameters=instruments)
        if "trades" in types:
            engine.run(statement("closing_trades_view"), place=origin)

    def check(self) -> tuple[Finding, ...]:
        """Run every data check that applies to the declared views.

        Returns the findings of severity alert; naive times first.

        Raises:
            DataError: a value of another type than its column's, a missing one where none may be, an empty view, a symbol that the
                universe does not list, a signal or trade on a rate, a price in another currency than its instrument's, signals
                without prices, or a finding of severity error: count, rule and first offending rows.
        """
        for view in sorted(self.views):
            self._fit(view)
        findings = run_checks(self._engine, self._types, self._checks, self.origin)
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        if errors:
            raise DataError(self.origin, "\n  ".join(map(_told, errors)))
        for view in sorted(self.views):
            self._refuse_unlisted(view)
        if "prices" in self.views:
            self._refuse_foreign_prices()
        if {"prices", "signals"} <= self.views:
            self._refuse_no_overlap()
        return tuple(findings)

    def prices(self, calendar: Calendar = "core") -> PricePanel:
        """Last known closes on the sessions of `calendar`; see `PricePanel` for shapes, units and NaN.

        The symbols of `universe.fx` are among the columns, so that closes can be put in base currency, but make no sessions. An
        option's bars are left out while options are switched off.

        Raises:
            ConfigError: the source declares no view prices.
            DataError: no bar of an instrument that trades has a finite close, or the universe's cash_rate_symbol has none.
        """
        self._need("prices")
        bars = self._engine.table(statement("daily_bars"), place=self._place("prices"))
        symbols = tuple(row[0] for row in self._engine.run(statement("priced_symbols"), place=self._place("prices")))
        traded = frozenset(symbol for symbol in symbols if self._universe.is_traded(symbol))
        if not traded:
            raise DataError(self._place("prices"), "no bar of an instrument that trades has a finite close")
        cash = self._universe.cash_rate_symbol
        if cash is not None and cash not in symbols:
            raise DataError(self._place("prices"), f"universe.cash_rate_symbol {cash} has no bar; set it to null or add its prices")
        admit_frame(bars, "DAILY_BARS", place=self._place("prices"))
        core = frozenset(symbol for symbol in traded if self._universe.bucket(symbol) is Bucket.CORE)
        used: Calendar = "core" if calendar == "core" and core else "all"
        panel = replace(arrange(bars, symbols, core if used == "core" else traded, "core"), calendar_used=used)
        return self._without_inert(panel)

    def signals(self) -> SignalRows | None:
        """The signals of the source, or None when it declares none; see `SignalRows`."""
        if "signals" not in self.views:
            return None
        self._fit("signals")
        return read_signals(self._engine, self._place("signals"))

    def closing_trades(self, first: date = date.min, last: date = date.max, *, count: int = EXCERPT, newest: bool = False) -> ClosingTrades:
        """At most `count` closing trades of the UTC days from `first` to `last`, the oldest or the newest; see `ClosingTrades`.

        They are held in memory; `ledger_sums` is for all of them.

        Raises:
            ConfigError: the source declares no view trades.
        """
        self._need("trades")
        return read_closing_trades(self._engine, self._place("trades"), self._universe, first=first, last=last, count=count, newest=newest)

    def ledger_sums(self, multipliers: Iterable[float] = ()) -> LedgerSums:
        """Closing trades added up inside the engine, one pass whatever the length of the ledger; see `LedgerSums`.

        `multipliers` are those whose overlays may clip a confidence at 1.

        Raises:
            ConfigError: the source declares no view trades.
            DataError: a confidence is outside [0, 1].
        """
        self._need("trades")
        return read_ledger_sums(self._engine, self._place("trades"), multipliers)

    def digest(self) -> str:
        """sha256 over the canonical content of every declared view, whatever the order of the rows in the files."""
        for view in sorted(self.views):
            self._fit(view)
        return digest_views(self._engine, self._types, self.origin)

    def _place(self, view: str) -> str:
        return f"{self.origin}, view {view}"

    def _need(self, view: str) -> None:
        if view not in self.views:
            declared = ", ".join(sorted(self.views))
            raise ConfigError(f"source.views.{view}", f"is required and not given; this source declares {declared}")
        self._fit(view)

    def _fit(self, view: str) -> None:
        """Refuse a view that is empty, or that holds a value its canonical column cannot take; looked at once."""
        if view in self._fitting:
            return
        place, types = self._place(view), self._types[view]
        wrong, absent = misfits(view, types), blanks(view, types)
        counts = "".join(f", count(*) FILTER (WHERE {condition})" for _, condition in (*wrong, *absent))
        total, *broken = self._engine.run(f"SELECT count(*){counts} FROM {mapped(view)}", place=place)[0]
        if total == 0:
            raise DataError(place, f"is empty: 0 rows; to do without the view: '~source.views.{view}'")
        for (column, condition), count in zip(wrong, broken, strict=False):
            if count:
                shown = f"CAST({quoted(column.name)} AS VARCHAR)"
                first = self._engine.run(broken_rows(shown, mapped(view), condition), place=place)[0][0]
                wanted = "a finite number" if column.kind is Kind.NUMBER and column.finite else column.kind.label
                found = f"found type {types[column.name]}, wanted {wanted}; {count} of {total} values do not fit, first '{first}'"
                raise DataError(place, printable(f"column {column.name}: {found}"))
        for (column, condition), count in zip(absent, broken[len(wrong) :], strict=True):
            if count:
                shown = ", ".join(c.name for c in VIEWS[view] if c.required)
                row = self._engine.run(broken_rows(f"CAST(({shown}) AS VARCHAR)", mapped(view), condition), place=place)[0][0]
                raise DataError(place, printable(f"column {column.name} is missing; rows: {count}, first: ({shown}) = {row}"))
        self._fitting.add(view)

    def _without_inert(self, panel: PricePanel) -> PricePanel:
        kept = np.array([not self._universe.is_inert(symbol) for symbol in panel.symbols])
        if kept.all():
            return panel
        symbols = tuple(symbol for symbol, keep in zip(panel.symbols, kept, strict=True) if keep)
        return replace(panel, symbols=symbols, close=panel.close[:, kept], fresh=panel.fresh[:, kept])

    def _refuse_unlisted(self, view: str) -> None:
        if self._universe.unclassified == "other" and not self._universe.fx:
            return
        sql = statement("unlisted_symbols").format(view=view)
        unlisted = [row[0] for row in self._engine.run(sql, place=self._place(view))]
        rates = [symbol for symbol in unlisted if symbol in self._universe.fx]
        if rates and view != "prices":
            raise DataError(self._place(view), printable(f"symbols of universe.fx do not trade: {', '.join(rates)}"))
        symbols = [symbol for symbol in unlisted if symbol not in self._universe.fx]
        if symbols and self._universe.unclassified == "error":
            lines = "\n".join(f"    {json.dumps(symbol)}: {{bucket: other}}" for symbol in symbols[:_SYMBOLS_SHOWN])
            more = f"\n    # and {len(symbols) - _SYMBOLS_SHOWN} more" if len(symbols) > _SYMBOLS_SHOWN else ""
            rule = (
                f"symbols not in universe.instruments: {len(symbols)}; add them with their bucket (safe, core, spec, other), "
                f"or set universe.unclassified=other:\n  instruments:\n{lines}{more}"
            )
            raise DataError(self._place(view), rule)

    def _refuse_foreign_prices(self) -> None:
        fx = self._universe.fx
        parameters = {"base_currency": self._universe.base_currency, "rates": list(fx), "pairs": list(fx.values())}
        rows = self._engine.run(statement("foreign_prices"), place=self.origin, parameters=parameters)
        if rows:
            shown = printable("; ".join(row[0] for row in rows))
            raise DataError(self._place("prices"), f"currency is not the instrument's; symbols: {rows[0][1]}, first: {shown}")

    def _refuse_no_overlap(self) -> None:
        overlapping, signals, prices = self._engine.run(statement("overlap"), place=self.origin)[0]
        if not overlapping:
            rule = f"no signal meets prices of its symbol; signals: {signals}; prices: {prices}"
            raise DataError(self._place("signals"), printable(rule))


def _told(finding: Finding) -> str:
    return f"{finding.check}: broken rule '{finding.rule}'; rows: {finding.count}, first: {' | '.join(finding.rows)}"
