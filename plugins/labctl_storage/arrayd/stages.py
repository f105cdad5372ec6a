"""The stages of commands, for whoever traces the lab: GET /v1/stages?since=N.

The first reading switches noting on; when nobody has read for some seconds it ends, so nothing is noted that nobody asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labemu_stages.feed import LEASE, STAGES, Feed

_CHECK: Final = LEASE / 2


class StageRoutes:
    """What answers the route above, and switches the emulators.

    Args:
        switches: called with the feed when noting begins, with None when it ends.
    """

    def __init__(self, switches: Sequence[Callable[[Feed | None], None]]) -> None:
        self._feed = Feed(time.monotonic, time.time_ns)
        self._switches = switches
        self._feed.switch(self._switch)
        self._checking: asyncio.TimerHandle | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """The route above."""
        return [Route("/v1/stages", self._read)]

    def stop(self) -> None:
        """End it."""
        if self._checking is not None:
            self._checking.cancel()

    async def _read(self, request: Request) -> Response:
        since = request.query_params.get("since", "")
        reading = self._feed.read(int(since) if since.isdigit() else None)
        rows = [
            [each.protocol, each.client, each.server, each.tag, *(each.times.get(stage) for stage in STAGES)]
            for each in reading.stages
        ]
        return JSONResponse({"next": reading.next, "lost": reading.lost, "stages": rows})

    def _switch(self, on: bool) -> None:
        for switch in self._switches:
            switch(self._feed if on else None)
        if on:
            self._check()

    def _check(self) -> None:
        if self._feed.check():
            self._checking = asyncio.get_running_loop().call_later(_CHECK, self._check)
