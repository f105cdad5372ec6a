"""The kinds that hosts and VMs meet in a topology, made for tests: they offer the contracts Network and Datastore, and little else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from labctl.contracts.network import Network, Port
from labctl.contracts.storage import Datastore, Disk, IscsiDisk, NfsDisk, Volume
from labctl.model.address import Address
from labctl.model.quantity import Bytes
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Kind
from labctl_server.kinds.cluster import ClusterKind
from labctl_server.kinds.host import HostKind
from labctl_server.kinds.rule import RuleKind
from labctl_server.kinds.vm import VmKind

T = TypeVar("T")


class NetworkSpec(Spec):
    role: str = "production"
    prefix: str
    mtu: int = 1500


@dataclass
class FakeNetwork:
    resource: Resource[NetworkSpec]
    view: CompileView
    gateway: str | None = None
    reached_through: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.resource.name

    @property
    def role(self) -> str:
        return self.resource.spec.role

    @property
    def mtu(self) -> int:
        return self.resource.spec.mtu

    def reserve(self, key: str, address: str) -> None:
        self.view.reserve(self.name, key, address)

    def port(
        self, node: str, interface: str, *, owner: Address, address: str | None = None, bridge: str | None = None
    ) -> Port:
        chosen = None if bridge else f"{address or self._choose(f'{node}/{interface}')}/24"
        unit = Unit(
            id=f"link:{node}/{interface}",
            type="link",
            resource=owner,
            spec={"network": self.name, "address": chosen, "bridge": bridge},
            needs=(f"netns:{node}", *([f"bridge:{node}/{bridge}"] if bridge else [])),
        )
        return Port(
            unit=unit,
            network=self.name,
            interface=interface,
            address=chosen,
            mac="02:00:00:00:00:01",
            mtu=self.mtu,
        )

    def guards(self, node: str) -> tuple[str, ...]:
        return (f"netns:{node}",) if self.name == "guarded" else ()

    def guest_address(self, key: str, *, address: str | None = None) -> tuple[str, str]:
        chosen = address or self._choose(key)
        return f"{chosen}/24", f"52:54:00:00:00:{int(chosen.rpartition('.')[2]):02x}"

    def _choose(self, key: str) -> str:
        candidates = [f"{self.resource.spec.prefix}.{number}" for number in range(11, 250)]
        return self.view.choose(self.name, key, candidates, valid=lambda value: value in candidates)


class NetworkKind(Kind[NetworkSpec]):
    name = "network"
    summary = "a network for tests"
    spec = NetworkSpec

    def provide(self, contract: type[T], resource: Resource[NetworkSpec], view: CompileView) -> T | None:
        return FakeNetwork(resource, view) if contract is Network else None  # type: ignore[return-value]


class DatastoreSpec(Spec):
    protocol: Literal["iscsi", "nfs"]
    size: Bytes = 8 * 2**30


@dataclass
class FakeDatastore:
    resource: Resource[DatastoreSpec]
    count: int = 0

    @property
    def protocol(self) -> str:
        return self.resource.spec.protocol

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
        store = self.resource.name
        unit = Unit(
            id=f"volume:{store}/{name}",
            type="volume",
            resource=owner,
            spec={"size": size, "source": None if source is None else str(source), "persistent": persistent},
            needs=(f"datastore:{store}",),
        )
        disk: Disk = NfsDisk(server="10.20.0.21", path=f"/{store}/{name}.qcow2", format="qcow2", size=size)
        if self.protocol == "iscsi":
            disk = IscsiDisk(portal="10.20.0.21:3260", target=f"iqn.test:{store}", lun=self.count, size=size)
            self.count += 1
        return Volume(units=(unit,), disk=disk)


class DatastoreKind(Kind[DatastoreSpec]):
    name = "datastore"
    summary = "a datastore for tests"
    spec = DatastoreSpec

    def compile(self, resource: Resource[DatastoreSpec], view: CompileView) -> Any:
        yield Unit(id=f"datastore:{resource.name}", type="datastore", resource=resource.address, spec={})

    def provide(self, contract: type[T], resource: Resource[DatastoreSpec], view: CompileView) -> T | None:
        return FakeDatastore(resource) if contract is Datastore else None  # type: ignore[return-value]


KINDS = (NetworkKind(), DatastoreKind(), HostKind(), ClusterKind(), VmKind(), RuleKind())
