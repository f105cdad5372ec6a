"""Maintenance mode as actions on a host: enter (its VMs go elsewhere by vMotion), exit, show.

The state itself is the host's (labctl_server.hostd.maintenance); the task that empties a host is labd's, and lives as long as labd. Should
labd end in the midst of it, the host stays "entering", and whoever enters again goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError, LabError
from labctl.model.address import Address
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.plugin.api import Action, ActionContext
from labctl_server.kinds import migration

LOOK_INTERVAL = 0.5
"""Seconds between two looks at a migration, or at a host that waits for its last VMs."""

State = Literal["running", "completed", "failed", "cancelled"]


@dataclass
class Evacuation:
    """The task that empties a host.

    Args:
        host: which.
        wait: whether it waits for VMs that cannot be moved, instead of giving up.
        state: running until it ended.
        moving: the VM that is on its way, if any.
        moved: VM → the host that it went to.
        stuck: VM → why it cannot go anywhere.
        message: why it failed.
        started: seconds since the epoch.
        ended: the same, or None.
    """

    host: str
    wait: bool
    state: State = "running"
    moving: str | None = None
    moved: dict[str, str] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)
    message: str = ""
    started: float = field(default_factory=time.time)
    ended: float | None = None

    def to_json(self) -> dict[str, Json]:
        """For whoever asks."""
        return {**vars(self), "moved": dict(self.moved), "stuck": dict(self.stuck)}


_tasks: dict[str, tuple[Evacuation, asyncio.Task[None]]] = {}
"""The last task of each host; labd serves one lab."""


def maintenance_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {"maintenance": show, "enter-maintenance": enter, "exit-maintenance": leave}


async def show(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> dict[str, Any]:
    """The host's `state`, the VMs that are `running`, and the last `task`, or None. No arguments."""
    told = cast("dict[str, Any]", await context.services.agent(resource.name).call("GET", "/v1/maintenance"))
    known = _tasks.get(resource.name)
    return {**told, "host": resource.name, "task": known[0].to_json() if known else None}


async def enter(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Begin to empty the host; `wait`: for VMs that cannot be moved. Returns what `show` does.

    Raises:
        ConflictError: it is being emptied, or exists alone.
    """
    host = resource.name
    known = _tasks.get(host)
    if known is None or known[0].state != "running":
        agent = context.services.agent(host)
        told = cast("dict[str, Any]", await agent.call("GET", "/v1/maintenance"))
        if told["state"] != "on":
            await agent.call("PUT", "/v1/maintenance", {"state": "entering"})
            evacuation = Evacuation(host=host, wait=bool(arguments.get("wait")))
            context.services.emit("host.entering_maintenance", resource=resource.address, host=host)
            _tasks[host] = evacuation, asyncio.create_task(_run(context, evacuation))
    return await show(context, resource, {})


async def leave(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """End maintenance mode, or the entering of it: VMs may run here again. Returns what `show` does. No arguments."""
    known = _tasks.get(resource.name)
    if known is not None and not known[1].done():
        evacuation, task = known
        task.cancel()
        await asyncio.wait({task})
        evacuation.state, evacuation.message, evacuation.ended = "cancelled", "somebody ended it", time.time()
    agent = context.services.agent(resource.name)
    before = cast("dict[str, Any]", await agent.call("GET", "/v1/maintenance"))
    await agent.call("PUT", "/v1/maintenance", {"state": "off"})
    if before["state"] != "off":
        context.services.emit("host.exited_maintenance", resource=resource.address, host=resource.name)
    return await show(context, resource, {})


async def _run(context: ActionContext, evacuation: Evacuation) -> None:
    """Empty the host, and say how that ended."""
    address = Address("host", evacuation.host)
    agent = context.services.agent(evacuation.host)
    try:
        await _empty(context, evacuation)
        await agent.call("PUT", "/v1/maintenance", {"state": "on"})
        evacuation.state = "completed"
        context.services.emit("host.entered_maintenance", resource=address, host=evacuation.host)
    except LabError as error:
        evacuation.state, evacuation.message = "failed", error.message
        with suppress(LabError):
            await agent.call("PUT", "/v1/maintenance", {"state": "off"})
        context.services.emit(
            "host.maintenance_failed", resource=address, host=evacuation.host, message=evacuation.message
        )
    finally:
        evacuation.moving, evacuation.ended = None, time.time()


async def _empty(context: ActionContext, evacuation: Evacuation) -> None:
    """Move VMs away until none runs on the host.

    Raises:
        ConflictError: some cannot be moved, and nobody wants to wait.
    """
    while running := await _running(context, evacuation):
        evacuation.stuck = {vm: why for vm, why in evacuation.stuck.items() if vm in running}
        before = len(evacuation.moved)
        for vm in running:
            await _move(context, evacuation, vm)
        if len(evacuation.moved) == before:
            if evacuation.stuck and not evacuation.wait:
                told = "; ".join(f"{vm}: {why}" for vm, why in evacuation.stuck.items())
                raise ConflictError(f"{evacuation.host} cannot be emptied: {told}")
            await asyncio.sleep(LOOK_INTERVAL)


async def _running(context: ActionContext, evacuation: Evacuation) -> list[str]:
    """The VMs that run on the host; who waits asks until it answers."""
    agent = context.services.agent(evacuation.host)
    while True:
        try:
            told = cast("dict[str, Any]", await agent.call("GET", "/v1/maintenance"))
        except AgentUnreachableError:
            if not evacuation.wait:
                raise
            await asyncio.sleep(LOOK_INTERVAL)
        else:
            return [str(vm) for vm in told["running"]]


async def _move(context: ActionContext, evacuation: Evacuation, name: str) -> None:
    """Move one VM to the host with the most room of those that can take it, or note why there is none."""
    reasons: list[str] = []
    for host in _candidates(context, evacuation.host, Address("vm", name)):
        evacuation.moving = name
        try:
            why = await migration.carry(context, name, host)
        finally:
            evacuation.moving = None
        if not why:
            evacuation.moved[name] = host
            evacuation.stuck.pop(name, None)
            return
        reasons.append(why if host in why else f"{host}: {why}")
    evacuation.stuck[name] = "; ".join(reasons) or "its cluster has no other host"


def _candidates(context: ActionContext, source: str, vm: Address) -> list[str]:
    """The hosts that the VM may run on, those with the most free memory first."""
    allowed = context.description(vm).properties.get("hosts")
    hosts = [str(host) for host in allowed if host != source] if isinstance(allowed, list) else []
    taken = dict.fromkeys(hosts, 0)
    for record in context.units_of_type("vm"):
        host = str(record.unit.spec["host"])
        if host in taken:
            taken[host] += int(cast("dict[str, Any]", record.unit.spec["machine"])["memory"])

    def free(host: str) -> int:
        size: Any = context.description(Address("host", host)).properties.get("memory", 0)
        return int(size) - taken[host]

    return sorted(hosts, key=lambda host: (-free(host), host))
