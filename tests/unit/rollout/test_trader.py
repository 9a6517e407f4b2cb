"""A canary that trades: what is looked at between two orders, and what each session leaves on record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from policyengine import cli
from policyengine.allocation.cycle import Cycle, grid
from policyengine.evidence.artifact import code_hash
from policyengine.execution.broker import PaperBroker
from policyengine.market import open_market
from policyengine.market.panel import PricePanel
from policyengine.records import Arm, Mode
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read
from policyengine.rollout.audit_records import Intent, Outcome, Transition
from policyengine.rollout.kill import VARIABLE, KillSwitch
from policyengine.rollout.modes import State
from policyengine.rollout.recomputing import recompute
from policyengine.rollout.rollout import Rollout
from policyengine.rollout.trader import Rolled, Trader
from policyengine.signals.stream import engine_stream
from tests.unit.rollout.conftest import MADE_AT, Case
from tests.unit.rollout.test_rollout import FACTS

NOW = MADE_AT + timedelta(days=1)
FIRST = 890


class Environment(dict[str, str]):
    """An environment in which somebody engages the kill switch once it was looked at so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.engages_after = 0, 10**9

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        if key != VARIABLE:
            return default
        self.looks += 1
        return "1" if self.looks > self.engages_after else None


@dataclass
class Desk:
    """A canary of planted data, its trader and its switch."""

    trader: Trader
    folder: Path
    environment: Environment


@pytest.fixture
def panel(case: Case, tmp_path: Path) -> PricePanel:
    spec = case.request.spec
    with open_market(spec.source, spec.universe, memory_limit_mb=512, temp_dir=tmp_path, shipped_dir=cli.DATA) as market:
        return market.prices(spec.window.calendar)


@pytest.fixture
def desk(case: Case, panel: PricePanel) -> Iterator[Desk]:
    spec, state, environment = case.request.spec, case.request.state_dir, Environment()
    stream = engine_stream(spec.signals, panel)
    policies, asked = [spec.arm(arm) for arm in Arm], grid(stream, spec.universe)
    cycle = Cycle(policies, stream, asked, spec.universe, allow_short=False, periods_per_year=panel.periods_per_year)
    kill = KillSwitch(state, environment=environment, file=None, configured=False, clock=lambda: NOW)
    kill.begin()
    lots = dict(zip(cycle.symbols, cycle.lots.tolist(), strict=True))
    folder = state / "audit"
    with (
        AuditLog(folder, recorded_at=NOW.isoformat()) as audit,
        PaperBroker(state / "paper", spec.execution, account="paper", base_currency="USD", capital=1e6, lots=lots) as broker,
    ):

        def rollout(mode: Mode) -> Rollout:
            made = replace(spec.rollout, mode=mode)
            return Rollout(
                made, audit, folder, kill, request=lambda stage, at, _: replace(case.request, stage=stage, at=at), clock=lambda: NOW
            )

        rollout(Mode.SHADOW).start("test", lambda: FACTS)
        acting = rollout(Mode.CANARY)
        assert acting.start("test", lambda: FACTS) is State.CANARY
        rolled = Rolled(rollout=acting, audit=audit, folder=folder)
        trader = Trader(spec, panel, stream, cycle, broker, account="paper", check=lambda *_: None, rolled=rolled)
        yield Desk(trader, folder, environment)


def test_a_canary_that_trades_recomputes(desk: Desk) -> None:
    done = list(desk.trader.run(FIRST))
    assert {one.state for one in done} == {State.CANARY}
    intents = list(read(desk.folder, Intent))
    assert recompute(desk.folder, code_hash()).decisions == len(intents) > 50
    assert len(list(read(desk.folder, Outcome))) == len(intents)


def test_a_kill_takes_effect_between_two_orders(desk: Desk) -> None:
    """Nothing more is opened in the session; the next one is the baseline's, and the kill is on record."""
    sessions = desk.trader.run(FIRST)
    next(sessions)  # nothing was decided before the first
    wanted = len(desk.trader.acting.decide(FIRST, None).weights.nonzero()[1])
    desk.environment.engages_after = desk.environment.looks + 1 + 2  # one look as the session begins, then one before each order
    cut = next(sessions)
    assert cut.state is State.CANARY
    assert len(cut.fills) == 2 < wanted
    after = next(sessions)
    assert after.state is State.KILLED
    assert len(after.fills) > 2
    assert [t.after for t in read(desk.folder, Transition)] == [State.SHADOW, State.CANARY, State.KILLED]
    of_the_next = [i for i in read(desk.folder, Intent) if i.session == desk.trader.sessions[after.day.index]]
    assert {i.mode for i in of_the_next} == {State.KILLED}
    assert all(i.acted_size == i.baseline_size for i in of_the_next)
    assert recompute(desk.folder, code_hash()).decisions > 10
