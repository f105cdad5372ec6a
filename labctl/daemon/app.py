"""labd's HTTP interface: turns requests into calls of the backend, and results into JSON."""

from __future__ import annotations

import os
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from labctl import __version__
from labctl.agent.stream import with_keep_alive
from labctl.agent.wire import ErrorsMiddleware, read_object
from labctl.daemon.backend import Backend
from labctl.daemon.endpoints import ENDPOINTS
from labctl.daemon.logs import follow_lines
from labctl.daemon.openapi import document
from labctl.daemon.operations import Operation, Operations, Report
from labctl.errors import UsageError
from labctl.model.json import JsonObject

DEFAULT_LOG_LINES = 100


class Endpoints:
    """The functions behind the table of endpoints, by their names.

    Args:
        backend: the lab.
        operations: runs what takes long.
        ended: called when there may be nothing left to serve; it decides.
        ending: whether labd is about to end.
    """

    def __init__(
        self, backend: Backend, operations: Operations, ended: Callable[[], None], ending: Callable[[], bool]
    ) -> None:
        self._backend = backend
        self._operations = operations
        self._ended = ended
        self._ending = ending

    async def lab(self, _request: Request) -> Response:
        """GET /v1/lab."""
        current = self._operations.current
        answer = {**self._backend.lab(), "pid": os.getpid(), "version": __version__}
        return JSONResponse({**answer, "operation": current.name if current else None, "ending": self._ending()})

    async def up(self, request: Request) -> Response:
        """POST /v1/up."""
        text, path, restart = await _topology(request)

        async def work(report: Report) -> JsonObject:
            try:
                return await self._backend.up(text, path, restart=restart, report=report)
            finally:
                # A first `up` that failed before it made anything leaves nothing to serve.
                self._ended()

        return _watched(self._operations.start("up", work))

    async def plan(self, request: Request) -> Response:
        """POST /v1/plan."""
        text, path, restart = await _topology(request)
        return JSONResponse(await self._backend.plan(text, path, restart=restart))

    async def down(self, request: Request) -> Response:
        """POST /v1/down."""
        purge = (await read_object(request)).get("purge") is True

        async def work(report: Report) -> JsonObject:
            result = await self._backend.down(purge=purge, report=report)
            self._ended()
            return result

        return _watched(self._operations.start("down", work))

    async def status(self, request: Request) -> Response:
        """GET /v1/status."""
        return JSONResponse(await self._backend.status(observe=_flag(request, "observe")))

    async def inspect(self, request: Request) -> Response:
        """GET /v1/resources/{kind}/{name}."""
        values = request.path_params
        return JSONResponse(await self._backend.inspect(values["kind"], values["name"]))

    async def action(self, request: Request) -> Response:
        """POST /v1/resources/{kind}/{name}/actions/{action}."""
        values = request.path_params
        arguments = await read_object(request)
        result = await self._backend.action(values["kind"], values["name"], values["action"], arguments)
        return JSONResponse({"result": result})

    async def inventory(self, request: Request) -> Response:
        """GET /v1/inventory."""
        return JSONResponse(self._backend.inventory(_number(request, "since")))

    async def metrics(self, _request: Request) -> Response:
        """GET /v1/metrics."""
        return JSONResponse(await self._backend.metrics())

    async def events(self, request: Request) -> Response:
        """GET /v1/events."""
        values = self._backend.events(_number(request, "since"), follow=_flag(request, "follow"))
        return StreamingResponse(with_keep_alive(values), media_type="application/x-ndjson")

    async def logs(self, request: Request) -> Response:
        """GET /v1/logs/{node}."""
        wanted = _number(request, "lines")
        values = follow_lines(
            self._backend.log_file(request.path_params["node"]),
            lines=DEFAULT_LOG_LINES if wanted is None else wanted,
            follow=_flag(request, "follow"),
        )
        return StreamingResponse(with_keep_alive(values), media_type="application/x-ndjson")

    async def node(self, request: Request) -> Response:
        """GET /v1/nodes/{node}."""
        return JSONResponse(self._backend.node(request.path_params["node"]))

    async def openapi(self, _request: Request) -> Response:
        """GET /openapi.json."""
        return JSONResponse(document())


def build_app(
    backend: Backend, operations: Operations, ended: Callable[[], None], ending: Callable[[], bool]
) -> Starlette:
    """labd's ASGI application."""
    endpoints = Endpoints(backend, operations, ended, ending)
    routes = [Route(item.path, getattr(endpoints, item.name), methods=[item.method]) for item in ENDPOINTS]
    return Starlette(routes=routes, middleware=[Middleware(ErrorsMiddleware, where="labd")])


def _watched(operation: Operation) -> Response:
    return StreamingResponse(with_keep_alive(operation.watch()), media_type="application/x-ndjson")


async def _topology(request: Request) -> tuple[str, str, bool]:
    body = await read_object(request)
    text, path = body.get("topology"), body.get("path")
    if not isinstance(text, str) or not isinstance(path, str):
        raise UsageError(f"{request.url.path} needs `topology` (its text) and `path` (for messages)")
    return text, path, body.get("restart") is True


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"{name} must be a number, not {text!r}") from error


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in {"1", "true", "yes"}
