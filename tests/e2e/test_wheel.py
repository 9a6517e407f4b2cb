"""The wheel carries everything that a run needs, and runs from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = folder.glob("barbell_policyengine-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.long
def test_the_wheel_runs_on_its_own_files(unpacked: Path, tmp_path: Path) -> None:
    code = "import policyengine.cli as c; print(c.CONF); c.main()"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(unpacked)}
    result = subprocess.run(
        [sys.executable, "-c", code, "window=30d"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(unpacked / "policyengine" / "conf"))
    assert "22 instruments" in result.stdout


def test_the_wheel_holds_the_licences_of_its_data(unpacked: Path) -> None:
    assert (unpacked / "policyengine" / "data" / "SOURCES.md").exists()
    assert list(unpacked.glob("barbell_policyengine-*.dist-info/licenses/LICENSE"))


def test_a_strangers_schemas_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "__init__.py").write_text("")
    code = "import sys; sys.path.insert(0, '.'); from policyengine.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "window=30d"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert "shadows the package 'schemas' of policyengine" in result.stderr
