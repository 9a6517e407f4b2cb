"""task=trade: run the sessions that are due on a paper account, under the rollout's mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from policyengine.allocation.cycle import Cycle, grid
from policyengine.errors import ConfigError, PolicyEngineError
from policyengine.evidence.replay import source_key
from policyengine.execution.broker import PaperBroker
from policyengine.market import open_market
from policyengine.monitoring.quant_gate import disabled
from policyengine.monitoring.snapshot import publish
from policyengine.records import Arm, Finding
from policyengine.reporting import trading
from policyengine.rollout.modes import State
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.trader import Rolled, Trader
from policyengine.spec.bind import plain
from policyengine.spec.root import Spec
from policyengine.spec.task import TradeTask
from policyengine.store import write_csv, write_json
from policyengine.tasks.inputs import inputs, required
from policyengine.tasks.rolled import heed_kill, rolled_out, switched
from policyengine.tasks.run import Run
from policyengine.tasks.signalled import Signalled
from policyengine.tasks.trade_record import Valuer, account_record, traded_record
from policyengine.tasks.watched import snapshot_of


def trade(spec: Spec, task: TradeTask, run: Run) -> None:
    """Trade every session since the last one, in turn, and say what was done and what is wanted next.

    Raises:
        NotStarted: the mode asked for is refused; no order was sent.
    """
    spec = switched(spec, run)
    heed_kill(spec, run)
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=run.temporary, shipped_dir=run.shipped
    ) as market:
        alerts, origin = market.check(), market.origin
        quoted = required(market.prices(spec.window.calendar) if "prices" in market.views else None, market, "task=trade")
        read = inputs(spec, market, quoted, run, online_from=quoted.sessions.size - 1)
    panel, stream = read.panel, read.stream
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
        barred, gate = disabled(run.state_dir, spec.universe)
        trader = Trader(spec, panel, stream, cycle, broker, account=task.account, check=valuer.check, rolled=rolled, barred=barred)

        def recorded(done: Sequence[Mapping[str, Any]], orphans: Sequence[Finding] = ()) -> dict[str, Any]:
            account, state = broker.account(closed_only=True), State.OFF if rolled is None else rolled.rollout.state
            t = trader.sessions.index(account.last_session) if account.last_session in trader.sessions else len(trader.sessions) - 1
            scaling, periods_per_year = trader.acting.scaling, panel.periods_per_year
            return {
                "account": task.account,
                "sessions": [{k: v for k, v in one.items() if k != "orders"} for one in done],
                "alerts": [plain(alert) for alert in (*alerts, *orphans)],
                "halted": None if rolled is None or not state.halted else rolled.rollout.why,
                **account_record(spec, account, cycle, valuer, t, state, scaling=scaling, periods_per_year=periods_per_year),
            }

        def refused(code: Code) -> None:
            publish(run.state_dir, snapshot_of(spec, run, recorded([]), trader, rolled, origin=origin, refusal=code))

        _start(rolled, run, trader, refused)
        signalled = Signalled(spec, run, panel, stream, cycle, first=_first(task, broker, trader))
        signalled.keep()  # before the orders that follow from them
        ran = list(trader.run(signalled.first))
        done = [traded_record(one, trader.sessions[one.day.index], panel.symbols, signalled.followed) for one in ran]
        orders = [order for one in done for order in one["orders"]]
        orphans = signalled.concluded([float(one.standing.nav[0]) for one in ran], orders)
        record = {**recorded(done, orphans), "quant_gate": gate}
        snapshot = snapshot_of(spec, run, record, trader, rolled, origin=origin)
    write_json(run.folder / "trade.json", record)
    write_csv(run.folder / "orders.csv", trading.ORDER_COLUMNS, orders)
    publish(run.state_dir, snapshot)
    for line in trading.lines(record, source=run.choices["source"], folder=str(run.folder)):
        run.say(line)


def _start(rolled: Rolled | None, run: Run, trader: Trader, refused: Callable[[Code], None]) -> None:
    """Bring the rollout to what is asked for; of a refusal `refused` hears, so that whoever watches sees it."""
    if rolled is None:
        return
    try:
        rolled.rollout.start(run.run_id, trader.facts)
    except NotStarted as error:
        with suppress(PolicyEngineError):  # an account that never traded has nothing to show; any other's snapshot goes stale
            refused(error.code)
        raise


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
