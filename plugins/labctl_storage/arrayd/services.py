"""The array's targets and exports: registry records turned into stores, LUNs and exports of the emulators.

Rules: every call is idempotent, because labd repeats what it is not sure of, and a restart of the agent replays the whole registry.
What takes time (copying an image, opening files) runs in a thread, so that the emulators go on answering.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict

from labctl.errors import LabError, UsageError
from labctl.model.json import Json, JsonObject
from labctl_storage import naming
from labctl_storage.arrayd import content, disks
from labctl_storage.arrayd.faults import Emulator
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.snapshots import Lun, Snapshots
from labemu_iscsi.io.server import IscsiServer
from labemu_iscsi.io.state import FileStateStore
from labemu_nfs.exports import Export
from labemu_nfs.io.server import NfsServer
from labemu_stages.feed import Feed
from labemu_store.file.url import open_file_store


class ArrayConfig(BaseModel):
    """The `config` of an array's agent: what it serves, on which addresses, and where its data lies (a file:// URL)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocols: tuple[Literal["iscsi", "nfs"], ...]
    portals: tuple[str, ...]
    backing: str


class ArrayServices:
    """What runs in the array.

    Args:
        config: see ArrayConfig.
        directory: the agent's folder; the NFS server keeps its handle key there.
        lab: the lab's name, for serial numbers.
    """

    def __init__(self, config: ArrayConfig, directory: Path, lab: str) -> None:
        self._root = Path(unquote(urlsplit(config.backing).path))
        self._lab = lab
        self._iscsi: IscsiServer | None = None
        self._nfs: NfsServer | None = None
        if "iscsi" in config.protocols:
            self._iscsi = IscsiServer(portals=[(portal, naming.ISCSI_PORT) for portal in config.portals])
            self._snapshots = Snapshots(self._iscsi, time.time)
        if "nfs" in config.protocols:
            self._nfs = NfsServer(listen=config.portals, state_dir=directory / "nfs")

    async def start(self) -> None:
        """Listen on the portals."""
        for server in (self._iscsi, self._nfs):
            if server is not None:
                await server.start()

    async def stop(self) -> None:
        """Close the portals, then flush and close every store."""
        for server in (self._iscsi, self._nfs):
            if server is not None:
                await server.close()

    async def serve(self, datastore: DatastoreRecord) -> None:
        """Make a datastore's target or export.

        Raises:
            LabError: the array does not speak its protocol, or its folder cannot be made.
        """
        folder = self._folder(datastore)
        try:
            await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(
                f"cannot keep datastore {datastore.name} in {folder}: {error.strerror}",
                hint="give the array another backing",
            ) from error
        if datastore.protocol == "iscsi":
            if datastore.where not in self._target_server().targets:
                self._target_server().add_target(datastore.where)
        elif all(export.path != datastore.where for export in self._export_server().exports):
            store = await asyncio.to_thread(open_file_store, folder.as_uri())
            self._export_server().add_export(Export(path=datastore.where, store=store))

    async def withdraw(self, datastore: DatastoreRecord) -> None:
        """Stop serving a datastore; its folder goes if it is empty."""
        if datastore.protocol == "iscsi":
            await self._target_server().remove_target(datastore.where)
        else:
            self._export_server().remove_export(datastore.where)
        await asyncio.to_thread(_remove_empty, self._folder(datastore), self._root)

    async def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Make a volume's file with its first content; one that is there keeps its own, and grows where it is smaller."""
        create = content.make_qcow2 if datastore.protocol == "nfs" else content.make_raw
        await asyncio.to_thread(create, self._file(datastore, volume.name), volume.size, volume.source)

    async def attach(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Offer a volume: a LUN of the datastore's target. A file needs nothing, its export shows it."""
        if volume.lun is None:
            return
        server = self._target_server()
        present = server.targets[datastore.where].device.units.get(volume.lun)
        if present is not None:
            if present.store.size != volume.size:
                server.resize_lun(datastore.where, volume.lun, volume.size)
            return
        path = self._file(datastore, volume.name)
        store = await asyncio.to_thread(disks.open_disk, path, volume.size)
        try:
            server.add_lun(
                datastore.where,
                volume.lun,
                store,
                serial=naming.serial(self._lab, datastore.name, volume.name),
                state=FileStateStore.beside(path),
            )
        except ValueError as error:
            store.close()
            raise LabError(
                f"cannot offer volume {volume.name} of {datastore.name}: {error}",
                hint=f"look at {FileStateStore.beside(path).path}; without that file the volume is free for all",
            ) from error

    async def settle(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """After a start: end what a kill interrupted, a merge of layers say, while the volume is used.

        Raises:
            LabError: the disk below is full, or fails.
        """
        if volume.lun is not None:
            await self._snapshots.settle(self._lun(datastore, volume))

    async def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """Before a start: remove what copies and images that were interrupted left."""
        await asyncio.to_thread(content.remove_drafts, self._folder(datastore))

    def snapshots(self, datastore: DatastoreRecord, volume: VolumeRecord) -> tuple[Snapshots, Lun]:
        """What makes snapshots of a volume, and the volume as it wants it.

        Raises:
            UsageError: the volume is a file on an export.
        """
        if volume.lun is None:
            raise UsageError(
                f"{datastore.name}/{volume.name} is a file on an NFS export: the array cannot tell when it is consistent",
                hint="put the disk on an iSCSI datastore, or copy the file where the export is mounted",
            )
        self._target_server()
        return self._snapshots, self._lun(datastore, volume)

    def _lun(self, datastore: DatastoreRecord, volume: VolumeRecord) -> Lun:
        assert volume.lun is not None
        return Lun(
            volume=f"{datastore.name}/{volume.name}",
            target=datastore.where,
            number=volume.lun,
            path=self._file(datastore, volume.name),
        )

    async def detach(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Stop offering a volume."""
        if volume.lun is not None and volume.lun in self._target_server().targets[datastore.where].device.units:
            await self._target_server().remove_lun(datastore.where, volume.lun)

    async def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Delete a volume's data, and who had it reserved."""
        file = self._file(datastore, name)
        await asyncio.to_thread(content.remove, file)
        await asyncio.to_thread(FileStateStore.beside(file).path.unlink, missing_ok=True)

    def datastore_properties(self, datastore: DatastoreRecord, volumes: Sequence[VolumeRecord]) -> JsonObject:
        """Protocol, capacity, what is used of it, and what its volumes may come to use, in bytes."""
        used = sum(disks.allocated(file) for file in self._folder(datastore).glob("*") if file.is_file())
        return {
            "protocol": datastore.protocol,
            "capacity": datastore.size,
            "used": used,
            "provisioned": sum(volume.size for volume in volumes),
            "where": datastore.where,
        }

    def volume_properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """Size and what is used of it, in bytes."""
        file = self._file(datastore, volume.name)
        properties: JsonObject = {
            "size": volume.size,
            "used": disks.allocated(file),
            "lun": volume.lun,
            "file": file.name,
            "snapshots": disks.count_snapshots(file),
        }
        return properties if volume.clone_of is None else {**properties, "clone_of": volume.clone_of}

    def file(self, datastore: DatastoreRecord, name: str) -> Path:
        """Where a volume's data is, or will be."""
        return self._file(datastore, name)

    def faults(self) -> dict[str, Emulator]:
        """The emulators' faults, by protocol."""
        found: dict[str, Emulator] = {}
        if self._iscsi is not None:
            found["iscsi"] = self._iscsi.faults
        if self._nfs is not None:
            found["nfs"] = self._nfs.faults
        return found

    def stage_switches(self) -> list[Callable[[Feed | None], None]]:
        """What makes the emulators note the stages of commands, or no more."""
        return [] if self._iscsi is None else [self._iscsi.watch]

    def sessions(self) -> Json:
        """Who is connected, by protocol."""
        return {
            "iscsi": [] if self._iscsi is None else [asdict(session) for session in self._iscsi.sessions()],
            "nfs": [] if self._nfs is None else list(self._nfs.clients),
        }

    def _folder(self, datastore: DatastoreRecord) -> Path:
        return self._root / datastore.name

    def _file(self, datastore: DatastoreRecord, name: str) -> Path:
        return self._folder(datastore) / naming.volume_file(name, datastore.protocol)

    def _target_server(self) -> IscsiServer:
        if self._iscsi is None:
            raise LabError("this array does not speak iSCSI", hint='add "iscsi" to its protocols')
        return self._iscsi

    def _export_server(self) -> NfsServer:
        if self._nfs is None:
            raise LabError("this array does not speak NFS", hint='add "nfs" to its protocols')
        return self._nfs


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a datastore's folder, and the array's above it, if nothing is left in them."""
    for path in (folder, root):
        try:
            path.rmdir()
        except OSError:
            return
