"""task=trade: run the sessions that are due on a paper account, with the baseline's sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Cycle, grid
from policyengine.allocation.nav import Mark, PortfolioSnapshot, Valuation, panel_rates, value_portfolio
from policyengine.allocation.orders import OrderSizer
from policyengine.allocation.shell import project_to_feasible
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.evidence.replay import cash_rate
from policyengine.evidence.store import write_csv, write_json
from policyengine.execution.broker import Fill, PaperBroker
from policyengine.execution.paper import Desk, payload_of, standing_of
from policyengine.execution.replay import days
from policyengine.execution.session import Day, Done, Standing, interest_on, session
from policyengine.market import open_market
from policyengine.market.panel import PricePanel
from policyengine.records import Arm, Bucket
from policyengine.reporting import trading
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec
from policyengine.spec.task import TradeTask
from policyengine.tasks.inputs import Inputs, inputs, required
from policyengine.tasks.run import Run

NAV_AGREES = 1e-9


def trade(spec: Spec, task: TradeTask, run: Run) -> None:
    """Trade every session since the last one, in turn, and say what was done and what is wanted next."""
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=run.temporary, shipped_dir=run.shipped
    ) as market:
        alerts = market.check()
        quoted = required(market.prices(spec.window.calendar) if "prices" in market.views else None, market, "task=trade")
        desk = _Desk(spec, task, run, inputs(spec, market, quoted))
    with desk.broker:
        reports = list(desk.due())
        record = desk.record(reports, [plain(alert) for alert in alerts])
    write_json(run.folder / "trade.json", record)
    write_csv(run.folder / "orders.csv", trading.ORDER_COLUMNS, [order for report in reports for order in report["orders"]])
    for line in trading.lines(record, source=run.choices["source"], folder=str(run.folder)):
        run.say(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """Last known prices as quoted, and the session each was last fresh on."""

    quoted: PricePanel
    seen: NDArray[np.int64]


class _Desk:
    """The account, the policy and the data of one run."""

    def __init__(self, spec: Spec, task: TradeTask, run: Run, read: Inputs) -> None:
        self._spec, self._task, self._read = spec, task, read
        self._panel, self._sessions = read.panel, read.panel.sessions.astype("datetime64[D]").tolist()
        stream = read.stream_of(spec.signals)
        self._policy_hash = spec.policy_hash(Arm.BASELINE)
        self._cycle = Cycle(
            [spec.baseline],
            stream,
            grid(stream, spec.universe),
            spec.universe,
            allow_short=spec.execution.allow_short,
            periods_per_year=self._panel.periods_per_year,
        )
        self._rate = cash_rate(self._panel, spec.universe.cash_rate_symbol)
        self._rates = panel_rates(read.quoted, spec.universe)
        fresh = np.where(read.quoted.fresh, np.arange(len(self._sessions))[:, None], -1)
        self._marks = _Marks(quoted=read.quoted, seen=np.maximum.accumulate(fresh, axis=0))
        self.broker = PaperBroker(
            run.state_dir / "paper" / task.account,
            spec.execution,
            account=task.account,
            base_currency=spec.universe.base_currency,
            capital=task.capital,
            lots=dict(zip(self._panel.symbols, self._cycle.lots.tolist(), strict=True)),
        )

    def due(self) -> Iterator[dict[str, Any]]:
        """Run the sessions that are due, one after the other; each is closed before the next begins."""
        account = self.broker.account(closed_only=True)
        desk = Desk(
            broker=self.broker,
            execution=self._spec.execution,
            account=self._task.account,
            symbols=self._panel.symbols,
            sessions=self._sessions,
        )
        sizer = OrderSizer(self._spec.execution, self._cycle.limits, self._cycle.lots)
        first = self._first(account.last_session)
        for day in days(self._panel, self._rate):
            if day.index < first:
                continue
            # Every time from the journal, so that it does not matter whether the process is the same.
            standing = standing_of(account, self._cycle, self._panel.symbols)
            self._check_nav(day, standing)
            desk.decision, desk.done = f"{self._policy_hash} {account.last_session}", ()
            self.broker.accrue(self._sessions[day.index], float(interest_on(standing.book, day, self._spec.execution)[0]))
            standing, done = session(standing, day, self._cycle, sizer, self._spec.execution, desk.fill)
            self.broker.close_session(self._sessions[day.index], payload_of(standing, done, self._panel.symbols, self._policy_hash))
            account = self.broker.account(closed_only=True)
            yield self._report(day, standing, done, desk.done)

    def record(self, reports: Sequence[Mapping[str, Any]], alerts: Sequence[Any]) -> dict[str, Any]:
        """What was done, where the account stands now, and what it wants next, as plain values."""
        account = self.broker.account(closed_only=True)
        if account.last_session is None or account.last_payload is None:
            raise BrokenInvariant("no session was closed")
        t = int(np.searchsorted(self._panel.sessions, np.datetime64(account.last_session)))
        valued = value_portfolio(*self._snapshot(t, account.cash, {s: p.quantity for s, p in account.positions.items()}))
        kept = account.last_payload
        return {
            "account": self._task.account,
            "mode": "off",
            "policy": self._spec.baseline.name,
            "policy_hash": kept["policy"],
            "base_currency": self._spec.universe.base_currency,
            "as_of": account.last_session.isoformat(),
            "nav": valued.nav,
            "cash": account.cash,
            "capital": account.capital,
            "realized_pnl": account.realized_pnl,
            "cost": account.cost,
            "interest": account.interest,
            "haircuts": [plain(flag) for flag in valued.flags],
            "sessions": [{k: v for k, v in report.items() if k != "orders"} for report in reports],
            "buckets": self._buckets(valued),
            "sleeves": self._sleeves(t, kept),
            "targets": self._targets(t, kept, valued),
            **self._limits(kept),
            "alerts": list(alerts),
        }

    def _first(self, last: date | None) -> int:
        """Index of the first session that is due: the one after the last closed, or where a new account begins."""
        if last is not None:
            return int(np.searchsorted(self._panel.sessions, np.datetime64(last), side="right"))
        if self._task.start_date is None:
            return len(self._sessions) - 1
        first = int(np.searchsorted(self._panel.sessions, np.datetime64(self._task.start_date)))
        if first == len(self._sessions):
            raise ConfigError("task.start_date", f"{self._task.start_date} is after the last session, {self._sessions[-1]}")
        return first

    def _snapshot(self, t: int, cash: float, positions: Mapping[str, float]) -> tuple[PortfolioSnapshot, dict[str, Mark]]:
        """Holdings at session `t`, and the last known prices of all that is held."""
        quoted, universe = self._marks.quoted, self._spec.universe
        marks = {}
        for symbol in sorted(set(positions) & set(quoted.symbols)):
            i = quoted.symbols.index(symbol)
            if self._marks.seen[t, i] >= 0:
                seen = self._sessions[int(self._marks.seen[t, i])]
                marks[symbol] = Mark(price=float(quoted.close[t, i]), priced_at=_closing(seen))
        rates = {pair: float(rate[t]) for pair, rate in self._rates.items() if np.isfinite(rate[t])}
        as_of = _closing(self._sessions[t])
        return PortfolioSnapshot(
            cash={universe.base_currency: cash}, positions=positions, fx_rates=rates, as_of=as_of, universe=universe
        ), marks

    def _check_nav(self, day: Day, standing: Standing) -> None:
        """Value what is held before anything trades; refuse to where this and the book differ, or a holding cannot be priced."""
        quantity = standing.book.quantity[0]
        positions = {symbol: float(q) for symbol, q in zip(self._panel.symbols, quantity, strict=True) if q != 0.0}
        valued = value_portfolio(*self._snapshot(day.index, float(standing.book.cash[0]), positions))
        nav, haircuts = float(standing.book.nav(day.price)[0]), sum(flag.amount for flag in valued.flags)
        if abs(valued.nav + haircuts - nav) > NAV_AGREES * max(1.0, abs(nav)):
            raise BrokenInvariant(f"session {self._sessions[day.index]}: the book is worth {nav}, its holdings {valued.nav + haircuts}")

    def _report(self, day: Day, standing: Standing, done: Done, fills: Sequence[Fill]) -> dict[str, Any]:
        """One session, as plain values."""
        symbols = self._panel.symbols
        rejected = {} if done.orders is None else done.orders.rejected
        return {
            "session": self._sessions[day.index].isoformat(),
            "nav": float(standing.nav[0]),
            "interest": float(done.interest[0]),
            "traded": float(sum(abs(f.quantity * (f.price or 0.0)) for f in fills)),
            "cost": float(sum(f.cost for f in fills)),
            "waiting": {
                reason.name.lower(): [symbols[i] for i in np.flatnonzero(names[0])] for reason, names in rejected.items() if names.any()
            },
            "limits_held": done.orders is None or not bool(done.orders.breach[0] or done.orders.held_over[0]),
            "orders": [trading.order_row(fill) for fill in fills],
        }

    def _buckets(self, valued: Valuation) -> list[dict[str, Any]]:
        """What each bucket holds, as a fraction of NAV; safe is all that is not risk, cash included."""
        held = dict.fromkeys(Bucket, 0.0)
        for symbol, value in valued.values.items():
            held[self._spec.universe.bucket(symbol)] += abs(value) / valued.nav
        held[Bucket.SAFE] = 1.0 - sum(held[bucket] for bucket in Bucket if bucket is not Bucket.SAFE)
        limits = self._spec.baseline.limits
        return [
            {
                "bucket": bucket.value,
                "held_frac": held[bucket],
                "min_frac": limits.buckets[bucket].min_frac if limits.enabled and bucket is Bucket.SAFE else None,
                "max_frac": limits.buckets[bucket].max_frac if limits.enabled and bucket is not Bucket.SAFE else None,
            }
            for bucket in Bucket
        ]

    def _sleeves(self, t: int, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Budget of each sleeve, what it allocates and whether it has a signal at all."""
        spends = {sleeve.value: 0.0 for sleeve in SLEEVES}
        for i, symbol in enumerate(self._panel.symbols):
            spends[SLEEVES[int(self._cycle.charged(t)[i])].value] += abs(kept["allocated"].get(symbol, 0.0))
        budgets = self._spec.baseline.sleeves
        return [
            {
                "sleeve": sleeve.value,
                "base_frac": budgets.of(sleeve).base_nav_frac if budgets.enabled else None,
                "effective_frac": kept["fracs"].get(sleeve.value, 0.0) if budgets.enabled else None,
                "allocated_frac": spends[sleeve.value],
            }
            for sleeve in SLEEVES
        ]

    def _targets(self, t: int, kept: Mapping[str, Any], valued: Valuation) -> list[dict[str, Any]]:
        """What is held and wanted of each name, as signed fractions of NAV; the desired ones at base confidence and budget."""
        desired = self._cycle.desired()[0, t]
        rows = []
        for i, symbol in enumerate(self._panel.symbols):
            row = {
                "symbol": symbol,
                "bucket": self._spec.universe.bucket(symbol).value,
                "held_frac": valued.values.get(symbol, 0.0) / valued.nav,
                "desired_frac": float(desired[i]),
                "allocated_frac": kept["allocated"].get(symbol, 0.0),
                "target_frac": kept["weights"].get(symbol, 0.0),
            }
            if any(row[name] for name in ("held_frac", "desired_frac", "allocated_frac", "target_frac")):
                rows.append(row)
        return rows

    def _limits(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Which limits bind the decision, with their multipliers, and which minima it leaves unmet."""
        sleeves = self._spec.baseline.sleeves
        hedge_max_frac = sleeves.tail_hedge.max_nav_frac if sleeves.enabled else None
        made = project_to_feasible(kept["allocated"], self._spec.baseline.limits, self._spec.universe, hedge_max_frac=hedge_max_frac)
        return {
            "l1_drift_frac": made.l1_drift,
            "binding": [plain(limit) for limit in made.binding],
            "unmet": [plain(limit) for limit in made.unmet],
        }


def _closing(day: date) -> datetime:
    """The instant that stands for the close of a session."""
    return datetime.combine(day, time(23, 59), tzinfo=UTC)
