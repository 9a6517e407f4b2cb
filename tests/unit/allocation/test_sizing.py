from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyengine.allocation.sizing import codes_of, overlay_factor, size
from policyengine.records import Bucket
from policyengine.spec.sizing import Overlay, OverlaySpec, SizingSpec

BARBELL = {Bucket.SAFE: 1.0, Bucket.CORE: 0.9, Bucket.SPEC: 0.8, Bucket.OTHER: 0.85}
NAMED = [Bucket.SAFE, Bucket.CORE, Bucket.SPEC, Bucket.OTHER]


def test_each_bucket_gets_its_multiplier() -> None:
    sized = size(SizingSpec(enabled=True, multipliers=BARBELL), np.full(4, 0.5), buckets=codes_of(NAMED), regimes=[None] * 4, features={})
    assert sized.effective.tolist() == [0.5, 0.45, 0.4, 0.425]
    assert sized.names == ("bucket",)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_off_is_untouched_to_the_bit(base: list[float]) -> None:
    confidence = np.array(base)
    sized = size(
        SizingSpec(enabled=False, multipliers=BARBELL),
        confidence,
        buckets=codes_of([Bucket.SPEC] * len(base)),
        regimes=[None] * len(base),
        features={},
    )
    assert sized.effective.tobytes() == confidence.tobytes()
    assert sized.factors.shape == (0, len(base))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_multipliers_of_one_change_nothing_to_the_bit(base: list[float]) -> None:
    confidence = np.array(base)
    sizing = SizingSpec(enabled=True, multipliers=dict.fromkeys(Bucket, 1.0))
    sized = size(sizing, confidence, buckets=codes_of([Bucket.SPEC] * len(base)), regimes=[None] * len(base), features={})
    assert sized.effective.tobytes() == confidence.tobytes()


def test_effective_confidence_is_clipped_and_recomputes_from_its_factors() -> None:
    sizing = SizingSpec(
        enabled=True,
        multipliers=dict.fromkeys(Bucket, 2.0),
        regimes={"CRISIS": {Bucket.CORE: 0.25}},
        overlays={Overlay.COST: OverlaySpec(soft_cap=10, hard_cap=20, floor=0.5)},
    )
    base = np.array([0.9, 0.4])
    sized = size(
        sizing,
        base,
        buckets=codes_of([Bucket.CORE, Bucket.SPEC]),
        regimes=["CRISIS", "CRISIS"],
        features={Overlay.COST: np.array([15.0, 5.0])},
    )
    assert sized.names == ("bucket", "regime", "cost")
    assert sized.factors.tolist() == [[2.0, 2.0], [0.25, 1.0], [0.75, 1.0]]
    assert sized.effective.tolist() == [0.9 * 2.0 * 0.25 * 0.75, 0.8]
    assert size(
        sizing, np.array([0.9]), buckets=codes_of([Bucket.SPEC]), regimes=["CRISIS"], features={Overlay.COST: np.array([0.0])}
    ).effective == [1.0]


def test_an_unknown_regime_gets_the_smallest_multiplier_of_its_bucket() -> None:
    sizing = SizingSpec(enabled=True, multipliers=dict.fromkeys(Bucket, 1.0), regimes={"A": {Bucket.CORE: 0.7}, "B": {Bucket.CORE: 0.6}})
    sized = size(sizing, np.ones(3), buckets=codes_of([Bucket.CORE] * 3), regimes=[None, "C", "A"], features={})
    assert sized.effective.tolist() == [0.6, 0.6, 0.7]


@pytest.mark.parametrize(("feature", "factor"), [(0.0, 1.0), (10.0, 1.0), (15.0, 0.7), (20.0, 0.4), (1e9, 0.4), (np.nan, 0.4)])
def test_an_overlay_falls_from_one_to_its_floor(feature: float, factor: float) -> None:
    spec = OverlaySpec(soft_cap=10, hard_cap=20, floor=0.4)
    assert overlay_factor(spec, np.array([feature])).tolist() == pytest.approx([factor])


def test_an_absent_feature_gets_the_floor() -> None:
    sizing = SizingSpec(
        enabled=True,
        multipliers=dict.fromkeys(Bucket, 1.0),
        overlays={Overlay.LEVERAGE: OverlaySpec(soft_cap=1, hard_cap=2, floor=0.3)},
    )
    assert size(sizing, np.ones(1), buckets=codes_of([Bucket.CORE]), regimes=[None], features={}).effective.tolist() == [0.3]
