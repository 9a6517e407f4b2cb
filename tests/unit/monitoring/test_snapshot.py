"""The contract of the snapshot: what is none is refused, what is written is read, and the document names every key."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from policyengine.errors import ConfigError, DataError
from policyengine.monitoring.metrics import exposition
from policyengine.monitoring.snapshot import STATES, Snapshot, bound_snapshot, publish, read_snapshot, snapshot_path
from policyengine.rollout.modes import State
from tests.conftest import ROOT
from tests.watched import NOW, stored

DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text()


def test_what_is_published_is_read(tmp_path: Path) -> None:
    snapshot = bound_snapshot(stored(), "x")
    path = publish(tmp_path, snapshot)
    assert path == tmp_path / "snapshots" / "paper.json"
    assert read_snapshot(tmp_path, "paper") == snapshot
    assert json.loads(path.read_text()) == stored()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 2}, "2 is not 1"),
        ({"nav": "1"}, "nav: '1' is not a number"),
        ({"nav": True}, "nav: true is not a number"),
        ({"published_at": "2026-03-02T12:00:00"}, "names no zone"),
        ({"permit__expires_at": "soon"}, "permit.expires_at: 'soon' is not an instant"),
        ({"state": "piloted"}, "unknown value 'piloted'"),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_what_is_none_of_this_version_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = snapshot_path(tmp_path, "paper")
    path.parent.mkdir()
    path.write_text(json.dumps(stored(**changes)))
    with pytest.raises(DataError, match=re.escape(says)):
        read_snapshot(tmp_path, "paper")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"schema": NaN}', b"\xff", b'{"schema": 1, "schema": 1}'])
def test_what_is_torn_or_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = snapshot_path(tmp_path, "paper")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_snapshot(tmp_path, "paper")


def test_a_snapshot_of_another_account_or_none_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, bound_snapshot(stored(account="other"), "x"))
    (tmp_path / "snapshots" / "other.json").rename(tmp_path / "snapshots" / "paper.json")
    with pytest.raises(DataError, match="is of account 'other'"):
        read_snapshot(tmp_path, "paper")
    with pytest.raises(DataError, match="does not exist"):
        read_snapshot(tmp_path, "third")


@pytest.mark.parametrize("account", ["../x", "", "a/b", ".x", "a\n", "x" * 65])
def test_an_account_is_a_plain_name(tmp_path: Path, account: str) -> None:
    with pytest.raises(ConfigError, match="is not a name"):
        read_snapshot(tmp_path, account)


def test_the_states_are_those_of_the_rollout() -> None:
    assert tuple(State) == STATES


def test_a_writer_that_is_killed_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    """SIGKILL at any moment of a publish: what stands is the one before or the new one."""
    code = (
        "import sys; from pathlib import Path; from policyengine.monitoring.snapshot import bound_snapshot, publish\n"
        "from tests.watched import stored\n"
        "i = 0\n"
        "while True:\n"
        "    i += 1\n"
        "    publish(Path(sys.argv[1]), bound_snapshot(stored(nav=float(i)), 'x'))\n"
    )
    publish(tmp_path, bound_snapshot(stored(nav=-1.0), "x"))
    for pause in (0.0, 0.003, 0.011):
        before = snapshot_path(tmp_path, "paper").stat().st_ino
        writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
        stop = time.monotonic() + 60
        while snapshot_path(tmp_path, "paper").stat().st_ino == before and time.monotonic() < stop:
            time.sleep(0.01)
        time.sleep(0.1 + pause)
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        nav = read_snapshot(tmp_path, "paper").nav
        assert nav is not None
        assert nav >= 1.0


def keys(hint: Any) -> set[str]:
    """Every field of a contract, however deep."""
    found: set[str] = set()
    for part in (hint, *get_args(hint)):
        if is_dataclass(part):
            hints = get_type_hints(part)
            found |= {f.name for f in fields(part)}
            for f in fields(part):
                found |= keys(hints[f.name])
        elif part is not hint:
            found |= keys(part)
    return found


def test_every_key_and_no_other_is_documented() -> None:
    section = DOCUMENT.split("## The snapshot")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", section, flags=re.MULTILINE)[1:]
    assert {name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)} == {f.name for f in fields(Snapshot)}
    named = set(re.findall(r"`(\w+)`", " ".join(cell for row in rows for cell in row)))
    assert keys(Snapshot) - {f.name for f in fields(Snapshot)} <= named


def test_every_metric_and_no_other_is_documented() -> None:
    section = DOCUMENT.split("## Metrics")[1].split("\n## ")[0]
    named = set(re.findall(r"`policyengine_(\w+)", section))
    unlike = stored(permit={"stage": None, "evidence_hash": None, "made_at": None, "expires_at": None, "refusal": "EV_EXPIRED"})
    text = b"".join(exposition(one, read_at=NOW, alerts={"kill_engaged": True}) for one in (stored(), unlike)).decode()
    assert named == set(re.findall(r"^# TYPE policyengine_(\w+) ", text, flags=re.MULTILINE))
