"""Model files that are torn, altered, foreign or hostile, and a training that is killed half-way."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.errors import DataError, OutputError
from policyengine.signals.ml_secondary.stored import FORMAT, read_model
from policyengine.spec.ml_secondary import NamedModel
from policyengine.spec.root import digest
from tests.boosting import ENGINE, bits, files, panel_of, said, walk
from tests.conftest import ROOT

PANEL = panel_of(walk(np.random.default_rng(1), 200, 5))
LONG = panel_of(walk(np.random.default_rng(2), 900, 6))
SLOW = replace(ENGINE, refit_sessions=20)


class Hostile:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def forged(**changes: Any) -> Callable[[bytes, Path], bytes]:
    """The file with other values, at dotted paths with __ for the dot, and a digest that agrees with them."""

    def make(content: bytes, folder: Path) -> bytes:
        body = json.loads(content)
        del body["sha256"]
        for path, value in changes.items():
            *parents, last = path.split("__")
            section = body
            for parent in parents:
                section = section[parent]
            if value is None:
                del section[last]
            else:
                section[last] = value
        if "settings" in body and body["settings"] != json.loads(content)["settings"]:
            body["training"]["spec_digest"] = digest(body["settings"])
        return json.dumps({**body, "sha256": digest(body)}).encode()

    return make


def loop(content: bytes, folder: Path) -> bytes:
    """Trees whose first node is its own child: a walk would never end."""
    import base64

    left = np.frombuffer(base64.b64decode(json.loads(content)["model"]["left"]), dtype="<i4").copy()
    left[0] = 0
    return forged(model__left=base64.b64encode(left.tobytes()).decode())(content, folder)


BROKEN: dict[str, tuple[Callable[[bytes, Path], bytes], str]] = {
    "empty": (lambda c, f: b"", "is not valid JSON"),
    "torn": (lambda c, f: c[: len(c) // 2], "is not valid JSON"),
    "one bit": (lambda c, f: c.replace(b'"symbols": [\n   "S00"', b'"symbols": [\n   "S10"'), "was altered: sha256 is"),
    "no digest": (lambda c, f: c.replace(b'"sha256"', b'"sha255"'), "was altered: sha256 is None"),
    "a pickle": (lambda c, f: pickle.dumps(Hostile(f / "ran")), "is not valid JSON"),
    "html": (lambda c, f: b"<html><body>502</body></html>", "is not valid JSON"),
    "a list": (lambda c, f: b"[]", "is not a model file: it states no format"),
    "another version": (forged(format=FORMAT + 1), f"has format {FORMAT + 1}; this version reads {FORMAT}: train again"),
    "version as text": (forged(format=str(FORMAT)), f"has format '{FORMAT}'; this version reads {FORMAT}"),
    "other features": (
        forged(training__feature_hash="0" * 64),
        "was trained on features 0{64}; this version makes [0-9a-f]{64}: train again",
    ),
    "other settings": (
        forged(settings__horizon_sessions=9),
        "was trained with horizon_sessions 9; signals.ml_secondary.horizon_sessions is 3",
    ),
    "digest of other settings": (forged(training__spec_digest="0" * 64), "spec_digest is 0{64}, and that of its settings"),
    "no span": (forged(training__last_target=None), "training|last_target: is required and not given"),
    "no date": (forged(training__last_target="soon"), "last_target: 'soon' is not a date"),
    "no trees": (forged(model={}), "is not a model file: KeyError: 'start'"),
    "no model": (forged(model=[]), "is not a model file: TypeError"),
    "endless": (loop, "holds no model: a child does not stand after its parent"),
    "no base64": (forged(model__value="??"), "an array is not base64"),
    "half a number": (forged(model__value="AAAA"), "is not a model file: ValueError"),
    "sure of itself": (forged(model__slope="AAAAAAAA8H8="), r"holds no model: slope inf is not in \[0, 1\]"),
    "no errors": (forged(model__errors=""), "holds no model: errors are not 200 rising numbers"),
    "nested": (lambda c, f: b'{"format": 1, "a": ' + b"[" * 900 + b"]" * 900 + b"}", "is not"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    said(PANEL, folder)
    return folder


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_is_no_model_of_ours_is_refused_where_it_is_named(how: str, trained: Path, tmp_path: Path) -> None:
    make, rule = BROKEN[how]
    path = tmp_path / "model.json"
    content = files(trained)[0].read_bytes()
    path.write_bytes(make(content, tmp_path))
    assert path.read_bytes() != content
    named = NamedModel(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match=rule) as refused:
        said(PANEL, tmp_path / "unused", replace(ENGINE, model=named))
    assert refused.value.place == str(path)
    assert not (tmp_path / "ran").exists(), "reading it ran what was in it"


@pytest.mark.parametrize("how", BROKEN)
def test_and_trained_again_where_it_stands_among_our_own(how: str, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(trained, folder)
    first, *others = files(folder)
    content = first.read_bytes()
    first.write_bytes(BROKEN[how][0](content, tmp_path))
    untouched = {path: path.stat().st_mtime_ns for path in others}
    assert bits(said(PANEL, folder)) == bits(said(PANEL, trained))
    assert first.read_bytes() == content
    assert {path: path.stat().st_mtime_ns for path in others} == untouched
    assert not (tmp_path / "ran").exists()


def test_the_hostile_pickle_would_run(tmp_path: Path) -> None:
    """Or the tests above would prove nothing."""
    pickle.loads(BROKEN["a pickle"][0](b"", tmp_path))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "value"), [("scikit-learn", "0.1"), ("numpy", "1.0")])
def test_a_fit_of_other_libraries_is_made_again(name: str, value: str, trained: Path, tmp_path: Path) -> None:
    """Their arithmetic may differ in the last bits. Named, it may speak: it is read without them."""
    folder = tmp_path / "models"
    shutil.copytree(trained, folder)
    first = files(folder)[0]
    content = first.read_bytes()
    old = forged(**{f"training__versions__{name}": value})(content, tmp_path)
    first.write_bytes(old)
    said(PANEL, folder)
    assert first.read_bytes() == content
    first.write_bytes(old)
    named = NamedModel(path=str(first), sha256=hashlib.sha256(old).hexdigest())
    made, walked = said(PANEL, folder, replace(ENGINE, model=named)), said(PANEL, trained)
    assert made.expected_return[95:145].tobytes() == walked.expected_return[95:145].tobytes()


def test_other_data_are_fitted_again_in_place(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(trained, folder)
    before = [path.read_bytes() for path in files(folder)]
    close = PANEL.close.copy()
    close[120] *= 1.01
    said(replace(PANEL, close=close), folder)
    after = [path.read_bytes() for path in files(folder)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]


@pytest.mark.parametrize("what", ["absent", "a folder", "a pipe", "too large"])
def test_what_is_no_file_of_a_model_is_named(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    match what:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "too large":
            with path.open("wb") as file:
                file.truncate(2**26 + 1)
    with pytest.raises(DataError, match="is more than" if what == "too large" else "does not exist or is not a file"):
        read_model(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(OutputError, match="models"):
        said(PANEL, tmp_path / "models")


def test_a_training_killed_half_way_redoes_no_finished_fit(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.boosting import said; from tests.faults.test_ml_models import LONG, SLOW; "
        "said(LONG, Path(sys.argv[1]), SLOW)"
    )
    folder = tmp_path / "models"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)
    try:
        until = time.monotonic() + 60.0
        while len(files(folder)) < 5 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL, "it was done before it was killed"
    finally:
        process.kill()
    finished = {path: path.stat().st_mtime_ns for path in files(folder)}
    assert 5 <= len(finished) < 41
    told: list[int] = []
    again = said(LONG, folder, SLOW, progress=lambda done, total: told.append(total))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert told == [41] * 41
    assert len(files(folder)) == 41
    assert bits(again) == bits(said(LONG, tmp_path / "whole", SLOW))
