"""One paper account: what fills, what is refused, what is remembered, and that nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyengine.errors import BrokenInvariant, ConfigError
from policyengine.execution.account import Account, Position
from policyengine.execution.broker import AccountConflict, Fill, Order, PaperBroker, Refusal, client_order_id
from policyengine.execution.journal import JournalBroken
from policyengine.execution.ledger import Book, empty_book, fill
from policyengine.spec.execution import ExecutionSpec

MONDAY = date(2020, 1, 6)
TUESDAY = MONDAY + timedelta(days=1)


def spec(**changes: Any) -> ExecutionSpec:
    """1% of notional a fill: 50 bp, half of 60 bp, 20 bp."""
    values = {
        "commission_bps": 50.0,
        "spread_bps": 60.0,
        "slippage_bps": 20.0,
        "min_trade_frac": 0.05,
        "allow_short": False,
        "borrow_bps": 0.0,
        "financing_spread_bps": 0.0,
    }
    return ExecutionSpec(**{**values, **changes})


def opened(folder: Path, execution: ExecutionSpec | None = None, *, capital: float = 1_000.0, **lots: float) -> PaperBroker:
    return PaperBroker(folder, execution or spec(), account="demo", base_currency="USD", capital=capital, lots=lots)


def order(quantity: float, *, symbol: str = "A", session: date = MONDAY, reduces: bool = False, decision: str = "") -> Order:
    return Order(
        client_order_id=client_order_id("demo", session, symbol, decision or str(quantity)),
        symbol=symbol,
        quantity=quantity,
        reference_price=100.0,
        session=session,
        reduces=reduces,
    )


def test_an_order_id_is_the_same_for_the_same_decision_and_no_other() -> None:
    made = client_order_id("demo", MONDAY, "A", "s1")
    text = b'["demo", "2020-01-06", "A", "s1"]'
    assert made == "o_" + hashlib.sha256(text).hexdigest()[:32]
    others = [("demo2", MONDAY, "A", "s1"), ("demo", TUESDAY, "A", "s1"), ("demo", MONDAY, "B", "s1"), ("demo", MONDAY, "A", "s2")]
    confusable = [("demo", MONDAY, "As", "1"), ("demo", MONDAY, 'A", "s1', ""), ("demo", MONDAY, "\ud800", "")]
    assert len({made, *(client_order_id(*words) for words in others + confusable)}) == 8


@pytest.mark.parametrize("quantity", [0.0, math.nan, math.inf])
def test_an_order_of_nothing_cannot_be_made(quantity: float) -> None:
    with pytest.raises(BrokenInvariant, match="quantity"):
        order(quantity)
    with pytest.raises(BrokenInvariant, match="reference_price"):
        replace(order(1.0), reference_price=quantity)


def test_every_figure_of_a_round_trip(tmp_path: Path) -> None:
    """5 bought at 100 cost 5, basis 101; 2 sold at 120 cost 2.40 and make 2 x (120 - 101) - 2.40 = 35.60; the rest at 90 loses."""
    with opened(tmp_path) as broker:
        bought = broker.submit(order(5.0), 100.0)
        assert bought == Fill(order=order(5.0), quantity=5.0, price=100.0, cost=5.0, closed=0.0, realized=0.0, basis=101.0, refusal=None)
        assert broker.account() == Account(
            capital=1_000.0,
            cash=495.0,
            positions={"A": Position(quantity=5.0, basis=101.0)},
            realized_pnl=0.0,
            cost=5.0,
            interest=0.0,
            last_session=None,
            last_payload=None,
        )
        sold = broker.submit(order(-2.0, reduces=True), 120.0)
        assert (sold.cost, sold.closed, sold.realized) == (pytest.approx(2.4), 2.0, pytest.approx(35.6))
        broker.accrue(MONDAY, 0.25)
        out = broker.submit(order(-3.0, reduces=True), 90.0)
        assert (out.closed, out.realized, out.basis) == (3.0, pytest.approx(-35.7), 0.0)
        account = broker.account()
    assert account.positions == {}
    assert account.cash == pytest.approx(1_000.0 + 35.6 - 35.7 + 0.25, abs=1e-12)
    assert (account.realized_pnl, account.cost, account.interest) == (pytest.approx(-0.1), pytest.approx(10.1), 0.25)


def test_an_account_is_what_its_journal_says(tmp_path: Path) -> None:
    payload = {"weights": {"A": 0.1 + 0.2, "B": None}, "nav": 5e-324, "names": ["A", "B"]}
    with opened(tmp_path) as broker:
        broker.submit(order(5.0), 100.0)
        broker.close_session(MONDAY, payload)
        closed = broker.account()
        broker.accrue(TUESDAY, 1.0)
        broker.submit(order(-5.0, session=TUESDAY, reduces=True), 110.0)
        after = broker.account()
        assert broker.account(closed_only=True) == closed
    with opened(tmp_path) as broker:
        assert broker.account() == after
        assert broker.account(closed_only=True) == closed
        assert closed.last_session == MONDAY
        assert closed.last_payload == payload
        assert after.last_payload == payload


def test_a_known_id_returns_what_was_recorded(tmp_path: Path) -> None:
    with opened(tmp_path) as broker:
        first = broker.submit(order(5.0), 100.0)
        refused = broker.submit(order(900.0), 100.0)
        stands = (tmp_path / "journal.jsonl").read_bytes(), broker.account()
        assert broker.submit(order(5.0), 130.0) == first
        assert broker.submit(order(900.0), 0.01) == refused
    with opened(tmp_path) as broker:
        assert broker.submit(order(5.0), None) == first
        assert broker.submit(order(900.0), 0.01) == refused
        assert refused.refusal is Refusal.BUYING_POWER
        assert ((tmp_path / "journal.jsonl").read_bytes(), broker.account()) == stands


@pytest.mark.parametrize(
    "change", [{"quantity": 6.0}, {"symbol": "B"}, {"reference_price": 101.0}, {"session": TUESDAY}, {"reduces": True}, {"signal_id": "s"}]
)
def test_a_known_id_for_another_order_is_refused_naming_both(tmp_path: Path, change: dict[str, Any]) -> None:
    with opened(tmp_path) as broker:
        broker.submit(order(5.0), 100.0)
        before = broker.account()
        with pytest.raises(AccountConflict, match=r"journal\.jsonl:2: holds order \{.*\}, not \{.*\}") as conflict:
            broker.submit(replace(order(5.0), **change), 100.0)
        ((name, value),) = change.items()
        assert json.dumps({name: value.isoformat() if isinstance(value, date) else value})[1:-1] in str(conflict.value)
        assert broker.account() == before


@pytest.mark.parametrize("price", [None, math.nan, math.inf, -math.inf, 0.0])
def test_nothing_fills_without_a_price(tmp_path: Path, price: float | None) -> None:
    with opened(tmp_path) as broker:
        done = broker.submit(order(5.0), price)
        assert (done.refusal, done.quantity, done.price, done.cost) == (Refusal.NO_PRICE, 0.0, None, 0.0)
        assert broker.account().cash == 1_000.0
        assert broker.submit(order(5.0), 100.0) == done


def test_what_cash_does_not_pay_for_is_refused_whole(tmp_path: Path) -> None:
    """At 1% a fill, 1,000 buys 9.9 at 100 and not 10."""
    with opened(tmp_path) as broker:
        refused = broker.submit(order(10.0), 100.0)
        assert (refused.refusal, refused.quantity, refused.cost) == (Refusal.BUYING_POWER, 0.0, 0.0)
        assert broker.submit(order(1_000.0 / 101.0), 100.0).refusal is None
        assert broker.account().cash == pytest.approx(0.0, abs=1e-9)
        assert broker.submit(order(0.01), 100.0).refusal is Refusal.BUYING_POWER


def test_a_reduction_is_never_refused_for_want_of_cash(tmp_path: Path) -> None:
    """Short 10 at 100; interest takes the cash; buying back 4 takes it further down, and is accepted. Buying another name is not."""
    with opened(tmp_path, spec(allow_short=True), A=3.0) as broker:
        assert broker.submit(order(-9.0), 100.0).refusal is None
        broker.accrue(MONDAY, -1_990.0)
        assert broker.account().cash == pytest.approx(-99.0)
        assert broker.submit(order(1.0, symbol="B"), 100.0).refusal is Refusal.BUYING_POWER
        bought = broker.submit(order(4.0, reduces=True), 100.0)
        assert (bought.refusal, bought.quantity) == (None, 4.0)
        assert broker.account().positions["A"].quantity == -5.0
        assert broker.submit(order(-3.0), 100.0).refusal is None  # still owes cash, but this brings some


@pytest.mark.parametrize(("held", "quantity"), [(5.0, -5.5), (5.0, 1.0), (-5.0, 6.0), (-5.0, -1.0), (0.0, -1.0), (0.0, 1.0)])
def test_what_claims_to_reduce_may_do_nothing_else(tmp_path: Path, held: float, quantity: float) -> None:
    with opened(tmp_path, spec(allow_short=True)) as broker:
        if held:
            broker.submit(order(held, decision="before"), 100.0)
        before = broker.account()
        done = broker.submit(order(quantity, reduces=True), 100.0)
        assert (done.refusal, done.quantity, done.basis) == (
            Refusal.NOT_REDUCING,
            0.0,
            0.0 if held == 0.0 else pytest.approx(100.0, abs=1.0),
        )
        assert broker.account() == before


def test_a_short_needs_leave(tmp_path: Path) -> None:
    with opened(tmp_path / "long") as broker:
        broker.submit(order(2.0), 100.0)
        assert broker.submit(order(-3.0), 100.0).refusal is Refusal.NO_SHORT
        assert broker.submit(order(-1.0, symbol="B"), 100.0).refusal is Refusal.NO_SHORT
        assert broker.submit(order(-2.0), 100.0).refusal is None
    with opened(tmp_path / "short", spec(allow_short=True)) as broker:
        broker.submit(order(2.0), 100.0)
        flipped = broker.submit(order(-3.0), 100.0)
        assert (flipped.closed, flipped.realized, flipped.basis) == (2.0, pytest.approx(-4.0), pytest.approx(99.0))


def test_a_large_position_is_no_false_alarm(tmp_path: Path) -> None:
    """A short of billions bought back but for a cent's worth: rounding is judged by what is traded."""
    free = spec(commission_bps=0.0, spread_bps=0.0, slippage_bps=0.0, allow_short=True)
    with opened(tmp_path, free) as broker:
        for n in range(30):
            size = 123_456_789.123 * (1.0 + n / 7.0)
            assert broker.submit(order(-size, symbol=f"S{n}"), 98.7).refusal is None
            assert broker.submit(order(size - 1e-4, symbol=f"S{n}", reduces=True), 98.7).refusal is None


def test_positions_are_whole_lots(tmp_path: Path) -> None:
    """0.7 is seven lots of 0.1 whatever its last bits; 0.75 is no number of lots."""
    with opened(tmp_path, A=0.1) as broker:
        assert broker.submit(order(0.75), 100.0).refusal is Refusal.ODD_LOT
        bought = broker.submit(order(0.1 + 0.2 + 0.4), 100.0)
        assert (bought.refusal, bought.quantity) == (None, 0.1 + 0.2 + 0.4)
    with opened(tmp_path, A=1.0) as broker:  # the lot has changed since: 0.7 is held, and 1.3 make it 2
        assert broker.submit(order(1.0), 100.0).refusal is None
        assert broker.submit(order(1.5), 100.0).refusal is Refusal.ODD_LOT
        assert broker.submit(order(0.3), 100.0).refusal is None
        assert broker.account().positions["A"].quantity == pytest.approx(2.0)


def test_more_than_a_session_takes_is_filled_in_part(tmp_path: Path) -> None:
    """At most 250 a fill: at 100 that is 2.5, two lots of 1; the rest is cancelled, and asking again does not fill it."""
    capped = spec(max_fill_notional=250.0)
    with opened(tmp_path, capped, A=1.0) as broker:
        done = broker.submit(order(5.0), 100.0)
        assert (done.quantity, done.cost, done.refusal) == (2.0, 2.0, Refusal.PARTIAL)
        assert broker.submit(order(5.0), 100.0) == done
        assert broker.submit(order(5.0, symbol="B"), 100.0).quantity == 2.5
        out = broker.submit(order(-2.0, reduces=True), 300.0)
        assert (out.quantity, out.refusal, out.closed) == (0.0, Refusal.PARTIAL, 0.0)
        assert math.copysign(1.0, out.quantity) == 1.0
        assert broker.account().positions["A"] == Position(quantity=2.0, basis=101.0)
        full = broker.submit(order(2.0, decision="more"), 100.0)
        assert (full.quantity, full.refusal) == (2.0, None)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_market_that_takes_nothing_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="max_fill_notional"):
        spec(max_fill_notional=value)


def test_a_negative_price_pays_the_buyer(tmp_path: Path) -> None:
    with opened(tmp_path, spec(allow_short=True)) as broker:
        broker.submit(order(10.0), -40.0)
        assert broker.account().cash == pytest.approx(1_000.0 + 400.0 - 4.0)
        assert broker.submit(order(-40.0, symbol="B"), -40.0).refusal is Refusal.BUYING_POWER
        assert broker.submit(order(-10.0, reduces=True), -30.0).realized == pytest.approx(10 * (-30.0 + 39.6) - 3.0)


def test_interest_is_accrued_once_a_session(tmp_path: Path) -> None:
    with opened(tmp_path) as broker:
        for _ in range(2):
            broker.accrue(MONDAY, 1.5)
        with pytest.raises(AccountConflict, match=r"journal\.jsonl:2: holds interest 1.5 for 2020-01-06, not 1.6"):
            broker.accrue(MONDAY, 1.6)
        with pytest.raises(BrokenInvariant):
            broker.close_session(MONDAY, {"nav": math.nan})
        broker.close_session(MONDAY, {})
        with pytest.raises(BrokenInvariant):
            broker.accrue(TUESDAY, math.inf)
        broker.accrue(TUESDAY, -0.5)
        broker.accrue(MONDAY, 1.5)
        assert broker.account().cash == 1_001.0
        assert broker.account().interest == 1.0


def test_sessions_are_closed_in_order_and_one_is_open_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path) as broker:
        broker.submit(order(1.0), 100.0)
        for act in (
            lambda: broker.submit(order(1.0, session=TUESDAY), 100.0),
            lambda: broker.accrue(TUESDAY, 1.0),
            lambda: broker.close_session(TUESDAY, {}),
        ):
            with pytest.raises(AccountConflict, match="session 2020-01-06 is open: close it first"):
                act()
        for _ in range(2):
            broker.close_session(MONDAY, {"nav": 1.0})
        with pytest.raises(AccountConflict, match="closed with another payload"):
            broker.close_session(MONDAY, {"nav": 2.0})
        with pytest.raises(AccountConflict, match="session 2020-01-06 is closed"):
            broker.submit(order(2.0), 100.0)
        assert broker.submit(order(1.0), 100.0).quantity == 1.0  # known, so nothing is done
        broker.close_session(TUESDAY, {})
        with pytest.raises(AccountConflict, match="session 2020-01-07 is closed"):
            broker.close_session(MONDAY, {"nav": 1.0})
        assert json.loads((tmp_path / "head.json").read_bytes())["count"] == 4
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 4


def test_a_payload_is_kept_apart_from_its_maker(tmp_path: Path) -> None:
    payload: dict[str, Any] = {"weights": {"A": 1.0}}
    with opened(tmp_path) as broker:
        broker.close_session(MONDAY, payload)
        payload["weights"]["A"] = 2.0
        assert broker.account().last_payload == {"weights": {"A": 1.0}}


@pytest.mark.parametrize("change", [{"account": "other"}, {"base_currency": "EUR"}, {"capital": 999.0}])
def test_an_account_opened_as_another_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    opened(tmp_path).close()
    words: dict[str, Any] = {"account": "demo", "base_currency": "USD", "capital": 1_000.0, **change}
    for _ in range(2):  # and lets go of the lock
        with pytest.raises(AccountConflict, match=str(next(iter(change.values())))):
            PaperBroker(tmp_path, spec(), lots={}, **words)
    opened(tmp_path).close()


@pytest.mark.parametrize("capital", [0.0, -1.0, math.nan, math.inf])
def test_capital_is_above_zero(tmp_path: Path, capital: float) -> None:
    with pytest.raises(BrokenInvariant, match="capital"):
        opened(tmp_path, capital=capital)
    assert not list(tmp_path.iterdir())


def chained(records: list[dict[str, Any]]) -> bytes:
    """A journal as another program would write it."""
    lines, previous = [], "0" * 64
    for seq, record in enumerate(records, start=1):
        line = json.dumps({"seq": seq, "previous": previous, **record}).encode()
        previous = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    return b"".join(lines)


def forged(folder: Path, *records: dict[str, Any]) -> None:
    opened(folder).close()
    head = json.loads((folder / "journal.jsonl").read_bytes())
    (folder / "head.json").write_text('{"count": 0, "hash": ""}')
    (folder / "journal.jsonl").write_bytes(chained([{k: v for k, v in head.items() if k not in ("seq", "previous")}, *records]))


@pytest.mark.parametrize("record", [{"kind": "open"}, {"kind": "else"}, {"kind": "order"}, {"kind": "order", "order": 1, "fill": {}}, {}])
def test_a_record_that_is_none_of_an_account_is_named(tmp_path: Path, record: dict[str, Any]) -> None:
    forged(tmp_path, record)
    for _ in range(2):
        with pytest.raises(JournalBroken, match=r"journal\.jsonl:2: is not a record of an account"):
            opened(tmp_path)


def test_opening_takes_time_in_proportion_to_what_is_recorded(tmp_path: Path) -> None:
    """20,000 orders; 0.2 s here. A guard against work that grows with the square."""
    one = {"price": 100.0, "cost": 1.0, "closed": 0.0, "realized": 0.0, "basis": 101.0, "refusal": None}
    records: list[dict[str, Any]] = []
    for n in range(20_000):
        session = (MONDAY + timedelta(days=n // 20)).isoformat()
        asked = {"client_order_id": f"o_{n}", "symbol": f"S{n % 50}", "quantity": 1.0, "session": session}
        records.append({"kind": "order", "order": asked, "fill": {"quantity": 1.0 if n % 100 < 50 else -1.0, **one}})
        if n % 20 == 19:
            records.append({"kind": "session", "session": session, "payload": {}})
    forged(tmp_path, *records)
    start = time.perf_counter()
    with opened(tmp_path) as broker:
        assert time.perf_counter() - start < 4.0
        assert broker.account().cost == 20_000.0
        assert broker.account().positions == {}


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where properties of the arithmetic are tried; what a disk keeps is tried on a disk."""
LOTS = {"A": 0.125, "B": 0.5, "C": 0.125}
Step = tuple[str, float, float, bool]
STEPS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.integers(-80, 80).filter(bool).map(lambda n: n / 8.0),
        st.integers(-8, 400).map(lambda n: n / 4.0),  # 0 included: no price
        st.booleans(),
    ),
    max_size=14,
)
EXACT = spec(commission_bps=78.125, spread_bps=0.0, slippage_bps=0.0)  # 1/128, so that costs and cash are exact in binary


def submitted(folder: Path, execution: ExecutionSpec, steps: list[Step], again: list[int]) -> tuple[Account, list[Fill], bytes]:
    """Every third order closes its session; before order i the account is opened anew and `again[i]` earlier ones are sent again."""
    broker = opened(folder, execution, **LOTS)
    fills: list[Fill] = []
    for n, (symbol, quantity, price, reduces) in enumerate(steps):
        session = MONDAY + timedelta(days=n // 3)
        if n < len(again) and again[n]:
            broker.close()
            broker = opened(folder, execution, **LOTS)
            for known in fills[-again[n] :]:
                assert broker.submit(known.order, 1.0 + price) == known
        fills.append(broker.submit(order(quantity, symbol=symbol, session=session, reduces=reduces, decision=str(n)), price))
        if n % 3 == 2:
            for _ in range(1 + (n < len(again) and again[n] > 0)):
                broker.accrue(session, 0.125)
                broker.close_session(session, {"n": n})
    broker.close()
    with opened(folder, execution, **LOTS) as last:
        return last.account(), fills, (folder / "journal.jsonl").read_bytes()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, again=st.lists(st.integers(0, 4), max_size=14), short=st.booleans(), most=st.sampled_from([None, 300.0]))
def test_orders_sent_again_change_nothing(steps: list[Step], again: list[int], short: bool, most: float | None) -> None:
    execution = replace(EXACT, allow_short=short, max_fill_notional=most)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        once = submitted(Path(folder) / "once", execution, steps, [])
        assert submitted(Path(folder) / "again", execution, steps, again) == once


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, short=st.booleans(), most=st.sampled_from([None, 300.0]))
def test_cash_and_positions_fall_by_exactly_the_costs(steps: list[Step], short: bool, most: float | None) -> None:
    """In fractions, at fill prices, whatever filled. Cash is never below zero, no short without leave, lots are whole."""
    execution = replace(EXACT, allow_short=short, max_fill_notional=most)
    cash, interest, held = Fraction(1_000), Fraction(0), dict.fromkeys("ABC", Fraction(0))
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        account, fills, _ = submitted(Path(folder), execution, steps, [])
    for n, done in enumerate(fills):
        symbol = done.order.symbol
        moved, price = Fraction(done.quantity), Fraction(done.price or 0.0)
        assert abs(moved) <= abs(Fraction(done.order.quantity))
        assert Fraction(done.cost) == abs(moved * price) / 128
        before = cash + held[symbol] * price
        was_held = held[symbol]
        cash -= moved * price + Fraction(done.cost)
        held[symbol] += moved
        assert cash + held[symbol] * price == before - Fraction(done.cost)
        assert done.refusal is not None or done.quantity == done.order.quantity
        assert not done.order.reduces or abs(held[symbol]) <= abs(was_held)
        assert cash >= Fraction(-1e-6) or abs(held[symbol]) <= abs(was_held)
        assert short or held[symbol] >= 0
        lots = (moved / Fraction(LOTS[symbol]), held[symbol] / Fraction(LOTS[symbol]))
        assert done.closed == abs(moved) or 1 in (lots[0].denominator, lots[1].denominator)
        if n % 3 == 2:
            cash, interest = cash + Fraction(1, 8), interest + Fraction(1, 8)
    assert {s: Fraction(p.quantity) for s, p in account.positions.items()} == {s: q for s, q in held.items() if q}
    assert Fraction(account.cash) == cash
    at_cost = account.cash + sum(p.quantity * p.basis for p in account.positions.values())
    assert at_cost == pytest.approx(account.capital + account.realized_pnl + account.interest, abs=1e-9)
    assert account.interest == float(interest)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_account_is_a_replay_of_its_fills(seed: int) -> None:
    """Ten sessions of twelve names, each session's orders at once through the ledger: fills to the bit, cash to rounding.

    The order of one session's orders does not matter, to the bit.
    """
    rng = np.random.default_rng(seed)
    names = [f"S{n:02d}" for n in range(12)]
    execution = spec(commission_bps=1.3, allow_short=True)
    book, price = empty_book(1, 12, 1e6), 100.0 * np.exp(rng.normal(0.0, 1.0, 12))
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, opened(Path(folder) / "a", execution, capital=1e6) as one:
        other = opened(Path(folder) / "b", execution, capital=1e6)
        for day in range(10):
            session = MONDAY + timedelta(days=day)
            price = price * np.exp(rng.normal(0.0, 0.05, 12)) * (-1.0 if rng.random() < 0.1 else 1.0)
            wanted = rng.normal(0.0, 2e4, 12) / np.abs(price) * (rng.random(12) < 0.7)
            quantity = np.where(rng.random(12) < 0.2, -book.quantity[0], wanted)
            book, fills = fill(book, book.nav(price), quantity[None, :], price, execution.cost_frac)
            done = {}
            for n in np.flatnonzero(quantity).tolist():
                done[n] = one.submit(order(float(quantity[n]), symbol=names[n], session=session), float(price[n]))
            for n in rng.permutation(np.flatnonzero(quantity)).tolist():
                assert other.submit(order(float(quantity[n]), symbol=names[n], session=session), float(price[n])) == done[n]
            for n, made in done.items():
                assert made.refusal is None
                expected = (quantity[n], fills.cost[0, n], fills.closed[0, n], fills.realized[0, n], book.basis[0, n])
                assert (made.quantity, made.cost, made.closed, made.realized, made.basis) == expected
            account = one.account()
            assert held(account, names) == [(q, b) for q, b in zip(book.quantity[0].tolist(), book.basis[0].tolist(), strict=True)]
            assert account.cash == pytest.approx(book.cash[0], rel=1e-13)
            assert account == other.account()
            one.close_session(session, {})
            other.close_session(session, {})
            book = Book(cash=np.array([one.account().cash]), quantity=book.quantity, basis=book.basis)
        other.close()


def held(account: Account, names: list[str]) -> list[tuple[float, float]]:
    flat = Position(quantity=0.0, basis=0.0)
    return [(account.positions.get(name, flat).quantity, account.positions.get(name, flat).basis) for name in names]
