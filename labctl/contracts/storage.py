"""How VMs get disks from whichever plugin does storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Unit


@dataclass(frozen=True, kw_only=True)
class IscsiDisk:
    """A disk that is a LUN.

    Args:
        portal: `10.20.0.21:3260`, reached over the storage network.
        target: the target's iSCSI name.
        lun: the LUN's number.
        size: bytes.
    """

    portal: str
    target: str
    lun: int
    size: int
    protocol: Literal["iscsi"] = "iscsi"


@dataclass(frozen=True, kw_only=True)
class NfsDisk:
    """A disk that is a file on an NFS export.

    Args:
        server: the server's address.
        path: export and file, `/shared/db1-disk0.qcow2`.
        format: the file's format.
        size: bytes, as the guest sees it.
    """

    server: str
    path: str
    format: Literal["qcow2", "raw"]
    size: int
    protocol: Literal["nfs"] = "nfs"


Disk = IscsiDisk | NfsDisk


def disk_to_json(disk: Disk) -> JsonObject:
    """A disk as a unit's spec holds it."""
    return dict(vars(disk))


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A provisioned disk.

    Args:
        units: to be added to the owner's units; the last one is the volume itself.
        disk: how QEMU opens it.
    """

    units: tuple[Unit, ...]
    disk: Disk

    @property
    def ready(self) -> str:
        """The unit that must exist before the disk can be opened."""
        return self.units[-1].id


class Datastore(Protocol):
    """What a resource of kind `datastore` provides."""

    @property
    def protocol(self) -> str:
        """iscsi or nfs."""

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
        """A disk on this datastore.

        Args:
            name: unique on the datastore, e.g. `web1-disk0`.
            owner: the resource that it belongs to.
            size: bytes.
            source: a raw image whose content a new disk starts with (the array reads it), or None for an empty disk.
            source_version: the image's version; it is recorded, and a change of it never touches an existing disk.
            persistent: whether it survives `down`.
        """
