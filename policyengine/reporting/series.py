"""Stored series in the form in which they are drawn: NAV, drawdown, months. Sums and ratios of stored values, no statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from policyengine.records import Arm, Bucket
from policyengine.reporting.names import SAFE_WEIGHT
from policyengine.reporting.stored import StoredRun

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]
BIN = 0.05
"""Width of the classes in which confidences are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """NAV (T,) of both arms at `days` (T,) of the decision sample, from `opening` before the first of them.

    `basis` says what the days are: sessions, or, where a ledger tells no more, days on which a trade closed. `held` (T,) are
    absolute fractions of NAV by bucket, cash not included; None where positions are unknown.
    """

    basis: Literal["session", "closed trade"]
    days: Days
    opening: Mapping[Arm, float]
    nav: Mapping[Arm, Floats]
    held: Mapping[Arm, Mapping[Bucket, Floats]] | None

    def drawdown(self, arm: Arm) -> Floats:
        """Fall from the running peak, the opening included, as a positive fraction of it, (T,)."""
        peak = np.maximum.accumulate(np.concatenate(([self.opening[arm]], self.nav[arm])))
        fall: Floats = 1.0 - self.nav[arm] / peak[1:]
        return fall

    @property
    def month_ends(self) -> NDArray[np.int64]:
        """Index of the last day of each month that has one."""
        months = self.days.astype("datetime64[M]")
        return np.flatnonzero(np.append(months[1:] != months[:-1], True))


def curves(run: StoredRun) -> Curves | None:
    """The curves of a run; None where it stored neither NAV nor a trade within its sample."""
    if run.exposure is not None:
        return _by_session(run, run.exposure)
    return None if run.ledger is None else _by_closed_trade(run, run.ledger)


def lines(held: Mapping[Bucket, Floats]) -> dict[str, Floats]:
    """Everything that a limit can be on, (T,) fractions of NAV: safe weight, buckets, risk, gross, and cash as what is left."""
    risky: Floats = np.sum([held[bucket] for bucket in Bucket if bucket is not Bucket.SAFE], axis=0)
    gross = risky + held[Bucket.SAFE]
    return {
        SAFE_WEIGHT: 1.0 - risky,
        **{bucket.value: held[bucket] for bucket in Bucket},
        "risk": risky,
        "gross": gross,
        "cash": 1.0 - gross,
    }


def month_returns(drawn: Curves) -> list[dict[str, Any]]:
    """Return of each arm over each month from NAV at its ends, as fractions, and candidate less baseline."""
    ends = drawn.month_ends
    returns = {}
    for arm in Arm:
        at = np.concatenate(([drawn.opening[arm]], drawn.nav[arm][ends]))
        returns[arm] = at[1:] / at[:-1] - 1.0
    months = drawn.days[ends].astype("datetime64[M]").astype(str).tolist()
    pairs = zip(months, returns[Arm.BASELINE].tolist(), returns[Arm.CANDIDATE].tolist(), strict=True)
    return [{"month": month, "baseline": known(b), "candidate": known(c), "d_return": known(c - b)} for month, b, c in pairs]


def pnl_by_month(run: StoredRun) -> list[dict[str, Any]] | None:
    """Realised P&L of each arm by month and bucket, zero months between the first and the last included; None without trades."""
    if run.ledger is not None:
        return _ledger_by_month(run.inside(run.ledger, "session"))
    if run.trades is None:
        return None
    trades = run.inside(run.trades, "traded_at")
    months = trades["traded_at"].astype("datetime64[M]")
    sums: dict[tuple[str, str, str], list[float]] = {}
    keys = zip(months.astype(str).tolist(), trades["bucket"].tolist(), trades["arm"].tolist(), strict=True)
    for key, pnl in zip(keys, trades["realized_pnl"].tolist(), strict=True):
        sums.setdefault(key, []).append(pnl)
    return _every_month(months, lambda month, bucket, arm: sums.get((month, bucket, arm), ()))


def _ledger_by_month(table: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    months = table["session"].astype("datetime64[M]")
    rows = {month: months == np.datetime64(month, "M") for month in np.unique(months).astype(str).tolist()}
    traded = months[table["closing_trades"] > 0]
    return _every_month(traded, lambda month, bucket, arm: table[f"{arm}_{bucket}_realized_pnl"][rows[month]] if month in rows else ())


def _every_month(months: Days, amounts: Callable[[str, str, str], Iterable[float]]) -> list[dict[str, Any]]:
    """Sums of `amounts` by month, bucket and arm, from the first of `months` to the last."""
    if months.size == 0:
        return []
    return [
        {"month": month, "bucket": bucket.value, **{arm.value: known(math.fsum(amounts(month, bucket, arm))) for arm in Arm}}
        for month in np.arange(months.min(), months.max() + 1).astype(str).tolist()
        for bucket in Bucket
    ]


def orders_by_bucket(run: StoredRun) -> dict[str, dict[str, dict[str, Any]]] | None:
    """Orders of each arm by bucket over the sample: requests, how many a guardrail refused, and the rate, None without a request.

    None where they were not stored: of a ledger, or of a run made before they were.
    """
    if run.exposure is None or any(f"{arm}_{bucket}_requests" not in run.exposure for arm in Arm for bucket in Bucket):
        return None
    table = run.inside(run.exposure, "session")
    return {
        arm.value: {
            bucket.value: _orders(*(int(table[f"{arm}_{bucket}_{name}"].sum()) for name in ("requests", "rejects"))) for bucket in Bucket
        }
        for arm in Arm
    }


def _orders(requests: int, rejects: int) -> dict[str, Any]:
    return {"requests": requests, "rejects": rejects, "rate": rejects / requests if requests else None}


def confidence_counts(run: StoredRun, buckets: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """How many actionable signals lie in each class of base and effective confidence, by bucket; None where none are stored.

    `buckets` gives the bucket of each listed symbol; others are `other`. Each class is named by its lower end.
    """
    if run.signals is None:
        return None
    signals = run.inside(run.signals, "signalled_at")
    known_both = np.isfinite(signals["base_confidence"]) & np.isfinite(signals["effective_confidence"])
    order = [bucket.value for bucket in Bucket]
    code = {symbol: order.index(bucket) for symbol, bucket in buckets.items()}
    other = order.index(Bucket.OTHER.value)
    bucket = np.array([code.get(symbol, other) for symbol in signals["symbol"][known_both].tolist()], dtype=np.int64)
    last = round(1.0 / BIN) - 1
    classes = [
        np.minimum(np.floor(signals[name][known_both] / BIN + 1e-9).astype(np.int64), last)
        for name in ("base_confidence", "effective_confidence")
    ]
    shape = (len(order), last + 1, last + 1)
    count = np.bincount(np.ravel_multi_index((bucket, *classes), shape), minlength=1)
    found = np.flatnonzero(count)
    return [
        {"bucket": order[b], "base_from": round(base * BIN, 2), "effective_from": round(effective * BIN, 2), "signals": n}
        for b, base, effective, n in zip(*(axis.tolist() for axis in np.unravel_index(found, shape)), count[found].tolist(), strict=True)
    ]


def known(value: float | None) -> float | None:
    """`value`, or None where it is not a finite number: unknown is null."""
    return value if value is not None and math.isfinite(value) else None


def numbers(values: Floats) -> list[float | None]:
    """`values` as a list, None for what is not finite."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _by_session(run: StoredRun, stored: Mapping[str, NDArray[Any]]) -> Curves | None:
    table = run.inside(stored, "session")
    if table["session"].size == 0:
        return None
    earlier = np.flatnonzero(stored["session"].astype("datetime64[D]") < run.sample[0])
    capital = float(run.evidence["config"]["evidence"]["initial_capital"])
    names = {bucket: f"{{}}_{bucket}_frac" for bucket in Bucket}
    whole = all(name.format(arm) in table for arm in Arm for name in names.values())
    return Curves(
        basis="session",
        days=table["session"].astype("datetime64[D]"),
        opening={arm: float(stored[f"{arm}_nav"][earlier[-1]]) if earlier.size else capital for arm in Arm},
        nav={arm: table[f"{arm}_nav"] for arm in Arm},
        held={arm: {bucket: table[name.format(arm)] for bucket, name in names.items()} for arm in Arm} if whole else None,
    )


def _by_closed_trade(run: StoredRun, stored: Mapping[str, NDArray[Any]]) -> Curves | None:
    """Capital and what closed trades made of it, on the days on which one closed."""
    table = run.inside(stored, "session")
    traded = table["closing_trades"] > 0
    if not traded.any():
        return None
    earlier = np.flatnonzero(stored["session"].astype("datetime64[D]") < run.sample[0])
    capital = float(run.evidence["config"]["evidence"]["initial_capital"])
    return Curves(
        basis="closed trade",
        days=table["session"].astype("datetime64[D]")[traded],
        opening={arm: float(stored[f"{arm}_nav"][earlier[-1]]) if earlier.size else capital for arm in Arm},
        nav={arm: table[f"{arm}_nav"][traded] for arm in Arm},
        held=None,
    )
