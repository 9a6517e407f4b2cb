"""task=trade: run the sessions that are due on a paper account, under the rollout's mode."""

from __future__ import annotations

import numpy as np

from policyengine.allocation.cycle import Cycle, grid
from policyengine.errors import ConfigError
from policyengine.evidence.replay import source_key
from policyengine.execution.broker import PaperBroker
from policyengine.market import open_market
from policyengine.records import Arm
from policyengine.reporting import trading
from policyengine.rollout.modes import State
from policyengine.rollout.trader import Trader
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec
from policyengine.spec.task import TradeTask
from policyengine.store import write_csv, write_json
from policyengine.tasks.inputs import inputs, required
from policyengine.tasks.rolled import rolled_out, switched
from policyengine.tasks.run import Run
from policyengine.tasks.trade_record import Valuer, account_record, traded_record


def trade(spec: Spec, task: TradeTask, run: Run) -> None:
    """Trade every session since the last one, in turn, and say what was done and what is wanted next.

    Raises:
        NotStarted: the mode asked for is refused; no order was sent.
    """
    spec = switched(spec, run)
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=run.temporary, shipped_dir=run.shipped
    ) as market:
        alerts = market.check()
        quoted = required(market.prices(spec.window.calendar) if "prices" in market.views else None, market, "task=trade")
        read = inputs(spec, market, quoted)
    panel, stream = read.panel, read.stream_of(spec.signals)
    cycle = Cycle(
        [spec.arm(arm) for arm in Arm],
        stream,
        grid(stream, spec.universe),
        spec.universe,
        allow_short=spec.execution.allow_short,
        periods_per_year=panel.periods_per_year,
    )
    valuer = Valuer(spec, quoted, panel)
    with rolled_out(spec, run, source_key(panel)) as rolled, _broker(spec, task, run, cycle) as broker:
        trader = Trader(spec, panel, stream, cycle, broker, account=task.account, check=valuer.check, rolled=rolled)
        if rolled is not None:
            rolled.rollout.start(run.run_id, trader.facts)
        done = [traded_record(one, trader.sessions[one.day.index], panel.symbols) for one in trader.run(_first(task, broker, trader))]
        account, state = broker.account(closed_only=True), State.OFF if rolled is None else rolled.rollout.state
        t = trader.sessions.index(account.last_session) if account.last_session in trader.sessions else len(trader.sessions) - 1
        record = {
            "account": task.account,
            "sessions": [{k: v for k, v in one.items() if k != "orders"} for one in done],
            "alerts": [plain(alert) for alert in alerts],
            "halted": None if rolled is None or not state.halted else rolled.rollout.why,
            **account_record(spec, account, cycle, valuer, t, state),
        }
    write_json(run.folder / "trade.json", record)
    write_csv(run.folder / "orders.csv", trading.ORDER_COLUMNS, [order for one in done for order in one["orders"]])
    for line in trading.lines(record, source=run.choices["source"], folder=str(run.folder)):
        run.say(line)


def _broker(spec: Spec, task: TradeTask, run: Run, cycle: Cycle) -> PaperBroker:
    return PaperBroker(
        run.state_dir / "paper" / task.account,
        spec.execution,
        account=task.account,
        base_currency=spec.universe.base_currency,
        capital=task.capital,
        lots=dict(zip(cycle.symbols, cycle.lots.tolist(), strict=True)),
    )


def _first(task: TradeTask, broker: PaperBroker, trader: Trader) -> int:
    """Index of the first session that is due: the one after the last closed, or where a new account begins.

    Raises:
        ConfigError: a new account would begin after the last session.
    """
    last = broker.account(closed_only=True).last_session
    sessions = np.array(trader.sessions, dtype="datetime64[D]")
    if last is not None:
        return int(np.searchsorted(sessions, np.datetime64(last), side="right"))
    if task.start_date is None:
        return len(sessions) - 1
    first = int(np.searchsorted(sessions, np.datetime64(task.start_date)))
    if first == len(sessions):
        raise ConfigError("task.start_date", f"{task.start_date} is after the last session, {trader.sessions[-1]}")
    return first
