"""Fitted models as files: JSON with plain numbers, so that reading one runs nothing, whoever wrote it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from policyengine.errors import ConfigError, DataError
from policyengine.signals.ml_secondary.features import feature_hash, names
from policyengine.signals.ml_secondary.training import QUANTILES, Fitted
from policyengine.signals.ml_secondary.trees import Trees, flaw
from policyengine.spec.bind import bind, plain
from policyengine.spec.ml_secondary import GradientBoosting
from policyengine.spec.root import differences, digest
from policyengine.store import MAX_JSON_BYTES, parse_json, write_json

FORMAT = 1
"""Raised when what is stored, or what it means, changes."""

NOT_TRAINED_WITH = ("thresholds", "calibration", "model")
"""Settings that a fit does not know."""

_ARRAYS = {
    "start": "<f8",
    "roots": "<i4",
    "feature": "<i4",
    "threshold": "<f8",
    "left": "<i4",
    "right": "<i4",
    "missing_left": "|u1",
    "value": "<f8",
    "slope": "<f8",
    "errors": "<f8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a model was made from and with. Rows are sessions whose features it knows; their targets end up to `last_target`."""

    spec_digest: str
    feature_hash: str
    versions: Mapping[str, str]
    symbols: tuple[str, ...]
    first_row: date
    last_row: date
    last_target: date
    fitted_at: date
    data_hash: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """One file: `settings` are those that the fit knew, as plain values."""

    settings: Mapping[str, Any]
    training: Training
    fitted: Fitted


def settings_of(spec: GradientBoosting) -> dict[str, Any]:
    """The settings that a fit knows, as plain values."""
    return {name: value for name, value in plain(spec).items() if name not in NOT_TRAINED_WITH}


def write_model(path: Path, stored: Stored) -> None:
    """Write `stored` whole or not at all.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    body = {
        "format": FORMAT,
        "settings": dict(stored.settings),
        "training": plain(stored.training),
        "model": {name: base64.b64encode(_array(stored.fitted, name).tobytes()).decode() for name in _ARRAYS},
    }
    write_json(path, {**body, "sha256": digest(body)})


def read_model(path: Path, sha256: str | None = None) -> Stored:
    """Read a model file; with `sha256`, only if its bytes have that digest.

    Raises:
        DataError: it is missing, too large, has another digest, another format, was torn or altered, or holds no trees.
    """
    place = str(path)
    content = _content(path)
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise DataError(place, f"has SHA-256 {actual}; signals.ml_secondary.model.sha256 is {sha256}")
    body = parse_json(content, place)
    if not isinstance(body, dict) or "format" not in body:
        raise DataError(place, "is not a model file: it states no format")
    if body["format"] != FORMAT:
        raise DataError(place, f"has format {body['format']!r}; this version reads {FORMAT}: train again")
    try:
        said, own = body.pop("sha256", None), digest(body)
        if said != own:
            raise DataError(place, f"was altered: sha256 is {said!r}, and that of its content {own}")
        return _stored(body, place)
    except (KeyError, TypeError, ValueError, RecursionError, ConfigError) as error:
        raise DataError(place, f"is not a model file: {type(error).__name__}: {error}") from error


def check_fits(stored: Stored, spec: GradientBoosting, place: str) -> None:
    """Refuse a model that was trained with other settings or on other features than `spec`.

    Raises:
        DataError: naming what differs.
    """
    for path, theirs, ours in differences(stored.settings, settings_of(spec)):
        raise DataError(place, f"was trained with {path} {theirs}; signals.ml_secondary.{path} is {ours}")
    ours = feature_hash(spec.spans)
    if stored.training.feature_hash != ours:
        raise DataError(place, f"was trained on features {stored.training.feature_hash}; this version makes {ours}: train again")


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(str(path), "does not exist or is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_JSON_BYTES:
        raise DataError(str(path), f"is more than {MAX_JSON_BYTES:,} bytes")
    return content


def _stored(body: Mapping[str, Any], place: str) -> Stored:
    model = {name: np.frombuffer(_decoded(body["model"][name]), dtype=kind) for name, kind in _ARRAYS.items()}
    missing_left = model.pop("missing_left").astype(np.bool_)
    start, slope, errors = float(model.pop("start").item()), float(model.pop("slope").item()), model.pop("errors")
    settings = dict(body["settings"])
    training = bind(Training, body["training"])
    if training.spec_digest != digest(settings):
        raise DataError(place, f"spec_digest is {training.spec_digest}, and that of its settings {digest(settings)}")
    trees = Trees(start=start, missing_left=missing_left, **model)
    rule = flaw(trees, len(names(settings["spans"])))
    if rule is None and not (errors.size == QUANTILES and errors[0] >= 0.0 and (np.diff(errors) >= 0.0).all() and errors[-1] < np.inf):
        rule = f"errors are not {QUANTILES} rising numbers from 0"
    if rule is None and not 0.0 <= slope <= 1.0:
        rule = f"slope {slope:g} is not in [0, 1]"
    if rule is not None:
        raise DataError(place, f"holds no model: {rule}")
    return Stored(settings=settings, training=training, fitted=Fitted(trees=trees, slope=slope, errors=errors))


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise ValueError(f"an array is not base64: {error}") from error


def _array(fitted: Fitted, name: str) -> Any:
    return np.asarray(getattr(fitted if name in ("slope", "errors") else fitted.trees, name)).astype(_ARRAYS[name])
