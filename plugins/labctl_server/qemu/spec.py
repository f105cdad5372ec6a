"""What a virtual machine is, for QEMU: plain values, comparable and complete.

Slots are positions on the PCI bus. They are part of the specification so that the guest sees the same hardware after devices came and
went, and so that a migration's two ends agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

MAX_DISKS = 16
MAX_NICS = 8


@dataclass(frozen=True, kw_only=True)
class IscsiBackend:
    """A LUN, opened by QEMU's own initiator.

    Args:
        portal: `10.20.0.21:3260`.
        target: the target's iSCSI name.
        lun: its number.
        initiator: the iSCSI name that the host logs in with.
    """

    portal: str
    target: str
    lun: int
    initiator: str


@dataclass(frozen=True, kw_only=True)
class NfsBackend:
    """A file on an NFS export, opened by QEMU's own NFSv3 client.

    Args:
        server: the server's address; its portmapper answers on port 111.
        path: export and file, `/shared/db1-disk0.qcow2`.
        format: the file's format.
    """

    server: str
    path: str
    format: Literal["qcow2", "raw"]


@dataclass(frozen=True, kw_only=True)
class FileBackend:
    """A file or block device of the machine itself."""

    path: Path
    format: Literal["qcow2", "raw"]


Backend = IscsiBackend | NfsBackend | FileBackend


@dataclass(frozen=True, kw_only=True)
class DiskSpec:
    """A virtual disk.

    Args:
        slot: 0 to 15; slot 0 is the guest's /dev/vda.
        backend: where its blocks are.
        serial: what the guest reads as its serial number, at most 20 characters.
        read_only: whether the guest may write.
    """

    slot: int
    backend: Backend
    serial: str
    read_only: bool = False

    @property
    def id(self) -> str:
        """Its name in QEMU, `disk0`."""
        return f"disk{self.slot}"


@dataclass(frozen=True, kw_only=True)
class NicSpec:
    """A virtual network card on a tap device that exists already.

    Args:
        slot: 0 to 7; slot 0 is the guest's eth0.
        interface: the tap's name.
        mac: its address in the guest.
        mtu: bytes, told to the guest, or None.
    """

    slot: int
    interface: str
    mac: str
    mtu: int | None = None

    @property
    def id(self) -> str:
        """Its name in QEMU, `nic0`."""
        return f"nic{self.slot}"


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """A kernel that QEMU starts itself; without one the guest boots from its disk."""

    kernel: Path
    initrd: Path | None
    cmdline: str


@dataclass(frozen=True)
class RunFolder:
    """The files that a running QEMU keeps, in a folder of its own.

    Args:
        path: at most 80 bytes, for unix sockets' names end at 107.
    """

    path: Path

    @property
    def qmp(self) -> Path:
        """The monitor's socket: one client at a time."""
        return self.path / "qmp.sock"

    @property
    def agent(self) -> Path:
        """The guest agent's socket: one client at a time."""
        return self.path / "agent.sock"

    @property
    def console(self) -> Path:
        """The serial console's socket: one client at a time."""
        return self.path / "console.sock"

    @property
    def console_log(self) -> Path:
        """All that the console ever said."""
        return self.path / "console.log"

    @property
    def pidfile(self) -> Path:
        """Where QEMU writes its process id."""
        return self.path / "qemu.pid"


@dataclass(frozen=True, kw_only=True)
class VmSpec:
    """A virtual machine.

    Args:
        name: shown by QEMU and by ps.
        uuid: what the guest reads as its machine's identity.
        memory: bytes.
        cpus: how many virtual CPUs.
        accel: kvm only where probe_kvm said that it works.
        run: see RunFolder.
        kernel: see KernelSpec.
        incoming: whether to wait for a migration instead of starting, and to stay paused after it.
    """

    name: str
    uuid: UUID
    memory: int
    cpus: int
    accel: Literal["kvm", "tcg"]
    run: RunFolder
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    kernel: KernelSpec | None = None
    incoming: bool = False
