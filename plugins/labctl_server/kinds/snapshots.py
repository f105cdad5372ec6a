"""Snapshots of a VM, all of its disks at one moment, and with them its memory where that is wanted: actions on the VM.

The VM is held still by its host while the arrays keep its LUNs and QEMU keeps its qcow2 files, each in its own way, so that all disks show
the same moment. The tree of snapshots is a fact of the VM's unit. What was begun is undone when a part of it fails; should labd end in
the midst of it, the host lets the VM run on, and the next snapshot of that name says what is left.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

from labctl.errors import ConflictError, LabError, NotRunningError, UsageError
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.model.unit import RecordedUnit, UnitState
from labctl.plugin.api import Action, ActionContext, AgentCalls

MOST = 32
"""Snapshots in a chain, as vSphere has it."""

COPY_DEADLINE = 3600.0
"""Seconds for an array to merge what a snapshot that goes kept apart."""

HOST_DEADLINE = 300.0
"""Seconds for a host to write or read a VM's memory."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

Doing = Literal["create", "delete", "revert"]


def snapshot_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {
        "snapshots": listing,
        "create-snapshot": create,
        "revert-snapshot": revert,
        "delete-snapshot": delete,
    }


async def listing(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """`current`, the snapshot that the VM goes on from, or None; `snapshots`, parents first. No arguments."""
    return _Tree(_Vm(context, resource).record).to_json()


async def create(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Keep what all disks hold now as `snapshot`, and (`memory`) what the guest has in memory. Returns what `listing` does.

    Raises:
        UsageError: the name is none.
        ConflictError: there is one of that name, there are too many, or the memory of a VM that is off was asked for.
    """
    vm = _Vm(context, resource)
    tree, name, memory = _Tree(vm.record), _name(arguments), bool(arguments.get("memory"))
    tree.refuse(resource.name, name)
    running = await vm.running()
    if memory and not running:
        raise ConflictError(f"{resource.name} is powered off: it has no memory to keep", hint="leave --memory out")
    size = await vm.keep(name, running=running, memory=memory)
    tree.add(name, {"created": time.time(), "memory": size, "running": running, "disks": vm.disk_names})
    await vm.note(tree)
    context.services.emit("vm.snapshot_created", resource=resource.address, message=f"snapshot {name}")
    return tree.to_json()


async def revert(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """The VM's disks hold again what they held at `snapshot`, and it goes on from its memory or is off. Returns what `listing` does.

    Raises:
        NotRunningError: there is no such snapshot.
        ConflictError: the VM had other disks then.
    """
    vm = _Vm(context, resource)
    tree, name = _Tree(vm.record), _name(arguments)
    kept = tree.one(resource.name, name)
    if kept["disks"] != vm.disk_names:
        raise ConflictError(
            f"{resource.name} had other disks at {name}: {', '.join(kept['disks'])}",
            hint="give it these in the topology, and labctl up",
        )
    await vm.call("POST", "stop", {"force": True})
    await vm.disks("revert", name)
    tree.current = name
    await vm.note(tree)
    if kept["memory"]:
        await vm.call("POST", "memory", {"path": str(vm.memory(name))})
    await vm.note(tree)  # and look where it is now
    context.services.emit("vm.snapshot_reverted", resource=resource.address, message=f"it is as it was at {name}")
    return tree.to_json()


async def delete(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Forget `snapshot`; what only it told apart is merged, while the VM runs. Returns what `listing` does.

    Raises:
        NotRunningError: there is no such snapshot.
    """
    vm = _Vm(context, resource)
    tree, name = _Tree(vm.record), _name(arguments)
    tree.one(resource.name, name)
    await vm.disks("delete", name)
    vm.memory(name).unlink(missing_ok=True)
    tree.remove(name)
    await vm.note(tree)
    context.services.emit("vm.snapshot_deleted", resource=resource.address, message=f"snapshot {name} is gone")
    return tree.to_json()


class _Tree:
    """A VM's snapshots, as its unit's facts hold them."""

    def __init__(self, record: RecordedUnit) -> None:
        told = cast("dict[str, Any]", record.facts.get("snapshots") or {})
        self.current: str | None = told.get("current")
        self._kept: dict[str, dict[str, Any]] = dict(told.get("kept", {}))

    def facts(self) -> JsonObject:
        return {"current": self.current, "kept": self._kept}

    def to_json(self) -> JsonObject:
        kept = [{"name": name, **each} for name, each in self._kept.items()]
        return {"current": self.current, "snapshots": [*kept]}

    def refuse(self, vm: str, name: str) -> None:
        if name in self._kept:
            raise ConflictError(f"{vm} has a snapshot {name} already", hint="take another name, or delete that one")
        chain, at = 0, self.current
        while at is not None:
            chain, at = chain + 1, self._kept[at]["parent"]
        if chain >= MOST:
            raise ConflictError(
                f"{vm} has {MOST} snapshots one upon the other",
                hint=f"delete one: labctl vm snapshot delete {vm} {self.current}",
            )

    def one(self, vm: str, name: str) -> dict[str, Any]:
        if name not in self._kept:
            hint = did_you_mean(name, self._kept) or f"see which there are: labctl vm snapshot list {vm}"
            raise NotRunningError(f"{vm} has no snapshot {name}", hint=hint)
        return self._kept[name]

    def add(self, name: str, kept: Mapping[str, Any]) -> None:
        self._kept[name] = {"parent": self.current, **kept}
        self.current = name

    def remove(self, name: str) -> None:
        """Its children are its parent's."""
        parent = self._kept.pop(name)["parent"]
        for each in self._kept.values():
            if each["parent"] == name:
                each["parent"] = parent
        if self.current == name:
            self.current = parent


class _Vm:
    """A VM, its host and its disks."""

    def __init__(self, context: ActionContext, resource: Resource[Any]) -> None:
        self._context = context
        self._name = resource.name
        units = [unit for unit in context.units(resource.address) if unit.state is UnitState.CREATED]
        vms = [unit for unit in units if unit.unit.type == "vm"]
        if not vms:
            raise NotRunningError(f"{resource.name} is not there yet", hint="bring it up: labctl up")
        self.record = vms[0]
        self._volumes = [cast("dict[str, Any]", unit.unit.spec) for unit in units if unit.unit.type == "volume"]

    @property
    def disk_names(self) -> list[str]:
        """Each disk with its datastore."""
        return sorted(f"{volume['datastore']}/{volume['name']}" for volume in self._volumes)

    def memory(self, snapshot: str) -> Path:
        """Where the memory of a snapshot is."""
        return self._context.services.lab.directory / "memory" / f"{self._name}@{snapshot}"

    async def running(self) -> bool:
        state = cast("dict[str, Any]", await self._host().call("GET", f"/v1/vms/{self._name}"))
        return bool(state["state"] == "running")

    async def call(self, method: str, what: str, body: JsonObject | None = None) -> Any:
        """Ask its host."""
        return await self._host().call(method, f"/v1/vms/{self._name}/{what}", body, timeout=HOST_DEADLINE)

    async def note(self, tree: _Tree) -> None:
        """Write down the tree, and look at the VM."""
        await self._context.learn(self.record.unit.id, {**self.record.facts, "snapshots": tree.facts()})

    async def keep(self, snapshot: str, *, running: bool, memory: bool) -> int:
        """Make it, all or nothing; returns the size of the memory that was kept."""
        if running:
            await self._settle_guest()
            await self.call("POST", "hold")
        try:
            await self.disks("create", snapshot)
            return await self._keep_memory(snapshot) if memory else 0
        finally:
            if running:
                await self.call("DELETE", "hold")

    async def _keep_memory(self, snapshot: str) -> int:
        """Beside the disks, which were kept; without it they are not."""
        try:
            kept = await self.call("PUT", "memory", {"path": str(self.memory(snapshot))})
            return int(kept["size"])
        except BaseException:
            with suppress(LabError):
                await self.disks("delete", snapshot)
            self.memory(snapshot).unlink(missing_ok=True)
            raise

    async def disks(self, doing: Doing, snapshot: str) -> None:
        """Do something with a snapshot in all disks; of one that is to be deleted, as much as there is.

        Raises:
            LabError: it cannot be made or put back; what was made meanwhile is deleted.
        """
        made: list[dict[str, Any]] = []
        for volume in self._volumes:
            try:
                await self._disk(volume, doing, snapshot)
            except NotRunningError:
                if doing != "delete":
                    raise
            except LabError:
                for each in made if doing == "create" else ():
                    with suppress(LabError):
                        await self._disk(each, "delete", snapshot)
                raise
            made.append(volume)

    async def _disk(self, volume: Mapping[str, Any], doing: Doing, snapshot: str) -> None:
        if volume["lun"] is None:
            await self.call(
                "POST", "disk-snapshots", {"action": doing, "snapshot": snapshot, "disks": [volume["name"]]}
            )
            return
        method, rest = {"create": ("PUT", ""), "delete": ("DELETE", ""), "revert": ("POST", "/revert")}[doing]
        path = f"/v1/datastores/{volume['datastore']}/volumes/{volume['name']}/snapshots/{snapshot}{rest}"
        await self._context.services.agent(volume["array"]).call(method, path, timeout=COPY_DEADLINE)

    async def _settle_guest(self) -> None:
        """Have the guest write out what it holds, where it can: a disk without memory is then as after `sync`."""
        with suppress(LabError):
            await self.call("POST", "exec", {"argv": ["sync"], "timeout": 10.0})

    def _host(self) -> AgentCalls:
        return self._context.services.agent(str(self.record.unit.spec["host"]))


def _name(arguments: JsonObject) -> str:
    name = arguments.get("snapshot")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" is no name for a snapshot', hint="letters, digits, dots, dashes and underscores, 63 at most"
        )
    return name
