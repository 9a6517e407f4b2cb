"""Whether an artifact stands on the log of trials: made with this log, at a look that it holds, against as many trials as it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from policyengine.errors import DataError
from policyengine.evidence.artifact import read_artifact
from policyengine.evidence.decision import rivals_of
from policyengine.evidence.gate import Facts, Look
from policyengine.evidence.looks import standing
from policyengine.evidence.trial_log import read_log


class Unanchored(DataError):
    """The log does not bear out what an artifact states."""


class Superseded(Unanchored):
    """The log holds a later look of the same budget."""


def anchored(facts: Facts, made: Mapping[str, Any], state_dir: Path, place: str) -> Facts:
    """The facts with the number of trials that the log holds now; as they are where no look was taken.

    The look must be one that the log holds of this policy under the budget that bound it, on days that this look was taken on.

    Raises:
        TrialLogBroken: the log was edited, shortened or deleted.
        Unanchored: the log is not the one that the evidence was made with, or an earlier state of it, or does not hold the look.
    """
    look = facts.look
    if not isinstance(look, Look):
        return facts
    log, found = read_log(state_dir), read_artifact(made)
    if not log.extends(found.trial_log):
        raise Unanchored(place, f"was made with a log of trials that is not the one in {state_dir}, or was put back since")
    policy, baseline = found.hashes.policy, found.hashes.baseline
    budget = log.budget(look.budget)
    taken, seen = budget.at_look(policy, look.number), budget.last_date(look.number)
    if (
        taken is None
        or taken.sessions != look.sessions
        or look.first_date < taken.origin_date
        or (seen is not None and look.last_date > seen)
    ):
        stated = f"look {look.number} on {look.sessions:,} sessions from {look.first_date} to {look.last_date}"
        raise Unanchored(place, f"states a {stated} that the log of trials does not hold under budget b_{look.budget[:6]}")
    rivals = rivals_of(log, (policy, baseline), look.first_date, look.last_date)
    recorded = standing(taken.verdict, look.recorded)
    return replace(facts, look=replace(look, recorded=recorded, trials_now=1 + len(rivals)))


def refuse_superseded(facts: Facts, state_dir: Path, place: str) -> None:
    """Refuse evidence whose budget has gone on to a later look since.

    Raises:
        Superseded: naming both looks.
    """
    if isinstance(facts.look, Look):
        taken = read_log(state_dir).budget(facts.look.budget).taken
        if taken > facts.look.number:
            raise Superseded(place, f"was decided at look {facts.look.number}, and look {taken} has been taken since")
