"""What hostd knows of its VMs across its own deaths: a folder a VM, with one JSON file that is replaced whole.

VMS/web1/vm.json       the record
VMS/web1/qemu.log      what QEMU said; the rest is labctl_server.qemu.spec.RunFolder's
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labctl.errors import LabError
from labctl.linux.processes import ProcessId
from labctl_server.machine import Machine

RECORD = "vm.json"
DOOMED = ".removed-"
"""A VM's folder is renamed to this first, so that a death in the middle of its removal leaves no half of a VM."""

State = Literal["off", "running", "crashed", "incoming"]


class Order(BaseModel):
    """A migration away from this host, as it was ordered.

    Args:
        id: its id, the same on both hosts.
        host: the destination's name.
        address: where the destination's agent listens.
        port: its TCP port.
        listen: the destination's address for the migration's own stream.
        machine: the VM's hardware on the destination, without what it boots from.
        bandwidth: bytes a second at most.
        downtime: milliseconds that the switchover may take; the copying goes on until it fits.
        encrypted: whether its stream goes under TLS.
        handing_over: whether the destination may have been told to let the VM run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    host: str
    address: str
    port: int
    listen: str
    machine: Machine
    bandwidth: int = Field(default=2**30, gt=0)
    downtime: int = Field(default=500, gt=0, le=2_000_000)
    encrypted: bool = True
    handing_over: bool = False


class Moved(BaseModel):
    """Where a VM went that was here.

    Args:
        host: the host's name.
        machine: the VM's hardware there.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    machine: Machine


class VmRecord(BaseModel):
    """A VM as hostd remembers it.

    Args:
        machine: the hardware for the next start.
        state: see labctl_server.hostd.
        reason: why it is in that state, for people.
        running: the hardware that the present process was started with, or None.
        process: the present process, or None; while a start is under way it may be there and not be recorded yet.
        since: when the state was entered, seconds since the epoch.
        migration: the migration away from here that is under way, or None.
        moved: where it went; it must not be started here until labd has taken note.
        arriving: the id of the migration by which it comes, until it runs here.
        arrived: the id of the migration by which it came.
    """

    model_config = ConfigDict(frozen=True)

    machine: Machine
    state: State = "off"
    reason: str = ""
    running: Machine | None = None
    process: ProcessId | None = None
    since: float = 0.0
    migration: Order | None = None
    moved: Moved | None = None
    arriving: str = ""
    arrived: str = ""


class VmStore:
    """The records of one host.

    Args:
        folder: where the VMs' folders are; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, name: str) -> Path:
        """A VM's folder."""
        return self._folder / name

    def load(self) -> dict[str, VmRecord]:
        """All records by name; what is left of removed VMs goes.

        Raises:
            LabError: a record cannot be read.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        records: dict[str, VmRecord] = {}
        for folder in sorted(self._folder.iterdir()):
            if folder.name.startswith(DOOMED):
                shutil.rmtree(folder)
            elif (folder / RECORD).exists():
                records[folder.name] = _read(folder / RECORD)
            else:  # its first record was never written: nothing had happened
                shutil.rmtree(folder)
        return records

    def save(self, record: VmRecord, *, sync: bool = True) -> None:
        """Write a record; after a power cut there is the old one or this one.

        Args:
            record: what is known now.
            sync: False while a VM is paused for it: hostd's death loses nothing all the same, and a power cut ends the VM too.
        """
        folder = self.folder(record.machine.name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = folder / f".{RECORD}"
        with fresh.open("w") as file:
            file.write(record.model_dump_json(indent=1))
            file.flush()
            if sync:
                os.fsync(file.fileno())
        fresh.replace(folder / RECORD)

    def remove(self, name: str) -> None:
        """Forget a VM and remove its folder."""
        doomed = self._folder / f"{DOOMED}{name}"
        shutil.rmtree(doomed, ignore_errors=True)
        if self.folder(name).exists():
            self.folder(name).rename(doomed)
            shutil.rmtree(doomed)


def _read(path: Path) -> VmRecord:
    try:
        return VmRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise LabError(
            f"{path} is not a VM's record of this version of labctl", hint="run `labctl down` and `labctl up` again"
        ) from error
