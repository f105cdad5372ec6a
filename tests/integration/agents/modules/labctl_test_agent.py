"""A small agent for tests: it does as its configuration says."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.application import Publisher
from labctl.agent.config import AgentConfig
from labctl.agent.server import run_agent
from labctl.errors import ConflictError


class Application:
    def __init__(self, config: AgentConfig, publish: Publisher) -> None:
        if config.config.get("crash"):
            raise RuntimeError("told to crash")
        self._config = dict(config.config)
        self._publish = publish

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/config", self._show),
            Route("/v1/config", self._change, methods=["PUT"]),
            Route("/v1/say", self._say, methods=["POST"]),
        ]

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def _show(self, _request: Request) -> Response:
        return JSONResponse({**self._config, "pid": os.getpid(), "lab": os.environ["LABCTL_LAB"]})

    async def _change(self, request: Request) -> Response:
        wanted = await request.json()
        if wanted.get("refuse"):
            raise ConflictError("I want a restart")
        self._config = wanted
        return JSONResponse({})

    async def _say(self, request: Request) -> Response:
        self._publish("vm.started", **(await request.json()))
        return JSONResponse({})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    run_agent(parser.parse_args().config, Application)
