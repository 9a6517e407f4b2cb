"""What a snapshot is made from: files that are absent, broken or whole."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from policyengine.rollout.audit import AuditLog
from policyengine.tasks.watched import audit_of, evidence_of

AT = "2026-01-01T00:00:00+00:00"


def test_an_audit_log_is_what_its_files_say(tmp_path: Path) -> None:
    assert "there is no audit log" in str(audit_of(tmp_path / "audit").broken)
    with AuditLog(tmp_path / "audit", recorded_at=AT) as log:
        log.checkpoint(recorded_at="2026-01-02T00:00:00+00:00", why="session closed", session=date(2026, 1, 2))
    found = audit_of(tmp_path / "audit")
    assert (found.records, found.recorded_at, found.checkpoint_at, found.broken) == (2, *["2026-01-02T00:00:00+00:00"] * 2, None)
    journal = tmp_path / "audit" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"session closed", b"session clozed"))
    found = audit_of(tmp_path / "audit")
    assert "AUDIT_BROKEN" in str(found.broken)
    assert found.records is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema": 1}', b"\xff", json.dumps({"schema": 1, "pooled": 3}).encode()])
def test_an_artifact_that_is_none_says_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "latest.json"
    assert evidence_of(path) is None
    path.write_bytes(content)
    assert evidence_of(path) is None
    assert evidence_of(tmp_path) is None
