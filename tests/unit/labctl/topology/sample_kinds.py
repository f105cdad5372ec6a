"""A small world of kinds for the tests of the core: networks, datastores, hosts, VMs, and two that can form circles."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import Bytes, Ip, Subnet
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Description, Kind, TopologyView


class Role(StrEnum):
    PRODUCTION = "production"
    STORAGE = "storage"
    MANAGEMENT = "management"


class NetworkSpec(Spec):
    role: Role
    subnet: Subnet
    mtu: int = Field(default=1500, ge=576, le=9216)


class NetworkKind(Kind[NetworkSpec]):
    name = "network"
    summary = "a switch with a subnet"
    spec = NetworkSpec

    def check(self, resource: Resource[NetworkSpec], view: TopologyView) -> Iterable[Problem]:
        for other in view.resources("network"):
            if other.address == resource.address:
                return
            if other.spec.subnet.overlaps(resource.spec.subnet):
                yield Problem(
                    path=resource.path("subnet"),
                    message=f"{resource.spec.subnet} overlaps {other.spec.subnet} of {other.address}",
                    hint="give each network its own subnet",
                )

    def compile(self, resource: Resource[NetworkSpec], view: CompileView) -> Iterable[Unit]:
        yield Unit(
            id=f"switch:{resource.name}", type="switch", resource=resource.address, spec={"mtu": resource.spec.mtu}
        )


class DatastoreSpec(Spec):
    protocol: Literal["iscsi", "nfs"] = "iscsi"
    size: Bytes


class DatastoreKind(Kind[DatastoreSpec]):
    name = "datastore"
    summary = "where disks live"
    spec = DatastoreSpec
    max_name_length = 12


class HostSpec(Spec):
    cpus: int = 2
    memory: Bytes = 2**30


class HostKind(Kind[HostSpec]):
    name = "host"
    summary = "a hypervisor"
    spec = HostSpec


class DiskSpec(Spec):
    datastore: Annotated[str, Ref("datastore")]
    size: Bytes


class NicSpec(Spec):
    network: Annotated[str, Ref("network")]
    address: Ip | None = None


class VmSpec(Spec):
    host: Annotated[str, Ref("host")] | None = None
    memory: Bytes = 2**28
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def has_memory(self) -> VmSpec:
        if self.memory < 2**20:
            raise ValueError("has less memory than any guest can start with (1 MiB)")
        return self


class VmKind(Kind[VmSpec]):
    name = "vm"
    summary = "a virtual machine"
    spec = VmSpec

    def reserve(self, resource: Resource[VmSpec], view: CompileView) -> None:
        for number, nic in enumerate(resource.spec.nics):
            if nic.address is not None:
                view.reserve(f"address/{nic.network}", f"{resource.name}/nic{number}", str(nic.address))

    def compile(self, resource: Resource[VmSpec], view: CompileView) -> Iterable[Unit]:
        addresses = []
        for number, nic in enumerate(resource.spec.nics):
            subnet = view.resource(Address("network", nic.network)).spec.subnet
            candidates = (str(address) for address in subnet.hosts())
            key = f"{resource.name}/nic{number}"
            addresses.append(view.choose(f"address/{nic.network}", key, candidates, valid=bool))
        if resource.name == "cursed":
            raise LabError("cannot be compiled", hint="lift the curse")
        yield Unit(
            id=f"vm:{resource.name}",
            type="vm",
            resource=resource.address,
            spec={"memory": resource.spec.memory, "addresses": addresses},
            needs=tuple(f"switch:{nic.network}" for nic in resource.spec.nics),
        )

    def describe(self, resource: Resource[VmSpec], view: CompileView) -> Description:
        return Description(summary=f"{resource.spec.memory} bytes")


class GroupSpec(Spec):
    members: tuple[Annotated[str, Ref("host", "vm", "group")], ...] = ()
    peers: tuple[Annotated[str, Ref("group", ordered=False)], ...] = ()


class GroupKind(Kind[GroupSpec]):
    name = "group"
    summary = "things that belong together"
    spec = GroupSpec


KINDS: tuple[Kind[Any], ...] = (NetworkKind(), DatastoreKind(), HostKind(), VmKind(), GroupKind())
