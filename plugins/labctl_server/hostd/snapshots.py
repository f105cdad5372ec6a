"""A host's part in snapshots of its VMs: it holds a VM still, keeps and brings back its memory, and works in disks' files.

POST   /v1/vms/{name}/hold             hold the VM still: it runs on by itself after HOLD_LIMIT
DELETE /v1/vms/{name}/hold             let it run on; idempotent
PUT    /v1/vms/{name}/memory           {path}: keep the memory of a VM that is held in a file
POST   /v1/vms/{name}/memory           {path}: run the VM from there
POST   /v1/vms/{name}/disk-snapshots   {action, snapshot, disks}: create, delete or revert it in disks that are qcow2 files

Labd says in which order (labctl_server.kinds.snapshots). A VM that is held runs on whatever becomes of labd or of this process: a file in
its folder says that it is held, and whoever finds it lets the VM run.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.local import connected, listening
from labctl.errors import ConflictError, LabError, NotRunningError
from labctl_server.hostd.body import read_model
from labctl_server.hostd.encryption import PLAIN
from labctl_server.hostd.host import Host
from labctl_server.hostd.migration import carry_on, configure
from labctl_server.hostd.vm import Vm
from labctl_server.machine import NfsSource
from labctl_server.qemu.monitor import Monitor

HOLD_LIMIT = 300.0
"""Seconds; memory of gigabytes is written meanwhile. Whoever held it is dead."""

STREAM_DEADLINE = 240.0
"""Seconds for a VM's memory to be written or read."""

DISK_DEADLINE = 120.0
"""Seconds for a change of a qcow2 file's snapshots."""

POLL_INTERVAL = 0.02

MARK = "held"
STREAM = "memory.sock"

CHUNK = 1 << 20


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MemoryBody(_Body):
    """Where a VM's memory is, or is to be."""

    path: Path


class DiskBody(_Body):
    """What is to be done in disks, by name."""

    action: Literal["create", "delete", "revert"]
    snapshot: str
    disks: tuple[str, ...]


class SnapshotRoutes:
    """The routes above.

    Args:
        host: the host.
        vms: its VMs by name.
    """

    def __init__(self, host: Host, vms: Mapping[str, Vm]) -> None:
        self._host = host
        self._vms = vms
        self._held: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> Sequence[BaseRoute]:
        """All of them."""
        hold, memory = "/v1/vms/{name}/hold", "/v1/vms/{name}/memory"
        return [
            Route(hold, self._hold, methods=["POST"]),
            Route(hold, self._let_go, methods=["DELETE"]),
            Route(memory, self._keep, methods=["PUT"]),
            Route(memory, self._bring_back, methods=["POST"]),
            Route("/v1/vms/{name}/disk-snapshots", self._disks, methods=["POST"]),
        ]

    async def recover(self) -> None:
        """Let run on what a killed predecessor held."""
        for vm in self._vms.values():
            if self._mark(vm).exists():
                with suppress(LabError):
                    await self._run_on(vm)

    def refuse_if_held(self, name: str) -> None:
        """Nothing else is done to a VM that is held.

        Raises:
            ConflictError: it is.
        """
        if name in self._held:
            raise ConflictError(f"a snapshot of {name} is being made", hint="try again when it is there")

    async def _hold(self, request: Request) -> Response:
        vm = self._vm(request)
        status = vm.status()
        if status["migrating_to"] is not None:
            raise ConflictError(f"{vm.name} is being migrated to {status['migrating_to']}", hint="wait for its end")
        self.refuse_if_held(vm.name)
        monitor = vm.monitor()
        self._mark(vm).touch()
        loop = asyncio.get_running_loop()
        self._held[vm.name] = loop.call_later(HOLD_LIMIT, self._give_up, vm)
        try:
            await monitor.execute("stop", timeout=DISK_DEADLINE)  # QEMU flushes the disks
        except LabError:
            await self._run_on(vm)
            raise
        return JSONResponse({})

    async def _let_go(self, request: Request) -> Response:
        vm = self._vm(request)
        if self._mark(vm).exists():
            await self._run_on(vm)
        return JSONResponse({})

    def _give_up(self, vm: Vm) -> None:
        task = asyncio.create_task(self._run_on(vm))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_on(self, vm: Vm) -> None:
        """Let a VM run that was held; one that ended meanwhile needs it no more."""
        timer = self._held.pop(vm.name, None)
        if timer is not None:
            timer.cancel()
        with suppress(NotRunningError):
            await carry_on(vm.monitor())
        self._mark(vm).unlink(missing_ok=True)

    async def _keep(self, request: Request) -> Response:
        vm, body = self._vm(request), await read_model(request, MemoryBody)
        if vm.name not in self._held:
            raise ConflictError(f"{vm.name} is not held", hint="a fault in labctl: its memory changes while it is kept")
        monitor = vm.monitor()
        draft = body.path.with_name(f".{body.path.name}")
        draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await configure(monitor, {**PLAIN, "max-bandwidth": 1 << 40})
        try:
            with listening(self._stream(vm)) as listener:
                await monitor.execute("migrate", {"uri": f"unix:{STREAM}"})
                await asyncio.to_thread(_receive, listener, draft)
            await _written(monitor)
            draft.replace(body.path)
        except OSError as error:
            raise LabError(f"the memory of {vm.name} cannot be kept: {error}", hint="is the disk full?") from error
        finally:
            draft.unlink(missing_ok=True)
        return JSONResponse({"size": body.path.stat().st_size})

    async def _bring_back(self, request: Request) -> Response:
        vm, body = self._vm(request), await read_model(request, MemoryBody)
        if vm.occupied:
            raise ConflictError(f"{vm.name} runs", hint=f"power it off: labctl vm stop --force {vm.name}")
        self._host.maintenance.refuse(vm.name)
        arrival = uuid4().hex[:12]
        monitor = await vm.receive(arrival)
        try:
            await configure(monitor, {})
            await monitor.execute("migrate-incoming", {"uri": f"unix:{STREAM}"})
            await asyncio.to_thread(_send, self._stream(vm), body.path)
            await _read(monitor)
            for command, arguments in self._host.driver.renewals(vm.running_machine()):
                await monitor.execute(command, arguments)
            await vm.begin(arrival)
        except (LabError, OSError) as error:
            await vm.stop(force=True, timeout=1.0)
            raise LabError(
                f"{vm.name} cannot go on from its memory: {error}", hint=f"it is off: labctl vm start {vm.name}"
            ) from error
        finally:
            self._stream(vm).unlink(missing_ok=True)
        return JSONResponse(dict(vm.status()))

    async def _disks(self, request: Request) -> Response:
        vm, body = self._vm(request), await read_model(request, DiskBody)
        for slot, disk in enumerate(vm.running_machine().disks):
            if disk.name not in body.disks or not isinstance(disk.source, NfsSource):
                continue
            if vm.occupied:
                await _in_qemu(vm.monitor(), f"disk{slot}", body)
            else:
                url = f"nfs://{disk.source.server}{disk.source.path}"
                await asyncio.to_thread(_in_file, url, body)
        return JSONResponse({})

    def _vm(self, request: Request) -> Vm:
        name = request.path_params["name"]
        vm = self._vms.get(name)
        if vm is None:
            raise NotRunningError(f"host {self._host.name} has no VM {name}", hint="`labctl up` puts it there")
        return vm

    def _mark(self, vm: Vm) -> Path:
        return self._host.store.folder(vm.name) / MARK

    def _stream(self, vm: Vm) -> Path:
        return self._host.store.folder(vm.name) / STREAM


async def _written(monitor: Monitor) -> None:
    """Wait until QEMU has said all."""
    while True:
        told = await monitor.execute("query-migrate")
        if told.get("status") == "completed":
            return
        if told.get("status") in ("failed", "cancelled"):
            raise LabError(f"QEMU could not tell its memory: {told.get('error-desc') or 'it did not say why'}")
        await asyncio.sleep(POLL_INTERVAL)


async def _read(monitor: Monitor) -> None:
    """Wait until QEMU has taken all in."""
    while (status := await monitor.status()) == "inmigrate":  # noqa: ASYNC110 - QEMU is asked
        await asyncio.sleep(POLL_INTERVAL)
    if status != "paused":
        raise LabError(f"QEMU is {status} after its memory came")


async def _in_qemu(monitor: Monitor, node: str, body: DiskBody) -> None:
    """In a file that QEMU has open.

    Raises:
        ConflictError: it is to be put back, under a guest that runs.
    """
    arguments = {"device": node, "name": body.snapshot}
    if body.action == "create":
        await monitor.execute("blockdev-snapshot-internal-sync", arguments, timeout=DISK_DEADLINE)
    elif body.action == "delete":
        await monitor.execute("blockdev-snapshot-delete-internal-sync", arguments, timeout=DISK_DEADLINE)
    else:
        raise ConflictError("its VM runs", hint="power it off")


def _in_file(url: str, body: DiskBody) -> None:
    """In a file that nobody has open."""
    option = {"create": "-c", "delete": "-d", "revert": "-a"}[body.action]
    argv = ["qemu-img", "snapshot", option, body.snapshot, url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DISK_DEADLINE, check=False)
    if done.returncode:
        raise LabError(f"qemu-img cannot {body.action} snapshot {body.snapshot} in {url}: {done.stderr.strip()}")


def _receive(listener: socket.socket, file: Path) -> None:
    """What QEMU tells, into a file that outlives a power cut."""
    listener.settimeout(STREAM_DEADLINE)
    connection, _ = listener.accept()
    with connection, file.open("wb") as target:
        connection.settimeout(STREAM_DEADLINE)
        while data := connection.recv(CHUNK):
            target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _send(stream: Path, file: Path) -> None:
    with connected(stream, timeout=STREAM_DEADLINE) as connection, file.open("rb") as source:
        connection.sendfile(source)
