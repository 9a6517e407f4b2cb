"""One HTTP exchange with an endpoint, over by a deadline whatever the server does.

A time limit on each read would let a server that sends a byte now and then hold a run for hours, so each step gets the time that is left
of one deadline: connecting, the handshake, each piece sent and each piece received. Looking up the host's name is bounded by the
system's resolver alone. Redirects are not followed, proxies not used, certificates are checked against the system's store.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import cast

from policyengine.signals.llm_fallback.answer import MAX_BYTES
from policyengine.spec.llm_fallback import check_base_url

_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where questions go, and the key that goes with them, which is never shown."""

    secure: bool
    host: str
    port: int
    path: str
    key: str | None = field(repr=False)

    @property
    def url(self) -> str:
        """Where it is, in one spelling."""
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host and port, the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer, at most one byte longer than what is read of it; `retry_after_seconds` is None where it states none."""

    status: int
    body: bytes
    retry_after_seconds: float | None


def endpoint(base_url: str, key: str | None) -> Endpoint:
    """The endpoint under `base_url`.

    Raises:
        ConfigError: it is no such URL.
    """
    parts = check_base_url(base_url)
    secure = parts.scheme == "https"
    port = parts.port if parts.port is not None else 443 if secure else 80
    return Endpoint(secure=secure, host=parts.hostname or "", port=port, path=parts.path.rstrip("/") + "/chat/completions", key=key)


def exchange(to: Endpoint, request: bytes, left: Callable[[], float]) -> Response:
    """Send `request` and read the answer; `left` gives the seconds that are left.

    Raises:
        TimeoutError: nothing is left.
        OSError: no connection, or it broke; TimeoutError is one of these.
        HTTPException: what came is not HTTP, or not all of it.
    """

    def still() -> float:
        seconds = left()
        if seconds <= 0.0:
            raise TimeoutError("the deadline has passed")
        return seconds

    with closing(_connect(to, still)) as plain, closing(_secured(plain, to, still)) as sock:
        connection = HTTPConnection(to.host, to.port)
        connection.sock = sock
        sock.settimeout(still())
        connection.request("POST", to.path, body=_pieces(request, sock, still), headers=_headers(to, request))
        response = HTTPResponse(cast("socket.socket", _Timed(sock, still)), method="POST")
        with closing(response):
            response.begin()
            body = response.read(MAX_BYTES + 1)
            if response.length and len(body) <= MAX_BYTES:
                raise IncompleteRead(body, response.length)
            wait = _retry_after(response.getheader("Retry-After"), response.getheader("Date"))
            return Response(status=response.status, body=body, retry_after_seconds=wait)


class _Timed(io.RawIOBase):
    """What a socket receives; each read may take what is left of the deadline, and no more."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock, self._left = sock, left

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What HTTPResponse asks of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)


def _connect(to: Endpoint, left: Callable[[], float]) -> socket.socket:
    """A connection to the first address that answers.

    Raises:
        OSError: none does.
    """
    failure = OSError("the host has no address")
    for *_, address in socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(address[0]), to.port), timeout=left())
        except OSError as error:
            failure = error
    raise failure


def _secured(sock: socket.socket, to: Endpoint, left: Callable[[], float]) -> socket.socket:
    """`sock` itself, or what it carries once the certificate is found to hold."""
    if not to.secure:
        return sock
    sock.settimeout(left())
    return ssl.create_default_context().wrap_socket(sock, server_hostname=to.host)


def _headers(to: Endpoint, request: bytes) -> dict[str, str]:
    headers = {
        "Host": to.authority,
        "Content-Type": "application/json",
        "Content-Length": str(len(request)),
        "Accept": "application/json",
        "Connection": "close",
        "User-Agent": "policyengine",
    }
    return headers if to.key is None else {**headers, "Authorization": f"Bearer {to.key}"}


def _pieces(request: bytes, sock: socket.socket, left: Callable[[], float]) -> Iterator[bytes]:
    for start in range(0, len(request), _PIECE):
        sock.settimeout(left())
        yield request[start : start + _PIECE]


def _retry_after(wait: str | None, date: str | None) -> float | None:
    """Seconds to wait: as stated, or from the server's own clock to the instant stated."""
    if wait is None:
        return None
    if wait.isascii() and wait.isdigit():
        return float(wait)
    if date is None:
        return None
    try:
        return (parsedate_to_datetime(wait) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
