"""What reaches Python of a ledger is what a plain loop over its trades says, to the same bits however the files are cut."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policyengine.evidence.trade_history import scaled_sums, trade_history_evidence
from policyengine.market import LedgerSums, digest
from policyengine.records import BUCKETS, Arm, Bucket
from tests.conftest import composed_spec
from tests.ledgers import opened, rows, scale, written

SPEC = composed_spec("evidence=trade_history", "evidence.initial_capital=1e12")
MULTIPLIERS = st.sampled_from([0.0, 0.3, 0.9, 1.0, 1.1, 1.5, 2.0])
DAY = date(2024, 1, 1)

trade = st.tuples(
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 4)),
    st.one_of(st.none(), st.sampled_from([0.0, 0.5, 2 / 3, 0.7, 1.0]), st.floats(1e-6, 1.0)),
    st.sampled_from(list(Bucket)),
    st.integers(0, 9),
)
ledgers = st.lists(trade, min_size=1, max_size=60)
policies = st.fixed_dictionaries(dict.fromkeys(Bucket, MULTIPLIERS))
slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_rows(ledger: list[Any]) -> list[dict[str, Any]]:
    pnl, base, bucket, day = zip(*ledger, strict=True)
    return rows(pnl, base, [b.value for b in bucket], [(DAY + timedelta(days=d)).isoformat() for d in day])


def under(multipliers: Mapping[Bucket, float]) -> Any:
    """The candidate with these multipliers."""
    arm = SPEC.policy(Arm.CANDIDATE)
    return replace(arm, sizing=replace(arm.sizing, multipliers=dict(multipliers)))


def same_bits(one: LedgerSums, other: LedgerSums) -> bool:
    values = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one) if f.name != "multipliers"]
    return all(a.tolist() == b.tolist() and a.dtype == b.dtype for a, b in values)


@slow
@given(ledger=ledgers, multipliers=policies)
def test_the_sums_are_those_of_a_loop_over_the_trades(ledger: list[Any], multipliers: dict[Bucket, float], tmp_path: Path) -> None:
    trades = as_rows(ledger)
    arm = under(multipliers)
    with opened(written(tmp_path / "a.parquet", trades)) as market:
        sums = scaled_sums(arm, market.ledger_sums(multipliers.values()))
    found: dict[tuple[str, str], list[Any]] = {}
    for i in range(sums.day.size):
        cell = found.setdefault((str(sums.day[i]), str(sums.bucket[i])), [0, 0, 0, Fraction(0), Fraction(0)])
        for k, value in enumerate((sums.closed[i], sums.won[i], sums.lost[i], sums.profit[i], sums.loss[i])):
            cell[k] += Fraction(float(value))
    wanted: dict[tuple[str, str], list[Any]] = {}
    for row in trades:
        pnl = Fraction(row["realized_pnl"]) * Fraction(scale(multipliers, row["base_confidence"], row["bucket"]))
        cell = wanted.setdefault((row["traded_at"][:10], row["bucket"]), [0, 0, 0, Fraction(0), Fraction(0)])
        cell[0] += 1
        cell[1] += pnl > 0
        cell[2] += pnl < 0
        cell[3] += max(pnl, 0)
        cell[4] += max(-pnl, 0)
    assert found.keys() == wanted.keys()
    for key, cell in wanted.items():
        assert found[key][:3] == cell[:3]
        np.testing.assert_allclose([float(x) for x in found[key][3:]], [float(x) for x in cell[3:]], rtol=1e-13, atol=1e-8)


@pytest.mark.long
@slow
@given(ledger=ledgers, seed=st.integers(0, 2**31), group=st.integers(1, 20), cuts=st.integers(1, 4), threads=st.integers(1, 4))
def test_neither_files_nor_row_groups_nor_order_nor_threads_decide_a_bit(
    ledger: list[Any],
    seed: int,
    group: int,
    cuts: int,
    threads: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    trades = as_rows(ledger)
    whole = written(folder / "whole.parquet", trades)
    shuffled = random.Random(seed).sample(trades, len(trades))
    for n in range(cuts):
        if part := shuffled[n::cuts]:
            written(folder / "parts" / f"year={n}" / "part.parquet", part, group=group)
    with opened(whole) as market:
        one = market.ledger_sums((1.1, 1.5)), market.digest(), trade_history_evidence(SPEC, market, None)
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda name, config: connect(name, config={**config, "threads": threads}))
    monkeypatch.setattr(digest, "_BATCH_ROWS", 3)
    with opened(folder / "parts") as market:
        other = market.ledger_sums((1.1, 1.5)), market.digest(), trade_history_evidence(SPEC, market, None)
    monkeypatch.undo()
    assert same_bits(one[0], other[0])
    assert one[1] == other[1]
    for a, b in ((one[2].baseline, other[2].baseline), (one[2].candidate, other[2].candidate)):
        assert a.nav.tobytes() == b.nav.tobytes()
        assert a.trades.realized().tobytes() == b.trades.realized().tobytes()
    assert one[2].source_key == other[2].source_key
    assert one[2].tables["trades"]["trade_id"] == other[2].tables["trades"]["trade_id"]


@pytest.mark.long
@slow
@given(ledger=ledgers, at=st.integers(0, 59))
def test_any_other_trade_is_another_digest(ledger: list[Any], at: int, tmp_path: Path) -> None:
    trades = as_rows(ledger)
    changed = [{**row, "realized_pnl": row["realized_pnl"] + (i == at % len(trades))} for i, row in enumerate(trades)]
    more = [*trades, {**trades[0], "trade_id": "more"}]
    digests = set()
    for made in (trades, changed, more):
        with opened(written(tmp_path / "a.parquet", made)) as market:
            digests.add(market.digest())
    assert len(digests) == 3


def test_trades_of_one_key_have_an_order_too(tmp_path: Path) -> None:
    """Two rows share time and id; whichever stands first, the digest is one."""
    twice = [
        {**row, "trade_id": "t", "traded_at": "2024-01-01T00:00:00Z"}
        for row in as_rows([(1.0, None, BUCKETS[0], 0), (2.0, 0.5, BUCKETS[0], 0)])
    ]
    digests = []
    for made in (twice, twice[::-1]):
        with opened(written(tmp_path / "a.parquet", made)) as market:
            digests.append(market.digest())
    assert digests[0] == digests[1]
