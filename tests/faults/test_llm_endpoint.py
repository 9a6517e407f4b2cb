"""A language model's endpoint that is down, slow, lying or broken: silence, counted, never a trade, and never a held-up run.

A real server on loopback; see `tests/llm_stub.py` for what each behaviour does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from policyengine.signals.forecasts import Opinions, Silence
from policyengine.signals.llm_fallback import Counts
from policyengine.signals.llm_fallback.endpoint import endpoint, exchange
from tests.conftest import ROOT
from tests.llm_cases import last_only, llm_spec, panel_of, put, same, walk
from tests.llm_stub import BEHAVIOURS, Server

PANEL = panel_of(walk(symbols=2))
KEY = "sk-0123456789abcdef"

NO_ANSWER = {
    "server_error", "too_many", "too_many_for_2_seconds", "too_many_until", "too_many_until_some_day",
    "too_many_until_whenever", "too_many_for_an_hour", "unauthorized", "bad_request",
    "redirect", "drip", "drip_headers", "hang", "close", "short", "not_http",
}  # fmt: skip
GARBLED = {"html", "empty", "truncated", "no_choices", "a_list", "huge", "nan_usage"}
ALL_BAD = {
    "prose", "fenced", "cut", "refusal", "extra_key", "nan", "twice_a_key", "nameless", "half_a_character", "deep", "tells_key"
}  # fmt: skip
ONE_MALFORMED = {
    "wrong_type", "text_number", "true_number", "null", "infinite", "endless_digits", "extra_key_in_one", "duplicate"
}  # fmt: skip
ONE_OUT_OF_RANGE = {"return_too_high", "return_too_low", "confidence_above_1", "confidence_below_0"}
GOOD = {"good", "chunked", "no_usage", "stranger", "confident"}


def asked(tmp_path: Path, *script: str, key: str | None = KEY, **changes: object) -> tuple[Opinions, Counts, Server]:
    """One prompt about both instruments of the last session."""
    with Server(*script) as server:
        spec = llm_spec(base_url=server.base_url, api_key_env=None if key is None else "KEY", **changes)
        made, counts = put(spec, PANEL, tmp_path / "cache", silent=last_only(PANEL), key=key)
    speaks = made.silence == Silence.SPEAKS
    for values in (made.expected_return, made.confidence, made.predicted_volatility):
        assert (np.isfinite(values) == speaks).all()
    return made, counts, server


def reasons(made: Opinions) -> list[Silence]:
    return [Silence(code) for code in made.silence[-1]]


def kept(tmp_path: Path) -> list[Path]:
    """Answers on disk."""
    return sorted((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else []


def test_every_behaviour_is_tried_below() -> None:
    assert set(BEHAVIOURS) == NO_ANSWER | GARBLED | ALL_BAD | ONE_MALFORMED | ONE_OUT_OF_RANGE | GOOD | {"no_view"}


@pytest.mark.parametrize("behaviour", sorted(GOOD))
def test_what_is_right_speaks(tmp_path: Path, behaviour: str) -> None:
    made, counts, _ = asked(tmp_path, behaviour)
    assert reasons(made) == [Silence.SPEAKS] * 2
    assert counts.malformed == (behaviour == "stranger")
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("behaviour", sorted(NO_ANSWER))
def test_no_answer_is_silence(tmp_path: Path, behaviour: str) -> None:
    started = time.monotonic()
    made, counts, server = asked(tmp_path, behaviour, retries=1, timeout_seconds=0.5)
    assert time.monotonic() - started < 5.0
    assert reasons(made) == [Silence.NO_ANSWER] * 2
    assert counts.asked == 2
    assert counts.calls == len(server.requests) >= 1
    assert counts.timeouts + counts.unreachable + counts.http_errors == counts.calls
    assert kept(tmp_path) == []


@pytest.mark.parametrize("behaviour", sorted(GARBLED))
def test_an_answer_in_no_envelope_silences_all_and_is_not_kept(tmp_path: Path, behaviour: str) -> None:
    made, counts, server = asked(tmp_path, behaviour)
    assert reasons(made) == [Silence.BAD_ANSWER] * 2
    assert (counts.garbled, counts.malformed, counts.calls, len(server.requests)) == (1, 2, 1, 1)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("behaviour", sorted(ALL_BAD))
def test_an_answer_that_is_not_of_the_schema_silences_all(tmp_path: Path, behaviour: str) -> None:
    made, counts, server = asked(tmp_path, behaviour)
    assert reasons(made) == [Silence.BAD_ANSWER] * 2
    assert (counts.garbled, counts.malformed, counts.out_of_range, len(server.requests)) == (0, 2, 0, 1)
    assert len(kept(tmp_path)) == 1  # what the model said is known, and asking again would not mend it


@pytest.mark.parametrize("behaviour", sorted(ONE_MALFORMED | ONE_OUT_OF_RANGE))
def test_one_bad_opinion_silences_its_instrument_alone(tmp_path: Path, behaviour: str) -> None:
    made, counts, _ = asked(tmp_path, behaviour)
    assert reasons(made) == [Silence.BAD_ANSWER, Silence.SPEAKS]
    out_of_range = behaviour in ONE_OUT_OF_RANGE
    assert (counts.malformed, counts.out_of_range) == (not out_of_range, out_of_range)


def test_an_instrument_left_out_has_no_answer(tmp_path: Path) -> None:
    made, counts, _ = asked(tmp_path, "no_view")
    assert reasons(made) == [Silence.NO_ANSWER] * 2
    assert (counts.asked, counts.malformed) == (2, 0)


@pytest.mark.parametrize("behaviour", ["server_error", "close", "too_many", "short", "not_http"])
def test_what_may_pass_is_tried_again(tmp_path: Path, behaviour: str) -> None:
    made, counts, server = asked(tmp_path, behaviour, behaviour, "good", retries=2)
    assert reasons(made) == [Silence.SPEAKS] * 2
    assert (counts.calls, counts.retries, len(server.requests)) == (3, 2, 3)
    assert len(set(server.bodies)) == 1


@pytest.mark.parametrize("behaviour", ["unauthorized", "bad_request", "redirect", "html", "truncated", "prose"])
def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, behaviour: str) -> None:
    _, counts, server = asked(tmp_path, behaviour, "good", retries=2)
    assert (counts.calls, counts.retries, len(server.requests)) == (1, 0, 1)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    _, counts, server = asked(tmp_path, "redirect", "good")
    assert server.visited == []
    assert (counts.http_errors, len(server.requests)) == (1, 1)


def test_waits_double_and_a_longer_retry_after_is_honoured(tmp_path: Path) -> None:
    waits: list[float] = []
    unclear = ("too_many_until_some_day", "too_many_until_whenever")
    with Server("server_error", "too_many", "too_many_for_2_seconds", "too_many_until", *unclear, "good") as server:
        spec = llm_spec(base_url=server.base_url, retries=6, backoff_seconds=0.5, timeout_seconds=60.0)
        made, counts = put(spec, PANEL, tmp_path, silent=last_only(PANEL), sleep=waits.append)
    assert waits == [0.5, 1.0, 2.0, 7.0, 8.0, 16.0]
    assert reasons(made) == [Silence.SPEAKS] * 2
    assert (counts.retries, counts.http_errors) == (6, 6)


def test_a_wait_beyond_the_deadline_is_not_begun(tmp_path: Path) -> None:
    waits: list[float] = []
    with Server("too_many_for_an_hour") as server:
        _, counts = put(llm_spec(base_url=server.base_url), PANEL, tmp_path, silent=last_only(PANEL), sleep=waits.append)
    assert (waits, counts.calls) == ([], 1)


@pytest.mark.parametrize("behaviour", ["drip", "drip_headers", "hang"])
def test_the_deadline_is_of_the_whole_and_not_of_each_read(tmp_path: Path, behaviour: str) -> None:
    """A byte every tenth of a second, for a minute at least: no read waits long."""
    started = time.monotonic()
    made, counts, _ = asked(tmp_path, behaviour, timeout_seconds=0.6, retries=5)
    assert 0.6 <= time.monotonic() - started < 5.0
    assert reasons(made) == [Silence.NO_ANSWER] * 2
    assert (counts.timeouts, counts.calls) == (1, 1)


def test_a_server_that_does_not_read_does_not_hold_the_run(tmp_path: Path) -> None:
    """A request larger than what the system buffers, to a server that accepts and takes nothing."""
    panel = panel_of(walk(sessions=1000, symbols=100))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        spec = llm_spec(base_url=base_url, history_sessions=1000, max_symbols_per_prompt=100, timeout_seconds=0.6)
        started = time.monotonic()
        _, counts = put(spec, panel, tmp_path, silent=last_only(panel))
    assert time.monotonic() - started < 5.0
    assert counts.timeouts == 1


def test_where_no_time_is_left_nothing_is_sent() -> None:
    with Server() as server:
        with pytest.raises(TimeoutError, match="the deadline has passed"):
            exchange(endpoint(server.base_url, None), b"{}", lambda: 0.0)
        assert server.requests == []


def test_nobody_there_is_silence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    made, counts = put(llm_spec(base_url=f"http://127.0.0.1:{port}/v1", retries=2), PANEL, tmp_path, silent=last_only(PANEL))
    assert reasons(made) == [Silence.NO_ANSWER] * 2
    assert (counts.unreachable, counts.calls, counts.retries) == (3, 3, 2)


def test_a_host_without_an_address_is_silence(tmp_path: Path) -> None:
    made, counts = put(llm_spec(base_url="https://nowhere.invalid/v1", retries=0), PANEL, tmp_path, silent=last_only(PANEL))
    assert reasons(made) == [Silence.NO_ANSWER] * 2
    assert counts.unreachable + counts.timeouts == 1


def test_an_endpoint_that_is_down_is_given_up_and_one_that_stumbles_is_not(tmp_path: Path) -> None:
    """Ten prompts. Down: three are tried. One in three fails: all are."""
    panel = panel_of(walk(sessions=14, symbols=1))
    with Server("server_error") as server:
        made, counts = put(llm_spec(base_url=server.base_url, retries=0, give_up_after=3), panel, tmp_path / "a")
    assert (len(server.requests), counts.calls, counts.given_up) == (3, 3, 7)
    assert (made.silence[-1, 0], made.silence[6, 0]) == (Silence.NOT_ASKED, Silence.NO_ANSWER)
    with Server("server_error", "html", "good", "server_error", "close", "prose", "good") as server:
        _, counts = put(llm_spec(base_url=server.base_url, retries=0, give_up_after=3), panel, tmp_path / "b")
    assert (len(server.requests), counts.given_up) == (10, 0)


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"max_calls": 3}, 3),
        ({"max_tokens_in": 1000}, 4),  # 100 stated each, and an estimate of 657 for the next
        ({"max_tokens_out": 1060}, 4),  # 20 stated each, and 1,000 for the next
    ],
)
def test_a_spent_budget_leaves_the_rest_unasked(tmp_path: Path, changes: dict[str, int], calls: int) -> None:
    panel = panel_of(walk(sessions=14, symbols=1))
    with Server() as server:
        made, counts = put(llm_spec(base_url=server.base_url, **changes), panel, tmp_path)
    assert (len(server.requests), counts.calls, counts.over_budget) == (calls, calls, 10 - calls)
    assert (made.silence[4 : 4 + calls] == Silence.SPEAKS).all()
    assert (made.silence[4 + calls :] == Silence.NOT_ASKED).all()


def test_retries_are_paid_from_the_same_budget(tmp_path: Path) -> None:
    _, counts, server = asked(tmp_path, "server_error", retries=5, max_calls=2)
    assert (len(server.requests), counts.calls, counts.retries) == (2, 2, 1)


def test_tokens_that_are_not_stated_are_estimated_upwards(tmp_path: Path) -> None:
    _, counts, server = asked(tmp_path, "no_usage")
    assert counts.tokens_in == -(-len(server.bodies[0]) // 2)
    assert counts.tokens_out == 1000


@pytest.mark.parametrize("behaviour", sorted(BEHAVIOURS))
def test_the_key_is_in_no_file_message_or_result(tmp_path: Path, behaviour: str, capfd: pytest.CaptureFixture[str]) -> None:
    made, counts, server = asked(tmp_path, behaviour, timeout_seconds=0.3, retries=0)
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, headers, _ in server.requests)
    assert all(KEY.encode() not in path.read_bytes() for path in kept(tmp_path))
    said = repr((made, counts)) + repr(endpoint("https://example.com/v1", KEY)) + "".join(capfd.readouterr())
    assert KEY not in said


def test_a_dummy_key_may_stand_in_an_answer(tmp_path: Path) -> None:
    made, _, _ = asked(tmp_path, "good", key="name")
    assert reasons(made) == [Silence.SPEAKS] * 2


def test_a_broken_file_is_counted_and_asked_again_or_silent(tmp_path: Path) -> None:
    with Server() as server:
        spec = llm_spec(base_url=server.base_url)
        online, _ = put(spec, PANEL, tmp_path, silent=last_only(PANEL))
        (path,) = tmp_path.iterdir()
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"0.58", b"0.59"))
        made, counts = put(spec, PANEL, tmp_path, silent=last_only(PANEL), online_from=9)
        assert reasons(made) == [Silence.NOT_ASKED] * 2
        assert (counts.broken_cache, counts.offline, counts.calls) == (1, 2, 0)
        again, counts = put(spec, PANEL, tmp_path, silent=last_only(PANEL))
    assert same(again, online)
    assert (counts.broken_cache, counts.calls, path.read_bytes()) == (1, 1, whole)


ASKING = """
import sys
from pathlib import Path
from tests.llm_cases import llm_spec, panel_of, put, walk
panel = panel_of(walk(sessions=60, symbols=4))
put(llm_spec(base_url=sys.argv[1], max_calls=1000), panel, Path(sys.argv[2]))
print("done")
"""


def test_killed_at_any_moment_nothing_is_torn_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the middle of asking and writing, until a run comes through; then the cache is that of a run never killed."""
    cache, panel = tmp_path / "cache", panel_of(walk(sessions=60, symbols=4))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = 0
    with Server() as server:
        spec = llm_spec(base_url=server.base_url, max_calls=1000)
        for round_ in range(40):
            before = len(server.requests)
            command = [sys.executable, "-c", ASKING, server.base_url, str(cache)]
            process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
            while process.poll() is None and len(server.requests) < before + 20 + round_:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            out, _ = process.communicate()
            for path in cache.glob("[!.]*"):
                json.loads(path.read_bytes())
            if out:
                break
            killed += 1
        assert out == "done\n"
        assert killed >= 3
        replayed, counts = put(spec, panel, cache, online_from=60)
        assert (counts.offline, counts.broken_cache, counts.asked) == (0, 0, 56 * 4)
        whole, _ = put(spec, panel, tmp_path / "whole")
    assert same(replayed, whole)
    names = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in cache.glob("[!.]*")} == names


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[str, list[bytes], Path]]:
    """A server with a certificate that it signed itself: its base URL, what it got to read, and the certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = folder / "certificate.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    got: list[bytes] = []
    with Server() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        yield f"https://localhost:{server.server_address[1]}/v1", got, certificate
        got.extend(server.bodies)


def test_a_certificate_that_nobody_signed_gets_neither_key_nor_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path) as (base_url, got, certificate):
        spec = llm_spec(base_url=base_url, retries=0, api_key_env="KEY")
        made, counts = put(spec, PANEL, tmp_path / "cache", silent=last_only(PANEL), key=KEY)
        assert reasons(made) == [Silence.NO_ANSWER] * 2
        assert counts.unreachable == 1
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        made, _ = put(spec, PANEL, tmp_path / "cache", silent=last_only(PANEL), key=KEY)
        assert reasons(made) == [Silence.SPEAKS] * 2
        elsewhere = replace(spec, base_url=base_url.replace("localhost", "127.0.0.1"))
        _, counts = put(elsewhere, PANEL, tmp_path / "cache", silent=last_only(PANEL), key=KEY)
        assert counts.unreachable == 1
    assert len(got) == 1


def test_a_handshake_that_hangs_does_not_hold_the_run(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts by its backlog, and never says a word
        started = time.monotonic()
        base_url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        _, counts = put(llm_spec(base_url=base_url, timeout_seconds=0.5), PANEL, tmp_path, silent=last_only(PANEL))
    assert time.monotonic() - started < 5.0
    assert (counts.timeouts, counts.calls) == (1, 1)
