"""The server: this machine only, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import uvicorn

from policyengine.errors import ConfigError
from policyengine.reporting.live.app import app
from policyengine.reporting.live.guard import MAX_HEAD
from policyengine.reporting.live.published import Published

HOST = "127.0.0.1"
MOST_CONNECTIONS = 128
STOP_SECONDS = 2


class _Server(uvicorn.Server):
    """Stops when told, and ends as one that did what it was told: the signal is not raised again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`."""
        yield


async def serve(live: Published, clock: Callable[[], datetime], *, port: int, ready: Callable[[str], None]) -> None:
    """Show `live` on `port` of 127.0.0.1, any free one for 0, until SIGINT or SIGTERM; `ready` is told the address.

    Raises:
        ConfigError: the port cannot be had.
        DataError: as `Published.open`.
    """
    with _bound(port) as bound:
        await live.open()
        own = bound.getsockname()[1]
        config = uvicorn.Config(
            app(live, clock, port=own),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            backlog=MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        server = _Server(config)

        def stop() -> None:
            live.stopping = server.should_exit = True
            live.wake()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(live.watch_page()), group.create_task(live.watch_snapshot())]
            bound.listen(MOST_CONNECTIONS)  # whoever hears the address may come at once
            ready(f"http://{HOST}:{own}/")
            await server.serve([bound])
            for watcher in watchers:
                watcher.cancel()


def _bound(port: int) -> socket.socket:
    """A socket on `port` of 127.0.0.1.

    Raises:
        ConfigError: it is taken, or not allowed.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        raise ConfigError(
            "task.port", f"{port} on {HOST} cannot be had: {error.strerror}; choose another, or 0 for any free one"
        ) from error
    return made
