"""The rules, the page and the dashboard against the real promtool and a real Prometheus on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from policyengine.monitoring.alerts import RULES
from policyengine.monitoring.metrics import CONTENT_TYPE, exposition
from policyengine.monitoring.rules import SHIPPED, alert_name
from tests.conftest import ROOT, Command
from tests.watched import stored

pytestmark = pytest.mark.prometheus

UNIT_TESTS = ROOT / "tests" / "promtool.yml"


def promtool(*args: str, content: bytes | None = None, exits: int = 0) -> str:
    done = subprocess.run(["promtool", *args], input=content, capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == exits, said
    return said


def test_the_rules_are_rules_and_do_what_their_tests_say() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(SHIPPED / "rules.yml"))
    promtool("test", "rules", str(UNIT_TESTS))
    tested = UNIT_TESTS.read_text()
    assert all(alert_name(rule.name) in tested for rule in RULES)


@pytest.mark.parametrize("alert", [rule.name for rule in RULES])
def test_the_unit_tests_of_the_rules_can_fail(alert: str, tmp_path: Path) -> None:
    """With a rule that never fires they do, whichever it is."""
    head, rest = (SHIPPED / "rules.yml").read_text().split(f"alert: {alert_name(alert)}\n")
    _, tail = rest.split("\n", 1)
    (tmp_path / "rules.yml").write_text(f'{head}alert: {alert_name(alert)}\n        expr: "vector(0) > 1"\n{tail}')
    (tmp_path / "tests.yml").write_text(UNIT_TESTS.read_text().replace("../policyengine/monitoring/shipped/rules.yml", "rules.yml"))
    assert "FAILED" in promtool("test", "rules", str(tmp_path / "tests.yml"), exits=1)


def test_the_page_of_a_snapshot_is_one(pe: Command, tmp_path: Path) -> None:
    """Of one that is whole, of none, and of one that task=trade made."""
    assert pe("task=trade", "task.start_date=2018-11-01", f"runtime.state_dir={tmp_path}").returncode == 0
    traded = json.loads((tmp_path / "snapshots" / "paper.json").read_text())
    for snapshot in (stored(), None, traded):
        page = exposition(snapshot, read_at=datetime.now(UTC), alerts={"kill_engaged": False})
        assert promtool("check", "metrics", content=page) == ""


class Exporter:
    """Serves the page of whatever `snapshot` is now."""

    def __init__(self) -> None:
        self.snapshot: dict[str, Any] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = exposition(outer.snapshot, read_at=datetime.now(UTC), alerts={"kill_engaged": False})
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class Prometheus:
    """What its API says."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def alerts(self) -> set[tuple[str, str]]:
        return {(one["labels"]["alert"], one["state"]) for one in self.ask("alerts")["alerts"]}

    def until(self, wanted: Callable[[], object]) -> None:
        stop = time.monotonic() + 40
        while time.monotonic() < stop:
            try:
                if wanted():
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"it never came to that; alerts are {self.alerts()}")


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[tuple[Exporter, Prometheus]]:
    """A real Prometheus that scrapes an exporter every second, with the shipped rules."""
    exporter = Exporter()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    target = f"127.0.0.1:{exporter.server.server_port}"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(SHIPPED / "rules.yml")],
        "scrape_configs": [{"job_name": "policyengine", "static_configs": [{"targets": [target]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    command = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            yield exporter, Prometheus(address)
        finally:
            process.terminate()
            process.wait(timeout=30)
            exporter.close()


def healthy(**changes: Any) -> dict[str, Any]:
    """A canary at which nothing is amiss now."""
    now = datetime.now(UTC)
    return stored(**{"published_at": now.isoformat(), "permit__expires_at": (now + timedelta(days=5)).isoformat(), **changes})


def test_a_real_prometheus_scrapes_and_fires(scraped: tuple[Exporter, Prometheus]) -> None:
    exporter, prometheus = scraped
    exporter.snapshot = healthy()
    prometheus.until(lambda: prometheus.ask("query", query="policyengine_snapshot_readable == 1")["result"])
    _every_query_of_the_dashboard_returns_data(prometheus)
    prometheus.until(lambda: prometheus.alerts() == set())

    exporter.snapshot = healthy(kill__engaged=True, buckets__0__held_frac=0.7)
    prometheus.until(lambda: prometheus.alerts() == {("kill_engaged", "firing"), ("safe_below_floor", "pending")})
    exporter.snapshot = healthy()
    prometheus.until(lambda: prometheus.alerts() == set())

    exporter.snapshot = None
    prometheus.until(lambda: prometheus.alerts() == {("snapshot_absent", "pending")})


def _every_query_of_the_dashboard_returns_data(prometheus: Prometheus) -> None:
    made = json.loads((SHIPPED / "grafana.json").read_text())
    queries = [target["expr"] for panel in made["panels"] for target in panel["targets"]]
    assert len(queries) >= 20
    for expr in queries:
        found = prometheus.ask("query", query=expr.replace("$account", ".*"))
        assert found["result"], expr
    variable = made["templating"]["list"][1]["query"]
    assert variable == "label_values(policyengine_snapshot_age_seconds, account)"
    assert prometheus.ask("label/account/values") == ["paper"]
