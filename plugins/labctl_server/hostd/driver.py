"""Between hostd and what really runs a guest: a small protocol, and QEMU as the one that fulfils it.

hostd keeps the books (records, locks, processes); a driver knows how a machine becomes a command line, and how a running guest is
spoken to. It keeps nothing on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from labctl.model.json import JsonObject
from labctl_server.image.guest import GuestNic, guest_arguments
from labctl_server.machine import Disk, FileSource, IscsiSource, Machine, NfsSource
from labctl_server.qemu.command import qemu_command, renewal
from labctl_server.qemu.spec import (
    Backend,
    DiskSpec,
    FileBackend,
    IscsiBackend,
    KernelSpec,
    NfsBackend,
    NicSpec,
    RunFolder,
    VmSpec,
)

INITIATOR_PREFIX = "iqn.2026-11.lab"
"""The naming authority of the lab's initiators (RFC 7143 4.2.7.4)."""


class GuestDriver(Protocol):
    """Turns machines into processes."""

    def command(self, machine: Machine, taps: Sequence[str], *, incoming: bool = False) -> list[str]:
        """The command that runs the machine in the foreground, with the VM's own folder as its working folder.

        Args:
            machine: what to run.
            taps: the interfaces of its NICs, in their order; they exist.
            incoming: whether it waits for a migration, and stays paused after it.

        Raises:
            LabError: the machine asks for what the driver cannot do.
        """

    def renewals(self, machine: Machine) -> Sequence[tuple[str, JsonObject]]:
        """The monitor's commands after which an arrived, paused guest sees its disks as the source left them."""

    @property
    def traits(self) -> JsonObject:
        """What both ends of a migration must have in common."""

    def sockets(self, folder: Path) -> Mapping[str, Path]:
        """The sockets and logs of a running guest by what they are for: monitor, agent, console, console_log."""


class QemuDriver:
    """The built-in driver.

    Args:
        lab: the lab's name.
        host: the host's name; with the lab's it names the iSCSI initiator.
        accelerated: whether KVM was proved to work.
    """

    def __init__(self, lab: str, host: str, *, accelerated: bool = False) -> None:
        self._initiator = f"{INITIATOR_PREFIX}.{lab}:{host}"
        self._accelerated = accelerated

    def command(self, machine: Machine, taps: Sequence[str], *, incoming: bool = False) -> list[str]:
        """See GuestDriver."""
        nics = [
            NicSpec(slot=slot, interface=tap, mac=nic.mac, mtu=nic.mtu)
            for slot, (nic, tap) in enumerate(zip(machine.nics, taps, strict=True))
        ]
        spec = VmSpec(
            name=machine.name,
            uuid=UUID(machine.uuid),
            memory=machine.memory,
            cpus=machine.cpus,
            accel="kvm" if self._accelerated else "tcg",
            run=RunFolder(Path()),  # relative: a unix socket's name ends at 107 bytes
            disks=tuple(self._disk(slot, disk) for slot, disk in enumerate(machine.disks)),
            nics=tuple(nics),
            kernel=_kernel(machine),
            incoming=incoming,
        )
        return qemu_command(spec)

    def renewals(self, machine: Machine) -> Sequence[tuple[str, JsonObject]]:
        """See GuestDriver."""
        return [step for slot, disk in enumerate(machine.disks) for step in renewal(self._disk(slot, disk))]

    @property
    def traits(self) -> JsonObject:
        """See GuestDriver: processor and accelerator go together."""
        return {"accelerator": "kvm" if self._accelerated else "tcg"}

    def sockets(self, folder: Path) -> Mapping[str, Path]:
        """See GuestDriver."""
        run = RunFolder(folder)
        return {"monitor": run.qmp, "agent": run.agent, "console": run.console, "console_log": run.console_log}

    def _disk(self, slot: int, disk: Disk) -> DiskSpec:
        return DiskSpec(slot=slot, backend=self._backend(disk), serial=disk.name[-20:])

    def _backend(self, disk: Disk) -> Backend:
        match disk.source:
            case IscsiSource() as lun:
                return IscsiBackend(portal=lun.portal, target=lun.target, lun=lun.lun, initiator=self._initiator)
            case NfsSource() as file:
                return NfsBackend(server=file.server, path=file.path, format=file.format)
            case FileSource() as local:
                return FileBackend(path=Path(local.path), format=local.format)


def _kernel(machine: Machine) -> KernelSpec | None:
    boot = machine.boot
    if boot.kernel is None:
        return None
    nics = [GuestNic(mac=nic.mac, address=nic.address, gateway=nic.gateway, mtu=nic.mtu) for nic in machine.nics]
    return KernelSpec(
        kernel=Path(boot.kernel),
        initrd=None if boot.initrd is None else Path(boot.initrd),
        cmdline=f"{boot.cmdline} {guest_arguments(machine.name, nics)}".strip(),
    )
