"""Rollout: in which mode the candidate's sizes may act, on how much, and on whose word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policyengine.errors import ConfigError
from policyengine.records import Mode, Stage
from policyengine.spec.rules import at_least, in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSpec:
    """The part of the book that a canary acts on.

    Of the instruments, the share `universe_frac` is drawn by a hash salted with `salt`, the same on every run; of each of these, the share
    `capital_frac` of the way from the baseline's weight to the candidate's is gone.
    """

    capital_frac: float
    universe_frac: float
    salt: str

    def __post_init__(self) -> None:
        """Refuse a slice of nothing, and more than everything."""
        if not (self.salt.isprintable() and len(self.salt) <= 100):
            raise ConfigError("salt", f"{self.salt[:40]!a} is not at most 100 visible characters: people sign it")
        for name in ("capital_frac", "universe_frac"):
            in_range(name, getattr(self, name), 0.0, 1.0)
            if getattr(self, name) == 0.0:
                raise ConfigError(name, "0 is a slice of nothing; rollout=shadow acts on nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardsSpec:
    """What a step up needs besides evidence.

    `shadow_sessions` of shadow and `shadow_trades` in each material bucket before a canary; a `kill_drill_days` old drill at most before
    live; `approvals` by stage, each valid for `approval_days`. What acts pauses where the last session lies more than `data_days`
    calendar days back.
    """

    shadow_sessions: int
    shadow_trades: int
    kill_drill_days: int
    approvals: Mapping[Stage, int]
    approval_days: int
    data_days: int

    def __post_init__(self) -> None:
        """Refuse guards that guard nothing."""
        at_least("shadow_sessions", self.shadow_sessions, 1)
        at_least("shadow_trades", self.shadow_trades, 0)
        at_least("kill_drill_days", self.kill_drill_days, 1)
        at_least("approval_days", self.approval_days, 1)
        at_least("data_days", self.data_days, 1)
        for stage, least in ((Stage.CANARY, 1), (Stage.LIVE, 2)):
            at_least(f"approvals.{stage}", self.approvals.get(stage, 0), least)


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSpec:
    """The kill switch's configured sources: `engaged` itself, and a `file` whose content engages it; the third is the environment."""

    engaged: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        """Refuse a file that the working folder would find."""
        if self.file is not None and not Path(self.file).is_absolute():
            raise ConfigError("file", f"{self.file!r} is not an absolute path; the working folder must not decide what kills")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSpec:
    """The mode asked for, and what holds in it.

    Evidence counts for `evidence_days` after it was made. `loss_max_frac` is the loss of NAV against the baseline, since the canary
    began, at which it pauses at once. Under `trust: local` shadow and a paper canary need no signature; live always does.
    `allowed_signers` and `revoked_signers` are the files of the keys that count; None is the folder `trust` of the state folder, and no
    revocation. `audit_key` is a private key that signs the checkpoints of the audit log; None leaves them unsigned, and live refuses.
    """

    mode: Mode
    trust: Literal["local", "signed"]
    evidence_days: int
    loss_max_frac: float
    slice: SliceSpec
    guards: GuardsSpec
    allowed_signers: str | None = None
    revoked_signers: str | None = None
    audit_key: str | None = None
    kill: KillSpec = field(default_factory=KillSpec)

    def __post_init__(self) -> None:
        """Refuse evidence that never counts, no loss limit, live on local trust, and trust roots found by the working folder."""
        at_least("evidence_days", self.evidence_days, 1)
        in_range("loss_max_frac", self.loss_max_frac, 0.0, 0.5)
        if self.mode is Mode.LIVE and self.trust != "signed":
            raise ConfigError("trust", f"'{self.trust}' with mode live; live needs 'signed'")
        for name in ("allowed_signers", "revoked_signers", "audit_key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_absolute():
                raise ConfigError(name, f"{path!r} is not an absolute path; the working folder must not decide whom to trust")
