from __future__ import annotations

import math

import numpy as np
import pytest

from policyengine.evidence.metrics import METRICS, ArmSeries, TradeSums, max_drawdown, measure


def closed(pnl: list[float]) -> TradeSums:
    """Trades on days 0, 0, 1 and 2, the first two in core, the others in spec and safe."""
    return TradeSums.of_trades(3, session=np.array([0, 0, 1, 2]), bucket=np.array([1, 1, 2, 0]), pnl=np.array(pnl))


def arm(**changes: object) -> ArmSeries:
    """Capital 100; NAV 110, 99, 108.9; trades +20 and -5 on day 0 (core), -5 on day 1 (spec), +1 on day 2 (safe)."""
    values: dict[str, object] = {
        "name": "A",
        "sessions": np.array(["2020-01-06", "2020-01-07", "2020-01-08"], dtype="datetime64[D]"),
        "nav": np.array([110.0, 99.0, 108.9]),
        "capital": 100.0,
        "rate": np.zeros(3),
        "periods_per_year": 252.0,
        "trades": closed([20.0, -5.0, -5.0, 1.0]),
        "cost": np.array([1.0, 2.0, 3.0]),
        "traded": np.array([50.0, 50.0, 5.966666666666667]),
        "requests": np.array([5, 3, 2]),
        "rejects": np.array([1, 0, 0]),
        "exposure": np.array([[0.5, 0.1, 0.0, 0.0], [0.6, 0.1, 0.0, 0.0], [0.7, 0.4, 0.0, 0.0]]),
    }
    return ArmSeries(**{**values, **changes})  # type: ignore[arg-type]


def test_worked_by_hand() -> None:
    """Returns .1, -.1, .1: mean 1/30, standard deviation sqrt(.04/3) = .11547."""
    found = measure(arm())
    expected = {
        "total_profit": 8.9,
        "total_return_pct": 8.9,
        "annual_volatility": math.sqrt(0.04 / 3) * math.sqrt(252),
        "sharpe": (1 / 30) / math.sqrt(0.04 / 3) * math.sqrt(252),
        "profit_factor": 2.1,
        "win_rate": 0.5,
        "max_drawdown": 0.1,
        "realized_pnl": 11.0,
        "total_trades": 4.0,
        "winning_trades": 2.0,
        "losing_trades": 2.0,
        "trade_dates": 3.0,
        "turnover": 1.0,
        "cost_bps": 10_000 * 6 / 105.96666666666667,
        "reject_rate": 0.1,
        "exposure_safe_mean": 0.6,
        "exposure_safe_min": 0.5,
        "exposure_safe_max": 0.7,
        "exposure_core_max": 0.4,
        "realized_pnl_safe": 1.0,
        "realized_pnl_core": 15.0,
        "realized_pnl_spec": -5.0,
        "realized_pnl_other": 0.0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_a_rate_is_taken_off_returns_but_not_off_profit() -> None:
    found = measure(arm(rate=np.full(3, 1 / 30)))
    assert found["sharpe"] == pytest.approx(0.0, abs=1e-12)
    assert found["total_profit"] == pytest.approx(8.9)


def test_a_span_opens_at_the_nav_before_it_and_takes_its_own_trades() -> None:
    part = arm().between(1, 2)
    assert part.capital == 110.0
    assert part.trades.realized().tolist() == [[0.0, 0.0, -5.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert part.trades.closed.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert measure(part)["max_drawdown"] == pytest.approx(0.1)
    assert measure(part)["total_profit"] == pytest.approx(-1.1)


def test_undefined_is_none_and_never_nan() -> None:
    none = np.array([], dtype=np.int64)
    empty = arm(
        trades=TradeSums.of_trades(3, session=none, bucket=none, pnl=none.astype(float)),
        nav=np.full(3, 100.0),
        cost=None,
        traded=None,
        requests=None,
        rejects=None,
        exposure=None,
    )
    found = measure(empty)
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {"sharpe", "profit_factor", "win_rate", "turnover", "cost_bps", "reject_rate"} | {
        n for n in METRICS if "exposure" in n
    }
    assert measure(arm(trades=closed([1.0, 2.0, 3.0, 4.0])))["profit_factor"] is None
    assert measure(arm(requests=np.zeros(3, dtype=int)))["reject_rate"] is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in found.values())


def test_one_session_has_no_volatility() -> None:
    found = measure(arm().between(0, 0))
    assert found["annual_volatility"] is None
    assert found["sharpe"] is None


def test_no_session_is_refused() -> None:
    with pytest.raises(ValueError, match="no session"):
        measure(arm().between(2, 1))


def test_drawdown_starts_at_the_capital() -> None:
    assert max_drawdown(np.array([80.0, 120.0, 90.0]), 100.0) == pytest.approx(0.25)
    assert max_drawdown(np.array([100.0, 120.0]), 100.0) == 0.0
