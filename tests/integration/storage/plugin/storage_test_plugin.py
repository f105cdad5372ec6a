"""A plugin that tests put on labctl's path: disks without VMs, so that what a datastore does can be seen without booting a guest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

from labctl.contracts.storage import Datastore
from labctl.model.address import Address
from labctl.model.quantity import Bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Kind
from labctl.plugin.hookspecs import hookimpl


class DiskSpec(Spec):
    datastore: Annotated[str, Ref("datastore")]
    size: Bytes
    persistent: bool = False


class Disk(Kind[DiskSpec]):
    name: ClassVar[str] = "disk"
    summary: ClassVar[str] = "A disk that no VM has."
    spec = DiskSpec

    def compile(self, resource: Resource[DiskSpec], view: CompileView) -> Iterable[Unit]:
        store = view.provider(Address("datastore", resource.spec.datastore), Datastore)
        spec = resource.spec
        return store.volume(resource.name, owner=resource.address, size=spec.size, persistent=spec.persistent).units


@hookimpl
def labctl_kinds() -> Iterable[Kind[Any]]:
    return [Disk()]
