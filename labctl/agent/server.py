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
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.agent.application import AgentApplication, Publisher
from labctl.agent.bus import EventBus
from labctl.agent.config import AgentConfig
from labctl.agent.local import LISTEN_BACKLOG, listening
from labctl.agent.logfile import log_to_stderr
from labctl.agent.serve import serve, stopped_by_signals
from labctl.agent.stream import with_keep_alive
from labctl.agent.tls import server_context
from labctl.agent.wire import ErrorsMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

ApplicationFactory = Callable[[AgentConfig, Publisher], AgentApplication]

log = logging.getLogger(__name__)


def run_agent(config_path: Path, factory: ApplicationFactory) -> None:
    """Run an agent until SIGTERM or SIGINT. An agent's module calls this from its `__main__`.

    Args:
        config_path: the configuration file (labctl.agent.config.AgentConfig as JSON).
        factory: makes the agent's own part; called on the running loop's thread before the loop serves anything.
    """
    log_to_stderr()
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
    stop = stop or stopped_by_signals()
    await application.start()
    try:
        app = build_app(config, bus, application)
        with listening(config.socket) as local, _network_socket(config) as remote:
            tls = server_context(certificate=config.certificate, key=config.key, authority=config.authority)
            log.info("serving %s on %s:%d", config.node, config.address, config.port)
            await serve(app, [(local, None), (remote, tls)], stop, stopping=bus.close)
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
