from __future__ import annotations

import math

import numpy as np
import pytest

from policyengine.errors import DataError
from policyengine.evidence.metrics import measure
from policyengine.evidence.trade_history import scales, trade_history_evidence
from policyengine.market import ClosingTrades
from policyengine.records import Bucket
from policyengine.spec.root import Spec
from tests.conftest import composed_spec

NAN = math.nan


def trades(pnl: list[float], base: list[float], bucket: list[str], days: list[str]) -> ClosingTrades:
    n = len(pnl)
    nothing = np.full(n, NAN)
    texts = np.full(n, None, dtype=object)
    return ClosingTrades(
        symbols=("A",),
        code=np.zeros(n, dtype=np.intp),
        trade_id=np.array([f"t{i}" for i in range(n)], dtype=object),
        traded_at=np.array(days, dtype="datetime64[us]"),
        side=np.full(n, -1, dtype=np.int8),
        bucket=np.array(bucket),
        quantity=np.ones(n),
        price=nothing,
        realized_pnl=np.array(pnl),
        commission=nothing,
        base_confidence=np.array(base),
        effective_confidence=nothing,
        multiplier=nothing,
        entry_price=nothing,
        entry_at=np.full(n, "NaT", dtype="datetime64[us]"),
        signal_id=texts,
        run_id=texts,
    )


@pytest.fixture
def spec() -> Spec:
    return composed_spec("evidence=trade_history", "evidence.initial_capital=1000")


def test_scaled_by_confidence_where_there_is_one_else_by_bucket(spec: Spec) -> None:
    """Core x 0.9 on confidence 0.5; spec x 0.8 by bucket where the ledger has no base confidence, or 0."""
    base = np.array([0.5, NAN, 0.0])
    assert scales(spec.candidate, base, [Bucket.CORE, Bucket.SPEC, Bucket.OTHER]).tolist() == pytest.approx([0.9, 0.8, 0.85])
    assert scales(spec.baseline, base, [Bucket.CORE, Bucket.SPEC, Bucket.OTHER]).tolist() == [1.0, 1.0, 1.0]


def test_overlays_are_not_applied_to_a_ledger_and_that_is_said() -> None:
    spec = composed_spec("evidence=trade_history", "sizing=barbell_overlays")
    base = np.array([0.5, NAN])
    assert scales(spec.candidate, base, [Bucket.CORE, Bucket.CORE]).tolist() == pytest.approx([0.9, 0.9])
    made = trade_history_evidence(spec, trades([1.0], [0.5], ["core"], ["2024-03-01"]), None)
    assert any("overlays of the sizing are not applied" in note for note in made.notes)


def test_clipping_shows_in_the_scale() -> None:
    spec = composed_spec("evidence=trade_history", "sizing.multipliers.core=2.0")
    assert scales(spec.candidate, np.array([0.8, 0.4]), [Bucket.CORE, Bucket.CORE]).tolist() == pytest.approx([1.25, 2.0])


def test_both_arms_worked_by_hand(spec: Spec) -> None:
    """Friday +100 core, Saturday -50 spec (counts on Monday), Tuesday +10 core."""
    ledger = trades([100.0, -50.0, 10.0], [0.5, NAN, 0.5], ["core", "spec", "core"], ["2024-03-01", "2024-03-02", "2024-03-05"])
    made = trade_history_evidence(spec, ledger, None)
    assert made.baseline.sessions.astype(str).tolist() == ["2024-03-01", "2024-03-04", "2024-03-05"]
    assert made.baseline.nav.tolist() == [1100.0, 1050.0, 1060.0]
    assert made.candidate.nav.tolist() == pytest.approx([1090.0, 1050.0, 1059.0])
    assert measure(made.baseline)["total_profit"] == 60.0
    assert measure(made.candidate)["realized_pnl_spec"] == -40.0
    assert made.breaches is None
    assert made.audited_frac == (None, None)
    assert made.counts == {"closing_trades": 3, "scaled_by_confidence": 2, "scaled_by_bucket": 1}
    assert any("cannot show" in note for note in made.notes)


def test_a_ledger_without_closing_trades_is_refused(spec: Spec) -> None:
    with pytest.raises(DataError, match="holds no closing trade"):
        trade_history_evidence(spec, trades([], [], [], []), None)


def test_capital_that_the_ledger_loses_is_refused(spec: Spec) -> None:
    with pytest.raises(DataError, match=r"evidence.initial_capital: 1,000.00 is lost by 2024-03-01"):
        trade_history_evidence(spec, trades([-1000.0], [NAN], ["core"], ["2024-03-01"]), None)
