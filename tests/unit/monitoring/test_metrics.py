"""The exposition: hand-read values, absence for what is not known, labels that are bounded."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from policyengine.monitoring.metrics import exposition
from tests.watched import NOW, stored


def samples(snapshot: dict[str, Any] | None, alerts: dict[str, bool] | None = None, *, later: timedelta = timedelta()) -> dict[str, float]:
    text = exposition(snapshot, read_at=NOW + later, alerts=alerts).decode()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name.removeprefix("policyengine_").replace('account="paper",', "").replace('{account="paper"}', "")] = float(value)
    return found


def test_what_is_stored_is_shown() -> None:
    found = samples(stored(), later=timedelta(seconds=90))
    assert found["snapshot_readable"] == 1.0
    assert found["snapshot_age_seconds"] == 90.0
    assert found['nav_amount{currency="USD"}'] == 1_000_000.0
    assert found['bucket_nav_frac{bucket="safe"}'] == 0.8
    assert found['bucket_min_frac{bucket="safe"}'] == 0.75
    assert found["exposure_sum_frac"] == 1.0
    assert found['risk_scale_ratio{sleeve="ts_core"}'] == 0.8
    assert found['trade_pnl_amount{bucket="core",span="rolling"}'] == 120.0
    assert found['orders_rejected_frac{bucket="core",span="session"}'] == 0.05
    assert found['cost_bps{span="rolling"}'] == 1.25
    assert found['evidence_delta_return_frac{span="sample"}'] == 0.02
    assert found['evidence_delta_max_drawdown_frac{span="window"}'] == 0.0
    assert found['rollout_state{state="canary"}'] == 1.0
    assert found['rollout_state{state="off"}'] == 0.0
    assert found["permit_held"] == 1.0
    assert found["permit_expires_timestamp_seconds"] == (NOW + timedelta(days=5)).timestamp()
    assert found["audit_lag_seconds"] == 90.0
    assert found["kill_engaged"] == 0.0
    assert found["canary_crossed"] == 0.0
    assert "permit_refused" not in str(found)


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"nav": None}, "nav_amount"),
        ({"cash_frac": None}, "exposure_sum_frac"),
        ({"kill": None}, "kill_engaged"),
        ({"audit": None}, "audit_"),
        ({"quant_gate": None}, "quant_gate"),
        ({"canary": None}, "canary_"),
        ({"evidence": None}, "evidence_"),
        ({"sleeves__0__realised_vol": None}, "sleeve_realised_volatility"),
        ({"risk__held_frac": None}, "risk_nav_frac"),
    ],
)
def test_what_is_not_known_is_absent(changes: dict[str, Any], gone: str) -> None:
    assert any(name.startswith(gone) for name in samples(stored()))
    assert not any(name.startswith(gone) for name in samples(stored(**changes)))


@pytest.mark.parametrize("snapshot", [None, {}, stored(schema=2), stored(nav="x")])
def test_a_snapshot_that_cannot_be_read_shows_nothing_else(snapshot: dict[str, Any] | None) -> None:
    assert samples(snapshot) == {"snapshot_readable": 0.0}


def test_alerts_are_shown_as_they_stand() -> None:
    found = samples(stored(), {"kill_engaged": True, "audit_broken": False})
    assert found['alert_firing{alert="kill_engaged"}'] == 1.0
    assert found['alert_firing{alert="audit_broken"}'] == 0.0


def test_no_text_of_the_data_is_a_label() -> None:
    """A name that does harm, wherever a snapshot may hold one."""
    evil = '"}\npolicyengine_kill_engaged 0 #'
    harm = stored(
        quant_gate={"active": True, "since": None, "reason": evil, "disabled": [evil]},
        unmet=[{"path": "limits", "value": 0.1, "symbol": evil, "reason": evil}],
        source={"origin": evil, "synthetic": False},
        halted=evil,
    )
    assert evil.encode() not in exposition(harm, read_at=NOW)
    labels = set(re.findall(r'(\w+)="', exposition(harm, read_at=NOW).decode()))
    assert labels == {"account", "bucket", "sleeve", "span", "state", "arm", "currency"}


def test_no_name_ends_as_only_a_histogram_may() -> None:
    text = exposition(stored(), read_at=NOW).decode()
    names = re.findall(r"^# TYPE (\w+)", text, flags=re.MULTILINE)
    assert names
    assert not [name for name in names if name.endswith(("_bucket", "_count", "_sum", "_total"))]
