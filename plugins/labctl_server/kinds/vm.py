"""Kind `vm`: a virtual machine, placed on a host, with disks on datastores and NICs on its host's vSwitches.

A VM's unit names its image but none of the image's files: those are looked up when it is started, so that a newer image never shows as
a change of every VM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import NAMESPACE_DNS, uuid5

from labctl.contracts.network import Network, OwnPorts, SwitchPort, SwitchPorts
from labctl.contracts.storage import Datastore, Volume, disk_to_json
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import format_bytes
from labctl.model.resource import Resource
from labctl.model.unit import Unit
from labctl.plugin.api import Action, CompileView, Description, Kind, TopologyView
from labctl_server.hostd.taps import tap_name
from labctl_server.kinds import host as hosts
from labctl_server.kinds.actions import vm_actions
from labctl_server.kinds.images import image_source, is_disk_file
from labctl_server.kinds.migration import migration_actions
from labctl_server.kinds.placement import Placement, home, possible_hosts
from labctl_server.kinds.rule_spec import rules_of
from labctl_server.kinds.snapshots import snapshot_actions
from labctl_server.kinds.vm_checks import check_vm, uplinked
from labctl_server.kinds.vm_spec import DiskSpec, NicSpec, VmSpec
from labctl_server.machine import Disk, Machine, Nic

T = TypeVar("T")


class VmKind(Kind[VmSpec]):
    """Volumes, the image that fills the first, and the VM itself."""

    name = "vm"
    summary = "a virtual machine"
    spec = VmSpec

    def check(self, resource: Resource[VmSpec], view: TopologyView) -> Iterable[Problem]:
        """Where it runs, whether it fits there, and whether its image, disks and NICs make sense."""
        return check_vm(resource, view)

    def reserve(self, resource: Resource[VmSpec], view: CompileView) -> None:
        """Take the fixed addresses."""
        for index, nic in enumerate(resource.spec.nics or ()):
            if nic.address is not None:
                network = view.provider(Address("network", nic.network), Network)
                network.reserve(nic_key(resource.name, index), str(nic.address))

    def compile(self, resource: Resource[VmSpec], view: CompileView) -> Iterable[Unit]:
        """The image, the volumes, the VM."""
        built = _build(resource, view)
        if _is_first_of_its_image(resource, view):
            yield Unit(
                id=_image_id(resource), type="image", resource=resource.address, spec={"image": resource.spec.image}
            )
        first, *others = built.volumes
        for unit in first.units:  # its content comes from the image
            yield replace(unit, needs=(*unit.needs, _image_id(resource))) if unit.id == first.ready else unit
        for volume in others:
            yield from volume.units
        yield Unit(
            id=f"vm:{resource.name}",
            type="vm",
            resource=resource.address,
            spec={
                "host": built.host,
                "power": resource.spec.power,
                "image": resource.spec.image,
                "machine": built.machine.model_dump(mode="json", exclude={"boot"}),
            },
            needs=(
                f"agent:{built.host}",
                _image_id(resource),
                *(volume.ready for volume in built.volumes),
                *built.links,
                *built.guards,
            ),
        )

    def provide(self, contract: type[T], resource: Resource[VmSpec], view: CompileView) -> T | None:
        """The contract SwitchPorts: its NICs' taps on the vSwitches of every host that it may run on, so that rules await it there."""
        if contract is not SwitchPorts:
            return None
        nics = list(zip(_build(resource, view).machine.nics, _nics(resource, view), strict=True))
        ports = []
        for host in possible_hosts(resource, view):
            vswitch_of = {net: vswitch for vswitch, net in _vswitches(host, view).items()}
            for number, (nic, said) in enumerate(nics):
                ports.append(
                    SwitchPort(
                        node=host,
                        bridge=vswitch_of[nic.network],
                        interface=tap_name(resource.name, number),
                        network=nic.network,
                        mac=nic.mac,
                        address=(nic.address or "").partition("/")[0],
                        portgroup=said.portgroup or "",
                    )
                )
        return OwnPorts(tuple(ports), resource.spec.tags)  # type: ignore[return-value] # T is SwitchPorts here

    def describe(self, resource: Resource[VmSpec], view: CompileView) -> Description:
        """Its size, addresses and host."""
        built = _build(resource, view)
        machine = built.machine
        links = {Address("network", nic.network): f"nic{number}" for number, nic in enumerate(machine.nics)}
        disks = {Address("datastore", name): "disk" for name in built.datastores}
        return Description(
            summary=f"{machine.cpus} CPU{'s' if machine.cpus != 1 else ''}, {format_bytes(machine.memory)}, {resource.spec.image}",
            addresses={nic.network: nic.address.partition("/")[0] for nic in machine.nics if nic.address},
            node=built.host,
            agent=built.host,
            guest=True,
            links={**links, **disks},
            parent=Address("host", built.host),
            properties={
                "host": built.host,
                "hosts": list(possible_hosts(resource, view)),
                "rules": rules_of(resource.name, view),
                "image": resource.spec.image,
                "cpus": machine.cpus,
                "memory": machine.memory,
                "disks": [disk.model_dump(mode="json") for disk in machine.disks],
                "nics": [nic.model_dump(mode="json") for nic in machine.nics],
            },
        )

    def actions(self) -> Mapping[str, Action]:
        """Power, exec, console and migration."""
        return {**vm_actions(), **migration_actions(), **snapshot_actions()}


@dataclass(frozen=True, kw_only=True)
class _Built:
    """A VM, worked out.

    Args:
        host: where it is placed.
        machine: its virtual hardware.
        volumes: its disks' volumes.
        datastores: where those are.
        links: the ids of the host's links and bridges that it hangs on.
        guards: the ids of what filters its NICs' traffic: it is there before the VM is.
    """

    host: str
    machine: Machine
    volumes: Sequence[Volume]
    datastores: Sequence[str]
    links: Sequence[str]
    guards: Sequence[str]


def _vswitches(host: str, view: TopologyView) -> Mapping[str, str]:
    return hosts.vswitches(view.resource(Address("host", host)), view)


def nic_key(vm: str, index: int) -> str:
    """Under what a NIC's address is kept."""
    return f"{vm}/nic{index}"


def _is_first_of_its_image(resource: Resource[VmSpec], view: TopologyView) -> bool:
    """One image unit serves all VMs that use the image: the first of them makes it."""
    image = resource.spec.image
    return next(vm.address for vm in view.resources("vm") if vm.spec.image == image) == resource.address


def _image_id(resource: Resource[VmSpec]) -> str:
    return f"image:{resource.spec.image}"


def _build(resource: Resource[VmSpec], view: CompileView) -> _Built:
    spec = resource.spec
    host = _place(resource, view)
    ports = hosts.host_ports(view.resource(Address("host", host)), view)
    vswitch_of = {port.network: vswitch for vswitch, port in ports.uplinks.items()}
    nics = [_nic(resource, view, index, nic, vswitch_of) for index, nic in enumerate(_nics(resource, view))]
    datastores = [_datastore_name(disk, view) for disk in spec.disks]
    volumes = [_volume(resource, view, index, disk) for index, disk in enumerate(spec.disks)]
    machine = Machine(
        name=resource.name,
        uuid=str(uuid5(NAMESPACE_DNS, f"{resource.name}.{view.lab.name}.labctl")),
        memory=spec.memory,
        cpus=spec.cpus,
        disks=tuple(
            Disk.model_validate({"name": f"{resource.name}-disk{index}", "source": disk_to_json(volume.disk)})
            for index, volume in enumerate(volumes)
        ),
        nics=tuple(nics),
        tools=not is_disk_file(spec.image),
    )
    storage = [port.unit.id for port in ports.storage]
    uplinks = [ports.uplinks[nic.vswitch].unit.id for nic in nics]
    return _Built(
        host=host,
        machine=machine,
        volumes=volumes,
        datastores=datastores,
        links=list(dict.fromkeys([*storage, *uplinks])),
        guards=list(
            dict.fromkeys(
                guard
                for nic in nics
                for place in possible_hosts(resource, view)
                for guard in view.provider(Address("network", nic.network), Network).guards(place)
            )
        ),
    )


def _place(resource: Resource[VmSpec], view: CompileView) -> str:
    where = home(resource, view)
    if where is None:
        raise ValueError(f"{resource.address} has no home: check() was not heeded")
    return where.name if where.kind == "host" else view.provider(where, Placement).host_of(resource.name)


def _nics(resource: Resource[VmSpec], view: TopologyView) -> Sequence[NicSpec]:
    if resource.spec.nics is not None:
        return resource.spec.nics
    default = uplinked(resource, view)[:1]
    return tuple(NicSpec(network=network) for network in default)


def _nic(resource: Resource[VmSpec], view: CompileView, index: int, nic: NicSpec, vswitch_of: Mapping[str, str]) -> Nic:
    network = view.provider(Address("network", nic.network), Network)
    fixed = None if nic.address is None else str(nic.address)
    address, mac = network.guest_address(nic_key(resource.name, index), address=fixed)
    return Nic(
        network=nic.network,
        vswitch=vswitch_of[nic.network],
        mac=mac,
        address=address,
        gateway=network.gateway,
        mtu=network.mtu,
    )


def _volume(resource: Resource[VmSpec], view: CompileView, index: int, disk: DiskSpec) -> Volume:
    spec = resource.spec
    datastore = view.provider(Address("datastore", _datastore_name(disk, view)), Datastore)
    return datastore.volume(
        f"{resource.name}-disk{index}",
        owner=resource.address,
        size=disk.size,
        source=image_source(view.lab.image_directory, spec.image) if index == 0 else None,
        source_version=spec.image if index == 0 else "",
        persistent=spec.persistent if disk.persistent is None else disk.persistent,
    )


def _datastore_name(disk: DiskSpec, view: TopologyView) -> str:
    return disk.datastore or view.resources("datastore")[0].name
