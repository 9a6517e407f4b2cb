"""What task=trade keeps of its signals, what does not name what, and what the quant gate keeps from opening."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pandas as pd

from tests.conftest import Command

STATE = "home/.local/share/policyengine"


def until(tmp_path: Path, last: str) -> str:
    """The shipped prices as they were on `last`."""
    shipped = pd.read_parquet(Path(__file__).parents[2] / "data" / "prices.parquet")
    column = next(name for name in shipped.columns if "date" in name or name.endswith("_at"))
    path = tmp_path / f"until-{last}.parquet"
    days = pd.to_datetime(shipped[column], utc=True)
    shipped[days <= pd.Timestamp(last, tz="UTC")].to_parquet(path)
    return f"source.path={path}"


def orders(work: Path, run: str) -> list[dict[str, str]]:
    with (work / run / "orders.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def traded(work: Path, run: str) -> dict[str, object]:
    made: dict[str, object] = json.loads((work / run / "trade.json").read_text())
    return made


def test_every_order_names_a_signal_that_is_kept(pe: Command, tmp_path: Path) -> None:
    work, state = tmp_path / "work", tmp_path / STATE
    first = pe("task=trade", "task.start_date=2018-10-15", until(tmp_path, "2018-10-31"), "hydra.run.dir=one")
    assert first.returncode == 0, first.stderr
    second = pe("task=trade", "hydra.run.dir=two")
    assert second.returncode == 0, second.stderr
    kept = pd.concat(pd.read_parquet(path) for path in (state / "signals").glob("*.parquet"))
    judged = pd.concat(pd.read_parquet(path) for path in (state / "validation").glob("*.parquet"))
    assert kept["run_id"].nunique() == 2
    sent = orders(work, "one") + orders(work, "two")
    assert len(sent) > 50
    assert {order["signal_id"] for order in sent} <= set(kept["signal_id"])
    assert set(kept[kept["acted"]]["signal_id"]) == set(judged["signal_id"])
    assert set(judged["execution_mode"]) == {"off"}
    assert not [alert for alert in traded(work, "two")["alerts"] if "signal" in alert["check"]]  # type: ignore[attr-defined]


def test_a_trade_whose_signal_was_lost_is_an_alert(pe: Command, tmp_path: Path) -> None:
    work, state = tmp_path / "work", tmp_path / STATE
    pe("task=trade", "task.start_date=2018-10-15", until(tmp_path, "2018-10-31"), "hydra.run.dir=one")
    shutil.rmtree(state / "signals")
    pe("task=trade", "hydra.run.dir=two")
    alerts = {alert["check"]: alert for alert in traded(work, "two")["alerts"]}  # type: ignore[attr-defined]
    kept = pd.concat(pd.read_parquet(path) for path in (state / "signals").glob("*.parquet"))
    lost = [order for order in orders(work, "two") if order["signal_id"] not in set(kept["signal_id"])]
    assert alerts["trades_without_stored_signal"]["count"] == len(lost) > 0


def test_what_the_quant_gate_closes_opens_nothing_and_may_leave(pe: Command, tmp_path: Path) -> None:
    work, state = tmp_path / "work", tmp_path / STATE
    before = until(tmp_path, "2018-10-31")
    pe("task=trade", "task.start_date=2018-10-15", before, "hydra.run.dir=one")
    log = tmp_path / "work" / "validation.jsonl"
    log.write_text("".join(json.dumps({"status": "FAIL", "expected_profit": -1.0, "ticker": "AMD"}) + "\n" for _ in range(10)))
    health = pe("task=health", f"task.path={log}", "task.gate=true")
    assert health.returncode == 1, health.stdout + health.stderr
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    closed = pe("task=trade", "hydra.run.dir=closed")
    assert "no new entries" in closed.stdout
    (state / "quant_gate.json").unlink()
    bought = [order for order in orders(work, "closed") if float(order["ordered"]) > 0.0 and order["symbol"] != "TBILL"]
    sold = [order for order in orders(work, "closed") if float(order["ordered"]) < 0.0]
    assert (len(bought), len(sold) > 3) == (0, True)
    shutil.rmtree(tmp_path / "home")
    shutil.move(tmp_path / "copy", tmp_path / "home")
    (state / "quant_gate.json").unlink()
    pe("task=trade", "hydra.run.dir=open")
    assert [order for order in orders(work, "open") if float(order["ordered"]) > 0.0]
