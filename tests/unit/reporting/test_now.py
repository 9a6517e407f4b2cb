"""What an account left last: every number as it is known, what needs a person in sight, and no text that is more than text."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from policyengine.monitoring.snapshot import Alert, Kill
from policyengine.reporting.now import age, now
from policyengine.reporting.text import UNKNOWN
from tests.serving import EVIL, evil_snapshot, snapshot


def said(html: str) -> str:
    """Everything that a section says."""
    return " ".join(" ".join(ET.fromstring(html).itertext()).split())


def test_it_shows_what_the_snapshot_says() -> None:
    text = said(now(snapshot(), (), account="paper"))
    for part in (
        "Now: account paper",
        "NAV USD, 2026-01-02 1,000,000 cash 50.00%",
        "State shadow mode shadow",
        "Kill switch released",
        "Safe weight 80.00% floor 75.00%, headroom +5.00 pp",
        "Risk 20.00% maximum 25.00%, headroom +5.00 pp",
        "Alerts none",
        "ts core 10.00% 12.00% 15.00% 0.80 20.00% 16.00% 3.00% 10.00%",
        "Permit for shadow until",
        "Quant gate not active",
        "Audit 7 records",
        "4 orders, 1 rejected; turnover 10.00%, costs 0.50 bps",
        "Realised P&L, core USD 12.50",
    ):
        assert part in text, part


def test_a_snapshot_that_cannot_be_read_says_why_and_nothing_else() -> None:
    assert said(now("paper.json: does not exist", (), account="a")) == "Now: account a No snapshot paper.json: does not exist"


def test_what_is_not_known_is_a_dash_and_never_a_zero() -> None:
    lines = {"held_frac": None, "max_frac": None, "headroom_frac": None}
    text = said(now(snapshot(nav=0.0, cash=None, cash_frac=None, risk=lines, kill=None, permit=None), (), account="paper"))
    assert f"cash {UNKNOWN}" in text
    assert f"Risk {UNKNOWN} maximum {UNKNOWN}, headroom {UNKNOWN} pp" in text
    assert f"Kill switch {UNKNOWN} it was not looked at" in text


def test_what_needs_a_person_is_marked() -> None:
    beyond = Alert(name="risk_above_maximum", observed=0.3, operator=">", limit=0.25, why="risk weight against its maximum")
    risk = {"held_frac": 0.3, "max_frac": 0.25, "headroom_frac": -0.05}
    bad = snapshot(halted="the kill switch", kill={"engaged": True, "since": "2026-01-02T00:00:00+00:00", "why": "drill"}, risk=risk)
    html = now(bad, (beyond,), account="paper")
    assert bad.kill == Kill(engaged=True, since="2026-01-02T00:00:00+00:00", why="drill")
    assert html.count('class="tile alarm"') == 4
    assert "risk_above_maximum 0.3 > 0.25 risk weight against its maximum" in said(html)


def test_names_that_try_to_do_harm_are_text() -> None:
    html = now(evil_snapshot(), (), account="paper")
    root = ET.fromstring(html)
    assert not {element.tag for element in root.iter()} & {"script", "img"}
    text = said(html)
    for name in (*EVIL[:4], EVIL[5], "a\\u202eb"):
        assert name in text, name
    assert not [ch for ch in html if unicodedata.category(ch)[0] == "C" and ch != "\n"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s ago"),
        (59.9, "59 s ago"),
        (61, "1 min 1 s ago"),
        (3600, "1 h 0 min ago"),
        (86_400 * 2 + 3_700, "2 days 1 h ago"),
        (-5, "5 s ahead of this clock"),
    ],
)
def test_an_age_in_two_units(seconds: float, words: str) -> None:
    assert age(timedelta(seconds=seconds)) == words
