"""The second engine: gradient boosting on lagged features, trained walk-forward; off unless configured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range
from policyengine.spec.thresholds import CalibrationSpec, ThresholdsSpec

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMl:
    """No machine learning."""

    KIND: ClassVar[str] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesSpec:
    """The trees of one fit. `feature_frac` is the share of the features that each split may choose from, drawn by `seed`."""

    max_iter: int
    learning_rate: float
    max_leaf_nodes: int
    min_samples_leaf: int
    l2: float
    feature_frac: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse what no tree can be grown with."""
        in_range("max_iter", self.max_iter, 1, 10_000)
        in_range("max_leaf_nodes", self.max_leaf_nodes, 2, 1_000)
        at_least("min_samples_leaf", self.min_samples_leaf, 1)
        at_least("l2", self.l2, 0.0)
        in_range("seed", self.seed, 0, LARGEST_SEED)
        for name in ("learning_rate", "feature_frac"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(name, f"{getattr(self, name):g} is not above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A fitted model: the file, and the SHA-256 of its bytes, so that what it says is part of the configuration."""

    path: str
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a path without a name, and what is no SHA-256."""
        if not self.path.strip():
            raise ConfigError("path", f"{self.path!r} is empty")
        if re.fullmatch(r"[0-9a-f]{64}", self.sha256) is None:
            raise ConfigError("sha256", f"{self.sha256!r} is not 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientBoosting:
    """Gradient boosting on features over `spans` of an instrument's bars; see `policyengine.signals.ml_secondary`.

    Refitted every `refit_sessions` on the last `train_sessions` whose targets, `horizon_sessions` ahead, were known `embargo_sessions`
    before; first once there are `warmup_sessions` of them. The last `fold_sessions` are kept from training and measure the errors.
    With `model`, that fitted model speaks and nothing is trained.
    """

    KIND: ClassVar[str] = "gradient_boosting"
    spans: tuple[int, ...]
    horizon_sessions: int
    train_sessions: int
    warmup_sessions: int
    fold_sessions: int
    refit_sessions: int
    embargo_sessions: int
    trees: TreesSpec
    thresholds: ThresholdsSpec
    calibration: CalibrationSpec | None
    model: NamedModel | None

    def __post_init__(self) -> None:
        """Refuse spans out of order, and a warm-up that leaves nothing to train on once the fold is taken and purged."""
        if not self.spans:
            raise ConfigError("spans", "is empty: there would be no features")
        at_least("spans", self.spans[0], 1)
        for before, after in zip(self.spans, self.spans[1:], strict=False):
            if after <= before:
                raise ConfigError("spans", f"{after} does not exceed {before} before it")
        at_least("horizon_sessions", self.horizon_sessions, 1)
        at_least("embargo_sessions", self.embargo_sessions, 0)
        at_least("fold_sessions", self.fold_sessions, 1)
        at_least("refit_sessions", self.refit_sessions, 1)
        purged = self.fold_sessions + self.horizon_sessions + self.embargo_sessions
        if self.warmup_sessions <= purged:
            rule = f"{self.warmup_sessions} leaves nothing to train on: fold, horizon and embargo take {purged}"
            raise ConfigError("warmup_sessions", rule)
        if self.train_sessions < self.warmup_sessions:
            raise ConfigError("train_sessions", f"{self.train_sessions} is below warmup_sessions {self.warmup_sessions}")


MlSpec = NoMl | GradientBoosting
