"""Serves an ASGI application on sockets that are open already, until told to stop. Agents and labd share it.

uvicorn moves the bytes; signals, logging and sockets are ours, since several servers share one process here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

SHUTDOWN_GRACE = 2
"""Seconds that open requests get to finish."""


def stopped_by_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def serve(
    app: ASGIApp,
    sockets: Sequence[tuple[socket.socket, ssl.SSLContext | None]],
    stop: asyncio.Event,
    *,
    stopping: Callable[[], None],
    serving: Callable[[], None] | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        app: the application.
        sockets: listening sockets, each with its TLS context or None.
        stop: ends the serving when set.
        stopping: called first at the end; it must end the application's streams.
        serving: called when requests are taken.
    """
    servers = [_server(app, context) for _, context in sockets]
    tasks = [
        asyncio.ensure_future(server.serve(sockets=[sock])) for server, (sock, _) in zip(servers, sockets, strict=True)
    ]
    stopped = asyncio.ensure_future(stop.wait())
    if serving is not None:
        serving()
    try:
        await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        stopping()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


def _server(app: ASGIApp, tls: ssl.SSLContext | None) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ours: see stopped_by_signals

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
    )
    config.load()
    config.ssl = tls
    return Server(config)
