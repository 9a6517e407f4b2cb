"""A writer of many trials at once that is killed, at any system call: the log has all of them, or none."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

from policyengine.evidence.trial_log import RecoveryRecord, append_trial, append_trials, read_log
from tests.faults.test_trials import dying_at, in_child, trial

MANY = [replace(trial(number), run_id="many") for number in range(2, 402)]


def known(state: Path) -> set[str]:
    return {found.policy_hash for found in read_log(state).trials}


def test_killed_at_each_system_call_none_is_there_or_all(tmp_path: Path) -> None:
    first, last, many = trial(1), trial(999), {record.policy_hash for record in MANY}
    seen = set()
    for call in range(1, 40):
        state = tmp_path / str(call)
        append_trial(state, first)

        def work(call: int = call, state: Path = state) -> None:
            dying_at(call)
            append_trials(state, MANY)

        _, status = os.waitpid(in_child(work), 0)
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        found = known(state) - {first.policy_hash}
        assert found in (set(), many)
        append_trial(state, last)
        assert known(state) == {first.policy_hash, last.policy_hash} | found
        torn = any(isinstance(record, RecoveryRecord) for record in read_log(state).records)
        seen.add((bool(found), torn, status == 0))
        assert {record.policy_hash for record in append_trials(state, MANY).trials} == {first.policy_hash, last.policy_hash} | many
        if status == 0:
            break
    assert seen == {(False, True, False), (True, False, False), (True, False, True)}
