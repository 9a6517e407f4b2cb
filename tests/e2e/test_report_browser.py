"""The report in a real browser, offline: nothing is loaded, nothing complains, nothing overflows a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from policyengine.reporting.report import write_report
from tests.conftest import Command

pytestmark = pytest.mark.browser
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
QUIET = ("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND")
# The page stands in a frame of the wanted width, which its media queries see, and shares the origin of this one, which measures it.
PROBE = """<!DOCTYPE html><meta charset="utf-8">
<iframe id="f" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<script>
document.getElementById("f").onload = (event) => {{
  const page = event.target.contentDocument, root = page.documentElement, view = event.target.contentWindow;
  page.querySelectorAll("details").forEach((one) => {{ one.open = true; }});
  const seen = (one) => one.getBoundingClientRect();
  document.title = JSON.stringify({{
    over: root.scrollWidth - root.clientWidth,
    wide: [...page.querySelectorAll("body *")].filter((one) => !one.closest(".scroll, svg") && seen(one).right > {width} + 1).length,
    figures: page.querySelectorAll("figure svg").length,
    flat: [...page.querySelectorAll("figure svg")].filter((one) => seen(one).height < 40).length,
    small: Math.min(...[...page.querySelectorAll("figure svg text")].map((one) => seen(one).height)),
    loaded: view.performance.getEntriesByType("resource").length,
    scripts: page.querySelectorAll("script, img").length,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    page: view.getComputedStyle(page.body).backgroundColor,
    ink: view.getComputedStyle(page.querySelector("figure svg text")).fill,
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("Chromium is needed: apt-get install chromium")
    return found


def probe(chromium: str, page: str, folder: Path, *, width: int, dark: bool) -> dict[str, object]:
    """What the page looks like at `width`; the console must stay silent."""
    shell = folder / f"probe-{width}-{dark}.html"
    shell.write_text(PROBE.format(width=width, page=html.escape(page, quote=True)))
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [
        chromium,
        *FLAGS,
        *QUIET,
        scheme,
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,900",
        "--dump-dom",
        shell.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found is not None, done.stderr
    measured: dict[str, object] = json.loads(html.unescape(found[1]))
    return measured


def test_the_report_of_the_demo_in_a_browser(chromium: str, pe: Command, tmp_path: Path) -> None:
    assert pe().returncode == 0
    (run,) = (tmp_path / "work").glob("outputs/*/*")
    page = write_report(run).read_text()
    looks = {}
    for width, dark in ((1280, False), (1280, True), (360, False)):
        looks[width, dark] = found = probe(chromium, page, tmp_path, width=width, dark=dark)
        assert (found["over"], found["wide"]) == (0, 0), (width, found)
        assert (found["loaded"], found["scripts"], found["flat"]) == (0, 0, 0)
        assert found["figures"] == page.count("<figure")
        assert isinstance(found["small"], float | int)
        assert found["small"] >= 9.0
        assert found["dark"] is dark
    assert looks[1280, False]["page"] == "rgb(255, 255, 255)"
    assert looks[1280, True]["page"] != looks[1280, False]["page"]
    assert looks[1280, True]["ink"] != looks[1280, False]["ink"]
