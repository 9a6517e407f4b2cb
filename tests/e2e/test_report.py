"""The report of the demo, as a reader gets it."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

from tests.conftest import Command

MOST_BYTES = 500_000
VOID = {"meta", "link", "br", "hr"}


def draw(run: Path) -> subprocess.CompletedProcess[str]:
    """Draw the report of a run in a process of its own."""
    code = "import pathlib, sys; from policyengine.reporting.report import write_report; print(write_report(pathlib.Path(sys.argv[1])))"
    return subprocess.run([sys.executable, "-W", "error", "-c", code, str(run)], capture_output=True, text=True, timeout=120, check=False)


class Balanced(HTMLParser):
    """Refuses tags that do not close as they opened, as a browser would only mend them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "iframe"}
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID or "svg" in self.open, tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_of_the_demo(pe: Command, tmp_path: Path) -> None:
    printed = pe().stdout
    (run,) = (tmp_path / "work").glob("outputs/*/*")
    drawn = draw(run)
    assert (drawn.returncode, drawn.stderr) == (0, ""), drawn.stderr
    path = Path(drawn.stdout.strip())
    assert path == run / "report.html"
    page = path.read_text()
    assert len(page.encode()) <= MOST_BYTES
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    root = ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    for figure in root.iter("figure"):
        assert len(figure.findall(".//svg/title")) == len(figure.findall(".//svg/desc")) == 1
        assert len(figure.findall(".//tbody/tr")) > 0
    said = " ".join(" ".join(root.itertext()).split())
    verdict = json.loads((run / "verdict.json").read_text())
    open_ = [c for c in verdict["criteria"] if c["status"] != "pass"]
    assert len(open_) > 0
    for criterion in open_:
        assert f"{criterion['name']} {criterion['status']}: {criterion['reason']}" in said
    missing = next(line for line in printed.splitlines() if line.startswith("missing"))
    assert missing.removeprefix("missing").strip().split(" to see")[0] in said
    assert f"at {verdict['look']['next_sessions']:,} sessions, about {verdict['look']['next_date']}" in said


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    drawn = draw(tmp_path)
    assert drawn.returncode != 0
    assert "holds no run: evidence.json is not there" in drawn.stderr


def test_a_job_of_a_sweep_has_a_report_and_the_sweep_has_none(pe: Command, tmp_path: Path) -> None:
    assert pe("-m", "window=365d,180d", "task.stage=shadow").returncode == 0
    (sweep,) = (tmp_path / "work").glob("outputs/*/*-sweep")
    refused = draw(sweep)
    assert "is a sweep; give the folder of one of its jobs" in refused.stderr
    drawn = draw(sweep / "0")
    assert drawn.returncode == 0, drawn.stderr
    assert "Not promoted to shadow" in Path(drawn.stdout.strip()).read_text()
