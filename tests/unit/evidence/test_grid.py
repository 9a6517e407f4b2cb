"""Many candidates against one baseline: the rows that each would have alone, and how they are ranked."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from policyengine.evidence import grid as module
from policyengine.evidence.grid import RUINED, Comparison, cells, changed_paths, merged, ranking, standing
from policyengine.evidence.matrix import evidence_rows, flat
from policyengine.evidence.metrics import ArmSeries, measure
from policyengine.records import Window
from policyengine.spec.root import GridPolicy
from tests.conftest import composed_spec
from tests.unit.evidence.test_matrix import arm

DAYS = [("2020-01-01", "2020-01-31"), ("2020-02-01", "2020-02-29"), ("2020-03-01", "2020-03-10"), ("2021-01-01", "2021-01-31")]
WINDOWS = [Window(label=start[:7], start_date=date.fromisoformat(start), end_date=date.fromisoformat(end)) for start, end in DAYS]
POLICIES = composed_spec("experiment=grid", "grid.policies=[{limits:{enabled:false}}]").grid.policies  # type: ignore[union-attr]


def comparison() -> Comparison:
    return Comparison(arm(1), WINDOWS, baseline_hash="b", confidence=0.95)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_are_those_of_one_candidate_alone(seed: int) -> None:
    alone = evidence_rows(arm(1), arm(seed), WINDOWS, policy_hash="p", baseline_hash="b", confidence=0.95)
    assert tuple(comparison().rows(arm(seed), "p")) == alone


def test_the_whole_sample_is_a_row_too() -> None:
    row = comparison().whole(arm(2), "p")
    assert (row.window.label, row.window.start_date, row.window.end_date, row.sessions) == ("all", date(2020, 1, 1), date(2020, 3, 30), 90)
    assert (row.baseline, row.candidate) == (measure(arm(1)), measure(arm(2)))


def test_a_ruined_candidate_is_rows_that_say_so() -> None:
    rows = comparison().rows(None, "p")
    assert [row.error for row in rows] == [RUINED, RUINED, RUINED, "no session from 2021-01-01 to 2021-01-31"]
    assert all((row.baseline, row.candidate, row.policy_hash) == ({}, {}, "p") for row in rows)


def test_the_baseline_is_measured_once_for_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def counted(series: ArmSeries) -> dict[str, float | None]:
        measured.append(series.nav.size)
        return measure(series)

    monkeypatch.setattr(module, "measure", counted)
    many = comparison()
    assert measured == [90, 31, 29, 10]
    for seed in range(2, 12):
        many.rows(arm(seed), "p")
    assert len(measured) == 4 + 10 * 3


def test_cells_begin_with_the_policy_and_all_that_any_of_them_changes() -> None:
    row = comparison().rows(arm(2), POLICIES[-1].policy_hash)[0]
    assert changed_paths(POLICIES) == ["sizing.multipliers.core", "sizing.multipliers.spec", "limits.enabled"]
    assert cells(12, POLICIES[-1], row) == {"policy": 12, "limits.enabled": "false", **flat(row)}
    assert cells(0, POLICIES[0], row) == {"policy": 0, "sizing.multipliers.core": 0.8, "sizing.multipliers.spec": 0.4, **flat(row)}


def standings(sharpes: dict[int, float | None]) -> list[dict[str, Any]]:
    return [
        {"policy": number, "delta": {"sharpe": value, "total_return_pct": None if value is None else -value}}
        for number, value in sharpes.items()
    ]


def numbers(made: Any, name: str) -> tuple[list[int], list[int]]:
    return [one["policy"] for one in made[name]["best"]], [one["policy"] for one in made[name]["worst"]]


def test_policies_rank_by_what_is_known_of_them_and_ties_in_their_order() -> None:
    made = ranking(standings({0: 0.1, 1: None, 2: 0.3, 3: 0.1, 4: -0.2, 5: 0.0, 6: 0.2, 7: 0.1}))
    assert numbers(made, "sharpe") == ([2, 6, 0, 3, 7], [4])
    assert numbers(made, "total_return_pct") == ([4, 5, 0, 3, 7], [2])


def test_none_ranks_where_nothing_is_known() -> None:
    assert numbers(ranking(standings({0: None, 1: None})), "sharpe") == ([], [])


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
def test_the_ranking_of_the_parts_is_that_of_the_whole(parts: int) -> None:
    values = np.random.default_rng(3).integers(-9, 9, 40) / 10.0
    whole = standings({number: float(value) if value else None for number, value in enumerate(values)})
    split = [ranking(whole[len(whole) * k // parts : len(whole) * (k + 1) // parts]) for k in range(parts)]
    assert merged(split) == ranking(whole)


def test_a_standing_is_kept_as_it_is_stored() -> None:
    row = comparison().whole(arm(2), POLICIES[0].policy_hash)
    kept = standing(0, POLICIES[0], row)
    assert kept["delta"]["sharpe"] == float(f"{row.delta['sharpe']:.12g}")
    assert set(standing(0, POLICIES[0], comparison().whole(None, "p"))["delta"].values()) == {None}
    assert isinstance(POLICIES[0], GridPolicy)
