"""Every size of a real trading run follows from its audit log alone, to the bit; what was changed in the log does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.allocation.cycle import Cycle, grid
from policyengine.evidence.artifact import code_hash
from policyengine.execution.broker import PaperBroker
from policyengine.market import PricePanel
from policyengine.records import Arm
from policyengine.rollout.audit import AuditLog
from policyengine.rollout.audit_reading import read, verify
from policyengine.rollout.audit_records import Basis, Intent, Policy
from policyengine.rollout.kill import KillSwitch
from policyengine.rollout.recomputing import Recomputed, recompute
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import Rollout
from policyengine.rollout.trader import Rolled, Trader
from policyengine.signals.stream import engine_stream
from policyengine.spec.root import Spec
from tests.conftest import composed_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = 100
"""The signals need a while before they speak."""
CODE = code_hash()


def market(spec: Spec, sessions: int = 200) -> PricePanel:
    """Random walks of every instrument of the universe."""
    rng, symbols = np.random.default_rng(3), tuple(sorted(spec.universe.instruments))
    scale = np.where(np.array(symbols) == "TBILL", 0.0001, 0.02)
    close = 100.0 * np.exp(rng.normal(0.0006, 1.0, (sessions, len(symbols))).cumsum(axis=0) * scale)
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2022-01-01"))
    return PricePanel(
        sessions=days[np.is_busday(days)][:sessions],
        symbols=symbols,
        close=close,
        fresh=np.ones(close.shape, dtype=np.bool_),
        calendar_used="core",
        periods_per_year=252,
    )


def shadowed(state: Path, *overrides: str) -> Path:
    """The audit log of a paper account that traded in shadow."""
    spec = composed_spec(*overrides, "rollout=shadow")
    panel = market(spec)
    stream = engine_stream(spec.signals, panel)
    policies, asked = [spec.arm(arm) for arm in Arm], grid(stream, spec.universe)
    cycle = Cycle(policies, stream, asked, spec.universe, allow_short=spec.execution.allow_short, periods_per_year=252)
    kill = KillSwitch(state, environment={}, file=None, configured=False, clock=lambda: NOW)
    kill.begin()
    lots = dict(zip(cycle.symbols, cycle.lots.tolist(), strict=True))
    with (
        AuditLog(state / "audit", recorded_at=NOW.isoformat()) as audit,
        PaperBroker(state / "paper", spec.execution, account="paper", base_currency="USD", capital=1e6, lots=lots) as broker,
    ):
        rollout = Rollout(spec.rollout, audit, state / "audit", kill, request=lambda *_: pytest.fail("no permit"), clock=lambda: NOW)
        rolled = Rolled(rollout=rollout, audit=audit, folder=state / "audit")
        trader = Trader(spec, panel, stream, cycle, broker, account="paper", check=lambda *_: None, rolled=rolled)
        rollout.start("test", trader.facts)
        for _ in trader.run(FIRST):
            pass
        assert trader.facts().unlike is None
    return state / "audit"


VARIANTS: dict[str, tuple[str, ...]] = {
    "scaled": ("scaler=volatility", "sizing.multipliers.core=0.7"),
    "bound": (
        "limits=barbell_swept",
        "sizing.multipliers.core=0.4",
        "limits.buckets.core.max_frac=0.05",
        "limits.buckets.core.position_max_frac=0.01",
    ),
    "both sized": (
        "sizing=barbell_overlays",
        "limits.metric=euclidean",
        "evidence.arms.baseline.sizing.enabled=true",
        "+evidence.arms.baseline.sizing.multipliers={safe: 1.0, core: 0.8, spec: 0.3, other: 1.0}",
    ),
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: shadowed(tmp_path_factory.mktemp("state"), *overrides) for name, overrides in VARIANTS.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_size_follows_from_the_log_alone(logs: dict[str, Path], name: str) -> None:
    log = logs[name]
    decisions = list(read(log, Intent))
    assert len(decisions) > 1_000
    assert recompute(log, CODE) == Recomputed(decisions=len(decisions), other_code=0)
    assert len({(i.session, i.symbol) for i in decisions}) == len(decisions)
    assert sum(i.baseline_size != i.candidate_size for i in decisions) > 300
    assert len(list(read(log, Policy))) == 2


def test_what_was_to_be_recomputed_was_there(logs: dict[str, Path]) -> None:
    """Budgets that were scaled, limits that bound, cash that was swept into what has no signal."""
    scaled = [basis.risk for basis in read(logs["scaled"], Basis)]
    assert all(risk is not None for risk in scaled)
    assert len({risk.index for risk in scaled if risk is not None}) > 50
    assert sum(bool(i.limits) for i in read(logs["bound"], Intent)) > 200
    swept = [i for i in read(logs["bound"], Intent) if i.symbol == "TBILL"]
    assert any(i.candidate_size for i in swept)
    assert all(basis.risk is None for basis in read(logs["bound"], Basis))


def test_what_other_code_decided_is_counted_and_not_compared(logs: dict[str, Path]) -> None:
    count = len(list(read(logs["bound"], Intent)))
    assert recompute(logs["bound"], "another") == Recomputed(decisions=0, other_code=count)


def test_no_log_holds_no_decision(tmp_path: Path) -> None:
    assert recompute(tmp_path / "nowhere", CODE) == Recomputed(decisions=0, other_code=0)


Values = list[dict[str, Any]]


def forged(log: Path, folder: Path, change: Callable[[Values], None]) -> Path:
    """A copy of the log, changed by somebody who makes numbers, chain and head right again."""
    shutil.copytree(log, folder)
    path = folder / "journal.jsonl"
    values = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(values)
    last, lines = "0" * 64, []
    for seq, value in enumerate(values, start=1):
        line = json.dumps({**value, "seq": seq, "previous": last}, separators=(",", ":")).encode()
        last = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))
    (folder / "head.json").write_text(json.dumps({"count": len(values), "hash": last}))
    return folder


def nth(values: Values, kind: str, number: int = 40) -> dict[str, Any]:
    found = [value for value in values if value["kind"] == kind and value.get("candidate_size", 1.0)]
    return found[number % len(found)]


def next_up(kind: str, name: str) -> Callable[[Values], None]:
    def change(values: Values) -> None:
        record = nth(values, kind)
        record[name] = float(np.nextafter(record[name], 9.0))

    return change


def drop(values: Values) -> None:
    """An intent and its outcome, as if nothing had been decided."""
    gone = nth(values, "intent")["decision_id"]
    values[:] = [value for value in values if value.get("decision_id") != gone]


def of_basis(**changes: Any) -> Callable[[Values], None]:
    return lambda values: nth(values, "basis").update(changes)


def of_signal(**changes: Any) -> Callable[[Values], None]:
    """Of the first signal that buys a risk."""

    def change(values: Values) -> None:
        next(s for s in nth(values, "basis")["signals"] if s["direction"] == 1 and s["sleeve"] == "ts_core").update(changes)

    return change


def another_policy(values: Values) -> None:
    """The policy that is on record is replaced by another, under its own hash."""
    record = nth(values, "policy")
    before = record["policy_hash"]
    record["policy"] = record["policy"].replace('"drift_band":0.02', '"drift_band":0.03')
    record["policy_hash"] = hashlib.sha256(record["policy"].encode()).hexdigest()
    assert record["policy_hash"] != before


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (next_up("intent", "candidate_size"), "candidate_size of decision d_"),
        (next_up("intent", "baseline_size"), "baseline_size of decision d_"),
        (lambda values: nth(values, "intent").update(sleeve="em_risk"), "sleeve of decision d_.* and ts_core follows"),
        (lambda values: nth(values, "intent").update(code_hash="another"), "by another policy or other code"),
        (drop, "has sizes .* and no decision is on record"),
        (of_signal(base=0.77), "_size of decision d_|base_confidence of decision d_"),
        (of_signal(candidate=0.11), "_size of decision d_|effective_confidence of decision d_"),
        (of_signal(direction=-1), "_size of decision d_"),
        (of_signal(direction=2), "direction 2 of .* is neither 1 nor -1"),
        (of_signal(base=7.0), r"confidence 7\.0 of .* is not in \[0, 1\]"),
        (of_signal(symbol="NONE"), "is not among the symbols"),
        (of_basis(periods_per_year=0), "periods_per_year 0 is below 1"),
        (of_basis(signals=[]), "base_confidence of decision d_.*, and None follows"),
        (of_basis(session="2020-01-01"), "has nothing on record that it follows from"),
        (of_basis(risk=None), "cannot be decided again: .* was not told how risky"),
        (lambda values: nth(values, "basis")["risk"].update(variance=[0.01] * 7), "_size of decision d_"),
        (lambda values: nth(values, "basis")["risk"].update(index=[1.0]), "risk does not hold a measurement of each sleeve"),
        (another_policy, "policy '[0-9a-f]{64}' is not on record"),
        (lambda values: nth(values, "policy").update(policy="{}"), "is not the SHA-256 of the policy"),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(logs: dict[str, Path], tmp_path: Path, change: Callable[[Values], None], rule: str) -> None:
    with pytest.raises(NotStarted, match=rule) as refused:
        recompute(forged(logs["scaled"], tmp_path / "audit", change), CODE)
    assert refused.value.code is Code.AUDIT_BROKEN
    assert "journal.jsonl:" in str(refused.value)


def test_the_same_bits_under_the_chain_alone_are_not_told_from_others(logs: dict[str, Path], tmp_path: Path) -> None:
    """So the check is worth its time: chain, head and each record by itself say nothing of a size that was changed."""
    log = forged(logs["scaled"], tmp_path / "audit", next_up("intent", "candidate_size"))
    assert verify(log, deep=True).count == verify(logs["scaled"], deep=True).count


def test_a_session_that_is_run_again_is_put_on_record_once(tmp_path: Path, logs: dict[str, Path]) -> None:
    """The basis as well; another one, of a restart under other data, is recorded and counts for what follows it."""
    log = shutil.copytree(logs["bound"], tmp_path / "audit")
    *_, basis = read(log, Basis)
    *_, intent = read(log, Intent)
    count = verify(log, deep=False).count
    with AuditLog(log, recorded_at=NOW.isoformat()) as audit:
        audit.append_many([*read(log, Policy), replace(basis, recorded_at="2026-01-02T00:00:00+00:00")])
        assert verify(log, deep=False).count == count
        audit.append(replace(basis, symbols=basis.symbols[::-1]))
        assert verify(log, deep=False).count == count + 1
    assert recompute(log, CODE).decisions == len(list(read(log, Intent)))
    assert intent.session == basis.session
