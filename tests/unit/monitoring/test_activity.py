"""What an account did, by hand-worked sums over the journal of a real paper broker."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from policyengine.errors import DataError
from policyengine.execution.broker import Order, PaperBroker
from policyengine.execution.journal import Journal
from policyengine.monitoring.activity import done_of, sessions_of
from policyengine.records import Bucket
from tests.conftest import composed_spec

SPEC = composed_spec()
COST = SPEC.execution.cost_frac
SAFE, CORE, SPECULATIVE, OTHER = Bucket


def bucket_of(symbol: str) -> Bucket:
    return {"K": CORE, "A": SPECULATIVE}.get(symbol, OTHER)


class Account:
    """A paper account that trades what a test says, session after session."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._day, self._n = folder, date(2026, 3, 1), 0

    def session(self, *orders: tuple[str, float, float | None], state: str = "off", **payload: Any) -> None:
        self._day = self._day.replace(day=self._day.day + 1)
        opened = {"account": "x", "base_currency": "USD", "capital": 1000.0, "lots": {}}
        with PaperBroker(self.folder, SPEC.execution, **opened) as broker:  # type: ignore[arg-type]
            for symbol, quantity, price in orders:
                self._n += 1
                order = Order(
                    client_order_id=f"o_{self._n}",
                    symbol=symbol,
                    quantity=quantity,
                    reference_price=price or 1.0,
                    session=self._day,
                    reduces=False,
                )
                broker.submit(order, price)
            broker.close_session(self._day, {"state": state, "nav": 1000.0, **payload})


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path / "journal")


def test_turnover_costs_and_realised_pnl_by_hand(account: Account) -> None:
    account.session(("K", 2.0, 100.0), ("A", 1.0, 50.0))
    account.session(("K", -1.0, 110.0), ("A", -1.0, 40.0))
    account.session(("K", -1.0, 90.0))
    done = done_of(sessions_of(account.folder, bucket_of))
    assert done is not None
    core, spec = 110.0 - 100.0 - COST * 210.0 + 90.0 - 100.0 - COST * 190.0, 40.0 - 50.0 - COST * 90.0
    pnl = {one.bucket: one.realized_pnl for one in done.rolling.buckets}
    assert pnl == {SAFE: 0.0, CORE: pytest.approx(core), SPECULATIVE: pytest.approx(spec), OTHER: 0.0}
    traded = 250.0 + 150.0 + 90.0
    assert done.rolling.turnover_frac == pytest.approx(traded / 1000.0)
    assert done.rolling.cost_bps == pytest.approx(10.0 * COST * traded)
    assert (done.rolling.sessions, done.rolling.orders, done.rolling.rejects) == (3, 5, 0)
    won, lost = 10.0 - COST * 210.0, (10.0 + COST * 190.0) + (10.0 + COST * 90.0)
    assert done.rolling.profit_factor == pytest.approx(won / lost)
    assert (done.session.orders, done.session.turnover_frac) == (1, pytest.approx(0.09))
    assert done.since_mode == done.rolling
    assert done.before_mode is None


def test_a_session_without_an_order_has_no_reject_rate(account: Account) -> None:
    account.session()
    done = done_of(sessions_of(account.folder, bucket_of))
    assert done is not None
    assert (done.session.reject_frac, done.session.profit_factor, done.session.turnover_frac) == (None, None, 0.0)


def test_what_is_refused_and_what_is_held_back_are_rejects_and_each_name_counts_once(account: Account) -> None:
    account.session(("K", 1.0, 100.0), ("A", 1.0, None), held_back=["K", "Z"])
    done = done_of(sessions_of(account.folder, bucket_of))
    assert done is not None
    counts = {one.bucket: (one.orders, one.rejects, one.reject_frac) for one in done.session.buckets}
    assert counts == {SAFE: (0, 0, None), CORE: (1, 1, 1.0), SPECULATIVE: (1, 1, 1.0), OTHER: (1, 1, 1.0)}
    assert (done.session.orders, done.session.rejects) == (3, 3)


def test_both_sides_of_the_last_change_of_mode(account: Account) -> None:
    for state, refused in (("off", 0), ("shadow", 0), ("shadow", 1), ("canary", 1), ("canary", 1)):
        account.session(("K", 0.1, 100.0), ("A", 0.1, None if refused else 50.0), state=state)
    done = done_of(sessions_of(account.folder, bucket_of))
    assert done is not None
    assert done.before_mode is not None
    assert (done.since_mode.state, done.since_mode.sessions, done.since_mode.reject_frac) == ("canary", 2, 0.5)
    assert (done.before_mode.state, done.before_mode.sessions, done.before_mode.rejects) == (None, 3, 1)


def test_rolling_is_the_last_twenty(account: Account) -> None:
    for _ in range(25):
        account.session(("K", 0.01, 100.0))
    done = done_of(sessions_of(account.folder, bucket_of))
    assert done is not None
    assert (done.rolling.sessions, done.rolling.orders, done.since_mode.sessions) == (20, 20, 25)


def test_no_session_is_nothing_and_another_journal_is_refused(tmp_path: Path) -> None:
    assert done_of(sessions_of(tmp_path / "none", bucket_of)) is None
    journal = Journal(tmp_path / "other", {"kind": "open"})
    journal.append({"kind": "session", "session": "2026-03-02", "payload": {}})
    journal.close()
    with pytest.raises(DataError, match="is not one of an account"):
        sessions_of(tmp_path / "other", bucket_of)
