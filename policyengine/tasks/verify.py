"""task=verify: would the evidence give a permit, and does the audit log hold."""

from __future__ import annotations

from policyengine.allocation.nav import in_base_currency
from policyengine.evidence.artifact import code_hash
from policyengine.evidence.replay import source_key
from policyengine.market import Market, open_market
from policyengine.market.audit_view import read_decisions
from policyengine.records import Stage
from policyengine.rollout.permit import verify as permitted
from policyengine.rollout.recomputing import recompute
from policyengine.rollout.refusals import Code, NotStarted
from policyengine.rollout.rollout import state_of
from policyengine.spec.root import Spec
from policyengine.spec.task import VerifyTask
from policyengine.tasks.inputs import required
from policyengine.tasks.rolled import audit_folder, checked_log, kill_switch, request_for
from policyengine.tasks.run import Run


def verify(spec: Spec, task: VerifyTask, run: Run) -> None:
    """Check in the order of the codes, and say what stands.

    Raises:
        NotStarted: with the first code that applies.
    """
    kill_switch(spec, run).check()
    folder = audit_folder(run)
    if folder.exists() or task.stage is Stage.LIVE:
        log = checked_log(spec, run, task.stage, deep=task.deep)
        run.say(f"audit     {log.count:,} records in {len(log.segments)} files hold, to {log.head[:12]}; state {state_of(folder)}")
        if log.signed is not None:
            run.say(f"          {log.signed:,} of them stand before a checkpoint whose signature counts")
        if task.deep:
            memory, temporary = spec.runtime.memory_limit_mb, run.temporary
            decisions = read_decisions(log.segments, log.count, memory_limit_mb=memory, temp_dir=temporary)
            again = recompute(folder, code_hash())
            run.say(f"          {len(decisions):,} decisions meet their contract; {again.decisions:,} recorded sizes follow, to the bit")
            if again.other_code:
                run.say(f"          {again.other_code:,} were decided by other code than is installed, and not decided again")
    with open_market(
        spec.source, spec.universe, memory_limit_mb=spec.runtime.memory_limit_mb, temp_dir=run.temporary, shipped_dir=run.shipped
    ) as market:
        quoted = required(market.prices(spec.window.calendar) if "prices" in market.views else None, market, "task=verify")
        permit = permitted(request_for(spec, run, source_key(in_base_currency(quoted, spec.universe)), task.stage, run.now()))
        if task.deep:
            _same_data(market, permit.data_hash)
    approved = ", ".join(permit.approved_by) or "nobody"
    run.say(f"permit    {permit.stage}: evidence {permit.evidence_hash[:12]} of {permit.made_at:%Y-%m-%d %H:%M} UTC holds")
    run.say(
        f"          sample {permit.start_date} to {permit.end_date}; until {permit.expires_at:%Y-%m-%d %H:%M} UTC; approved by {approved}"
    )


def _same_data(market: Market, wanted: str) -> None:
    found = market.digest()
    if found != wanted:
        raise NotStarted(Code.DATA_MISMATCH, f"the data have the digest {found[:12]}, and {wanted[:12]} was evaluated")
