from __future__ import annotations

import numpy as np
import pytest

from policyengine.rollout.comparison import compare

FLAT = np.ones(2)


def arms(seed: int, drift: float, sessions: int = 250, before: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0003, 0.01, before + sessions)
    own = rng.normal(0.0, 0.002, before + sessions)
    harm = np.where(np.arange(before + sessions) >= before, drift, 0.0)
    return common, common + own + harm


def test_a_canary_that_does_harm_is_paused() -> None:
    baseline, candidate = arms(0, -0.002)
    found = compare(baseline, candidate, began=150, account=FLAT, control=FLAT, loss_max_frac=0.02)
    assert found.why is not None
    assert "mirror bound was crossed after" in found.why
    assert found.upper < 0.0
    assert found.sessions == 250


def test_one_that_does_not_goes_on() -> None:
    baseline, candidate = arms(1, 0.0)
    found = compare(baseline, candidate, began=150, account=FLAT, control=FLAT, loss_max_frac=0.02)
    assert found.why is None
    assert found.lower < found.mean < found.upper  # type: ignore[operator]


def test_leverage_alone_is_no_harm() -> None:
    """Half of everything: a worse return at half the risk is the same."""
    baseline, _ = arms(2, 0.0)
    found = compare(baseline, 0.5 * baseline, began=150, account=FLAT, control=FLAT, loss_max_frac=0.02)
    assert found.why is None
    assert found.mean == pytest.approx(0.0, abs=1e-15)


def test_the_loss_limit_is_immediate() -> None:
    baseline, candidate = arms(3, 0.0, sessions=1)
    account, control = np.array([100.0, 97.0]), np.array([200.0, 198.1])
    found = compare(baseline, candidate, began=150, account=account, control=control, loss_max_frac=0.02)
    assert found.loss_frac == pytest.approx(0.9905 - 0.97)
    assert found.why is not None
    assert "2.05% of NAV against the baseline; rollout.loss_max_frac is 2%" in found.why
    assert compare(baseline, candidate, began=150, account=account, control=control, loss_max_frac=0.03).why is None


@pytest.mark.parametrize("fault", ["nan", "short", "constant", "nav"])
def test_what_cannot_be_measured_pauses(fault: str) -> None:
    baseline, candidate = arms(4, 0.0)
    account, began = FLAT.copy(), 150
    match fault:
        case "nan":
            candidate[200] = np.nan
        case "short":
            began = 100
        case "constant":
            candidate[:150] = 0.0
        case "nav":
            account[1] = np.nan
    found = compare(baseline, candidate, began=began, account=account, control=FLAT, loss_max_frac=0.02)
    assert found.why is not None
    assert "cannot be" in found.why


def test_before_its_first_session_there_is_nothing_to_compare() -> None:
    baseline, candidate = arms(5, 0.0, sessions=0)
    found = compare(baseline, candidate, began=150, account=np.ones(1), control=np.ones(1), loss_max_frac=0.02)
    assert (found.sessions, found.mean, found.why) == (0, None, None)
