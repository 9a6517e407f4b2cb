"""task=trade through the installed command: day after day is all at once, paper is replay, bad input stops before an order."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from policyengine.cli import DATA
from tests.conftest import Command


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two years of the shipped prices."""
    frame = pd.read_parquet(DATA / "prices.parquet")
    path = tmp_path_factory.mktemp("prices") / "prices.parquet"
    frame[frame["priced_at"] >= pd.Timestamp("2017-01-01", tz="UTC")].to_parquet(path)
    return path


def until(prices: Path, day: str) -> Path:
    frame = pd.read_parquet(prices)
    path = prices.with_name(f"until-{day}.parquet")
    frame[frame["priced_at"] < pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=1)].to_parquet(path)
    return path


def journal(pe_home: Path) -> list[dict[str, object]]:
    (path,) = pe_home.rglob("paper/*/*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def trade(pe: Command, prices: Path, *more: str, state: Path) -> str:
    done = pe("task=trade", f"source.path={prices}", f"runtime.state_dir={state}", "hydra.run.dir=" + str(state / "run"), *more)
    assert done.returncode == 0, done.stderr
    for file in (state / "run").glob("*"):
        file.rename(state / file.name)
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("scaler", ["none", "volatility"])
def test_day_after_day_is_all_at_once(pe: Command, prices: Path, tmp_path: Path, scaler: str) -> None:
    """To the byte of the journal: nothing in it depends on when or how often the command ran."""
    start = "task.start_date=2018-01-02"
    trade(pe, until(prices, "2018-02-15"), start, f"scaler={scaler}", state=tmp_path / "once")
    for day in ("2018-01-02", "2018-01-03", "2018-01-19", "2018-01-19", "2018-02-15"):
        trade(pe, until(prices, day), start, f"scaler={scaler}", state=tmp_path / "daily")
    once, daily = (next((tmp_path / name).rglob("paper/*/*.jsonl")).read_bytes() for name in ("once", "daily"))
    assert once.count(b"\n") > 100
    assert once == daily


@pytest.mark.parametrize("scaler", ["none", "volatility"])
def test_a_paper_account_is_worth_what_the_replay_says(pe: Command, prices: Path, tmp_path: Path, scaler: str) -> None:
    """From the first session on, at every session, to 1e-9."""
    said = trade(pe, prices, "task.start_date=2017-01-01", f"scaler={scaler}", state=tmp_path)
    assert "NAV " in said
    done = pe(f"source.path={prices}", f"scaler={scaler}", f"hydra.run.dir={tmp_path / 'replay'}", "window=365d")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "replay" / "exposure.parquet")
    replayed = table["baseline_nav"].to_numpy()
    paper = np.array([r["payload"]["nav"] for r in journal(tmp_path) if r["kind"] == "session"])  # type: ignore[index]
    np.testing.assert_allclose(paper, replayed, rtol=1e-9)
    with (tmp_path / "orders.csv").open() as file:
        orders = list(csv.DictReader(file))
    assert len(orders) > 1000
    assert all(not order["refusal"] for order in orders)


def test_what_frees_cash_is_sent_first(pe: Command, prices: Path, tmp_path: Path) -> None:
    trade(pe, prices, "task.start_date=2018-06-01", state=tmp_path)
    sides: dict[str, list[str]] = {}
    for record in journal(tmp_path):
        if record["kind"] == "order":
            order = record["order"]
            sides.setdefault(order["session"], []).append("SELL" if order["quantity"] < 0 else "BUY")  # type: ignore[index]
    mixed = [one for one in sides.values() if len(set(one)) == 2]
    assert mixed
    for one in mixed:
        assert one == sorted(one, reverse=True)


def test_nothing_due_does_nothing(pe: Command, prices: Path, tmp_path: Path) -> None:
    trade(pe, prices, state=tmp_path)
    before = journal(tmp_path)
    assert "none is due; nothing was done" in trade(pe, prices, state=tmp_path)
    assert journal(tmp_path) == before


def test_a_holding_that_left_the_universe_stops_before_an_order(pe: Command, prices: Path, tmp_path: Path) -> None:
    trade(pe, until(prices, "2018-06-29"), "task.start_date=2018-06-01", state=tmp_path)
    before = journal(tmp_path)
    held = sorted({r["order"]["symbol"] for r in before if r["kind"] == "order"} - {"TBILL"})  # type: ignore[index]
    frame = pd.read_parquet(prices)
    gone = tmp_path / "gone.parquet"
    frame[~frame["symbol"].isin(held)].to_parquet(gone)
    done = pe("task=trade", f"source.path={gone}", f"runtime.state_dir={tmp_path}")
    assert done.returncode == 1
    assert "left the universe" in done.stderr
    assert journal(tmp_path) == before


def test_a_stale_holding_is_an_error_or_a_flagged_haircut_as_configured(pe: Command, prices: Path, tmp_path: Path) -> None:
    trade(pe, until(prices, "2018-06-29"), "task.start_date=2018-06-01", state=tmp_path)
    before = journal(tmp_path)
    (name,) = [r["order"]["symbol"] for r in before if r["kind"] == "order"][-1:]  # type: ignore[index]
    frame = pd.read_parquet(until(prices, "2018-07-31"))
    halted = tmp_path / "halted.parquet"
    frame[(frame["symbol"] != name) | (frame["priced_at"] < pd.Timestamp("2018-06-30", tz="UTC"))].to_parquet(halted)
    done = pe("task=trade", f"source.path={halted}", f"runtime.state_dir={tmp_path}")
    assert done.returncode == 1
    assert f"snapshot.positions.{name}: was last priced at 2018-06-29" in done.stderr
    assert "universe.valuation.stale_days is" in done.stderr
    closed = [r["session"] for r in journal(tmp_path) if r["kind"] == "session"]
    said = trade(pe, halted, "universe.valuation.unpriced=haircut", state=tmp_path)
    assert f"haircut {name}" in said
    assert len([r for r in journal(tmp_path) if r["kind"] == "session"]) > len(closed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task.account=../x", "is not a name of letters"),
        ("task.capital=0", "task.capital: 0 is not above 0"),
        ("task.start_date=2030-01-01", "is after the last session"),
        ("task.acount=x", "did you mean 'account'?"),
    ],
)
def test_bad_arguments_are_refused(pe: Command, change: str, message: str) -> None:
    done = pe("task=trade", change)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_trading_cannot_be_swept(pe: Command) -> None:
    done = pe("-m", "task=trade", "task.account=a,b")
    assert done.returncode == 1
    assert "cannot be swept" in done.stdout + done.stderr
