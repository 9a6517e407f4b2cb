"""A real Chromium, driven by the WebDriver protocol of its own chromedriver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
AXE = "axe_core_python"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def found(*names: str) -> str:
    """The first of these programs that is installed."""
    for name in names:
        place = shutil.which(name)
        if place is not None:
            return place
    pytest.fail(f"{names[0]} is needed: apt-get install chromium chromium-driver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """One session."""

    session: str

    def call(self, path: str, body: object | None = None) -> Any:
        """One command; its value."""
        request = urllib.request.Request(self.session + path, None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, address: str) -> None:
        self.call("/url", {"url": address})

    def run(self, script: str, *args: object) -> Any:
        """What a function with this body returns in the page."""
        return self.call("/execute/sync", {"script": script, "args": list(args)})

    def look(self, *, width: int, dark: bool, height: int = 900) -> None:
        """Be a screen of this size, in the light or the dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for command, params in (("setDeviceMetricsOverride", metrics), ("setEmulatedMedia", {"features": features})):
            self.call("/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": params})

    def complaints(self) -> list[str]:
        """What the console heard since it was asked last."""
        return [entry["message"] for entry in self.call("/se/log", {"type": "browser"})]

    def violations(self) -> list[str]:
        """What axe-core finds against WCAG 2.1 A and AA, with every fold of the page open.

        Of a table it sees the first rows: it takes a minute over thousands of cells that differ in nothing that it looks at.
        """
        self.run("document.querySelectorAll('details').forEach((one) => { one.open = true; });")
        self.run(files(AXE).joinpath("axe.min.js").read_text(encoding="utf-8"))
        script = """const done = arguments[1];
          axe.run({exclude: [['tbody tr:nth-child(n + 4)']]}, {runOnly: arguments[0]}).then((found) => done(found.violations));"""
        violations = self.call("/execute/async", {"script": script, "args": [RULES]})
        return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in violations]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser without a network, but for this machine."""
    driver = subprocess.Popen([found("chromedriver"), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    session = ""
    try:
        assert driver.stdout is not None
        port = next(match[1] for line in driver.stdout if (match := re.search(r"started successfully on port (\d+)", line)))
        options = {"binary": found("chromium", "chromium-browser"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        base = Browser(session=f"http://127.0.0.1:{port}/session")
        session = base.call("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        yield Browser(session=f"{base.session}/{session}")
        with urllib.request.urlopen(urllib.request.Request(f"{base.session}/{session}", method="DELETE"), timeout=30):
            pass
    finally:
        driver.kill()
        driver.communicate()
