"""Maintenance mode of a host: no VM is powered on here, and none comes.

GET /v1/maintenance    {state, running}: `off`, `entering` or `on`, and the VMs that run here
PUT /v1/maintenance    {state}: make it so; `on` only when no VM runs

The state is the host's own and on disk, so it outlives labd, `labctl up` and hostd itself. Who moves the VMs away is labd
(labctl_server.kinds.maintenance).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.wire import read_object
from labctl.errors import ConflictError, UsageError

MaintenanceState = Literal["off", "entering", "on"]


class Maintenance:
    """The state, and who asks for it.

    Args:
        file: where it is kept.
        host: the host's name.
    """

    def __init__(self, file: Path, host: str) -> None:
        self._file = file
        self._host = host
        self.state = _read(file)

    def refuse(self, vm: str) -> None:
        """Raise ConflictError where no VM may be powered on or come."""
        if self.state != "off":
            doing = "is in" if self.state == "on" else "is entering"
            raise ConflictError(
                f"{vm} cannot run on {self._host}, which {doing} maintenance mode",
                hint=f"end that: labctl host exit-maintenance {self._host}",
            )

    def set(self, state: MaintenanceState) -> None:
        """Be in a state, on disk first."""
        if state == self.state:
            return
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps({"state": state}))
        draft.replace(self._file)
        self.state = state


class MaintenanceRoutes:
    """The routes above.

    Args:
        maintenance: the state.
        running: the names of the VMs that run or are about to.
    """

    def __init__(self, maintenance: Maintenance, running: Callable[[], Sequence[str]]) -> None:
        self._maintenance = maintenance
        self._running = running

    def routes(self) -> Sequence[BaseRoute]:
        """Both."""
        return [Route("/v1/maintenance", self._show), Route("/v1/maintenance", self._put, methods=["PUT"])]

    async def _show(self, _request: Request) -> Response:
        return JSONResponse({"state": self._maintenance.state, "running": list(self._running())})

    async def _put(self, request: Request) -> Response:
        state = (await read_object(request)).get("state")
        if state not in get_args(MaintenanceState):
            raise UsageError(f"maintenance is off, entering or on, not {state!r}")
        running = self._running()
        if state == "on" and running:
            raise ConflictError(f"VMs run here: {', '.join(running)}", hint="move them, or power them off")
        self._maintenance.set(cast("MaintenanceState", state))
        return await self._show(request)


def _read(file: Path) -> MaintenanceState:
    try:
        state = json.loads(file.read_text())["state"]
    except FileNotFoundError:
        return "off"
    except (ValueError, KeyError, TypeError):
        return "entering"  # cut short by a crash: to be careful costs nothing but a command
    return cast("MaintenanceState", state) if state in get_args(MaintenanceState) else "entering"
