"""Kind `array`: a storage array, that is a namespace with portals on storage networks and an agent that runs the emulators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from labctl.contracts.agent import agent_unit
from labctl.contracts.network import Network, Port, netns_unit, networks_with_role
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import Ip
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import Action, CompileView, Description, Kind, TopologyView
from labctl_storage.kinds.actions import array_actions

BACKINGS = ("file",)
"""The fsspec protocols that an array can keep its data on today: disks are made by qemu-img, which needs files."""


class ArraySpec(Spec):
    """The table `[array.NAME]`."""

    protocols: Annotated[tuple[Literal["iscsi", "nfs"], ...], Field(min_length=1, description="What it serves.")] = (
        "iscsi",
        "nfs",
    )
    backing: Annotated[
        str | None,
        Field(description="Where its data lives, e.g. file:///srv/san1; the lab's data folder if not said."),
    ] = None
    management: (
        Annotated[str, Ref("network"), Field(description="Its management network; the only one if not said.")] | None
    ) = None
    storage: Annotated[
        tuple[Annotated[str, Ref("network")], ...],
        Field(description="A portal on each of these; the only storage network if not said."),
    ] = ()
    addresses: Annotated[dict[str, Ip], Field(default_factory=dict, description="Fixed addresses, by network.")]

    @field_validator("backing")
    @classmethod
    def _is_supported(cls, backing: str | None) -> str | None:
        if backing is not None and urlsplit(backing).scheme not in BACKINGS:
            raise ValueError(f'"{backing}" is not supported (write file:///FOLDER)')
        return backing


class ArrayKind(Kind[ArraySpec]):
    """Management port, portals, and the agent `labctl_storage.arrayd`."""

    name = "array"
    summary = "a storage array that speaks iSCSI and NFS"
    spec = ArraySpec

    def check(self, resource: Resource[ArraySpec], view: TopologyView) -> Iterable[Problem]:
        """It has exactly one management network and at least one storage network."""
        spec = resource.spec
        if spec.management is None:
            yield from _check_role(resource, view, "management")
        if not spec.storage:
            yield from _check_role(resource, view, "storage")
        known = {
            spec.management,
            *spec.storage,
            *networks_with_role(view, "management"),
            *networks_with_role(view, "storage"),
        }
        for network in spec.addresses:
            if network not in known:
                yield Problem(
                    path=resource.path("addresses", network),
                    message=f'an address on network "{network}", which the array is not on',
                    hint="name it in `storage`, or remove the address",
                )

    def reserve(self, resource: Resource[ArraySpec], view: CompileView) -> None:
        """Take the fixed addresses."""
        for interface, name in _interfaces(resource, view):
            if (address := resource.spec.addresses.get(name)) is not None:
                view.provider(Address("network", name), Network).reserve(f"{resource.name}/{interface}", str(address))

    def compile(self, resource: Resource[ArraySpec], view: CompileView) -> Iterable[Unit]:
        """The namespace, the ports and the agent."""
        management, *portals = ports(resource, view)
        yield netns_unit(resource.name, resource.address)
        yield management.unit
        for portal in portals:
            yield portal.unit
        yield agent_unit(
            resource.name,
            module="labctl_storage.arrayd",
            address=management.ip,
            owner=resource.address,
            config={
                "protocols": list(resource.spec.protocols),
                "portals": [portal.ip for portal in portals],
                "backing": backing(resource, view),
            },
            needs=(
                management.unit.id,
                *(portal.unit.id for portal in portals),
                *view.provider(Address("network", management.network), Network).reached_through,
            ),
        )

    def actions(self) -> Mapping[str, Action]:
        """Faults, snapshots and clones."""
        return array_actions()

    def describe(self, resource: Resource[ArraySpec], view: CompileView) -> Description:
        """Its protocols and addresses."""
        all_ports = ports(resource, view)
        return Description(
            summary=" and ".join({"iscsi": "iSCSI", "nfs": "NFS"}[protocol] for protocol in resource.spec.protocols),
            addresses={port.network: port.ip for port in all_ports},
            node=resource.name,
            agent=resource.name,
            links={Address("network", port.network): port.interface for port in all_ports},
            properties={"backing": backing(resource, view), "protocols": list(resource.spec.protocols)},
        )


def ports(resource: Resource[ArraySpec], view: CompileView) -> list[Port]:
    """The array's ports: management first, then its portals."""
    found = []
    for interface, name in _interfaces(resource, view):
        fixed = resource.spec.addresses.get(name)
        network = view.provider(Address("network", name), Network)
        address = None if fixed is None else str(fixed)
        found.append(network.port(resource.name, interface, owner=resource.address, address=address))
    return found


def backing(resource: Resource[ArraySpec], view: CompileView) -> str:
    """The URL under which the array keeps its datastores."""
    return resource.spec.backing or (view.lab.data_directory / resource.name).as_uri()


def _interfaces(resource: Resource[ArraySpec], view: TopologyView) -> list[tuple[str, str]]:
    management = resource.spec.management or networks_with_role(view, "management")[0]
    storage = resource.spec.storage or networks_with_role(view, "storage")[:1]
    return [("mgmt0", management), *((f"stor{index}", name) for index, name in enumerate(storage))]


def _check_role(resource: Resource[ArraySpec], view: TopologyView, role: str) -> Iterable[Problem]:
    networks = networks_with_role(view, role)
    if len(networks) == 1:
        return
    if networks:
        message = f"there are several {role} networks: {', '.join(networks)}"
        hint = (
            f'say which: {role} = {"[" if role == "storage" else ""}"{networks[0]}"{"]" if role == "storage" else ""}'
        )
    else:
        message = f"it needs a {role} network, and there is none"
        hint = f'add one: [network.{role}] with role = "{role}" and a subnet'
    yield Problem(path=resource.path(), message=message, hint=hint)
