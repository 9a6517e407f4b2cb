"""docs/report.png: the first screens of the demo's report, as `python -m tests.screenshot` takes them again."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from tests.browser import chromium
from tests.conftest import ROOT
from tests.serving import evaluated

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        run = evaluated(Path(place))
        with chromium(Path(place, "profile")) as browser:
            browser.look(width=1280, height=1480, dark=False)
            browser.open((run / "report.html").as_uri())
            (ROOT / "docs" / "report.png").write_bytes(base64.b64decode(browser.call("/screenshot")))
