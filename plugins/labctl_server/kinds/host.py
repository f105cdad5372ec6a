"""Kind `host`: an ESXi-like host, that is a namespace with VMkernel ports, vSwitches and the agent hostd.

`vmk0` is on the management network, `vmk1`, `vmk2`, … are on the storage networks and then on the one for vMotion, and each further
network has a vSwitch with an uplink: `vSwitch0` with `vmnic0` is production's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from labctl.contracts.agent import agent_unit
from labctl.contracts.network import Network, Port, bridge_unit, netns_unit, networks_with_role
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import GIB, Bytes, Ip, format_bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import Action, CompileView, Description, Kind, TopologyView
from labctl_server.kinds.maintenance import maintenance_actions
from labctl_server.kinds.placement import vms_of

AGENT_MODULE = "labctl_server.hostd"

NetworkName = Annotated[str, Ref("network")]
NetworkNames = NetworkName | tuple[NetworkName, ...]

ROLES = ("management", "storage", "production")


class HostNetworks(Spec):
    """The table `networks` of a host: which networks it is on."""

    management: Annotated[NetworkName | None, Field(description="Where vmk0 is and hostd listens.")] = None
    storage: Annotated[NetworkNames | None, Field(description="Where vmk1, vmk2, … are.")] = None
    production: Annotated[
        NetworkNames | None, Field(description="Where its VMs' NICs may go: an uplink and a vSwitch for each.")
    ] = None
    vmotion: Annotated[
        NetworkName | None,
        Field(
            description="What migrations go over, between hosts that say the same; the management network if not said."
        ),
    ] = None


class HostSpec(Spec):
    """The table `[host.NAME]`."""

    cpus: Annotated[int, Field(ge=1, le=512, description="Processors, as its VMs share them.")] = 2
    memory: Annotated[Bytes, Field(gt=0, description="What its VMs share.")] = 2 * GIB
    networks: Annotated[HostNetworks, Field(description="Its networks by role; the only one of each if not said.")] = (
        HostNetworks()
    )
    addresses: Annotated[dict[str, Ip], Field(default_factory=dict, description="Fixed addresses, by network.")]


@dataclass(frozen=True, kw_only=True)
class HostPorts:
    """A host's ports.

    Args:
        management: vmk0.
        storage: vmk1, …, the one for vMotion last where there is one of its own.
        uplinks: vmnic0, …, each by the name of its vSwitch.
    """

    management: Port
    storage: tuple[Port, ...]
    uplinks: Mapping[str, Port]

    @property
    def all(self) -> tuple[Port, ...]:
        """Every port."""
        return (self.management, *self.storage, *self.uplinks.values())


class HostKind(Kind[HostSpec]):
    """Namespace, vSwitches, ports, and the agent."""

    name = "host"
    summary = "an ESXi-like host that runs VMs"
    spec = HostSpec

    def check(self, resource: Resource[HostSpec], view: TopologyView) -> Iterable[Problem]:
        """Its networks are clear and of the right roles, its addresses on networks with a VMkernel port, its VMs not too large."""
        yield from self._check_networks(resource, view)
        yield from _check_vmotion(resource, view)
        with_address = {network for _, network in _kernel_ports(resource, view)}
        for network in resource.spec.addresses:
            if network not in with_address:
                yield Problem(
                    path=resource.path("addresses", network),
                    message=f'an address on network "{network}", where the host has no VMkernel port',
                    hint="hosts have addresses on their management, storage and vMotion networks only",
                )
        sizes = [vm.spec.memory for vm in vms_of(resource.address, view)]
        needed = sum(sizes)
        if needed > resource.spec.memory >= max(sizes):  # a VM that is too large by itself is told at the VM
            yield Problem(
                path=resource.path("memory"),
                message=f"its VMs need {format_bytes(needed)} of memory, it has {format_bytes(resource.spec.memory)}",
                hint="give the host more memory, or put some of its VMs elsewhere",
            )

    def reserve(self, resource: Resource[HostSpec], view: CompileView) -> None:
        """Take the fixed addresses."""
        for interface, network in _kernel_ports(resource, view):
            if (address := resource.spec.addresses.get(network)) is not None:
                provider = view.provider(Address("network", network), Network)
                provider.reserve(f"{resource.name}/{interface}", str(address))

    def compile(self, resource: Resource[HostSpec], view: CompileView) -> Iterable[Unit]:
        """Everything that makes the host, its agent last."""
        ports = host_ports(resource, view)
        yield netns_unit(resource.name, resource.address)
        for vswitch, uplink in ports.uplinks.items():
            yield bridge_unit(resource.name, vswitch, resource.address, mtu=uplink.mtu)
        for port in ports.all:
            yield port.unit
        yield agent_unit(
            resource.name,
            module=AGENT_MODULE,
            address=ports.management.ip,
            owner=resource.address,
            config={
                "cpus": resource.spec.cpus,
                "memory": resource.spec.memory,
                "cache": str(view.lab.image_directory),
            },
            needs=(
                *(port.unit.id for port in (ports.management, *ports.storage)),
                *view.provider(Address("network", ports.management.network), Network).reached_through,
            ),
            calls=True,
        )

    def describe(self, resource: Resource[HostSpec], view: CompileView) -> Description:
        """Its size and addresses."""
        spec = resource.spec
        ports = host_ports(resource, view)
        return Description(
            summary=f"{spec.cpus} CPU{'s' if spec.cpus != 1 else ''}, {format_bytes(spec.memory)}",
            addresses={port.network: port.ip for port in (ports.management, *ports.storage)},
            node=resource.name,
            agent=resource.name,
            links={Address("network", port.network): port.interface for port in ports.all},
            properties={
                "cpus": spec.cpus,
                "memory": spec.memory,
                "vmotion": spec.networks.vmotion or ports.management.network,
            },
        )

    def actions(self) -> Mapping[str, Action]:
        """Maintenance mode."""
        return maintenance_actions()

    def _check_networks(self, resource: Resource[HostSpec], view: TopologyView) -> Iterable[Problem]:
        for role in ROLES:
            said = names(resource, view, role, default=False)
            if not said:
                yield from _check_default(resource, view, role)
            for network in said:
                actual = view.resource(Address("network", network)).spec.role
                if (
                    actual != role and role != "production"
                ):  # uplinks may go anywhere; VMs' NICs are looked at by their kind
                    yield Problem(
                        path=resource.path("networks", role),
                        message=f'network "{network}" has the role {actual}, not {role}',
                        hint=f"name a network of role {role}",
                    )


def names(resource: Resource[HostSpec], view: TopologyView, role: str, *, default: bool = True) -> tuple[str, ...]:
    """The networks that a host uses in a role: as said, else (with `default`) the only one there is."""
    said: str | tuple[str, ...] | None = getattr(resource.spec.networks, role)
    if said is not None:
        return (said,) if isinstance(said, str) else said
    return tuple(networks_with_role(view, role)[:1]) if default else ()


def host_ports(resource: Resource[HostSpec], view: CompileView) -> HostPorts:
    """The host's ports on its networks."""

    def port(interface: str, network: str, bridge: str | None = None) -> Port:
        fixed = None if bridge else resource.spec.addresses.get(network)
        return view.provider(Address("network", network), Network).port(
            resource.name,
            interface,
            owner=resource.address,
            address=None if fixed is None else str(fixed),
            bridge=bridge,
        )

    management, *storage = (port(interface, network) for interface, network in _kernel_ports(resource, view))
    uplinks = {
        vswitch: port(f"vmnic{number}", network, vswitch)
        for number, (vswitch, network) in enumerate(vswitches(resource, view).items())
    }
    return HostPorts(management=management, storage=tuple(storage), uplinks=uplinks)


def vswitches(resource: Resource[HostSpec], view: TopologyView) -> Mapping[str, str]:
    """The host's vSwitches, each with the network that it leads to."""
    return {f"vSwitch{number}": network for number, network in enumerate(names(resource, view, "production"))}


def _kernel_ports(resource: Resource[HostSpec], view: TopologyView) -> Iterable[tuple[str, str]]:
    networks = (
        *names(resource, view, "management")[:1],
        *names(resource, view, "storage"),
        *names(resource, view, "vmotion", default=False),
    )
    return [(f"vmk{number}", network) for number, network in enumerate(dict.fromkeys(networks))]


def _check_vmotion(resource: Resource[HostSpec], view: TopologyView) -> Iterable[Problem]:
    for network in names(resource, view, "vmotion", default=False):
        if view.resource(Address("network", network)).spec.role == "production":
            yield Problem(
                path=resource.path("networks", "vmotion"),
                message=f'network "{network}" has the role production: guests would be on it with other guests\' memory',
                hint="name a network of role management or storage",
            )


def _check_default(resource: Resource[HostSpec], view: TopologyView, role: str) -> Iterable[Problem]:
    there = networks_with_role(view, role)
    if len(there) == 1:
        return
    if there:
        message = f"there are several {role} networks ({', '.join(there)}), and the host does not say which is its own"
        hint = f'say it: networks = {{ {role} = "{there[0]}" }}'
    else:
        message = f"a host needs a {role} network, and there is none"
        hint = f'add one: [network.{role}] with role = "{role}" and a subnet'
    yield Problem(path=resource.path(), message=message, hint=hint)
