"""A server on loopback that speaks the chat completions protocol, well or badly. It knows nothing: it extrapolates the closes it is shown.

To try the language model without one:

    python tests/llm_stub.py --port 8089
    policyengine signals/llm_fallback=openai_compatible signals.llm_fallback.base_url=http://127.0.0.1:8089/v1 \
        signals.llm_fallback.model=stub signals.llm_fallback.api_key_env=null

`--behaviour` is one of BEHAVIOURS, or several with commas between, one for each request, the last for all that follow.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON = "application/json"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True
        BEHAVIOURS[self.server.note(self.path, dict(self.headers), body)](self, json.loads(body))

    def do_GET(self) -> None:
        self.server.visited.append(self.path)
        self.answer(200, completion(opinions_json([])))

    def answer(self, status: int, body: bytes, content_type: str = JSON, **headers: str) -> None:
        """A whole answer, with no header but those given. A header's underscores stand for hyphens."""
        self.send_response_only(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


Behaviour = Callable[[Handler, dict[str, Any]], None]


def instruments(request: dict[str, Any]) -> list[dict[str, Any]]:
    """What the request shows."""
    return list(json.loads(request["messages"][-1]["content"])["instruments"])


def opinions(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Each instrument goes on as it went: a tenth of its return over what is shown, at most 0.1, with confidence 0.58."""
    made = []
    for one in instruments(request):
        change = (one["closes"][-1] - one["closes"][0]) / one["closes"][0]
        made.append({"name": one["name"], "expected_return_frac": round(min(max(change / 10, -0.1), 0.1), 6), "confidence": 0.58})
    return made


def opinions_json(entries: object, **more: object) -> str:
    return json.dumps({"opinions": entries, **more})


def completion(content: object, *, finish_reason: str = "stop", usage: object = None, **message: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
    used = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120} if usage is None else usage
    return json.dumps({"id": "x", "object": "chat.completion", "model": "stub", "choices": [choice], "usage": used}).encode()


def says(content: Callable[[list[dict[str, Any]]], object], **envelope: Any) -> Behaviour:
    """Answers with `content`, made of the opinions; a text as it is, all else as the list of opinions."""

    def behave(handler: Handler, request: dict[str, Any]) -> None:
        made = content(opinions(request))
        handler.answer(200, completion(made if isinstance(made, str) else opinions_json(made), **envelope))

    return behave


def sends(status: int, body: bytes, content_type: str = JSON, **headers: str) -> Behaviour:
    return lambda handler, _: handler.answer(status, body, content_type, **headers)


def first(change: dict[str, object]) -> Callable[[list[dict[str, Any]]], object]:
    """The first opinion changed, the others as they are."""
    return lambda made: [{**made[0], **change}, *made[1:]]


def drip(handler: Handler, request: dict[str, Any]) -> None:
    """A right answer, one byte every tenth of a second: each read is quick and the whole takes minutes."""
    body = completion(opinions_json(opinions(request)))
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    _slowly(handler, body)


def drip_headers(handler: Handler, request: dict[str, Any]) -> None:
    """Header after header, byte by byte."""
    _slowly(handler, b"HTTP/1.1 200 OK\r\n" + b"X-Padding: x\r\n" * 90)


def _slowly(handler: Handler, content: bytes) -> None:
    for k in range(len(content)):
        handler.wfile.write(content[k : k + 1])
        if handler.server.closing.wait(0.1):
            return


def hang(handler: Handler, request: dict[str, Any]) -> None:
    """Nothing at all."""
    handler.server.closing.wait()


def close(handler: Handler, request: dict[str, Any]) -> None:
    """The connection is closed without a byte."""


def short(handler: Handler, request: dict[str, Any]) -> None:
    """Fewer bytes than Content-Length says, though what comes is a right answer."""
    body = completion(opinions_json(opinions(request)))
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) + 100))
    handler.end_headers()
    handler.wfile.write(body)


def huge(handler: Handler, request: dict[str, Any]) -> None:
    """A right answer with 64 MB of blanks behind it."""
    body = completion(opinions_json(opinions(request)))
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) + 64 * 2**20))
    handler.end_headers()
    handler.wfile.write(body)
    for _ in range(64):
        handler.wfile.write(b" " * 2**20)


def chunked(handler: Handler, request: dict[str, Any]) -> None:
    """A right answer in chunks."""
    body = completion(opinions_json(opinions(request)))
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for part in (body[:50], body[50:], b""):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))


def tells_key(handler: Handler, request: dict[str, Any]) -> None:
    """The key stands in the answer."""
    handler.answer(200, completion(f"you sent {handler.headers['Authorization']}"))


def no_usage(handler: Handler, request: dict[str, Any]) -> None:
    """A right answer that does not say what it took."""
    handler.answer(200, completion(opinions_json(opinions(request)), usage="none"))


def raw(handler: Handler, content: bytes) -> None:
    handler.wfile.write(content)


BEHAVIOURS: dict[str, Behaviour] = {
    "good": says(lambda made: made),
    "chunked": chunked,
    "no_usage": no_usage,
    "no_view": says(lambda made: []),
    # no answer
    "server_error": sends(500, b'{"error": "try again"}'),
    "too_many": sends(429, b"{}", Retry_After="0"),
    "too_many_for_2_seconds": sends(429, b"{}", Retry_After="2"),
    "too_many_until": sends(429, b"{}", Date="Thu, 01 Jan 2026 00:00:00 GMT", Retry_After="Thu, 01 Jan 2026 00:00:07 GMT"),
    "too_many_until_some_day": sends(429, b"{}", Retry_After="Thu, 01 Jan 2026 00:00:07 GMT"),
    "too_many_until_whenever": sends(429, b"{}", Date="Thu, 01 Jan 2026 00:00:00 GMT", Retry_After="whenever"),
    "too_many_for_an_hour": sends(429, b"{}", Retry_After="3600"),
    "unauthorized": sends(401, b'{"error": "bad key"}'),
    "bad_request": sends(400, b'{"error": "what?"}'),
    "redirect": sends(302, b"", Location="/v1/elsewhere"),
    "drip": drip,
    "drip_headers": drip_headers,
    "hang": hang,
    "close": close,
    "short": short,
    "not_http": lambda handler, _: raw(handler, b"SSH-2.0-OpenSSH_9.2\r\n"),
    # no answer in the protocol's envelope
    "html": sends(200, b"<!doctype html><title>Sign in</title>", "text/html"),
    "empty": sends(200, b""),
    "truncated": sends(200, completion(opinions_json([]))[:60]),
    "no_choices": sends(200, b'{"choices": []}'),
    "a_list": sends(200, b"[1]"),
    "huge": huge,
    "nan_usage": sends(200, completion("{}").replace(b"100,", b"NaN,")),
    # an answer of the model that is none
    "prose": says(lambda made: "I think A1 will rise."),
    "fenced": says(lambda made: f"```json\n{opinions_json(made)}\n```"),
    "cut": says(lambda made: made, finish_reason="length"),
    "refusal": lambda handler, _: handler.answer(200, completion(None, refusal="I cannot.")),
    "extra_key": says(lambda made: opinions_json(made, advice="buy")),
    "nan": says(lambda made: opinions_json(first({"confidence": float("nan")})(made))),
    "twice_a_key": says(lambda made: opinions_json(made).replace('"confidence"', '"confidence": 0.5, "confidence"')),
    "nameless": says(lambda made: [{"expected_return_frac": 0.01, "confidence": 0.6}, *made[1:]]),
    "half_a_character": says(lambda made: '{"opinions": "\udc80"}'),
    "deep": says(lambda made: "[" * 50_000),
    "tells_key": tells_key,
    # one opinion that is none, the others good
    "wrong_type": says(first({"confidence": "high"})),
    "text_number": says(first({"expected_return_frac": "0.01"})),
    "true_number": says(first({"confidence": True})),
    "null": says(first({"expected_return_frac": None})),
    "infinite": says(lambda made: opinions_json(made).replace(f'_frac": {made[0]["expected_return_frac"]}', '_frac": 1e999', 1)),
    "endless_digits": says(first({"expected_return_frac": 10**400})),
    "extra_key_in_one": says(first({"size": 1_000_000})),
    "duplicate": says(lambda made: [*made, made[0]]),
    "return_too_high": says(first({"expected_return_frac": 5.0})),
    "return_too_low": says(first({"expected_return_frac": -0.200001})),
    "confidence_above_1": says(first({"confidence": 1.01})),
    "confidence_below_0": says(first({"confidence": -0.1})),
    # good, with one thing more
    "stranger": says(lambda made: [*made, {**made[0], "name": "A99"}]),
    "confident": says(first({"confidence": 1.0})),
}


class Server(ThreadingHTTPServer):
    """Behaves by `script`, one behaviour for each request, the last for all that follow. `with` starts and stops it."""

    daemon_threads = True
    block_on_close = True

    def __init__(self, *script: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.script: Sequence[str] = script or ("good",)
        self.closing = threading.Event()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.visited: list[str] = []
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, _, body in self.requests]

    def note(self, path: str, headers: dict[str, str], body: bytes) -> str:
        """Keep a request; the behaviour that is its turn."""
        with self._lock:
            self.requests.append((path, headers, body))
            return self.script[min(len(self.requests), len(self.script)) - 1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has left is no error here."""

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--behaviour", default="good", help=", ".join(BEHAVIOURS))
    given = parser.parse_args()
    script = given.behaviour.split(",")
    for name in script:
        if name not in BEHAVIOURS:
            parser.error(f"--behaviour: {name!r} is none of {', '.join(BEHAVIOURS)}")
    with Server(*script, port=given.port) as server:
        print(f"answering at {server.base_url}, as {given.behaviour}; Ctrl-C stops", flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
