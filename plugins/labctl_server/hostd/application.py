"""The management interface of a host, as the agent's server runs it.

GET    /v1/host                  the host: size, what its VMs take
GET    /v1/maintenance, PUT      see labctl_server.hostd.maintenance
GET    /v1/metrics               see labctl_server.hostd.metrics
GET    /v1/vms                   name → state of each VM
GET    /v1/vms/{name}            one VM's state
PUT    /v1/vms/{name}            {machine, power, restart}: make it so; idempotent
DELETE /v1/vms/{name}            power off and forget; idempotent; with ?moved=only, forget it if it migrated away
POST   /v1/vms/{name}/start      power on
POST   /v1/vms/{name}/stop       {force, timeout}: the guest shuts down, or the plug is pulled
POST   /v1/vms/{name}/reset      press the reset button
POST   /v1/vms/{name}/exec       {argv, stdin, timeout}: run a command in the guest
POST   /v1/vms/{name}/wait       {timeout}: wait for the guest tools

Snapshots: see labctl_server.hostd.snapshots. Migrations (labctl_server.hostd.migration), as labd asks for them:

POST   /v1/reach                 {machine}: what this host lacks to run the machine
POST   /v1/vms/{name}/migration  an Order: begin to migrate; returns the task
GET    /v1/vms/{name}/migration  the last migration away from here as a task
DELETE /v1/vms/{name}/migration  cancel it

and as one host asks another (labctl_server.hostd.arrivals):

PUT    /v1/vms/{name}/arrivals/{id}         start a QEMU that waits for a VM's memory
POST   /v1/vms/{name}/arrivals/{id}/ready   wait until all has come
POST   /v1/vms/{name}/arrivals/{id}/resume  the VM runs here from now on; idempotent
DELETE /v1/vms/{name}/arrivals/{id}         the migration failed; idempotent
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.application import Publisher
from labctl.agent.metrics import metrics_route
from labctl.errors import ConflictError, NotRunningError, UsageError
from labctl.linux.syscalls import disable_huge_pages
from labctl_server.hostd.arrivals import Arrivals
from labctl_server.hostd.body import read_model
from labctl_server.hostd.driver import GuestDriver, QemuDriver
from labctl_server.hostd.encryption import Credentials
from labctl_server.hostd.host import Host
from labctl_server.hostd.maintenance import Maintenance, MaintenanceRoutes
from labctl_server.hostd.metrics import HostMetrics
from labctl_server.hostd.migration import Peer
from labctl_server.hostd.reach import missing_for
from labctl_server.hostd.snapshots import SnapshotRoutes
from labctl_server.hostd.store import Order, VmRecord, VmStore
from labctl_server.hostd.taps import Taps
from labctl_server.hostd.vm import Vm
from labctl_server.machine import Machine, Power
from labctl_server.qemu.kvm import probe_kvm

if TYPE_CHECKING:
    from labctl.agent.config import AgentConfig

LOCK_DEADLINE = 10.0
"""Seconds for a predecessor to let go of the folder: it ends VMs' start-ups in hand first."""

LOCK_INTERVAL = 0.05

log = logging.getLogger(__name__)


class HostConfig(BaseModel):
    """The host's own part of the agent's configuration.

    Args:
        cpus: processors that its VMs share.
        memory: bytes that its VMs share.
        cache: where what was found out about this machine is kept for other hosts, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: int
    memory: int
    cache: Path | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PutBody(_Body):
    """The body of PUT; see Vm.put."""

    machine: Machine
    power: Power = "on"
    restart: bool = False


class StopBody(_Body):
    """The body of stop; see Vm.stop."""

    force: bool = False
    timeout: float = Field(default=60.0, gt=0)


class ExecBody(_Body):
    """The body of exec; `stdin` is base64."""

    argv: list[str] = Field(min_length=1)
    stdin: str = ""
    timeout: float = Field(default=60.0, gt=0)


class ReachBody(_Body):
    """The body of reach."""

    machine: Machine


class WaitBody(_Body):
    """The body of wait."""

    timeout: float = Field(gt=0)


def _qemu(lab: str, host: str, cache: Path | None) -> QemuDriver:
    verdict = probe_kvm(cache)
    log.info("KVM %s: %s", "is used" if verdict.usable else "is not used", verdict.reason)
    if not verdict.usable:
        # QEMU asks for huge pages, so a guest that touches 4 KiB of what it had given back would take 2 MiB of the machine, and
        # emulation gains nothing from them.
        disable_huge_pages()
    return QemuDriver(lab, host, accelerated=verdict.usable)


class HostApplication:
    """The agent's part of a host's process.

    Args:
        config: the agent's configuration; its `config` is a HostConfig.
        publish: where events go.
        driver: what runs guests; QEMU where None.
        taps: where NICs are plugged in; the namespace that this process is in where None.
        peer: leads to another host's agent; over the management network where None.
    """

    def __init__(
        self,
        config: AgentConfig,
        publish: Publisher,
        *,
        driver: GuestDriver | None = None,
        taps: Taps | None = None,
        peer: Callable[[Order], Peer] | None = None,
    ) -> None:
        self._config = HostConfig.model_validate(config.config)
        self._directory = config.directory
        self._host = Host(
            lab=config.lab,
            name=config.node,
            store=VmStore(config.directory / "vms"),
            taps=taps or Taps(),
            driver=driver or _qemu(config.lab, config.node, self._config.cache),
            publish=publish,
            maintenance=Maintenance(config.directory / "maintenance.json", config.node),
            peer=peer or _peers(config),
            credentials=Credentials(
                folder=config.directory / "tls",
                certificate=config.certificate,
                key=config.key,
                authority=config.authority,
            ),
        )
        self._vms: dict[str, Vm] = {}
        self._arrivals = Arrivals(self._host, self._vms)
        self._snapshots = SnapshotRoutes(self._host, self._vms)
        self._metrics = HostMetrics(config.node, cpus=self._config.cpus, memory=self._config.memory, vms=self._vms)
        self._lock_file: int | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """The routes listed above."""
        vm = "/v1/vms/{name}"
        return [
            Route("/v1/host", self._show_host),
            Route("/v1/vms", self._list),
            Route(vm, self._show),
            Route(vm, self._put, methods=["PUT"]),
            Route(vm, self._delete, methods=["DELETE"]),
            Route(f"{vm}/start", self._start, methods=["POST"]),
            Route(f"{vm}/stop", self._stop, methods=["POST"]),
            Route(f"{vm}/reset", self._reset, methods=["POST"]),
            Route(f"{vm}/exec", self._exec, methods=["POST"]),
            Route(f"{vm}/wait", self._wait, methods=["POST"]),
            Route(f"{vm}/migration", self._migrate, methods=["POST"]),
            Route(f"{vm}/migration", self._show_migration, methods=["GET"]),
            Route(f"{vm}/migration", self._cancel_migration, methods=["DELETE"]),
            Route("/v1/reach", self._reach, methods=["POST"]),
            *self._arrivals.routes(),
            *self._snapshots.routes(),
            metrics_route(self._metrics.collect),
            *MaintenanceRoutes(self._host.maintenance, self._occupants).routes(),
        ]

    async def start(self) -> None:
        """Become the one hostd of this folder, and adopt what a killed predecessor left running."""
        self._lock_file = await _lock(self._directory / "hostd.lock")
        self._host.credentials.lay_out()
        records = self._host.store.load()
        self._vms |= {name: Vm(self._host, record) for name, record in records.items()}
        await asyncio.gather(*(vm.adopt() for vm in self._vms.values()))
        await self._arrivals.forget_all()
        await self._snapshots.recover()

    async def stop(self) -> None:
        """Let go of the VMs; they run on."""
        await asyncio.gather(*(vm.let_go() for vm in self._vms.values()))
        self._host.taps.close()
        if self._lock_file is not None:
            os.close(self._lock_file)

    async def _show_host(self, _request: Request) -> Response:
        states = [vm.status() for vm in self._vms.values()]
        running = [state for state in states if state["state"] == "running"]
        used = sum(state["memory"] for state in running if isinstance(state["memory"], int))
        return JSONResponse(
            {
                "name": self._host.name,
                "cpus": self._config.cpus,
                "memory": self._config.memory,
                "memory_used": used,
                "vms": len(states),
                "vms_running": len(running),
            }
        )

    def _occupants(self) -> list[str]:
        return [vm.name for vm in self._vms.values() if vm.occupied]

    async def _list(self, _request: Request) -> Response:
        return JSONResponse({name: dict(vm.status()) for name, vm in self._vms.items()})

    async def _show(self, request: Request) -> Response:
        return _state(self._vm(request))

    async def _put(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = await read_model(request, PutBody)
        if body.machine.name != name:
            raise UsageError(f"the machine is named {body.machine.name}, the request {name}")
        vm = self._vms.get(name)
        if vm is None:
            record = VmRecord(machine=body.machine)
            self._host.store.save(record)
            vm = self._vms[name] = Vm(self._host, record)
        await vm.put(body.machine, body.power, restart=body.restart)
        return _state(vm)

    async def _delete(self, request: Request) -> Response:
        vm = self._vms.get(request.path_params["name"])
        if vm is not None and ("moved" not in request.query_params or vm.status()["moved"] is not None):
            await vm.remove()
            self._vms.pop(vm.name, None)
        return JSONResponse({})

    async def _start(self, request: Request) -> Response:
        vm = self._vm(request)
        await vm.start()
        return _state(vm)

    async def _stop(self, request: Request) -> Response:
        vm = self._vm(request)
        body = await read_model(request, StopBody)
        await vm.stop(force=body.force, timeout=body.timeout)
        return _state(vm)

    async def _reset(self, request: Request) -> Response:
        vm = self._vm(request)
        await vm.reset()
        return _state(vm)

    async def _exec(self, request: Request) -> Response:
        vm = self._vm(request)
        body = await read_model(request, ExecBody)
        try:
            stdin = base64.b64decode(body.stdin, validate=True)
        except ValueError as error:
            raise UsageError("stdin is not base64") from error
        return JSONResponse(dict(await vm.run_command(body.argv, stdin=stdin, timeout=body.timeout)))

    async def _wait(self, request: Request) -> Response:
        vm = self._vm(request)
        body = await read_model(request, WaitBody)
        await vm.wait_for_tools(body.timeout)
        return _state(vm)

    async def _migrate(self, request: Request) -> Response:
        vm = self._vm(request)
        self._snapshots.refuse_if_held(vm.name)
        return JSONResponse(await vm.migrate(await read_model(request, Order)))

    async def _show_migration(self, request: Request) -> Response:
        name = request.path_params["name"]
        task = self._host.departures.get(name)
        if task is None:
            raise NotRunningError(
                f"host {self._host.name} knows of no migration of {name}", hint="`labctl vm list` shows where it runs"
            )
        return JSONResponse(task.to_json())

    async def _cancel_migration(self, request: Request) -> Response:
        self._vm(request).departure.cancel()
        return await self._show_migration(request)

    async def _reach(self, request: Request) -> Response:
        body = await read_model(request, ReachBody)
        return JSONResponse(
            {
                **self._host.driver.traits,
                "maintenance": self._host.maintenance.state,
                "missing": await missing_for(body.machine),
            }
        )

    def _vm(self, request: Request) -> Vm:
        name = request.path_params["name"]
        vm = self._vms.get(name)
        if vm is None:
            raise NotRunningError(f"host {self._host.name} has no VM {name}", hint="`labctl up` puts it there")
        return vm


def _state(vm: Vm) -> Response:
    return JSONResponse(dict(vm.status()))


def _peers(config: AgentConfig) -> Callable[[Order], Peer]:
    from labctl.agent.client import AgentClient  # late: most hosts never speak to another

    def peer(order: Order) -> Peer:
        return AgentClient.with_certificate(
            order.host,
            order.address,
            order.port,
            certificate=config.certificate,
            key=config.key,
            authority=config.authority,
        )

    return peer


async def _lock(path: Path) -> int:
    """Hold a file's lock for as long as this process lives.

    A child that was forked but does not run QEMU yet holds it too, so that who gets it sees every QEMU by its token.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = asyncio.get_running_loop().time() + LOCK_DEADLINE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                os.close(descriptor)
                raise ConflictError(
                    f"another hostd holds {path}", hint="one host has one agent; `labctl doctor` shows what runs"
                ) from None
        await asyncio.sleep(LOCK_INTERVAL)
