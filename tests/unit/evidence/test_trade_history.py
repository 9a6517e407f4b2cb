from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence import trade_history
from policyengine.evidence.evidence import Evidence
from policyengine.evidence.metrics import measure
from policyengine.evidence.trade_history import scales, trade_history_evidence, trial_returns
from policyengine.records import BUCKETS, Arm, Bucket
from policyengine.spec.root import Spec
from tests.conftest import composed_spec
from tests.ledgers import opened, rows, written

NAN = math.nan
FRIDAY_TO_TUESDAY = rows([100.0, -50.0, 10.0], [0.5, None, 0.5], ["core", "spec", "core"], ["2024-03-01", "2024-03-02", "2024-03-05"])
"""Friday +100 core, Saturday -50 spec (counts on Monday), Tuesday +10 core."""


@pytest.fixture
def spec() -> Spec:
    return composed_spec("evidence=trade_history", "evidence.initial_capital=1000")


def made(spec: Spec, path: Path) -> Evidence:
    with opened(path) as market:
        return trade_history_evidence(spec, market, None)


def test_scaled_by_confidence_where_there_is_one_else_by_bucket(spec: Spec) -> None:
    """Core x 0.9 on confidence 0.5; spec x 0.8 by bucket where the ledger has no base confidence, or 0."""
    base = np.array([0.5, NAN, 0.0])
    assert scales(spec.candidate, base, [Bucket.CORE, Bucket.SPEC, Bucket.OTHER]).tolist() == pytest.approx([0.9, 0.8, 0.85])
    assert scales(spec.baseline, base, [Bucket.CORE, Bucket.SPEC, Bucket.OTHER]).tolist() == [1.0, 1.0, 1.0]


def test_overlays_are_not_applied_to_a_ledger_and_that_is_said(tmp_path: Path) -> None:
    spec = composed_spec("evidence=trade_history", "sizing=barbell_overlays")
    base = np.array([0.5, NAN])
    assert scales(spec.candidate, base, [Bucket.CORE, Bucket.CORE]).tolist() == pytest.approx([0.9, 0.9])
    found = made(spec, written(tmp_path / "a.parquet", rows([1.0], [0.5], ["core"], ["2024-03-01"])))
    assert any("overlays of the sizing are not applied" in note for note in found.notes)


def test_clipping_shows_in_the_scale_and_in_the_sums(tmp_path: Path) -> None:
    """Core x 2: a confidence of 0.8 is clipped at 1, which is 1.25 of it; 0.4 doubles, and so does a trade without one."""
    spec = composed_spec("evidence=trade_history", "sizing.multipliers.core=2.0")
    assert scales(spec.candidate, np.array([0.8, 0.4]), [Bucket.CORE, Bucket.CORE]).tolist() == pytest.approx([1.25, 2.0])
    ledger = rows([100.0, -10.0, 1.0], [0.8, 0.4, None], ["core"] * 3, ["2024-03-01"] * 3)
    core = BUCKETS.index(Bucket.CORE)
    sums = made(spec, written(tmp_path / "a.parquet", ledger)).candidate.trades
    assert (sums.profit[0, core], sums.loss[0, core]) == (127.0, 20.0)
    assert (sums.closed[0, core], sums.won[0, core], sums.lost[0, core]) == (3, 2, 1)


def test_a_multiplier_of_zero_leaves_neither_winners_nor_losers(tmp_path: Path) -> None:
    spec = composed_spec("evidence=trade_history", "sizing.multipliers.core=0.0")
    found = made(spec, written(tmp_path / "a.parquet", rows([5.0, -1.0], [0.5, None], ["core"] * 2, ["2024-03-01"] * 2)))
    measured = measure(found.candidate)
    assert [measured[name] for name in ("total_trades", "winning_trades", "losing_trades", "realized_pnl")] == [2.0, 0.0, 0.0, 0.0]


def test_both_arms_worked_by_hand(spec: Spec, tmp_path: Path) -> None:
    found = made(spec, written(tmp_path / "a.parquet", FRIDAY_TO_TUESDAY))
    assert found.baseline.sessions.astype(str).tolist() == ["2024-03-01", "2024-03-04", "2024-03-05"]
    assert found.baseline.nav.tolist() == [1100.0, 1050.0, 1060.0]
    assert found.candidate.nav.tolist() == pytest.approx([1090.0, 1050.0, 1059.0])
    assert measure(found.baseline)["total_profit"] == 60.0
    assert measure(found.candidate)["realized_pnl_spec"] == -40.0
    assert found.breaches is None
    assert found.audited_frac == (None, None)
    assert found.counts == {"closing_trades": 3, "scaled_by_confidence": 2, "scaled_by_bucket": 1}
    assert any("cannot show" in note for note in found.notes)


def test_every_trade_is_stored_with_what_it_came_to_in_both_arms(spec: Spec, tmp_path: Path) -> None:
    table = made(spec, written(tmp_path / "a.parquet", FRIDAY_TO_TUESDAY)).tables["trades"]
    assert table["trade_id"] == ["t0", "t1", "t2"]
    assert table["bucket"] == ["core", "spec", "core"]
    np.testing.assert_allclose(np.asarray(table["baseline_realized_pnl"]), [100.0, -50.0, 10.0])
    np.testing.assert_allclose(np.asarray(table["candidate_realized_pnl"]), [90.0, -40.0, 9.0])


def test_of_a_long_ledger_the_newest_trades_are_stored_and_all_are_added_up(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_history, "STORED_TRADES", 2)
    found = made(spec, written(tmp_path / "a.parquet", FRIDAY_TO_TUESDAY))
    assert found.tables["trades"]["trade_id"] == ["t1", "t2"]
    assert "trades.parquet holds the last 2 of 3 closing trades; ledger.parquet adds up all of them by session" in found.notes
    ledger = found.tables["ledger"]
    assert np.asarray(ledger["closing_trades"]).tolist() == [1, 1, 1]
    assert np.asarray(ledger["baseline_nav"]).tolist() == [1100.0, 1050.0, 1060.0]
    assert np.asarray(ledger["candidate_core_realized_pnl"]).tolist() == [90.0, 0.0, 9.0]


def test_the_first_trades_tell_a_ledger_and_later_ones_do_not_change_it(spec: Spec, tmp_path: Path) -> None:
    days = [f"2024-03-{1 + i // 3:02}" for i in range(60)]
    ledger = rows([1.0 + i for i in range(60)], [None] * 60, ["core"] * 60, days)
    keys = [made(spec, written(tmp_path / f"{n}.parquet", ledger[:n])).source_key for n in (30, 31, 60)]
    other = [{**ledger[0], "realized_pnl": 7.0}, *ledger[1:]]
    assert len(set(keys)) == 1
    assert made(spec, written(tmp_path / "other.parquet", other)).source_key != keys[0]


def test_a_ledger_without_closing_trades_is_refused(spec: Spec, tmp_path: Path) -> None:
    open_only = [{**row, "realized_pnl": None} for row in FRIDAY_TO_TUESDAY]
    with pytest.raises(DataError, match="holds no closing trade"):
        made(spec, written(tmp_path / "a.parquet", open_only))


def test_a_confidence_above_one_is_refused(spec: Spec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column base_confidence: broken rule 'in_range\(0.0, 1.0\)'; first: 1.5"):
        made(spec, written(tmp_path / "a.parquet", rows([1.0], [1.5], ["core"], ["2024-03-01"])))


def test_capital_that_the_ledger_loses_is_refused(spec: Spec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"evidence.initial_capital: 1,000.00 is lost by 2024-03-01"):
        made(spec, written(tmp_path / "a.parquet", rows([-1000.0], [None], ["core"], ["2024-03-01"])))


def test_trials_are_scaled_in_one_pass_as_if_each_were_the_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = ["2024-03-01", "2024-03-02", "2024-03-05"]
    path = written(tmp_path / "a.parquet", rows([100.0, -50.0, 10.0], [0.9, None, 0.6], ["core"] * 3, days))
    changes = ("sizing.multipliers.core=1.2", "sizing.multipliers.core=1.7", "sizing.multipliers.core=0.5", "sizing.enabled=false")
    specs = [composed_spec("evidence=trade_history", "evidence.initial_capital=1000", change) for change in changes]
    alone = np.stack([made(of, path).candidate.excess_returns() for of in specs], axis=1)
    policies = [of.policy(Arm.CANDIDATE) for of in specs]
    with opened(path) as market:
        together = trial_returns(specs[0], market, None, policies)
        monkeypatch.setattr(trade_history, "POLICIES_A_PASS", 3)
        apart = trial_returns(specs[0], market, None, policies)
    np.testing.assert_allclose(together, alone, rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(apart, alone, rtol=0.0, atol=1e-15)
    assert len({column.tobytes() for column in together.T}) == 4
