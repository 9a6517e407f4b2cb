"""The paths of the live dashboard. What changes is not stored by anybody; what lies in the run's folder has a tag."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from io import FileIO
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from policyengine.errors import DataError, OutputError
from policyengine.monitoring.metrics import CONTENT_TYPE, exposition
from policyengine.monitoring.watch import firing
from policyengine.reporting.live.guard import Guard
from policyengine.reporting.live.published import Published, signature, version
from policyengine.reporting.names import PAYLOAD, TRADES
from policyengine.reporting.report.page import STYLE

BEAT_SECONDS = 5.0
"""So often a stream says that it lives; live.js waits three times as long before it says DISCONNECTED."""
MOST_STREAMS = 32
CHUNK = 64 * 2**10
NO_STORE = {"cache-control": "no-store"}
HERE = Path(__file__).parent
STYLES = (STYLE, HERE / "live.css")
SCRIPT = HERE / "live.js"

Endpoint = Callable[[Request], Awaitable[Response]]


def app(live: Published, clock: Callable[[], datetime], *, port: int) -> ASGIApp:
    """The application that shows `live` on `port`; `clock` gives the instant."""
    streams = Streams(live)

    async def page(_: Request) -> Response:
        parts = live.page()
        return _sized(_pieces(parts), sum(map(len, parts)), "text/html; charset=utf-8", NO_STORE)

    async def metrics(_: Request) -> Response:
        return Response(_metrics(live, clock()), media_type=CONTENT_TYPE, headers=NO_STORE)

    async def health(_: Request) -> Response:
        told = live.told()
        body = {"page": told.page, "snapshot": told.state, "streams": streams.open}
        return Response(json.dumps(body), media_type="application/json", headers=NO_STORE)

    routes: dict[str, Endpoint] = {
        "/": page,
        "/events": streams.stream,
        "/metrics": metrics,
        "/healthz": health,
        "/data.json": _file(live.folder / PAYLOAD, "application/json"),
        "/trades.csv": _file(live.folder / TRADES, "text/csv; charset=utf-8"),
        "/live.css": _style,
        "/live.js": _file(SCRIPT, "text/javascript; charset=utf-8"),
    }
    made = Starlette(routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in routes.items()])
    made.router.redirect_slashes = False
    return Guard(made, port=port)


class Streams:
    """The server-sent events. Nothing is queued: a reader that is slow misses what was in between, and gets what is now."""

    def __init__(self, live: Published) -> None:
        self._live = live
        self.open = 0

    async def stream(self, request: Request) -> Response:
        """One reader's stream, or 503 where there are MOST_STREAMS already."""
        if self.open >= MOST_STREAMS:
            return PlainTextResponse("too many are watching\n", 503, {**NO_STORE, "retry-after": "10"})
        headers = {**NO_STORE, "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=headers)
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=headers)

    async def _events(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            yield b"retry: 2000\n\n"
            turn, last = -1, -1
            while not self._live.stopping:
                turn, told = self._live.turn, self._live.told()
                yield told.event(whole=turn != last)
                last = turn
                await self._live.after(turn, BEAT_SECONDS)
        finally:
            self.open -= 1


def _metrics(live: Published, read_at: datetime) -> bytes:
    """What a scrape gets; without the alerts where their history cannot be read, since what is not known is absent."""
    try:
        alerts = firing(live.state_dir, live.account)
    except (DataError, OutputError):
        alerts = {}
    return exposition(live.snapshot, read_at=read_at, alerts=alerts)


def _file(path: Path, media_type: str) -> Endpoint:
    """A file as it stands when it is asked for: it is opened once, so that one that is replaced meanwhile is sent whole."""

    async def send(request: Request) -> Response:
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return PlainTextResponse("there is no such file\n", 404)
        found = signature(file.fileno())
        tag = f'"{version(found)}"'
        headers = {"cache-control": "no-cache", "etag": tag}
        if _known(request, tag):
            file.close()
            return Response(status_code=304, headers=headers)
        return _sized(_chunks(file, head=request.method == "HEAD"), 0 if found is None else found[2], media_type, headers)

    return send


async def _style(request: Request) -> Response:
    """The report's style and what the live part adds to it."""
    tag = '"' + "_".join(version(signature(path)) for path in STYLES) + '"'
    headers = {"cache-control": "no-cache", "etag": tag}
    if _known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response("".join(path.read_text(encoding="utf-8") for path in STYLES), media_type="text/css", headers=headers)


def _known(request: Request, tag: str) -> bool:
    """Whether the reader says that it has what `tag` names."""
    said = request.headers.get("if-none-match", "")
    return said == "*" or tag in [one.strip().removeprefix("W/") for one in said.split(",")]


def _sized(content: Iterator[bytes], size: int, media_type: str, headers: dict[str, str]) -> Response:
    """An answer in pieces, of which a reader that is slow holds up no more than one or two."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in content:
            yield piece

    return StreamingResponse(pieces(), media_type=media_type, headers={**headers, "content-length": str(size)})


def _pieces(parts: tuple[bytes, ...]) -> Iterator[bytes]:
    for part in parts:
        for start in range(0, len(part), CHUNK):
            yield part[start : start + CHUNK]


def _chunks(file: FileIO, *, head: bool) -> Iterator[bytes]:
    with file:
        while not head and (chunk := file.read(CHUNK)):
            yield chunk
