from __future__ import annotations

import numpy as np

from policyengine.allocation.constraints import constraints
from tests.conftest import composed_spec

SYMBOLS = ("TBILL", "BAC", "AAPL", "NEW")


def test_the_shipped_limits_as_arrays() -> None:
    spec = composed_spec("universe.unclassified=other", "+universe.instruments.NEW={bucket: spec, market: crypto}")
    found = constraints(spec.candidate.limits, spec.universe, SYMBOLS)
    caps = dict(zip(found.names, found.group_upper.tolist(), strict=True))
    assert caps == {
        "gross": 1.0,
        "risk": 0.25,
        "bucket core": 0.2,
        "bucket other": 0.0,
        "bucket safe": 0.95,
        "bucket spec": 0.1,
        "market crypto": 0.1,
        "market us": np.inf,
    }
    members = {name: row.tolist() for name, row in zip(found.names, found.groups, strict=True)}
    assert members["risk"] == [0.0, 1.0, 1.0, 1.0]
    assert members["bucket spec"] == [0.0, 0.0, 1.0, 1.0]
    assert members["market crypto"] == [0.0, 0.0, 0.0, 1.0]
    assert found.upper.tolist() == [0.5, 0.1, 0.05, 0.05]


def test_the_safe_floor_caps_everything_that_is_not_safe() -> None:
    spec = composed_spec("limits.buckets.safe.min_frac=0.9")
    found = constraints(spec.candidate.limits, spec.universe, SYMBOLS)
    assert found.group_upper[found.names.index("risk")] == 1.0 - 0.9


def test_a_symbol_that_nobody_classified_may_not_be_held() -> None:
    spec = composed_spec("universe.unclassified=other")
    found = constraints(spec.candidate.limits, spec.universe, ("XYZ",))
    assert found.group_upper[found.names.index("bucket other")] == 0.0
    assert found.groups[found.names.index("bucket other")].tolist() == [1.0]


def test_off_every_bound_is_infinite_and_the_groups_are_the_same() -> None:
    on, off = composed_spec(), composed_spec("limits=unlimited")
    one = constraints(on.candidate.limits, on.universe, SYMBOLS[:3])
    two = constraints(off.candidate.limits, off.universe, SYMBOLS[:3])
    assert np.isinf(two.upper).all()
    assert np.isinf(two.group_upper).all()
    assert one.names == two.names
    assert one.groups.tobytes() == two.groups.tobytes()
