"""Runs an agent: its HTTP interface over mutual TLS on the management address, and the same on a unix socket (0600).

Rules: one asyncio loop carries the interface and the agent's own work (an array's emulators). SIGTERM and SIGINT end it in order:
streams end, requests finish, the application stops; processes that are to outlive the agent are its application's affair and get no
signal from here. Nothing is imported before it is needed, since a lab starts many agents at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.agent.application import AgentApplication, Publisher
from labctl.agent.bus import EventBus
from labctl.agent.config import AgentConfig
from labctl.agent.local import LISTEN_BACKLOG, listening
from labctl.agent.stream import with_keep_alive
from labctl.agent.wire import ErrorsMiddleware

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

SHUTDOWN_GRACE = 2
"""Seconds that open requests get to finish after SIGTERM."""

ApplicationFactory = Callable[[AgentConfig, Publisher], AgentApplication]

log = logging.getLogger(__name__)


def run_agent(config_path: Path, factory: ApplicationFactory) -> None:
    """Run an agent until SIGTERM or SIGINT. An agent's module calls this from its `__main__`.

    Args:
        config_path: the configuration file (labctl.agent.config.AgentConfig as JSON).
        factory: makes the agent's own part; called on the running loop's thread before the loop serves anything.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    config = AgentConfig.model_validate_json(config_path.read_bytes())
    asyncio.run(serve_agent(config, factory))


async def serve_agent(config: AgentConfig, factory: ApplicationFactory, *, stop: asyncio.Event | None = None) -> None:
    """As run_agent, on a running loop.

    Args:
        config: the agent's configuration.
        factory: makes the agent's own part.
        stop: ends the agent when set; SIGTERM and SIGINT do where None.
    """
    bus = EventBus(config.node)
    application = factory(config, bus)
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await application.start()
    try:
        app = build_app(config, bus, application)
        with listening(config.socket) as local, _network_socket(config) as remote:
            await _serve(app, config, bus, stop, local, remote)
    finally:
        await application.stop()


def build_app(config: AgentConfig, bus: EventBus, application: AgentApplication) -> ASGIApp:
    """The ASGI application: the core's endpoints and the agent's own."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    started = time.time()

    async def heartbeat(_request: Request) -> Response:
        return JSONResponse(
            {
                "lab": config.lab,
                "node": config.node,
                "pid": os.getpid(),
                "started": started,
                "instance": bus.instance,
            }
        )

    async def events(request: Request) -> Response:
        since = request.query_params.get("since", "")
        values = bus.listen(
            instance=request.query_params.get("instance"), since=int(since) if since.isdigit() else None
        )
        return StreamingResponse(with_keep_alive(values), media_type="application/x-ndjson")

    routes = [Route("/v1/heartbeat", heartbeat), Route("/v1/events", events), *application.routes()]
    return Starlette(routes=routes, middleware=[Middleware(ErrorsMiddleware, where=f"agent {config.node}")])


async def _serve(
    app: ASGIApp,
    config: AgentConfig,
    bus: EventBus,
    stop: asyncio.Event,
    local: socket.socket,
    remote: socket.socket,
) -> None:
    servers = [_server(app, None), _server(app, config)]
    serving = [
        asyncio.ensure_future(server.serve(sockets=[sock]))
        for server, sock in zip(servers, (local, remote), strict=True)
    ]
    stopping = asyncio.ensure_future(stop.wait())
    log.info("serving %s on %s:%d", config.node, config.address, config.port)
    try:
        await asyncio.wait({*serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        bus.close()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


def _server(app: ASGIApp, tls: AgentConfig | None) -> uvicorn.Server:
    """A uvicorn server that leaves signals alone; with mutual TLS where `tls` is given."""
    import uvicorn

    from labctl.agent.tls import server_context

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # two servers share one process: serve_agent listens to the signals

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
    if tls is not None:
        config.ssl = server_context(certificate=tls.certificate, key=tls.key, authority=tls.authority)
    return Server(config)


@contextlib.contextmanager
def _network_socket(config: AgentConfig) -> Iterator[socket.socket]:
    """A listening socket on the node's management address, and on no other."""
    family = socket.AF_INET6 if ":" in config.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((config.address, config.port))
        sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
        yield sock
