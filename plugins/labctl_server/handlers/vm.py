"""Unit type `vm`: a VM on a host. Its host's agent does the work; here it is told what is wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError, LabError, NotRunningError
from labctl.linux import processes
from labctl.model.json import Json, JsonObject
from labctl.model.unit import Change, Health, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitHandler
from labctl.plugin.batch import for_each
from labctl_server.hostd import process
from labctl_server.image.store import ImageStore
from labctl_server.kinds.placement import POOL

PUT_DEADLINE = 120.0
"""Seconds for a host to do as told: a changed VM is shut down (20 s), and QEMU logs in to its targets (30 s)."""

OBSERVE_DEADLINE = 3.0
"""Seconds for hostd to list its VMs, which it does at once; `status` waits no longer for a host that was cut off."""

DELETE_DEADLINE = 60.0

ONLY_MOVED = "?moved=only"
"""Has a host forget a VM only if it went to another: one that came back meanwhile is left running."""

TOOLS_DEADLINE = 90.0
"""Seconds that `up` waits for a guest's tools; an emulated guest takes ten where the machine is idle."""

TOOLS_INTERVAL = 10.0
"""Seconds of one wait for the tools, after which the wait is told as progress."""


class VmHandler(UnitHandler):
    """Puts VMs on hosts.

    Args:
        store_of: opens a cache of images.
    """

    type = "vm"

    def __init__(self, store_of: Callable[[Path], ImageStore] = ImageStore) -> None:
        self._store_of = store_of

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """A VM cannot run on new hardware without a power-cycle, nor on another host without a move."""
        if old["host"] != new["host"]:
            return Change.REPLACE
        if old["machine"] == new["machine"] or old["power"] == "off" or new["power"] == "off":
            return Change.IN_PLACE
        return Change.POWER_CYCLE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Put all of them, then wait for their guests' tools."""
        await for_each(units, lambda unit: self._put(services, unit))
        return {unit.id: dict(services.facts(unit.id)) for unit in units}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Put it again, with a power-cycle where its hardware changed."""
        await self._put(services, new)
        return dict(services.facts(new.id))

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Power off and forget; where the host's agent does not answer, end the VM's process."""
        await for_each([record.unit for record in units], lambda unit: _remove(services, unit))

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """One question to each host."""
        by_host: dict[str, list[Unit]] = defaultdict(list)
        for record in units:
            by_host[_host(record.unit)].append(record.unit)
        answers = await asyncio.gather(*(_observe_host(services, host, group) for host, group in by_host.items()))
        return {unit_id: observation for answer in answers for unit_id, observation in answer.items()}

    async def settled(self, services: Services, old: RecordedUnit, new: Unit) -> None:
        """The host that the VM left need no longer remember where it went."""
        left = _host(old.unit)
        if left == _host(new):
            return
        with contextlib.suppress(LabError):  # one that is cut off is asked again before the VM is put there (see _put)
            await _forget(services, left, _name(new))

    async def _put(self, services: Services, unit: Unit) -> None:
        spec = cast("dict[str, Any]", unit.spec)
        name = _name(unit)
        services.progress(unit.id, "powering on" if spec["power"] == "on" else "registering")
        machine = {**spec["machine"], "boot": await self._boot(services, spec["image"])}
        body = {"machine": machine, "power": spec["power"], "restart": True}
        agent = services.agent(_host(unit))
        try:
            state = await agent.call("PUT", f"/v1/vms/{name}", body, timeout=PUT_DEADLINE)
        except ConflictError:
            if not await _forgets(services, unit):
                raise
            state = await agent.call("PUT", f"/v1/vms/{name}", body, timeout=PUT_DEADLINE)
        if spec["power"] == "on" and machine["tools"]:
            await _wait_for_tools(services, unit, cast("dict[str, Any]", state))

    async def _boot(self, services: Services, image: str) -> JsonObject:
        """What the VM starts from, as the image is now."""
        found = await asyncio.to_thread(self._store_of(services.lab.image_directory).ensure, image)
        return {
            "kernel": None if found.kernel is None else str(found.kernel),
            "initrd": None if found.initrd is None else str(found.initrd),
            "cmdline": found.cmdline,
        }


async def _forgets(services: Services, unit: Unit) -> bool:
    """Have a host forget that the VM went to another, unless the other still has it; whether it did."""
    moved = await _moved_to(services, _host(unit), _name(unit))
    if moved is None or _name(unit) in cast("dict[str, Any]", await services.agent(moved).call("GET", "/v1/vms")):
        return False
    await _forget(services, _host(unit), _name(unit))
    return True


async def _forget(services: Services, host: str, name: str) -> None:
    await services.agent(host).call("DELETE", f"/v1/vms/{name}{ONLY_MOVED}", timeout=DELETE_DEADLINE)


async def _wait_for_tools(services: Services, unit: Unit, state: Mapping[str, Any]) -> None:
    """Wait until the guest is up. One that does not get there is told, and is not an error: the VM runs."""
    agent = services.agent(_host(unit))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOOLS_DEADLINE
    while state["state"] == "running" and state["tools"] != "running" and loop.time() < deadline:
        services.progress(unit.id, "waiting for the guest")
        body: JsonObject = {"timeout": TOOLS_INTERVAL}
        answer = await agent.call("POST", f"/v1/vms/{_name(unit)}/wait", body, timeout=TOOLS_INTERVAL * 2)
        state = cast("dict[str, Any]", answer)
    if state["tools"] != "running":
        services.emit(
            "vm.tools-missing",
            resource=unit.resource,
            message=f"the guest tools of {_name(unit)} do not answer after {TOOLS_DEADLINE:g} s",
        )


async def _remove(services: Services, unit: Unit) -> None:
    """Where the VM runs, then where it is remembered that it went there."""
    host, name = _host(unit), _name(unit)
    services.progress(unit.id, "powering off")
    moved = None
    with contextlib.suppress(AgentUnreachableError):
        moved = await _moved_to(services, host, name)
    for place in (moved, host) if moved is not None else (host,):
        await _remove_from(services, place, name)


async def _remove_from(services: Services, host: str, name: str) -> None:
    try:
        await services.agent(host).call("DELETE", f"/v1/vms/{name}", timeout=DELETE_DEADLINE)
    except AgentUnreachableError:
        token = process.token_of(services.lab.name, host, name)
        running = await asyncio.to_thread(process.find, token, services.namespace(host))
        if running is not None:
            await asyncio.to_thread(processes.terminate, [running], grace=0.0)


async def _moved_to(services: Services, host: str, name: str) -> str | None:
    """The host to which a VM went from another, as the other remembers."""
    try:
        state = await services.agent(host).call("GET", f"/v1/vms/{name}", timeout=OBSERVE_DEADLINE)
    except NotRunningError:
        return None
    moved = cast("dict[str, Any]", state).get("moved")
    return None if moved is None else str(moved["host"])


async def _observe_host(services: Services, host: str, units: Sequence[Unit]) -> Mapping[str, Observation]:
    try:
        answer = await services.agent(host).call("GET", "/v1/vms", timeout=OBSERVE_DEADLINE)
    except AgentUnreachableError as error:
        lost = Observation(health=Health.UNREACHABLE, detail=error.message)
        return {unit.id: lost for unit in units}
    states = cast("dict[str, dict[str, Any]]", answer)
    return {unit.id: _observation(unit, states.get(_name(unit))) for unit in units}


def _observation(unit: Unit, state: Mapping[str, Any] | None) -> Observation:
    if state is None:
        return Observation(health=Health.MISSING, detail=f"host {_host(unit)} does not know it")
    moved = state.get("moved")
    if moved is not None:
        return Observation(
            health=Health.OK,
            detail=f"migrated to {moved['host']}",
            became={**unit.spec, "host": moved["host"], "machine": moved["machine"]},
            chosen={(POOL, _name(unit)): moved["host"]},
        )
    properties: dict[str, Json] = {
        "host": _host(unit),
        "power": {"running": "on"}.get(state["state"], state["state"]),
        "tools": state["tools"],
        "pid": state["pid"],
        "since": state["since"],
        "restart_pending": state["pending"],
        "console": state["console"],
        "console_log": state["console_log"],
        "migrating_to": state.get("migrating_to"),
    }
    running = state["state"] == "running"
    wanted = unit.spec["power"] == "on"
    if running == wanted:
        detail = f"tools {state['tools']}" if running else "powered off"
        return Observation(health=Health.OK, detail=detail, properties=properties)
    if running:  # it was started by hand; `up` leaves it alone, as it does what else was done by hand
        return Observation(health=Health.OK, detail="running, though its power is off", properties=properties)
    why = f": {state['reason']}" if state["reason"] else ""
    word = "crashed" if state["state"] == "crashed" else "powered off"
    return Observation(health=Health.STOPPED, detail=f"{word}{why}", properties=properties)


def _host(unit: Unit) -> str:
    return str(unit.spec["host"])


def _name(unit: Unit) -> str:
    return str(cast("dict[str, Any]", unit.spec["machine"])["name"])
