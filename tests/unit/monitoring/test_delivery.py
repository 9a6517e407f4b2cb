"""Delivery to a file and to a real HTTP server that fails in every way it can: at least once, under one id, within the time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from policyengine.errors import ConfigError
from policyengine.monitoring.alerts import evaluate
from policyengine.monitoring.delivery import Clock, deliver
from policyengine.monitoring.snapshot import bound_snapshot
from policyengine.monitoring.watch import Watch
from policyengine.spec.monitor import MonitorSpec
from tests.conftest import composed_spec
from tests.watched import NOW, stored

SECRET = "/hooks/T0KEN"


@dataclass
class Receiver:
    """A server that answers what it is told to, and keeps what it got."""

    url: str = ""
    answers: list[int | str] = field(default_factory=list)
    got: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept.got.append((self.path, self.headers["Idempotency-Key"], body))
            answer = kept.answers.pop(0) if kept.answers else 204
            if isinstance(answer, int):
                self.send_response(answer)
                self.send_header("Location", kept.url)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.fail(answer)

        def fail(self, how: str) -> None:
            """Say nothing, a byte at a time, or what is no HTTP."""
            for _ in range(20 if how == "drip" else 1):
                if how != "hang":
                    self.wfile.write(b"H" if how == "drip" else b"\x00\x01 not http\r\n\r\n")
                if how != "garbage" and release.wait(0.2 if how == "drip" else 10):
                    return

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that gave up is what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}{SECRET}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield kept
    release.set()
    server.shutdown()
    server.server_close()
    thread.join()


class Case:
    """An account whose kill switch is engaged and released, look after look."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.state = folder / "state"
        self.file, self.hook = folder / "alerts.jsonl", folder / "webhook"
        base = composed_spec().monitor
        self.spec: MonitorSpec = replace(base, **{"attempts": 3, "timeout_seconds": 0.5, "deadline_seconds": 5.0, **settings})
        self.slept: list[float] = []
        self.minute = 0

    def look(self, *, engaged: bool, tell: Callable[[Watch], tuple[str, ...]] | None = None) -> tuple[str, ...]:
        at = NOW + timedelta(minutes=self.minute)
        self.minute += 1
        with Watch(self.state, "paper") as watch:
            found = bound_snapshot(stored(kill__engaged=engaged, published_at=at.isoformat()), "x")
            watch.look(evaluate(found, self.spec, at), self.spec, at)
            return deliver(watch, self.spec, self.clock()) if tell is None else tell(watch)

    def clock(self) -> Clock:
        return Clock(seconds=time.monotonic, now=NOW.isoformat, sleep=self.slept.append)

    def lines(self) -> list[tuple[str, str]]:
        return [(one["alert"], one["state"]) for one in map(json.loads, self.file.read_text().splitlines())]


@pytest.fixture
def hooked(tmp_path: Path, receiver: Receiver) -> Case:
    (tmp_path / "webhook").write_text(receiver.url + "\n")
    return Case(tmp_path, webhook_file=str(tmp_path / "webhook"))


@pytest.fixture
def filed(tmp_path: Path) -> Case:
    return Case(tmp_path, file=str(tmp_path / "alerts.jsonl"))


def test_a_firing_and_its_resolution_are_posted_once_each(hooked: Case, receiver: Receiver) -> None:
    for engaged in (False, True, True, False, False):
        assert hooked.look(engaged=engaged) == ()
    assert [(body["alert"], body["state"]) for _, _, body in receiver.got] == [("kill_engaged", "firing"), ("kill_engaged", "resolved")]
    (path, key, body), (_, second, _) = receiver.got
    assert path == SECRET
    assert key == body["id"] != second
    assert body["account"] == "paper"
    assert body["fired_at"] == (NOW + timedelta(minutes=1)).isoformat()
    assert (body["observed"], body["operator"], body["limit"]) == (1.0, ">", 0.0)


@pytest.mark.parametrize("answers", [[500, 503], [429], ["garbage"], [302, 404], ["hang"]])
def test_what_fails_is_tried_again_with_back_off_under_the_same_id(hooked: Case, receiver: Receiver, answers: list[int | str]) -> None:
    tries = len(answers) + 1
    receiver.answers = list(answers)
    assert hooked.look(engaged=True) == ()
    assert len(receiver.got) == tries
    assert len({key for _, key, _ in receiver.got}) == 1
    assert hooked.slept == [1.0, 2.0][: tries - 1]


def test_what_is_not_taken_is_kept_and_sent_in_order_the_next_time(hooked: Case, receiver: Receiver) -> None:
    receiver.answers = [500] * 6
    (why,) = hooked.look(engaged=True)
    assert why == "webhook: 1 not delivered: it answered 500"
    (why,) = hooked.look(engaged=False)
    assert "2 not delivered" in why
    assert hooked.look(engaged=False) == ()
    assert [body["state"] for _, _, body in receiver.got[-2:]] == ["firing", "resolved"]
    assert hooked.look(engaged=False) == ()
    assert len(receiver.got) == 8


def test_nobody_there_is_no_error_and_tells_no_secret(tmp_path: Path, hooked: Case) -> None:
    (tmp_path / "webhook").write_text(f"http://127.0.0.1:9{SECRET}")
    (why,) = hooked.look(engaged=True)
    assert "refused" in why
    assert "T0KEN" not in why


@pytest.mark.parametrize("url", ["", "ftp://x/T0KEN", "http:///T0KEN", "http://x:99999/T0KEN", "http://127.0.0.1:9/T0KEN\x07b"])
def test_a_url_that_is_none_is_said_without_it(tmp_path: Path, hooked: Case, url: str) -> None:
    (tmp_path / "webhook").write_text(url)
    (why,) = hooked.look(engaged=True)
    assert "1 not delivered" in why
    assert "T0KEN" not in why
    (tmp_path / "webhook").unlink()
    assert "holds no URL" in hooked.look(engaged=True)[0]


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_all_of_it_ends_within_the_time(hooked: Case, receiver: Receiver, answer: str) -> None:
    """A server that never ends its answer, or sends a byte before each time limit of the socket."""
    hooked.spec = replace(hooked.spec, attempts=10, timeout_seconds=0.4, deadline_seconds=1.0)
    receiver.answers = [answer] * 10
    before = time.monotonic()
    (why,) = hooked.look(engaged=True)
    assert time.monotonic() - before < 3.0
    assert "no answer" in why or "timed out" in why


def test_one_that_was_posted_but_not_noted_is_posted_again_under_its_id(hooked: Case, receiver: Receiver) -> None:
    """The process dies between the answer and the note."""

    class Died(Exception):
        pass

    def dies(watch: Watch) -> tuple[str, ...]:
        def now() -> str:
            raise Died

        return deliver(watch, hooked.spec, replace(hooked.clock(), now=now))

    with pytest.raises(Died):
        hooked.look(engaged=True, tell=dies)
    assert hooked.look(engaged=True) == ()
    first, second = (key for _, key, _ in receiver.got)
    assert first == second


def test_a_file_has_each_once_whatever_died(filed: Case) -> None:
    def dies(watch: Watch) -> tuple[str, ...]:
        class Died(Exception):
            pass

        def now() -> str:
            raise Died

        with pytest.raises(Died):
            deliver(watch, filed.spec, replace(filed.clock(), now=now))
        return ()

    filed.look(engaged=True, tell=dies)
    assert filed.lines() == [("kill_engaged", "firing")]
    assert filed.look(engaged=False) == ()
    assert filed.lines() == [("kill_engaged", "firing"), ("kill_engaged", "resolved")]


def test_after_a_torn_line_a_file_goes_on_on_its_own_line(filed: Case) -> None:
    filed.file.write_text('{"id": "a_torn')
    assert filed.look(engaged=True) == ()
    torn, whole = filed.file.read_text().splitlines()
    assert torn == '{"id": "a_torn'
    assert json.loads(whole)["alert"] == "kill_engaged"


def test_a_file_that_cannot_be_written_leaves_it_to_be_told(filed: Case, tmp_path: Path) -> None:
    filed.file.mkdir()
    (why,) = filed.look(engaged=True)
    assert why.startswith("file: 1 not delivered:")
    filed.file.rmdir()
    assert filed.look(engaged=True) == ()
    assert filed.lines() == [("kill_engaged", "firing")]


def test_a_channel_that_is_new_does_not_hear_of_old_times(tmp_path: Path, receiver: Receiver, filed: Case) -> None:
    filed.look(engaged=True)
    filed.look(engaged=False)
    (tmp_path / "webhook").write_text(receiver.url)
    filed.spec = replace(filed.spec, webhook_file=str(tmp_path / "webhook"))
    filed.look(engaged=False)
    assert receiver.got == []
    filed.look(engaged=True)
    assert len(receiver.got) == 1
    assert len(filed.lines()) == 3


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("monitor.file=here.jsonl", "monitor.file: 'here.jsonl' is not an absolute path"),
        ("monitor.webhook_file=hook", "monitor.webhook_file: 'hook' is not an absolute path"),
        ("monitor.stale_hours=0", "monitor.stale_hours: 0 is not above 0"),
        ("monitor.for_minutes=-1", "monitor.for_minutes: -1 is not in"),
        ("monitor.attempts=0", "monitor.attempts: 0 is not in"),
        ("monitor.reject_jump_frac=2", "monitor.reject_jump_frac: 2 is not in"),
        ("monitor.reject_orders_min=0", "monitor.reject_orders_min: 0 is below 1"),
    ],
)
def test_settings_that_would_never_tell_are_refused(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed_spec(override)
    assert str(caught.value).startswith(says)


def test_monitoring_binds_no_evidence() -> None:
    assert composed_spec("monitor.stale_hours=2", "monitor.file=/x").config_hash() == composed_spec().config_hash()
