"""Metrics of a trade ledger by window, from one Parquet file, beside pandas, polars and quantstats.

    python bench/ledger.py [--quick]

Daily P&L, profit factor and win rate of closing trades, and the drawdown of compounded capital, over the whole and over each year. Ours
is what a run of trade-history evidence reads and measures: checks of the data, two arms, every metric and every window. pandas and polars
compute the four for one arm; quantstats is given the daily P&L of pandas and measures days instead of trades: only its drawdown is
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import measure
import numpy as np
from hydra import compose, initialize_config_dir
from measure import Case, Piece, have
from numpy.typing import NDArray
from omegaconf import OmegaConf

from policyengine import cli
from policyengine.evidence.metrics import max_drawdown
from policyengine.evidence.metrics import measure as measured
from policyengine.evidence.trade_history import trade_history_evidence
from policyengine.market import open_market
from policyengine.spec.root import Spec, bind_spec

Floats = NDArray[np.float64]
FIRST, YEARS = 2011, 10
CAPITAL = 1e8
COLUMNS = ("profit_factor", "win_rate", "max_drawdown")
Metrics = Mapping[int, tuple[float, ...]]
"""COLUMNS by year, 0 for all of them."""


def written(place: Path, rows: int) -> Path:
    """A ledger of closing trades in the order of their time, a million rows to a row group; the one that is there, if it is."""
    path = place / "ledger.parquet"
    if path.exists():
        return path
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    part = path.with_suffix(".part")
    span = (np.datetime64(f"{FIRST + YEARS}-01-01") - np.datetime64(f"{FIRST}-01-01")).astype("timedelta64[us]").astype(np.int64)
    symbols = pa.array([f"SYM{i:03d}" for i in range(200)])
    writer = None
    for chunk, first in enumerate(range(0, rows, 1_000_000)):
        rng, count = np.random.default_rng([3, chunk]), min(1_000_000, rows - first)
        at = np.datetime64(f"{FIRST}-01-01", "us") + ((first + np.arange(count) + rng.random(count)) / rows * span).astype(np.int64)
        sides = pa.array(["BUY", "SELL"])
        table = pa.table(
            {
                "trade_id": pa.array(np.char.add("t", np.arange(first, first + count).astype(str))),
                "symbol": symbols.take(pa.array(rng.integers(0, 200, count))),
                "traded_at": at,
                "side": sides.take(pa.array(rng.integers(0, 2, count))),
                "quantity": np.round(rng.uniform(1, 100, count)),
                "realized_pnl": np.round(rng.normal(1.0, 100.0, count), 2),
            }
        )
        writer = pq.ParquetWriter(part, table.schema) if writer is None else writer
        writer.write_table(table)
    assert writer is not None
    writer.close()
    part.rename(path)
    return path


def spec_of(path: Path) -> Spec:
    """Trade-history evidence on that file."""
    overrides = [
        "source=round_trips",
        "evidence=trade_history",
        "source.kind=parquet",
        "~source.types",
        f"source.path={path}",
        "source.views.trades='SELECT * FROM source'",
        f"evidence.initial_capital={CAPITAL}",
    ]
    with initialize_config_dir(config_dir=str(cli.CONF), version_base="1.3"):
        container: Any = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True, throw_on_missing=True)
    container.pop("experiment", None)
    return bind_spec(container)


def by_policyengine(spec: Spec, place: Path) -> Metrics:
    """What evaluate does with a ledger, but for the decision: both arms, every metric, each window."""
    place.mkdir(exist_ok=True)
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=place, shipped_dir=cli.DATA
    ) as market:
        market.check()
        evidence = trade_history_evidence(spec, market, None)
    found = {}
    for arm in (evidence.candidate, evidence.baseline):
        for year in range(FIRST, FIRST + YEARS):
            inside = np.flatnonzero(arm.sessions.astype("datetime64[Y]").astype(int) + 1970 == year)
            found[year] = picked(measured(arm.between(int(inside[0]), int(inside[-1]))))
        found[0] = picked(measured(arm))
    return found


def picked(values: Mapping[str, float | None]) -> tuple[float, ...]:
    """The metrics that are compared."""
    return tuple(np.nan if values[name] is None else float(values[name]) for name in COLUMNS)  # type: ignore[arg-type]


def of_days(day: NDArray[np.datetime64], pnl: Floats, trades: Callable[[int], tuple[float, ...]]) -> Metrics:
    """Drawdowns of days in order, after `trades` gave (profit, loss, won, closed) of a year, 0 for all."""
    nav = CAPITAL + np.cumsum(pnl)
    year = day.astype("datetime64[Y]").astype(int) + 1970
    found = {}
    for wanted in (0, *range(FIRST, FIRST + YEARS)):
        inside = np.flatnonzero((year == wanted) | (wanted == 0))
        before = CAPITAL if inside[0] == 0 else float(nav[inside[0] - 1])
        profit, loss, won, closed = trades(wanted)
        found[wanted] = (profit / loss, won / closed, max_drawdown(nav[inside], before))
    return found


def by_pandas(path: Path) -> Metrics:
    """Read two columns, group by day and by year."""
    import pandas as pd  # noqa: PLC0415

    trades = pd.read_parquet(path, columns=["traded_at", "realized_pnl"])
    trades["day"] = weekday(trades["traded_at"].to_numpy())
    trades["profit"], trades["loss"] = trades["realized_pnl"].clip(lower=0.0), -trades["realized_pnl"].clip(upper=0.0)
    trades["won"] = trades["realized_pnl"] > 0.0
    daily = trades.groupby("day").agg(
        pnl=("realized_pnl", "sum"), profit=("profit", "sum"), loss=("loss", "sum"), won=("won", "sum"), closed=("won", "size")
    )
    by_year = daily.groupby(daily.index.year).sum()

    def sums(year: int) -> tuple[float, ...]:
        return tuple((by_year.loc[year] if year else by_year.sum())[["profit", "loss", "won", "closed"]])

    return of_days(daily.index.to_numpy(), daily["pnl"].to_numpy(), sums)


def by_polars(path: Path) -> Metrics:
    """The same as one lazy query over the file."""
    import polars as pl  # noqa: PLC0415

    pnl = pl.col("realized_pnl")
    moment = pl.col("traded_at").dt.truncate("1d")
    weekend = (moment.dt.weekday() - 5).clip(lower_bound=0).cast(pl.Int64)
    daily = (
        pl.scan_parquet(path)
        .select(pnl, day=(moment + pl.duration(days=pl.when(weekend > 0).then(3 - weekend).otherwise(0))).cast(pl.Date))
        .group_by("day")
        .agg(
            pnl=pnl.sum(),
            profit=pnl.clip(lower_bound=0.0).sum(),
            loss=-pnl.clip(upper_bound=0.0).sum(),
            won=(pnl > 0.0).sum(),
            closed=pl.len(),
        )
        .sort("day")
        .collect(engine="streaming")
    )
    year = daily["day"].dt.year().to_numpy()
    parts = daily.select("profit", "loss", "won", "closed").to_numpy()
    return of_days(
        daily["day"].to_numpy(), daily["pnl"].to_numpy(), lambda wanted: tuple(parts[(year == wanted) | (wanted == 0)].sum(axis=0))
    )


def by_quantstats(path: Path) -> Metrics:
    """Returns of days from pandas, and its own metrics of them."""
    import pandas as pd  # noqa: PLC0415
    import quantstats as qs  # noqa: PLC0415

    trades = pd.read_parquet(path, columns=["traded_at", "realized_pnl"])
    pnl = trades.groupby(weekday(trades["traded_at"].to_numpy()))["realized_pnl"].sum()
    nav = CAPITAL + pnl.cumsum()
    returns = pnl / nav.shift(1, fill_value=CAPITAL)
    found = {}
    for wanted in (0, *range(FIRST, FIRST + YEARS)):
        of = returns if wanted == 0 else returns[returns.index.year == wanted]
        qs.stats.profit_factor(of), qs.stats.win_rate(of)  # of days, so not compared
        found[wanted] = (np.nan, np.nan, -float(qs.stats.max_drawdown(of)))
    return found


def weekday(at: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The session that a trade counts on: its day, or the Monday after it."""
    day = at.astype("datetime64[D]")
    weekend = np.maximum((day.astype(np.int64) + 3) % 7 - 4, 0)
    return np.where(weekend > 0, day + (3 - weekend), day).astype("datetime64[s]")


def apart(first: Metrics, other: Metrics) -> float:
    """Largest relative difference of a metric in a window, of those that both have."""
    pairs = ((a, b) for year in first for a, b in zip(first[year], other[year], strict=True))
    return max(abs(b / a - 1.0) for a, b in pairs if not np.isnan(b))


def metrics(place: Path, rows: int) -> dict[str, Piece]:
    """Who measures the ledger."""
    path = written(place, rows)
    spec = spec_of(path)
    pieces = {
        measure.OURS: Piece(run=lambda: by_policyengine(spec, place / "spill")),
        "pandas": Piece(run=lambda: by_pandas(path), tolerance=1e-9),
    }
    if have("polars"):
        pieces["polars"] = Piece(run=lambda: by_polars(path), tolerance=1e-9)
    if have("quantstats"):
        pieces["quantstats on pandas"] = Piece(run=lambda: by_quantstats(path), tolerance=1e-9)
    return pieces


def cases(*, quick: bool) -> Iterator[Case]:
    """Rows of the ledger."""
    for rows in (200_000,) if quick else (1_000_000, 10_000_000):
        yield Case(
            name=f"{rows:,} trades, {YEARS + 1} windows",
            build=lambda place, rows=rows: metrics(place, rows),  # type: ignore[misc]
            differ=apart,
            repeat=3,
            units=rows / 1e6,
            unit="million",
        )


if __name__ == "__main__":
    measure.main("ledger", cases, ("duckdb", "pandas", "polars", "quantstats", "pyarrow"))
