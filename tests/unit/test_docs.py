"""What the documents say is what the code does."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from policyengine import cli
from policyengine.market.columns import VIEWS
from policyengine.rollout.refusals import Code
from policyengine.spec.source import ChecksSpec
from tests.conftest import ROOT, Command, composed_spec

DATA = (ROOT / "docs" / "data.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
TRADING = (ROOT / "docs" / "trading.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_every_canonical_column_is_documented_and_no_other(view: str) -> None:
    section = DATA.split(f"### {view}\n")[1].split("\n#")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, flags=re.MULTILINE)[1:]
    shown = {name: "**" in cell for cell in cells for name in re.findall(r"\w+", cell) if name != "column"}
    assert shown == {column.name: column.required for column in VIEWS[view]}


def test_every_check_is_documented_with_its_default() -> None:
    shown = dict(re.findall(r"^\| (\w+) \| (error|alert|ignore) \|", DATA, flags=re.MULTILINE))
    assert shown == {f.name: f.default.value for f in fields(ChecksSpec)}


def test_every_preset_is_documented() -> None:
    presets = {path.stem for path in (cli.CONF / "source").glob("*.yaml")}
    assert set(re.findall(r"^\| `(\w+)` \|", DATA.split("## Presets")[1], flags=re.MULTILINE)) == presets


def test_the_snippets_on_trading_hold() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TRADING, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/trading.md", "exec"), {})  # the document's own assertions


def test_every_reason_and_setting_named_on_trading_exists() -> None:
    spec = composed_spec()
    for path in re.findall(r"`(execution\.\w+)`", TRADING):
        assert hasattr(spec.execution, path.split(".")[1]), path
    for group, option in re.findall(r"`(scaler|limits)=(\w+)`", TRADING):
        assert (cli.CONF / group / f"{option}.yaml").exists()


def test_every_code_is_in_the_runbook_with_what_to_do() -> None:
    shown = dict(re.findall(r"^\| ([A-Z_]+) \| (.+) \|$", OPERATIONS, flags=re.MULTILINE))
    assert shown == {code.name: code.value for code in Code}


def test_every_setting_of_the_runbook_exists() -> None:
    spec = composed_spec().rollout
    for name in re.findall(r"`guards\.(\w+)`", OPERATIONS):
        assert hasattr(spec.guards, name), name
    for path in re.findall(r"`?rollout\.(\w+(?:\.\w+)?)", OPERATIONS):
        value: object = spec
        for part in path.split("."):
            assert hasattr(value, part), path
            value = getattr(value, part)


def test_every_task_and_window_is_named_in_the_readme() -> None:
    for path in (*(cli.CONF / "task").glob("*.yaml"), *(cli.CONF / "window").glob("*.yaml")):
        assert path.stem in README or path.stem == "evaluate", path


def test_the_limits_in_the_readme_are_those_that_ship() -> None:
    shown = README.split("```yaml\n")[1].split("```")[0].splitlines()[1:]
    shipped = (cli.CONF / "limits" / "barbell.yaml").read_text().splitlines()
    assert shown == shipped[1 : len(shown) + 1]


def test_the_run_in_the_readme_is_what_the_command_prints(pe: Command) -> None:
    shown = README.split("$ make run\n")[1].split("```")[0].rstrip().splitlines()
    printed = pe(report=True).stdout.rstrip().splitlines()
    assert [line for line in shown if "outputs/" not in line] == [line for line in printed if "outputs/" not in line]


def test_the_users_folder_in_the_readme_works(pe: Command, tmp_path: object) -> None:
    """The two files of "Your data" as they stand there, on a ledger of that shape."""
    import sqlite3
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    work = tmp_path / "work"
    for block in README.split("```yaml\n"):
        if block.startswith("# mine/"):
            name, text = block.split("```")[0].split("\n", 1)
            path = work / name.removeprefix("# ").strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    with sqlite3.connect(work / "ledger.db") as db:
        db.execute("CREATE TABLE ohlcv_data (ticker TEXT, date TEXT, close REAL, volume REAL)")
        days = [f"2024-{m:02d}-{d:02d}" for m in range(1, 7) for d in range(1, 29)]
        rows = [(t, day, p + i % 7, 1e6) for i, day in enumerate(days) for t, p in (("SHY", 80.0), ("MSFT", 400.0))]
        db.executemany("INSERT INTO ohlcv_data VALUES (?,?,?,?)", rows)
    db.close()
    result = pe("--config-dir", "mine", "source=ours", "universe=ours")
    assert result.returncode == 0, result.stderr
