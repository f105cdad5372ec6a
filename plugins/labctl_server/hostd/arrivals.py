"""VMs that come by migration: what the source's agent asks of this one. See labctl_server.hostd.migration for the order of things."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.errors import ConflictError, LabError
from labctl_server.hostd.body import read_model
from labctl_server.hostd.encryption import take_back
from labctl_server.hostd.host import Host
from labctl_server.hostd.migration import READY_DEADLINE, announce, configure
from labctl_server.hostd.store import VmRecord
from labctl_server.hostd.vm import Vm
from labctl_server.machine import Machine
from labctl_server.qemu.monitor import Monitor

POLL_INTERVAL = 0.005
"""Seconds between two looks whether all has come; the VM is paused meanwhile."""


class ArrivalBody(BaseModel):
    """The body of an arrival's PUT.

    Args:
        source: the host that it comes from.
        machine: its hardware here.
        listen: the address for the migration's stream.
        encrypted: whether it comes under TLS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    machine: Machine
    listen: str
    encrypted: bool = True


class Arrivals:
    """The arrivals of one host.

    Args:
        host: the host.
        vms: its VMs; those that come are added.
    """

    def __init__(self, host: Host, vms: dict[str, Vm]) -> None:
        self._host = host
        self._vms = vms

    def routes(self) -> Sequence[BaseRoute]:
        """See labctl_server.hostd.application."""
        arrival = "/v1/vms/{name}/arrivals/{id}"
        return [
            Route(arrival, self._prepare, methods=["PUT"]),
            Route(arrival, self._abandon, methods=["DELETE"]),
            Route(f"{arrival}/ready", self._ready, methods=["POST"]),
            Route(f"{arrival}/resume", self._resume, methods=["POST"]),
        ]

    async def forget_all(self) -> None:
        """Hostd begins: what was on its way here does not come any more, and stays where it was."""
        for vm in list(self._vms.values()):
            if vm.arriving:
                await self._forget(vm)

    async def _prepare(self, request: Request) -> Response:
        name, arrival = _names(request)
        body = await read_model(request, ArrivalBody)
        self._host.maintenance.refuse(name)
        known = self._vms.get(name)
        if known is not None and known.occupied:
            raise ConflictError(
                f"host {self._host.name} has a VM {name} that runs", hint=f"look at it: labctl logs {self._host.name}"
            )
        record = VmRecord(machine=body.machine)
        self._host.store.save(record)
        vm = self._vms[name] = Vm(self._host, record)
        try:
            monitor = await vm.receive(arrival)
            await configure(monitor, {})
            if body.encrypted:
                given = await self._host.credentials.give(monitor, arrival, "server", body.source)
                await monitor.execute("migrate-set-parameters", given)
            uri = await _listen(monitor, body.listen)
        except BaseException:
            await self._forget(vm)
            raise
        return JSONResponse({"uri": uri})

    async def _ready(self, request: Request) -> Response:
        vm = self._arriving(request)
        monitor = vm.monitor()
        deadline = time.monotonic() + READY_DEADLINE
        while (status := await monitor.status()) == "inmigrate" and time.monotonic() < deadline:  # noqa: ASYNC110 - QEMU is asked
            await asyncio.sleep(POLL_INTERVAL)
        if status != "paused":
            raise LabError(f"QEMU on host {self._host.name} is {status} after the migration")
        for command, arguments in self._host.driver.renewals(vm.running_machine()):
            await monitor.execute(command, arguments)
        return JSONResponse({})

    async def _resume(self, request: Request) -> Response:
        name, arrival = _names(request)
        vm = self._vms.get(name)
        if vm is None:
            raise ConflictError(f"{name} did not arrive at host {self._host.name}", hint="migrate it again")
        first = vm.arriving == arrival
        await vm.begin(arrival)
        resumed = time.time()
        if first:
            await announce(vm.monitor())
            await take_back(vm.monitor(), arrival)
        return JSONResponse({"resumed": resumed})

    async def _abandon(self, request: Request) -> Response:
        name, arrival = _names(request)
        vm = self._vms.get(name)
        if vm is not None and vm.arriving == arrival:
            await self._forget(vm)
        return JSONResponse({})

    async def _forget(self, vm: Vm) -> None:
        await vm.remove()
        if self._vms.get(vm.name) is vm:
            del self._vms[vm.name]

    def _arriving(self, request: Request) -> Vm:
        name, arrival = _names(request)
        vm = self._vms.get(name)
        if vm is None or vm.arriving != arrival:
            raise ConflictError(f"{name} does not arrive at host {self._host.name}", hint="migrate it again")
        return vm


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params["id"]


async def _listen(monitor: Monitor, address: str) -> str:
    """Have QEMU wait for a migration at an address; returns where exactly."""
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    await monitor.execute("migrate-incoming", {"uri": f"tcp:{host}:0"})
    told = await monitor.execute("query-migrate")
    return f"tcp:{host}:{told['socket-address'][0]['port']}"
