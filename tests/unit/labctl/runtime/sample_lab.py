"""A small data centre of fakes: switches, hosts (a namespace, a link, an agent), disks on a host, VMs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from labctl.model.address import Address
from labctl.model.json import Json, JsonObject
from labctl.model.quantity import Bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Change, Hold, Unit
from labctl.plugin.api import Action, ActionContext, CompileView, Description, Kind
from labctl.runtime.journal import Journal
from labctl.runtime.lab import Lab
from labctl.testing.lab import open_lab
from labctl.testing.world import FakeHandler, FakeWorld


class SwitchSpec(Spec):
    mtu: int = 1500


class SwitchKind(Kind[SwitchSpec]):
    name = "switch"
    summary = "a switch"
    spec = SwitchSpec

    def compile(self, resource: Resource[SwitchSpec], view: CompileView) -> Iterable[Unit]:
        yield Unit(
            id=f"bridge:{resource.name}", type="bridge", resource=resource.address, spec={"mtu": resource.spec.mtu}
        )


class HostSpec(Spec):
    switch: Annotated[str, Ref("switch")]
    cpus: int = 1


class HostKind(Kind[HostSpec]):
    name = "host"
    summary = "a host"
    spec = HostSpec

    def compile(self, resource: Resource[HostSpec], view: CompileView) -> Iterable[Unit]:
        name, owner = resource.name, resource.address
        address = view.choose(resource.spec.switch, name, (f"10.0.0.{n}" for n in range(1, 250)), valid=bool)
        netns, link = f"netns:{name}", f"link:{name}"
        yield Unit(id=netns, type="netns", resource=owner, spec={"node": name})
        yield Unit(
            id=link,
            type="link",
            resource=owner,
            spec={"address": address},
            needs=(netns, f"bridge:{resource.spec.switch}"),
        )
        yield Unit(
            id=f"agent:{name}",
            type="agent",
            resource=owner,
            spec={"node": name, "cpus": resource.spec.cpus},
            needs=(netns, link),
        )

    def describe(self, resource: Resource[HostSpec], view: CompileView) -> Description:
        return Description(summary=f"{resource.spec.cpus} CPUs", node=resource.name, agent=resource.name)


class VmSpec(Spec):
    host: Annotated[str, Ref("host")]
    memory: Bytes = 128 * 2**20
    disk: Bytes = 2**30


async def stop(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    context.services.emit("vm.stopped", resource=resource.address, message="as asked")
    return {"units": [record.unit.id for record in context.units(resource.address)], **arguments}


class VmKind(Kind[VmSpec]):
    name = "vm"
    summary = "a VM"
    spec = VmSpec

    def compile(self, resource: Resource[VmSpec], view: CompileView) -> Iterable[Unit]:
        agent = f"agent:{resource.spec.host}"
        disk = Unit(
            id=f"disk:{resource.name}",
            type="disk",
            resource=resource.address,
            spec={"size": resource.spec.disk},
            needs=(agent,),
        )
        yield disk
        yield Unit(
            id=f"vm:{resource.name}",
            type="vm",
            resource=resource.address,
            spec={"memory": resource.spec.memory, "host": resource.spec.host},
            needs=(agent, disk.id),
        )

    def actions(self) -> dict[str, Action]:
        return {"stop": stop}


KINDS: list[Kind[Any]] = [SwitchKind(), HostKind(), VmKind()]


def handlers(world: FakeWorld) -> list[FakeHandler]:
    return [
        FakeHandler("bridge", world, change=Change.IN_PLACE),
        FakeHandler("netns", world, hold=Hold.MISSING),
        FakeHandler("link", world),
        FakeHandler("agent", world, change=Change.IN_PLACE),
        FakeHandler("disk", world, change=Change.IN_PLACE),
        FakeHandler("vm", world, change=Change.POWER_CYCLE),
    ]


def lab_on(home: Path, world: FakeWorld, journal: Journal | None = None) -> Lab:
    return open_lab(home, KINDS, list(handlers(world)), journal=journal)


ONE = """
[switch.sw1]
[host."esx[1-2]"]
switch = "sw1"
[vm.web1]
host = "esx1"
[vm.db1]
host = "esx2"
"""

OTHER = """
[switch.sw1]
mtu = 9000
[host.esx1]
switch = "sw1"
cpus = 4
[host.esx3]
switch = "sw1"
[vm.web1]
host = "esx1"
memory = "256MiB"
[vm.app1]
host = "esx3"
"""


def desired(lab: Lab, text: str) -> dict[str, JsonObject]:
    from labctl.topology.compile import compile_topology

    compiled = compile_topology(lab.load(text, "t.toml"), lab.info, lab.journal.choices, lab.plugins)
    return {unit.id: unit.spec for unit in compiled.units}


def address_of(text: str) -> Address:
    return Address.parse(text)
