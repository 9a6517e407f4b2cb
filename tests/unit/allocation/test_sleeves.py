from __future__ import annotations

import numpy as np
import pytest

from policyengine.allocation.sleeves import SLEEVES, Grid, relative, retained, sleeve_of
from policyengine.records import Bucket, Sleeve
from policyengine.spec.sleeves import SleeveSpec, SleevesSpec


def sleeves(*, enabled: bool = True, **base: float) -> SleevesSpec:
    return SleevesSpec(
        enabled=enabled, **{s.value: SleeveSpec(base_nav_frac=base.get(s.value, 0.0), min_nav_frac=0.0, max_nav_frac=1.0) for s in Sleeve}
    )


def one_day(base: list[float], sleeve: list[Sleeve], direction: list[int] | None = None) -> Grid:
    n = len(base)
    return Grid(
        signal=np.where(np.array(base) > 0, np.arange(n), -1).astype(np.int32)[None],
        base=np.array(base)[None],
        direction=np.array(direction or [1] * n, dtype=np.int8)[None],
        sleeve=np.array([SLEEVES.index(s) for s in sleeve], dtype=np.int8)[None],
    )


def requested_weights(grid: Grid, effective: np.ndarray, spec: SleevesSpec) -> np.ndarray:
    """As the cycle puts them together."""
    fracs = np.array([spec.of(s).base_nav_frac if spec.enabled else 1.0 for s in SLEEVES])
    return relative(grid, by_sleeve=spec.enabled) * retained(grid, effective) * fracs[grid.sleeve]


def test_a_sleeve_is_shared_by_base_confidence() -> None:
    weights = requested_weights(one_day([0.6, 0.2], [Sleeve.TS_CORE] * 2), np.array([0.6, 0.2]), sleeves(ts_core=0.2))
    np.testing.assert_allclose(weights, [[0.15, 0.05]])


def test_a_multiplier_leaves_cash_instead_of_cancelling() -> None:
    """Both signals at 0.8: shares stay 3/4 and 1/4, the sleeve holds 0.16 of its 0.20."""
    weights = requested_weights(one_day([0.6, 0.2], [Sleeve.TS_CORE] * 2), np.array([0.48, 0.16]), sleeves(ts_core=0.2))
    np.testing.assert_allclose(weights, [[0.12, 0.04]])


def test_sleeves_do_not_share_budgets_and_sells_are_negative() -> None:
    weights = requested_weights(
        one_day([0.5, 0.5, 0.0], [Sleeve.SAFE, Sleeve.TS_CORE, Sleeve.TS_CORE], [1, -1, 0]),
        np.array([0.5, 0.5, 0.0]),
        sleeves(safe=0.7, ts_core=0.1),
    )
    np.testing.assert_allclose(weights, [[0.7, -0.1, 0.0]])


def test_switched_off_all_signals_share_the_whole_nav() -> None:
    weights = requested_weights(
        one_day([0.5, 0.5], [Sleeve.SAFE, Sleeve.TS_CORE]), np.array([0.5, 0.5]), sleeves(enabled=False, safe=0.7, ts_core=0.1)
    )
    np.testing.assert_allclose(weights, [[0.5, 0.5]])


def test_without_signals_nothing_is_spent() -> None:
    weights = requested_weights(one_day([0.0, 0.0], [Sleeve.TS_CORE] * 2), np.zeros(0), sleeves(ts_core=0.2))
    assert weights.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("source", "bucket", "market", "sleeve"),
    [
        ("TS", Bucket.SAFE, "us", Sleeve.SAFE),
        ("ML", Bucket.SAFE, "us", Sleeve.SAFE),
        ("TS", Bucket.CORE, "us", Sleeve.TS_CORE),
        ("TS", Bucket.SPEC, "crypto", Sleeve.TS_CORE),
        ("TS", Bucket.CORE, "em", Sleeve.EM_RISK),
        ("TS", Bucket.SPEC, "ngx", Sleeve.NGX_RISK),
        ("ML", Bucket.CORE, "em", Sleeve.ML_SECONDARY),
        ("LLM", Bucket.SPEC, "us", Sleeve.LLM_FALLBACK),
    ],
)
def test_a_signal_is_charged_by_bucket_then_source_then_market(source: str, bucket: Bucket, market: str, sleeve: Sleeve) -> None:
    assert sleeve_of(source, bucket, market) is sleeve
