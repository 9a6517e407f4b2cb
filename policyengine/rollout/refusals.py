"""Why nothing is started: one stable code for each reason, in the order in which they are looked for."""

from __future__ import annotations

from enum import Enum

from policyengine.errors import PolicyEngineError


class Code(Enum):
    """What stands in the way, and what to do about it. The first that applies is the one that is given."""

    KILL_LATCHED = "task=reset, signed, once the reason is gone"
    LOCK_HELD = "stop the other process, or wait for it"
    AUDIT_UNWRITABLE = "make room for, or give access to, the audit log"
    AUDIT_BROKEN = "keep the files as they are and find out who changed them; docs/operations.md"
    EV_MISSING = "task=evaluate evidence.publish=true"
    EV_UNSAFE_FILE = "put a regular file there that only its owner can write"
    SIG_MISSING = "sign the evidence: docs/operations.md"
    SIG_INVALID = "evaluate and sign again; the signature does not belong to this evidence"
    SIGNER_UNTRUSTED = "have a trusted producer sign, or list the key in allowed_signers"
    SIGNER_EXPIRED = "sign with a key that is valid now, or renew this one in allowed_signers"
    SIGNER_REVOKED = "sign with a key that is not revoked"
    EV_MALFORMED = "task=evaluate evidence.publish=true; the file is not an artifact"
    EV_SCHEMA = "evaluate again with this version"
    CLOCK_ROLLBACK = "set the clock right"
    EV_NOT_YET_VALID = "set the clock right, or wait"
    EV_EXPIRED = "task=evaluate, then task=approve"
    EV_SUPERSEDED = "use the newest evidence"
    EV_UNANCHORED = "evaluate in this state folder; the evidence is not in its log"
    POLICY_MISMATCH = "evaluate the policy that is configured, or configure the one that was evaluated"
    CONFIG_MISMATCH = "evaluate under the configuration that is in force"
    CODE_MISMATCH = "evaluate with the code that is installed"
    DATA_MISMATCH = "evaluate on the data at hand"
    BASELINE_MISMATCH = "evaluate against the baseline that is configured"
    EV_INCONSISTENT = "evaluate again; the verdict does not follow from its own criteria"
    EV_NOT_PASSED = "keep the baseline running"
    STAGE_MISMATCH = "evaluate and approve for this stage"
    LIMITS_EXCEEDED = (
        "keep the slice that was approved and that the canary began with, or approve another and begin again from rollout=shadow"
    )
    SIGNOFF_QUORUM = "task=approve by as many people as the stage needs"
    SIGNOFF_SELF = "have somebody approve who did not produce the evidence"
    SIGNOFF_DUPLICATE = "one approval for each key and each person"
    SIGNOFF_EXPIRED = "task=approve again"


class NotStarted(PolicyEngineError):
    """Nothing was started and no order was sent."""

    exit_code = 5

    def __init__(self, code: Code, why: str) -> None:
        """Give the `code` and, in a sentence, `why` it applies: path, value and rule."""
        self.code = code
        self.why = why
        super().__init__(f"{code.name}: {why}; next: {code.value}")
