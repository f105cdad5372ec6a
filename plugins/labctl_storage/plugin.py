"""The storage plugin's registration: what the entry point `storage` names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from labctl.plugin.api import CommandGroup, DoctorFinding
from labctl.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from labctl.plugin.api import Kind, UnitHandler


@hookimpl
def labctl_kinds() -> Iterable[Kind[Any]]:
    """Array and datastore."""
    from labctl_storage.kinds.array import ArrayKind
    from labctl_storage.kinds.datastore import DatastoreKind

    return (ArrayKind(), DatastoreKind())


@hookimpl
def labctl_unit_handlers() -> Iterable[UnitHandler]:
    """Datastore and volume."""
    from labctl_storage.handlers.datastore import DatastoreHandler
    from labctl_storage.handlers.volume import VolumeHandler

    return (DatastoreHandler(), VolumeHandler())


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    """The groups `datastore`, `volume` and `fault`."""
    return (
        CommandGroup(name="datastore", help="List datastores.", app="labctl_storage.cli.datastore:app"),
        CommandGroup(name="volume", help="Snapshot and clone disks.", app="labctl_storage.cli.volume:app"),
        CommandGroup(name="fault", help="Break storage on purpose.", app="labctl_storage.cli.fault:app"),
    )


@hookimpl
def labctl_doctor() -> Sequence[DoctorFinding]:
    """Whether disks can be made."""
    import shutil

    found = shutil.which("qemu-img")
    return (
        DoctorFinding(
            name="qemu-img", ok=found is not None, detail=found or "not found", mend="apt-get install qemu-utils"
        ),
    )
