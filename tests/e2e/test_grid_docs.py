"""Every command that the document on grids shows runs as it stands there."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from policyengine.evidence.grid_files import CHUNK, MATRIX, POLICIES, STALE_DAYS, SUMMARY
from policyengine.spec.grid import MAX_POLICIES
from tests.conftest import ROOT, Command, composed_spec

TEXT = next(text for path in sorted((ROOT / "docs").glob("scale*.md")) if "## Many policies in one process" in (text := path.read_text()))
SECTION = TEXT.split("## Many policies in one process\n")[1].split("\n## ")[0]
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ policyengine (.*)$", SECTION, flags=re.MULTILINE)]
SIZES = {"experiment=grid": 12, "experiment=calm": 3}


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_the_commands_run(pe: Command, tmp_path: Path, number: int) -> None:
    work = tmp_path / "work"
    (name, text), *more = re.findall(r"```yaml\n# (mine/\S+)\n(.*?)```", SECTION, flags=re.DOTALL)
    assert more == []
    (work / name).parent.mkdir(parents=True)
    (work / name).write_text(text)
    result = pe(*COMMANDS[number], "window.as_of=2001-06-30")
    assert result.returncode == 0, result.stderr + result.stdout
    (found,) = (path for path in work.glob("outputs/*/*") if (path / SUMMARY).exists())
    with (found / POLICIES).open() as file:
        policies = list(csv.DictReader(file))
    if len(COMMANDS[number]) == 1:
        assert len(policies) == SIZES[COMMANDS[number][0]]
    assert all(not row["error"] for row in policies)
    assert (found / MATRIX).stat().st_size > (found / POLICIES).stat().st_size


def test_there_is_a_command_of_each_kind() -> None:
    assert len(COMMANDS) == 6
    assert sum("-m" in words for words in COMMANDS) == 1


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"{MAX_POLICIES:,} policies are the most" in SECTION
    assert f"chunks of {CHUNK} policies" in SECTION
    assert f"removed after {STALE_DAYS} days" in SECTION
    grid = composed_spec("experiment=grid").grid
    assert grid is not None
    assert len(grid.policies) == SIZES["experiment=grid"]


def test_the_files_in_the_text_are_those_that_are_written() -> None:
    assert re.findall(r"^\| `(\S+)` \|", SECTION, flags=re.MULTILINE) == [MATRIX, POLICIES, SUMMARY, "run.json"]
