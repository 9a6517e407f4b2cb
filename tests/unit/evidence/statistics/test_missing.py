"""What is missing, by hand."""

import pytest

from policyengine.evidence.statistics.missing import what_is_missing
from policyengine.spec.significance import SignificanceSpec

GATE = SignificanceSpec()


def test_sessions_by_hand() -> None:
    # (1.6449 + 0.8416)^2 = 6.1826; variance 25 over 0.5^2 is 100: 619 sessions.
    found = what_is_missing(25.0, 250, gate=GATE, alpha=0.05, n_trades=100)
    assert found.sessions_needed == 619
    assert found.sessions == 369
    assert found.trades == 148
    assert found.power_now == pytest.approx(0.4746, abs=1e-3)


def test_enough_is_enough() -> None:
    found = what_is_missing(25.0, 700, gate=GATE, alpha=0.05)
    assert (found.sessions, found.trades) == (0, None)
    assert found.power_now > 0.8


def test_never_below_the_least_sample_and_short_samples_pay() -> None:
    assert what_is_missing(0.01, 10, gate=GATE, alpha=0.05).sessions_needed == 60
    # 4.5 * 4 * 6.18 = 112 at the full level, but below 120 the level is 0.04 and the need is 121, so 120 it is.
    assert what_is_missing(4.5, 10, gate=GATE, alpha=0.05).sessions_needed == 120


def test_more_trials_and_stricter_looks_need_more() -> None:
    one, many, late = (
        what_is_missing(25.0, 250, gate=GATE, alpha=alpha, n_trials=trials).sessions_needed
        for alpha, trials in ((0.05, 1), (0.05, 10), (0.018, 1))
    )
    assert one < late < many


def test_no_variance_no_power() -> None:
    assert what_is_missing(0.0, 100, gate=GATE, alpha=0.05).power_now == 0.0
    assert what_is_missing(25.0, 0, gate=GATE, alpha=0.05, n_trades=0).trades is None
