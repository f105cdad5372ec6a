"""What a VM is, as its unit's spec holds it and its host is told it: plain data that both sides validate.

It names no file of the host and no option of QEMU, so that a VM can move to another host, or to another driver, as it is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IscsiSource(_Part):
    """A disk that is a LUN; see labctl.contracts.storage.IscsiDisk."""

    protocol: Literal["iscsi"]
    portal: str
    target: str
    lun: int
    size: int


class NfsSource(_Part):
    """A disk that is a file on an NFS export; see labctl.contracts.storage.NfsDisk."""

    protocol: Literal["nfs"]
    server: str
    path: str
    format: Literal["qcow2", "raw"]
    size: int


class FileSource(_Part):
    """A disk that is a file on the machine itself: for tests and for a host's local datastore."""

    protocol: Literal["file"]
    path: str
    format: Literal["qcow2", "raw"]
    size: int


DiskSource = Annotated[IscsiSource | NfsSource | FileSource, Field(discriminator="protocol")]


class Disk(_Part):
    """One disk.

    Args:
        name: its name on its datastore, `web1-disk0`.
        source: how it is opened.
    """

    name: str
    source: DiskSource


class Nic(_Part):
    """One NIC.

    Args:
        network: the network that it is on.
        vswitch: the bridge in the host that leads there.
        mac: its MAC address.
        address: `10.10.0.21/24`, which the guest gives itself, or None.
        gateway: its default gateway, or None.
        mtu: bytes.
    """

    network: str
    vswitch: str
    mac: str
    address: str | None = None
    gateway: str | None = None
    mtu: int = 1500


class Boot(_Part):
    """What a guest starts from: a kernel beside its disks, or (with neither) the first disk's own boot loader.

    Args:
        kernel: the kernel's file in the image cache.
        initrd: its initramfs.
        cmdline: the kernel's arguments; the guest's own (name, addresses) come after them.
    """

    kernel: str | None = None
    initrd: str | None = None
    cmdline: str = ""


class Machine(_Part):
    """A VM's virtual hardware.

    Args:
        name: the VM's name.
        uuid: stays the same wherever the VM runs.
        memory: bytes.
        cpus: virtual processors.
        disks: in the order in which the guest sees them; it boots from the first.
        nics: in the order in which the guest sees them.
        boot: what it starts from.
        tools: whether its image has guest tools that are worth waiting for.
    """

    name: str
    uuid: str
    memory: int
    cpus: int
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    boot: Boot = Boot()
    tools: bool = True


Power = Literal["on", "off"]
