"""What stands between the network and the pages: who may ask, how, and what a browser may do with the answer. Nothing can be written."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SEND_SECONDS = 20.0
"""A reader that takes nothing for so long is let go."""
MAX_TARGET, MAX_HEAD = 2_048, 16 * 2**10
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
OWN = ("127.0.0.1", "localhost")
FROM_HERE = (b"same-origin", b"none")
"""What a browser says of a request that a page of this server made, or a person."""


class Guard:
    """Refuse what is not a plain look from this machine, before anything else sees it; add HEADERS to every answer.

    421 for a Host that is not this server's, 405 for anything but GET and HEAD, 403 for a request that a page of another origin made,
    414 for a target that is too long, 431 for headers that are, 413 for a body.
    """

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        """`port` is the one that is listened on."""
        self._app = app
        self._hosts = {f"{name}:{port}".encode() for name in OWN} | ({name.encode() for name in OWN} if port == 80 else set())
        self._origins = {b"http://" + host for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        refused = self._refusal(scope)
        await (self._app if refused is None else refused)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if _all(scope, b"host") not in [[host] for host in self._hosts]:
            return _said(421, "this server answers for 127.0.0.1 and localhost on its own port only")
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET and HEAD: nothing can be written here\n", 405, {"allow": "GET, HEAD"})
        if not all(_all_in(scope, name, own) for name, own in ((b"sec-fetch-site", FROM_HERE), (b"origin", self._origins))):
            return _said(403, "another site asks")
        return _too_much(scope)


def _too_much(scope: Scope) -> PlainTextResponse | None:
    """The refusal of what is longer than a look needs."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
        return _said(414, f"the target is longer than {MAX_TARGET} bytes")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
        return _said(431, f"the headers are longer than {MAX_HEAD} bytes")
    if _all(scope, b"content-length") not in ([], [b"0"]) or _all(scope, b"transfer-encoding"):
        return _said(413, "a look has no body")
    return None


def _all(scope: Scope, name: bytes) -> list[bytes]:
    return [value.strip().lower() for key, value in scope["headers"] if key == name]


def _all_in(scope: Scope, name: bytes, allowed: Collection[bytes]) -> bool:
    """Whether a header that only browsers send names nobody else; what sends none is no page."""
    return all(value in allowed for value in _all(scope, name))


def _said(status: int, text: str) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status)
