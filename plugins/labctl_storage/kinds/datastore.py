"""Kind `datastore`: where VMs' disks live. An iSCSI target whose LUNs are the disks, or an NFS export whose files are."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from labctl.contracts.storage import Datastore, Disk, IscsiDisk, NfsDisk, Volume
from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import Bytes, format_bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Description, Kind, TopologyView
from labctl_storage import naming
from labctl_storage.kinds import array

T = TypeVar("T")

MAX_LUN = 255
"""SAM-5 4.7.7: peripheral device addressing, the form that every initiator understands, has eight bits."""


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is no address or network; write 10.20.0.0/24 or 10.20.0.7") from None


class ExportSpec(Spec):
    """The table `export` of a datastore on NFS: what its clients may do."""

    read_only: Annotated[bool, Field(description="Nothing may be changed.")] = False
    squash: Annotated[
        Literal["none", "root", "all"],
        Field(description="Who becomes the anonymous user (65534): nobody, root, or everybody. Hosts write as root."),
    ] = "none"
    clients: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...],
        Field(description="The addresses and networks that may use it; empty for all."),
    ] = ()
    files: Annotated[int | None, Field(gt=0, description="The most files and directories it may hold.")] = None


class DatastoreSpec(Spec):
    """The table `[datastore.NAME]`."""

    array: Annotated[str, Ref("array"), Field(description="The array that it is on.")]
    protocol: Annotated[Literal["iscsi", "nfs"], Field(description="How hosts reach it.")]
    size: Annotated[Bytes, Field(gt=0, description="Its capacity, e.g. 8GiB; thin: space is taken as it is written.")]
    export: Annotated[ExportSpec | None, Field(description="Only for nfs: what its clients may do.")] = None


class DatastoreKind(Kind[DatastoreSpec]):
    """A target or an export on an array, and the volumes that VMs ask of it."""

    name = "datastore"
    summary = "a target or an export that VMs' disks live on"
    spec = DatastoreSpec

    def check(self, resource: Resource[DatastoreSpec], view: TopologyView) -> Iterable[Problem]:
        """Its array speaks its protocol."""
        spec = resource.spec
        served = view.resource(Address("array", spec.array)).spec.protocols
        if spec.protocol not in served:
            yield Problem(
                path=resource.path("protocol"),
                message=f"array.{spec.array} does not speak {spec.protocol}",
                hint=f'add "{spec.protocol}" to its protocols, or use {" or ".join(served)}',
            )
        kept = urlsplit(view.resource(Address("array", spec.array)).spec.backing or "file:///").scheme
        if spec.protocol == "nfs" and kept == "memory":
            yield Problem(
                path=resource.path("protocol"),
                message=f"array.{spec.array} keeps its data on {kept}://, where NFS exports cannot lie",
                hint="use iscsi, or an array whose backing is file:// or elsewhere",
            )
        if spec.protocol != "nfs" and spec.export is not None:
            yield Problem(
                path=resource.path("export"),
                message=f"its clients speak {spec.protocol}, and `export` is for those of nfs",
                hint="take `export` away, or use nfs",
            )

    def compile(self, resource: Resource[DatastoreSpec], view: CompileView) -> Iterable[Unit]:
        """One unit: the target or the export."""
        spec = resource.spec
        where = _place(resource, view)
        yield Unit(
            id=f"datastore:{resource.name}",
            type="datastore",
            resource=resource.address,
            spec={
                "array": spec.array,
                "name": resource.name,
                "protocol": spec.protocol,
                "size": spec.size,
                "where": where,
                "export": None if spec.export is None else spec.export.model_dump(mode="json"),
            },
            needs=(f"agent:{spec.array}",),
        )

    def provide(self, contract: type[T], resource: Resource[DatastoreSpec], view: CompileView) -> T | None:
        """The contract Datastore."""
        return ArrayDatastore(resource, view) if contract is Datastore else None  # type: ignore[return-value] # T is Datastore

    def describe(self, resource: Resource[DatastoreSpec], view: CompileView) -> Description:
        """Protocol, size and array."""
        spec = resource.spec
        label = {"iscsi": "iSCSI", "nfs": "NFS"}[spec.protocol]
        return Description(
            summary=f"{label}, {format_bytes(spec.size)} on {spec.array}",
            agent=spec.array,
            parent=Address("array", spec.array),
            properties={
                "protocol": spec.protocol,
                "capacity": spec.size,
                "array": spec.array,
                "where": _place(resource, view),
                "portal": _portal(resource, view),
            },
        )


class ArrayDatastore:
    """The contract `Datastore` over one resource. One object lives as long as a compilation, so it can add up what is asked."""

    def __init__(self, resource: Resource[DatastoreSpec], view: CompileView) -> None:
        self._resource = resource
        self._view = view
        self._sizes: dict[str, int] = {}

    @property
    def protocol(self) -> str:
        """Either iscsi or nfs."""
        return self._resource.spec.protocol

    def volume(
        self,
        name: str,
        *,
        owner: Address,
        size: int,
        source: Path | None = None,
        source_version: str = "",
        persistent: bool = False,
    ) -> Volume:
        """A LUN, or a qcow2 file (see the contract).

        Raises:
            LabError: the datastore is too small for its disks, or keeps nothing.
        """
        if persistent and array.backing(self._array, self._view).startswith("memory:"):
            raise LabError(
                f"{self._resource.address} is in its array's memory, which keeps nothing, and disk {name} is persistent",
                hint=f"give {self._array.address} another backing, or the disk another datastore",
            )
        self._take(name, size)
        spec = self._resource.spec
        disk = self._disk(name, size)
        unit = Unit(
            id=f"volume:{self._resource.name}/{name}",
            type="volume",
            resource=owner,
            spec={
                "array": spec.array,
                "datastore": self._resource.name,
                "name": name,
                "size": size,
                "lun": disk.lun if isinstance(disk, IscsiDisk) else None,
                "source": None if source is None else str(source),
                "source_version": source_version,
                "persistent": persistent,
            },
            needs=(f"datastore:{self._resource.name}",),
        )
        return Volume(units=(unit,), disk=disk)

    @property
    def _array(self) -> Resource[array.ArraySpec]:
        return self._view.resource(Address("array", self._resource.spec.array))

    def _take(self, name: str, size: int) -> None:
        self._sizes[name] = size
        total = sum(self._sizes.values())
        capacity = self._resource.spec.size
        if total > capacity:
            raise LabError(
                f"{self._resource.address} is too small: its disks add up to {format_bytes(total)}, it has {format_bytes(capacity)}",
                hint=f"make it larger, or its disks ({', '.join(sorted(self._sizes))}) smaller",
            )

    def _disk(self, name: str, size: int) -> Disk:
        server = _portal(self._resource, self._view)
        where = _place(self._resource, self._view)
        if self._resource.spec.protocol == "nfs":
            return NfsDisk(server=server, path=f"{where}/{naming.volume_file(name, 'nfs')}", format="qcow2", size=size)
        lun = self._view.choose(
            f"lun/{self._resource.name}", name, map(str, range(MAX_LUN + 1)), valid=lambda value: int(value) <= MAX_LUN
        )
        return IscsiDisk(portal=f"{server}:{naming.ISCSI_PORT}", target=where, lun=int(lun), size=size)


def _place(resource: Resource[DatastoreSpec], view: CompileView) -> str:
    """The target's name, or the export's path."""
    if resource.spec.protocol == "nfs":
        return naming.export_path(resource.name)
    return naming.target_name(view.lab.name, resource.spec.array, resource.name)


def _portal(resource: Resource[DatastoreSpec], view: CompileView) -> str:
    """The address of the array's first portal."""
    return array.ports(view.resource(Address("array", resource.spec.array)), view)[1].ip
