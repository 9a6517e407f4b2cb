"""What a health check says, to the letter."""

from __future__ import annotations

from policyengine.monitoring.health import Flaw, Health, Tally, judge
from policyengine.monitoring.quant_gate import QuantGate
from policyengine.records import Bucket
from policyengine.reporting.health import lines
from policyengine.spec.health import CeilingsSpec

FAIL, NEGATIVE = CeilingsSpec(warn=0.80, red=0.85), CeilingsSpec(warn=0.40, red=0.50)
EMPTY = Tally(judged=0, passed=0, failed=0, losses=0, no_losses=0, left_out={}, flaws={}, first={})
TALLY = Tally(
    judged=1_200,
    passed=100,
    failed=1_099,
    losses=480,
    no_losses=719,
    left_out={"run": 5, "mode": 2},
    flaws={Flaw.UNREADABLE: 3, Flaw.UNKNOWN_STATUS: 1, Flaw.NAN_PROFIT: 1},
    first={Flaw.UNREADABLE: 17},
)


def said(tally: Tally, *, strict: bool, gate: QuantGate | None = None) -> list[str]:
    found: Health = judge(tally, fail=FAIL, negative=NEGATIVE, strict=strict)
    return list(lines(found, judged="a\x1blog", fail=FAIL, negative=NEGATIVE, strict=strict, gate=gate))


def test_red_with_everything_there_is_to_say() -> None:
    gate = QuantGate(
        schema=1,
        active=True,
        since="2026-01-01T00:00:00+00:00",
        reason="FAIL is too high",
        level=judge(TALLY, fail=FAIL, negative=NEGATIVE, strict=False).level,
        judged_at="2026-01-02T00:00:00+00:00",
        judged="these",
        buckets=(Bucket.SPEC, Bucket.OTHER),
        disabled=("BTC",),
    )
    assert said(TALLY, strict=False, gate=gate) == [
        "HEALTH    RED   signals are not fit to open risk on",
        "  why  FAIL is a share of 0.9166, above 0.85",
        "  why  an expected loss is a share of 0.4003, above 0.4",
        "fail        91.66%   1,099 of 1,199   yellow above 80%, red above 85%",
        "negative    40.03%   480 of 1,199   yellow above 40%, red above 50%",
        "records   1,200 judged of a\\x1blog",
        "filtered  7: 5 by run, 2 by mode",
        "  left out  3 that cannot be read; the first is line 17",
        "  left out  1 with a status other than PASS and FAIL",
        "  left out  1 with an expected_profit that is not finite",
        "gate      active since 2026-01-01T00:00:00+00:00: nothing new in spec, other; instruments: 1",
        "  reason  FAIL is too high",
        "next      GREEN clears the gate",
    ]


def test_strict_names_what_makes_it_red() -> None:
    told = said(TALLY, strict=True)
    assert "  why  3 that cannot be read" in told
    assert "  flawed  3 that cannot be read; the first is line 17" in told
    assert told[-1] == "next      mend what cannot be read, or count it and go on with task.strict=false"


def test_nothing_to_judge() -> None:
    assert said(EMPTY, strict=True) == [
        "HEALTH    RED   signals are not fit to open risk on",
        "  why  there is no usable record",
        "fail       unknown   yellow above 80%, red above 85%",
        "negative   unknown   yellow above 40%, red above 50%",
        "records   0 judged of a\\x1blog",
        "next      widen the filters, or give a log with task.path=FILE; unknown is not healthy",
    ]
