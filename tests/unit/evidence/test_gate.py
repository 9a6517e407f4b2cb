from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from policyengine.errors import ConfigError
from policyengine.evidence.gate import ALWAYS_HARD, CRITERIA, Facts, Look, decide, independent_rows, verdict_of
from policyengine.evidence.matrix import EvidenceRow
from policyengine.records import Criterion, Stage, Status, Verdict, Window
from policyengine.spec.gate import FloorsSpec, GateSpec, LooksSpec
from policyengine.spec.significance import SignificanceSpec

FLOORS = FloorsSpec(trades_min=30, losing_trades_min=5, windows_min=3, trade_drop_max=0.3, reject_rate_rise_max=0.02, runtime_rise_max=0.5)
GATE = GateSpec(floors=FLOORS, test=SignificanceSpec(), looks=LooksSpec(max=4))
BASELINE: dict[str, float | None] = {
    "total_return_pct": 10.0,
    "profit_factor": 1.5,
    "max_drawdown": 0.10,
    "annual_volatility": 0.08,
    "total_trades": 200.0,
    "winning_trades": 120.0,
    "losing_trades": 80.0,
    "trade_dates": 90.0,
    "reject_rate": 0.01,
}
CANDIDATE = {**BASELINE, "total_return_pct": 11.0, "profit_factor": 1.6, "max_drawdown": 0.09}


def row(label: str, start: str, end: str, trades: float = 40.0, losing: float = 9.0) -> EvidenceRow:
    measures = {"total_trades": trades, "losing_trades": losing}
    return EvidenceRow(
        window=Window(label=label, start_date=date.fromisoformat(start), end_date=date.fromisoformat(end)),
        sessions=60,
        policy_hash="c",
        baseline_hash="b",
        baseline=measures,
        candidate=measures,
    )


ROWS = (
    row("Q1", "2018-01-01", "2018-03-31"),
    row("Q2", "2018-04-01", "2018-06-30"),
    row("Q3", "2018-07-01", "2018-09-30"),
)


SIGNIFICANT = Criterion(name="significance", status=Status.PASS, hard=True, observed=0.01, operator="<=", threshold=0.018, reason="")
HARM = (Criterion(name="harm_significance", status=Status.PASS, hard=True, observed=0.001, operator="<=", threshold=0.018, reason=""),)


def look(**changes: Any) -> Look:
    values: dict[str, Any] = {
        "budget": "k",
        "number": 1,
        "planned": 4,
        "sessions": 500,
        "alpha": 0.018,
        "trials": 2,
        "trials_now": 2,
        "first_date": date(2018, 1, 1),
        "last_date": date(2018, 9, 30),
        "recorded": Verdict.PROMOTE,
        "next_sessions": 750,
        "next_date": date(2019, 9, 30),
    }
    return Look(**{**values, **changes})


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "kind": "replay",
        "stage": Stage.CANARY,
        "rows": ROWS,
        "baseline": BASELINE,
        "candidate": CANDIDATE,
        "breaches": 0,
        "audited_frac": (1.0, 1.0),
        "judged": (SIGNIFICANT,),
        "look": look(),
    }
    return Facts(**{**values, **changes})


def found(name: str, **changes: Any) -> Criterion:
    (criterion,) = (c for c in decide(facts(**changes), GATE).criteria if c.name == name)
    return criterion


def candidate(**changes: float | None) -> dict[str, float | None]:
    return {**CANDIDATE, **changes}


PASSES = sorted({*CRITERIA, "look", "significance"})
FAILS: list[tuple[str, dict[str, Any]]] = [
    ("evidence_kind", {"kind": "trade_history", "stage": Stage.LIVE}),
    ("independent_windows", {"rows": ROWS[:2]}),
    ("improvement", {"candidate": candidate(total_return_pct=10.0, profit_factor=1.5)}),
    ("max_drawdown", {"candidate": candidate(max_drawdown=0.11)}),
    ("trade_count", {"candidate": candidate(total_trades=140.0)}),
    ("pnl_not_all_positive", {"candidate": candidate(winning_trades=200.0)}),
    ("pnl_not_on_one_date", {"baseline": {**BASELINE, "trade_dates": 1.0}}),
    ("limits_held", {"breaches": 1}),
    ("reject_rate", {"candidate": candidate(reject_rate=0.031)}),
    ("audit_completeness", {"audited_frac": (1.0, 0.99)}),
    ("look", {"look": look(recorded=Verdict.INCONCLUSIVE)}),
    ("look", {"look": look(trials_now=3)}),
]
MISSING: list[tuple[str, dict[str, Any]]] = [
    ("improvement", {"candidate": candidate(total_return_pct=None)}),
    ("max_drawdown", {"candidate": candidate(max_drawdown=None)}),
    ("trade_count", {"baseline": {**BASELINE, "total_trades": 0.0}}),
    ("profit_factor_defined", {"candidate": candidate(profit_factor=None)}),
    ("pnl_not_all_positive", {"candidate": candidate(total_trades=0.0)}),
    ("pnl_not_on_one_date", {"candidate": candidate(trade_dates=0.0)}),
    ("limits_held", {"breaches": None}),
    ("reject_rate", {"candidate": candidate(reject_rate=None)}),
    ("audit_completeness", {"audited_frac": (1.0, None)}),
    ("look", {"look": "a job of a sweep takes no look"}),
    ("look", {"judged": ()}),
]


@pytest.mark.parametrize("name", PASSES)
def test_passes(name: str) -> None:
    assert found(name).status is Status.PASS


@pytest.mark.parametrize(("name", "changes"), FAILS)
def test_fails(name: str, changes: dict[str, Any]) -> None:
    assert found(name, **changes).status is Status.FAIL


@pytest.mark.parametrize(("name", "changes"), MISSING)
def test_missing_is_not_a_pass(name: str, changes: dict[str, Any]) -> None:
    criterion = found(name, **changes)
    assert criterion.status is Status.MISSING
    assert criterion.observed is None


def test_every_criterion_is_covered_here() -> None:
    assert {name for name, _ in FAILS} | {name for name, _ in MISSING} == {*CRITERIA, "look"}


def test_promoted_only_when_everything_holds_at_a_look() -> None:
    decision = decide(facts(), GATE)
    assert (decision.verdict, decision.passed, decision.open) == (Verdict.PROMOTE, True, ())


@pytest.mark.parametrize(("name", "changes"), [*FAILS, *MISSING])
def test_whatever_is_open_nothing_is_promoted(name: str, changes: dict[str, Any]) -> None:
    decision = decide(facts(**changes), GATE)
    assert decision.verdict is not Verdict.PROMOTE
    assert name in {c.name for c in decision.open}


@pytest.mark.parametrize("changes", [{"judged": ()}, {"look": "no look"}, {"judged": (), "look": "no look"}])
def test_without_the_statistical_test_nothing_is_promoted(changes: dict[str, Any]) -> None:
    decision = decide(facts(**changes), GATE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert [c.name for c in decision.open] == ["look"]


def test_what_the_look_said_stands_until_the_next() -> None:
    """A PROMOTE may be demoted by floors on later days, and nothing that a look did not promote is promoted after it."""
    assert decide(facts(candidate={**CANDIDATE, "max_drawdown": 0.2}), GATE).verdict is Verdict.INCONCLUSIVE
    assert decide(facts(look=look(recorded=Verdict.INCONCLUSIVE)), GATE).verdict is Verdict.INCONCLUSIVE
    assert decide(facts(look=look(recorded=Verdict.REJECT)), GATE).verdict is Verdict.REJECT


def test_shown_harm_rejects() -> None:
    worse = Criterion(name="significance", status=Status.FAIL, hard=True, observed=0.99, operator="<=", threshold=0.018, reason="")
    assert decide(facts(judged=(worse,), harm=HARM, look=look(recorded=Verdict.REJECT)), GATE).verdict is Verdict.REJECT
    unsure = (*HARM, worse)
    assert decide(facts(judged=(worse,), harm=unsure, look=look(recorded=Verdict.INCONCLUSIVE)), GATE).verdict is Verdict.INCONCLUSIVE


def test_all_hard_criteria_must_pass_and_there_must_be_some() -> None:
    assert verdict_of(decide(facts(), GATE).criteria) is Verdict.PROMOTE
    assert verdict_of([]) is Verdict.INCONCLUSIVE
    soft = [Criterion(name="x", status=Status.PASS, hard=False, observed=1.0, operator=">", threshold=0.0, reason="")]
    assert verdict_of(soft) is Verdict.INCONCLUSIVE


def test_a_broken_limit_rejects() -> None:
    assert decide(facts(breaches=3), GATE).verdict is Verdict.REJECT


def test_trade_drop_at_the_threshold_fails() -> None:
    assert found("trade_count", candidate=candidate(total_trades=141.0)).status is Status.PASS
    assert found("trade_count", candidate=candidate(total_trades=140.0)).status is Status.FAIL


def test_float_noise_is_neither_better_nor_worse() -> None:
    noise = candidate(total_return_pct=10.0 + 1e-10, profit_factor=1.5 + 1e-10, max_drawdown=0.1 + 1e-10)
    assert found("improvement", candidate=noise).status is Status.FAIL
    assert found("max_drawdown", candidate=noise).status is Status.PASS


def test_worse_drawdown_at_more_risk_says_how_to_rescale() -> None:
    assert "rescale by 0.8" in found("max_drawdown", candidate=candidate(max_drawdown=0.12, annual_volatility=0.10)).reason


def test_windows_below_the_floors_do_not_count() -> None:
    rows = (*ROWS, row("Q4", "2018-10-01", "2018-12-31", trades=29.0), row("Q5", "2019-01-01", "2019-03-31", losing=4.0))
    assert independent_rows(rows, FLOORS) == ("Q1", "Q2", "Q3")


def test_windows_that_end_on_one_date_count_as_one_and_the_reason_says_so() -> None:
    rows = tuple(
        row(f"{n}d", start, "2018-11-30") for n, start in ((30, "2018-11-01"), (90, "2018-09-02"), (180, "2018-06-04"), (365, "2017-12-01"))
    )
    criterion = found("independent_windows", rows=rows)
    assert (criterion.status, criterion.observed) == (Status.FAIL, 1)
    assert "overlap and count as 1" in criterion.reason


def test_a_window_of_one_session_does_not_count() -> None:
    assert independent_rows((replace(ROWS[0], sessions=1), *ROWS[1:]), FLOORS) == ("Q2", "Q3")


def test_a_window_that_failed_is_not_independent() -> None:
    failed = EvidenceRow(
        window=ROWS[0].window, sessions=0, policy_hash="c", baseline_hash="b", baseline={}, candidate={}, error="no session"
    )
    assert found("independent_windows", rows=(failed, *ROWS[1:])).status is Status.FAIL


def test_soft_criteria_do_not_block_and_hard_ones_cannot_be_made_soft() -> None:
    soft = replace(GATE, soft=("reject_rate",))
    assert decide(facts(candidate=candidate(reject_rate=0.5)), soft).verdict is Verdict.PROMOTE
    with pytest.raises(ConfigError, match="gate.soft: 'max_drawdown' is always hard"):
        decide(facts(), replace(GATE, soft=("max_drawdown",)))
    with pytest.raises(ConfigError, match="gate.soft: unknown criterion 'drawdown'"):
        decide(facts(), replace(GATE, soft=("drawdown",)))
    assert set(CRITERIA) >= ALWAYS_HARD
