"""docs/gate.md: its snippets run, its settings are those that ship, its figure is there."""

import re
from dataclasses import fields
from xml.etree import ElementTree

from policyengine.spec.bind import plain
from policyengine.spec.significance import SignificanceSpec
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "gate.md").read_text()


def test_snippets_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "docs/gate.md", "exec"), {})


def test_settings_are_those_that_ship_and_no_other() -> None:
    section = TEXT.split("## Settings\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", section, flags=re.MULTILINE))
    shipped = SignificanceSpec()
    assert shown == {
        f.name: f"{value:g}" if isinstance(value := plain(getattr(shipped, f.name)), float) else str(value) for f in fields(shipped)
    }


def test_figure_is_there_and_runs_nothing() -> None:
    for name in re.findall(r"!\[[^]]*]\(([^)]+)\)", TEXT):
        figure = (ROOT / "docs" / name).read_text()
        assert ElementTree.fromstring(figure).tag.endswith("svg")
        assert "<script" not in figure
