"""A paper account whose process is killed, at any system call and at any moment, that two open at once, or that cannot be written.

Whoever trades it starts again from the last closed session, sizes the orders of the next from that, and submits them all again.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from policyengine.errors import OutputError, PolicyEngineError
from policyengine.execution.broker import Order, PaperBroker, client_order_id
from policyengine.spec.execution import ExecutionSpec
from tests.faults.test_trials import dying_at, in_child
from tests.killing import KILLS, Say, killed_again_and_again

FIRST = date(2020, 1, 6)
EXECUTION = ExecutionSpec(
    commission_bps=1.0,
    spread_bps=4.0,
    slippage_bps=1.0,
    min_trade_frac=0.0,
    allow_short=False,
    borrow_bps=0.0,
    financing_spread_bps=0.0,
    max_fill_notional=40_000.0,
)


def opened(folder: Path) -> PaperBroker:
    return PaperBroker(folder, EXECUTION, account="demo", base_currency="USD", capital=100_000.0, lots={"A": 1.0})


def trade(broker: PaperBroker, sessions: int, acknowledged: Callable[[str, float], None] = lambda _id, _quantity: None) -> None:
    """Trade every session up to number `sessions` that is not closed. What is ordered depends on the account and the session alone."""
    while True:
        before = broker.account(closed_only=True)
        number = 0 if before.last_session is None else (before.last_session - FIRST).days + 1
        if number == sessions:
            return
        session, rng = FIRST + timedelta(days=number), random.Random(number)
        broker.accrue(session, before.cash * 1e-5)
        for symbol in "ABCD":
            price, held = rng.uniform(50.0, 150.0), before.positions.get(symbol)
            now = 0.0 if held is None else held.quantity
            wanted = float(rng.randrange(0, 600)) if symbol == "A" else rng.uniform(0.0, 250.0)
            quantity = -now if now and rng.random() < 0.2 else wanted - now
            order = Order(
                client_order_id=client_order_id("demo", session, symbol, f"s{number}"),
                symbol=symbol,
                quantity=quantity or 1.0,
                reference_price=price,
                session=session,
                reduces=quantity < 0.0,
            )
            done = broker.submit(order, None if rng.random() < 0.02 else price)
            acknowledged(order.client_order_id, done.quantity)
        broker.close_session(session, {"weights": {s: p.quantity * p.basis for s, p in broker.account().positions.items()}})


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().splitlines()]


def done(folder: Path) -> list[dict[str, Any]]:
    """What was recorded, apart from recoveries and where in the chain it stands."""
    return [{k: v for k, v in r.items() if k not in ("seq", "previous")} for r in journal(folder) if r["kind"] != "recovery"]


def uninterrupted(folder: Path, sessions: int) -> list[dict[str, Any]]:
    with opened(folder) as broker:
        trade(broker, sessions)
    return done(folder)


def check(folder: Path, expected: list[dict[str, Any]], sessions: int) -> None:
    """After a restart the account goes on to be the one that nothing interrupted, and what was torn is kept and recorded."""
    with opened(folder) as broker:
        trade(broker, sessions)
    assert done(folder) == expected
    noted = [record["file"] for record in journal(folder) if record["kind"] == "recovery"]
    assert sorted(noted) == sorted(path.name for path in folder.glob("torn-*.bin"))


@pytest.mark.parametrize("torn", [False, True])
def test_killed_at_each_system_call(tmp_path: Path, torn: bool) -> None:
    """The file is torn in half a write, or whole and not synced; a torn line of an earlier crash may stand there already."""
    expected = uninterrupted(tmp_path / "whole", 2)
    survived = False
    for call in range(1, 200):
        folder = tmp_path / str(call)
        if torn:
            with opened(folder) as broker:
                trade(broker, 1)
            with (folder / "journal.jsonl").open("ab") as file:
                file.write(b'{"torn')

        def work(call: int = call, folder: Path = folder) -> None:
            dying_at(call)
            with opened(folder) as broker:
                trade(broker, 2)

        _, status = os.waitpid(in_child(work), 0)
        survived = status == 0
        assert survived or os.WTERMSIG(status) == signal.SIGKILL
        check(folder, expected, 2)
        if survived:
            break
    assert survived
    assert call > 20


def trading(folder: Path, say: Say) -> None:
    """Trade without end, saying what is acknowledged."""
    with opened(folder) as broker:
        trade(broker, 100_000, lambda known, quantity: say(f"{known} {quantity!r}"))


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Each fill is said through a pipe once it is acknowledged; none of them is ever lost, changed or done twice."""
    folder, said = tmp_path / "account", dict[str, float]()
    for more in killed_again_and_again(lambda say: trading(folder, say), seed=11, within=0.03):
        for known, quantity in map(str.split, more):
            assert said.setdefault(known, float(quantity)) == float(quantity)
    orders = [record for record in journal(folder) if record["kind"] == "order"]
    filled = {record["order"]["client_order_id"]: record["fill"]["quantity"] for record in orders}
    assert len(filled) == len(orders)
    assert said.items() <= filled.items()
    assert len(said) > KILLS
    with opened(folder) as broker:
        last = broker.account().last_session
    assert last is not None
    sessions = (last - FIRST).days + 3
    check(folder, uninterrupted(tmp_path / "whole", sessions), sessions)
    with opened(folder) as broker, opened(tmp_path / "whole") as whole:
        assert broker.account() == whole.account()


def refused(folder: Path) -> Callable[[], None]:
    """Open the account, hold it for half a second, and exit as the command line would."""

    def work() -> None:
        try:
            with opened(folder):
                time.sleep(0.5)
        except PolicyEngineError as error:
            os._exit(error.exit_code)

    return work


def test_two_at_once_give_one_refusal(tmp_path: Path) -> None:
    for turn in range(5):
        pids = [in_child(refused(tmp_path / str(turn))) for _ in range(2)]
        assert sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids) == [0, 5]
    with opened(tmp_path / "0"):
        assert os.waitstatus_to_exitcode(os.waitpid(in_child(refused(tmp_path / "0")), 0)[1]) == 5


def test_a_write_that_fails_is_no_fill(tmp_path: Path) -> None:
    """The file may not grow by a whole record: the order is not acknowledged, and no other is until the account is opened again."""
    expected = uninterrupted(tmp_path / "whole", 2)
    folder = tmp_path / "account"
    with opened(folder) as broker:
        trade(broker, 1)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with opened(folder) as broker:
            broker.accrue(FIRST + timedelta(days=1), broker.account().cash * 1e-5)
            size = (folder / "journal.jsonl").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
            for message in ("cannot be read or written", "a write failed before"):
                with pytest.raises(OutputError, match=message):
                    trade(broker, 2)
            assert (folder / "journal.jsonl").stat().st_size == size + 100

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0
    check(folder, expected, 2)
    assert len(list(folder.glob("torn-*.bin"))) == 1
