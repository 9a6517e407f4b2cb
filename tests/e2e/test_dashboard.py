"""The live dashboard, really served: what it shows, what it refuses, and that readers and writers never meet."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from policyengine.reporting.live.app import MOST_STREAMS
from policyengine.reporting.live.guard import HEADERS, MAX_TARGET
from policyengine.reporting.payload import encoded
from policyengine.store import write_bytes
from tests.serving import ENV, EVIL, POLICYENGINE, Served, evaluated, evil_snapshot, served, snapshot

MOST_MB = 80.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Served]:
    with served(run) as found:
        yield found


def until(server: Served, wanted: str, seconds: float = 20.0) -> str:
    """The page once it says `wanted`."""
    end = time.monotonic() + seconds
    while wanted not in (page := server.ask().body.decode()):
        assert time.monotonic() < end, f"{wanted!r} is not in {page[:3000]}"
        time.sleep(0.1)
    return page


def test_it_shows_the_report_with_what_is_now_on_top(server: Served, run: Path) -> None:
    server.publish(snapshot(nav=1_234_567.0))
    page = until(server, "1,234,567")
    report = (run / "report.html").read_text()
    assert page.index('id="now"') < page.index('class="verdict')
    assert page.split('<section class="verdict')[1] == report.split('<section class="verdict')[1]
    assert 'class="CURRENT">CURRENT</strong>' in page
    assert re.search(r'<span id="age">published \d+ s ago', page)
    assert "parquet prices.parquet (synthetic)" in page


def test_it_is_small_also_after_many_looks(server: Served) -> None:
    for _ in range(200):
        server.ask("/")
    for _ in range(20):
        server.ask("/data.json")
        server.ask("/trades.csv")
        server.ask("/metrics")
    assert server.resident_mb() < MOST_MB


def test_a_snapshot_that_is_old_or_gone_is_said_to_be(server: Served) -> None:
    server.publish(snapshot(hours_old=27.5))
    page = until(server, 'class="STALE">STALE')
    assert "published 1 day 3 h ago" in page
    assert "snapshot_stale" in page
    path = server.state_dir / "snapshots" / "paper.json"
    path.write_text('{"schema": 2}')
    assert "No snapshot" in until(server, 'class="ABSENT">ABSENT')
    path.unlink()
    assert "does not exist" in until(server, "does not exist")
    server.publish(snapshot())
    until(server, "CURRENT")


def test_a_kill_shows_before_anything_is_published(server: Served) -> None:
    server.publish(snapshot())
    until(server, "CURRENT")
    assert b'policyengine_kill_engaged{account="paper"} 0.0' in server.ask("/metrics").body
    home = str(server.state_dir.parents[2])
    told = subprocess.run(
        [POLICYENGINE, "task=kill", "task.person=ann", "task.reason=test", f"runtime.state_dir={server.state_dir}"],
        env={**ENV, "HOME": home}, cwd=home, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before = {path: path.read_bytes() for path in server.state_dir.rglob("*") if path.is_file()}
    assert "kill_engaged" in until(server, "kill_engaged")
    assert b'policyengine_kill_engaged{account="paper"} 1.0' in server.ask("/metrics").body
    assert {path: path.read_bytes() for path in server.state_dir.rglob("*") if path.is_file()} == before  # it looks, and writes nothing
    event = re.search(r"k_[0-9a-z_]+", told.stdout)
    assert event is not None
    reset = ["task=reset", f"task.event={event[0]}", "task.person=bob", "task.reason=test", f"runtime.state_dir={server.state_dir}"]
    subprocess.run([POLICYENGINE, *reset], env={**ENV, "HOME": home}, cwd=home, capture_output=True, check=True)
    until(server, 'class="CURRENT">CURRENT')
    end = time.monotonic() + 20.0
    while b'policyengine_kill_engaged{account="paper"} 0.0' not in server.ask("/metrics").body:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_names_that_try_to_do_harm_are_text(server: Served) -> None:
    server.publish(evil_snapshot())
    page = until(server, "onerror")
    for text in EVIL[:2]:
        assert text not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\u202e" not in page
    assert "a\\u202eb" in page
    assert page.count("<script") == 1
    metrics = server.ask("/metrics").body.decode()
    assert list(text_string_to_metric_families(metrics))
    server.publish(snapshot())


def test_every_answer_tells_the_browser_what_it_may_do(server: Served) -> None:
    for path in ("/", "/data.json", "/trades.csv", "/metrics", "/healthz", "/live.css", "/live.js", "/none"):
        found = server.ask(path).headers
        assert {name: found[name] for name in HEADERS} == HEADERS, path
        assert found["cache-control" if path != "/none" else "content-type"] in {"no-store", "no-cache", "text/plain; charset=utf-8"}
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert "server" not in server.ask("/").headers


def test_what_did_not_change_is_not_sent_again(server: Served, run: Path) -> None:
    for path in ("/data.json", "/trades.csv", "/live.css", "/live.js"):
        first = server.ask(path)
        assert (first.status, first.headers["content-length"]) == (200, str(len(first.body)))
        again = server.ask(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
        assert (again.status, again.body) == (304, b"")
        assert server.ask(path, headers={"If-None-Match": '"other"'}).status == 200
        head = server.ask(path, "HEAD")
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", first.headers["etag"])
    assert server.ask("/data.json").body == (run / "dashboard_data.json").read_bytes()
    assert "etag" not in server.ask("/").headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", "localhost.evil:{port}", ""]
)
def test_a_foreign_host_is_refused(host: str, server: Served) -> None:
    assert server.ask(headers={"Host": host.format(port=server.port)}).status == 421
    assert server.ask(headers={"Host": f"LOCALHOST:{server.port}"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_nothing_but_looking_is_possible(method: str, server: Served) -> None:
    answer = server.ask("/data.json", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
def test_another_site_is_refused(headers: dict[str, str], server: Served) -> None:
    for path in ("/", "/data.json", "/events"):
        assert server.ask(path, headers=headers).status == 403
    assert server.ask(headers={"Sec-Fetch-Site": "same-origin", "Origin": server.address.rstrip("/")}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fevidence.json",
        "//etc/passwd",
        "/evidence.json",
        "/data.json/",
        "/data.json%00.css",
        "/live.js/../evidence.json",
        "/.live.css",
        "http://evil.example/",
        "*",
    ],
)
def test_every_other_path_is_not_there(path: str, server: Served) -> None:
    assert server.ask(path).status == 404


def test_what_is_too_long_is_refused(server: Served) -> None:
    assert server.ask("/" + "a" * MAX_TARGET).status == 414
    assert server.ask("/?" + "a" * MAX_TARGET).status == 414
    assert server.ask("/", body=b"x").status == 413
    assert server.ask("/", headers={"X-Long": "a" * 2**15}).status == 431
    assert server.ask("/").status == 200


def stream(server: Served) -> socket.socket:
    """A reader of the stream, which has its answer's head and nothing more."""
    made = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    made.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    return made


def test_streams_are_few_and_a_slow_one_costs_nothing(server: Served) -> None:
    before = server.resident_mb()
    readers = [stream(server) for _ in range(MOST_STREAMS)]
    try:
        end = time.monotonic() + 20
        while json.loads(server.ask("/healthz").body)["streams"] < MOST_STREAMS:
            assert time.monotonic() < end
        refused = server.ask("/events")
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        for nav in range(20):  # nobody reads meanwhile
            server.publish(snapshot(nav=nav + 1.0))
            time.sleep(0.1)
        assert server.resident_mb() < before + 5.0
    finally:
        for reader in readers:
            reader.close()
    end = time.monotonic() + 20
    while json.loads(server.ask("/healthz").body)["streams"]:
        assert time.monotonic() < end, "a reader that left is still counted"
        time.sleep(0.1)


def test_a_stream_says_what_is_published_and_then_that_it_lives(server: Served) -> None:
    server.publish(snapshot(nav=1.0))
    until(server, '<p class="value">1</p>')
    with stream(server) as reader:
        lines = reader.makefile("r", encoding="utf-8")
        found: list[tuple[str, dict[str, Any]]] = []
        kind = ""
        for line in lines:
            if line.startswith("event: "):
                kind = line.split()[1]
            if line.startswith("data: "):
                found.append((kind, json.loads(line[6:])))
                if len(found) == 1:
                    server.publish(snapshot(nav=777_777.0))
                if len(found) == 3:
                    break
    assert [kind for kind, _ in found] == ["now", "now", "beat"]
    assert "777,777" in found[1][1]["html"]
    assert "html" not in found[2][1]
    assert found[2][1]["state"] == "CURRENT"


WRITER = """
import json, sys
from pathlib import Path
from policyengine.reporting.payload import encoded
from policyengine.store import write_bytes
from tests.serving import publish, snapshot
folder, state = map(Path, sys.argv[1:])
body = json.loads((folder / "dashboard_data.json").read_bytes())
n = 0
while True:
    n += 1
    body["meta"]["run_id"] = body["verdict"]["run_id"] = body["provenance"]["version"] = f"r_{n:016d}"
    write_bytes(folder / "dashboard_data.json", encoded(body))
    publish(state, snapshot(nav=float(n)))
"""


@pytest.fixture
def written(run: Path, tmp_path: Path) -> Path:
    """A folder as the writer leaves it, before its first publication."""
    body = json.loads((run / "dashboard_data.json").read_bytes())
    body["meta"]["run_id"] = body["verdict"]["run_id"] = body["provenance"]["version"] = f"r_{0:016d}"
    body["exposure"] = body["reconciliation"] = None  # half of its bytes, which only take longer
    write_bytes(tmp_path / "dashboard_data.json", encoded(body))
    return tmp_path


def writer(folder: Path, state_dir: Path) -> subprocess.Popen[bytes]:
    """A process that publishes as fast as it can: every number in one publication is the same."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(state_dir)], cwd=Path(__file__).parents[2])


def whole(server: Served, path: str) -> str:
    """Ask, and refuse an answer that is not of one publication; which it is of."""
    answer = server.ask(path)
    assert answer.status == 200
    text = answer.body.decode()
    if path == "/data.json":
        made = json.loads(text)
        (one,) = {made["meta"]["run_id"], made["verdict"]["run_id"], made["provenance"]["version"]}
        return str(one)
    if path == "/metrics":
        nav = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
        assert nav["policyengine_snapshot_readable"] == 1.0
        assert nav["policyengine_nav_amount"] == 2.0 * nav["policyengine_cash_amount"]
        return str(nav["policyengine_nav_amount"])
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    assert len(set(re.findall(r"r_\d{16}", text))) <= 1
    return text[:1]


@pytest.mark.long
def test_eight_readers_and_a_writer_never_meet(written: Path) -> None:
    with served(written) as server:
        server.publish(snapshot())
        until(server, "CURRENT")
        process = writer(written, server.state_dir)
        try:
            paths = ["/data.json", "/metrics", "/", "/data.json"] * 250
            with ThreadPoolExecutor(8) as readers:
                found = list(readers.map(lambda path: whole(server, path), paths))
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
        assert len(found) == 1000
        assert len({one for one, path in zip(found, paths, strict=True) if path == "/data.json"}) > 1, "nothing was published meanwhile"
        assert server.resident_mb() < MOST_MB


@pytest.mark.long
def test_a_writer_that_is_killed_leaves_what_was_last(written: Path) -> None:
    with served(written) as server:
        path = server.state_dir / "snapshots" / "paper.json"
        for delay in (0.0, 0.05, 0.11, 0.17, 0.23):
            path.unlink(missing_ok=True)
            process = writer(written, server.state_dir)
            while not path.exists():  # it publishes now
                assert process.poll() is None
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            until(server, "CURRENT")
            assert whole(server, "/data.json") > f"r_{0:016d}"
            whole(server, "/metrics")


def test_the_page_follows_the_payload_and_keeps_the_last_that_could_be_drawn(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "dashboard_data.json"
    body = json.loads((run / "dashboard_data.json").read_bytes())
    write_bytes(path, encoded(body))
    with served(tmp_path) as server:
        body["meta"]["arms"]["candidate"] = EVIL[0]
        for trade, name in zip(body["trades"]["rows"], EVIL * 5, strict=False):
            trade["symbol"] = name
        write_bytes(path, encoded(body))
        page = until(server, "&lt;img src=x onerror")
        assert page.count("<script") == 1
        assert "\u202e" not in page
        write_bytes(path, b'{"schema": 1}\n')
        page = until(server, "Not drawn")
        assert "&lt;img src=x onerror" in page
        path.unlink()
        assert server.ask("/data.json").status == 404
        assert server.ask("/").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_also_while_somebody_watches(number: signal.Signals, run: Path) -> None:
    with served(run) as server, stream(server) as reader:
        assert b"200 OK" in reader.recv(4096)
        started = time.monotonic()
        assert server.stop(number) == (0, "")
        assert time.monotonic() - started < 5.0


def dashboard(*args: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG")}
    return subprocess.run(
        [POLICYENGINE, "task=dashboard", *args],
        cwd=home,
        env={**env, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_cannot_be_served_is_said(server: Served, run: Path, tmp_path: Path) -> None:
    taken = dashboard(f"task.path={run}", f"task.port={server.port}", home=tmp_path)
    assert taken.returncode == 1
    assert f"task.port: {server.port} on 127.0.0.1 cannot be had: Address already in use" in taken.stderr
    empty = dashboard(f"task.path={tmp_path}", "task.port=0", home=tmp_path)
    assert empty.returncode == 1
    assert "holds no dashboard_data.json; policyengine task=report" in empty.stderr
    (tmp_path / "dashboard_data.json").write_text("{}")
    broken = dashboard(f"task.path={tmp_path}", "task.port=0", home=tmp_path)
    assert broken.returncode == 1
    assert "cannot be drawn: KeyError: 'meta'" in broken.stderr
    named = dashboard(f"task.path={run}", "task.port=0", "task.account=../x", home=tmp_path)
    assert named.returncode == 1
    assert "'../x' is not a name" in named.stderr


def test_it_listens_on_this_machine_only(server: Served) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = [row[1] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == server.port]
    assert [address.split(":")[0] for address in here] == ["0100007F"]
    assert f":{server.port:04X} " not in Path("/proc/net/tcp6").read_text()
