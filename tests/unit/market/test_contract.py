"""The source contract: the same content gives the same market, whatever it is stored in. A new kind joins `STORES`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

PRICES = [
    ("SPY", "2020-01-02", 10.5, 100.0),
    ("SPY", "2020-01-03", 11.25, None),
    ("WTI", "2020-01-02", -36.98, 0.0),
    ("WTI", "2020-01-03", 1 / 3, 7.0),
    ("MSFT", "2020-01-03", 1e-9, 1.0),
]
SIGNALS = [
    ("s-1", "SPY", "2020-01-02T10:00:00Z", "BUY", 0.6, 0.25, "TIME_SERIES"),
    ("s-2", "WTI", "2020-01-02T10:00:00Z", "SELL", 0.9, None, None),
    ("s-3", "SPY", "2020-01-03T10:00:00Z", "HOLD", None, None, "LLM"),
]
TRADES = [
    ("t-1", "SPY", "2020-01-02T15:00:00Z", "BUY", 10.0, 10.5, None, 0, "s-1", "core"),
    ("t-2", "SPY", "2020-01-03T15:00:00Z", "SELL", 10.0, 11.25, 7.5, 1, "s-1", "core"),
    ("t-3", "WTI", "2020-01-03T15:00:00Z", "BUY", 2.0, 0.5, -1.25, 1, "s-2", "spec"),
]
TABLES = {
    "prices": (["symbol", "priced_at", "close", "volume"], PRICES),
    "signals": (["signal_id", "symbol", "signalled_at", "direction", "confidence", "edge_score", "source"], SIGNALS),
    "trades": (
        ["trade_id", "symbol", "traded_at", "side", "quantity", "price", "realized_pnl", "is_close", "signal_id", "bucket"],
        TRADES,
    ),
}
DIGEST = "52999390"
"""Of the canonical content above; the same for every kind, and changed only with the definition of the digest."""


def in_parquet(folder: Path, make: ModuleType, order: slice) -> tuple[str, Path, dict[str, str]]:
    # one file holds one table: the three are told apart by a column
    return "parquet", make.parquet(folder / "all.parquet", one_frame(order)), one_frame_views()


def in_csv(folder: Path, make: ModuleType, order: slice) -> tuple[str, Path, dict[str, str]]:
    path = folder / "all.csv.gz"
    one_frame(order).to_csv(path, index=False)
    return "csv", path, one_frame_views()


def in_sqlite(folder: Path, make: ModuleType, order: slice) -> tuple[str, Path, dict[str, str]]:
    tables = {name: (", ".join(columns), rows[order]) for name, (columns, rows) in TABLES.items()}
    return "sqlite", make.sqlite(folder / "all.db", tables), {name: f"SELECT * FROM {name}" for name in TABLES}


STORES = {"parquet": in_parquet, "csv": in_csv, "sqlite": in_sqlite}


def one_frame(order: slice) -> pd.DataFrame:
    frames = [pd.DataFrame(rows[order], columns=columns).assign(kind=name) for name, (columns, rows) in TABLES.items()]
    return pd.concat(frames[:1] + [f.astype(object) for f in frames[1:]]).infer_objects()


def one_frame_views() -> dict[str, str]:
    return {name: f"SELECT {', '.join(columns)} FROM source WHERE kind = '{name}'" for name, (columns, _) in TABLES.items()}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Any:
    return STORES[request.param]


@pytest.fixture(params=[slice(None), slice(None, None, -1)], ids=["in order", "reversed"])
def order(request: pytest.FixtureRequest) -> slice:
    return request.param


def test_every_kind_of_source_tells_the_same(store: Any, order: slice, tmp_path: Path, make: ModuleType, opened: Any) -> None:
    kind, path, views = store(tmp_path, make, order)
    with opened(kind, path=path, views=views) as market:
        assert market.views == {"prices", "signals", "trades"}
        assert market.origin == str(path)
        assert {f.check for f in market.check()} <= {"bars_out_of_order", "pnl_on_one_date"}
        panel, signals, trades, digest = market.prices(), market.signals(), market.closing_trades(), market.digest()
    assert digest.startswith(DIGEST)
    assert panel.symbols == ("MSFT", "SPY", "WTI")
    np.testing.assert_array_equal(panel.close, [[np.nan, 10.5, -36.98], [1e-9, 11.25, 1 / 3]])
    assert signals is not None
    assert signals.signal_id.tolist() == ["s-1", "s-2", "s-3"]
    assert signals.direction.tolist() == [1, -1, 0]
    assert [signals.symbols[c] for c in signals.code] == ["SPY", "WTI", "SPY"]
    np.testing.assert_array_equal(signals.confidence, [0.6, 0.9, np.nan])
    np.testing.assert_array_equal(signals.edge_score, [0.25, np.nan, np.nan])
    assert signals.source.tolist() == ["TIME_SERIES", None, "LLM"]
    assert signals.regime.tolist() == [None, None, None]
    assert signals.signalled_at.tolist() == [pd.Timestamp(row[2]).tz_localize(None).to_pydatetime() for row in SIGNALS]
    assert trades.trade_id.tolist() == ["t-2", "t-3"]
    assert trades.side.tolist() == [-1, 1]
    assert trades.bucket.tolist() == ["core", "spec"]
    np.testing.assert_array_equal(trades.realized_pnl, [7.5, -1.25])
    np.testing.assert_array_equal(trades.commission, [np.nan, np.nan])
    assert np.isnat(trades.entry_at).all()
    assert trades.signal_id.tolist() == ["s-1", "s-2"]
    assert trades.run_id.tolist() == [None, None]


def test_the_digest_changes_with_any_value(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(("SPY", "2020-01-02", 1), ("SPY", "2020-01-03", 2), volume=[5.0, 6.0])
    changes = {
        "close": frame.assign(close=[1, np.nextafter(2, 3)]),
        "symbol": frame.assign(symbol=["SPY", "MSFT"]),
        "instant": frame.assign(priced_at=frame["priced_at"] + pd.to_timedelta([0, 1], unit="us")),
        "missing": frame.assign(volume=[5.0, None]),
        "fewer": frame.iloc[:1],
        "column": frame.drop(columns="volume"),
        "twice": pd.concat([frame, frame.iloc[:1]]),
    }
    digests = {}
    for name, changed in {"same": frame, "shuffled": frame.iloc[::-1], "absent": frame.assign(currency=None), **changes}.items():
        with opened(path=make.parquet(tmp_path / f"{name}.parquet", changed), views=make.ALL) as market:
            digests[name] = market.digest()
    assert digests["same"] == digests["shuffled"] == digests["absent"]
    assert len({digests["same"], *(digests[name] for name in changes)}) == 1 + len(changes)


def test_the_digest_does_not_depend_on_how_rows_are_batched(
    tmp_path: Path, make: ModuleType, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"S{i % 7}", f"20{i // 336 % 90 + 10}-{i // 28 % 12 + 1:02}-{i % 28 + 1:02}", x) for i, x in enumerate(rng.normal(size=9000))]
    frame = make.bars(*rows, currency=[None if i % 3 else "USD" * (i % 5) for i in range(9000)])
    path = make.parquet(tmp_path / "p.parquet", frame)
    digests = set()
    for size in (500, 2048, 100_000):
        monkeypatch.setattr("policyengine.market.digest._BATCH_ROWS", size)
        with opened(path=path, views=make.ALL) as market:
            digests.add(market.digest())
    assert len(digests) == 1
