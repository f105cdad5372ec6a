"""Kind `array`: a storage array, that is a namespace with portals on storage networks and an agent that runs the emulators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from labctl.contracts.agent import agent_unit
from labctl.contracts.network import Network, Port, netns_unit, networks_with_role
from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.problem import Problem
from labctl.model.quantity import Bytes, Ip
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import Action, CompileView, Description, Kind, TopologyView
from labctl_storage.kinds import backing as where
from labctl_storage.kinds.actions import array_actions

LIMIT = 256 * 2**20
"""Bytes of each disk that may wait: minutes of an idle guest's writes, and what a slow line uploads within an initiator's patience."""


class ArraySpec(Spec):
    """The table `[array.NAME]`."""

    protocols: Annotated[tuple[Literal["iscsi", "nfs"], ...], Field(min_length=1, description="What it serves.")] = (
        "iscsi",
        "nfs",
    )
    backing: Annotated[
        str | None,
        Field(
            description="Where its data lives: file:///FOLDER, memory://, or what fsspec opens, e.g. s3://BUCKET/PREFIX; "
            "the lab's data folder if not said."
        ),
    ] = None
    backing_options: Annotated[
        dict[str, str | int | bool],
        Field(default_factory=dict, description='What the filesystem is opened with, e.g. endpoint_url = "http://…".'),
    ]
    backing_secret: Annotated[
        str | None,
        Field(
            description="A secret with its credentials: ~/.config/labctl/secrets/NAME.toml; else from the environment."
        ),
    ] = None
    backing_cache: Annotated[
        Bytes, Field(gt=0, description="How much of each disk may wait to be uploaded; where data lives elsewhere.")
    ] = LIMIT
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
    def _is_supported(cls, url: str | None) -> str | None:
        return url if url is None else where.check_url(url)

    @field_validator("backing_options")
    @classmethod
    def _is_open(cls, options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        where.check_options(options)
        return options

    @field_validator("backing_secret")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        return name if name is None else where.check_secret_name(name)


class ArrayKind(Kind[ArraySpec]):
    """Management port, portals, and the agent `labctl_storage.arrayd`."""

    name = "array"
    summary = "a storage array that speaks iSCSI and NFS"
    spec = ArraySpec

    def check(self, resource: Resource[ArraySpec], view: TopologyView) -> Iterable[Problem]:
        """It has exactly one management network and at least one storage network, and its data somewhere to lie."""
        spec = resource.spec
        yield from where.problems(resource, spec.backing or "file:///", spec.backing_options, spec.backing_secret)
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
                **_elsewhere(resource, view),
            },
            outside=where.is_elsewhere(backing(resource, view)),
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


def _elsewhere(resource: Resource[ArraySpec], view: CompileView) -> JsonObject:
    """What the agent is told besides, where the data is not this machine's."""
    spec = resource.spec
    if not where.is_elsewhere(backing(resource, view)):
        return {}
    return {
        "folder": str(view.lab.data_directory / resource.name),
        "cache": spec.backing_cache,
        "options": dict(spec.backing_options),
        "secret": None if spec.backing_secret is None else str(where.secret_path(spec.backing_secret)),
    }


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
