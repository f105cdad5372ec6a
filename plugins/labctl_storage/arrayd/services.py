"""The array's targets and exports: registry records turned into stores, LUNs and exports of the emulators.

Rules: every call is idempotent, because labd repeats what it is not sure of, and a restart of the agent replays the whole registry.
What takes time (copying an image, opening files) runs in a thread, so that the emulators go on answering.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from labctl.errors import LabError, UsageError
from labctl.model.json import Json, JsonObject
from labctl_storage import naming
from labctl_storage.arrayd.exports import Exports
from labctl_storage.arrayd.faults import Emulator
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.shelves.build import ShelfConfig, build_shelf
from labctl_storage.arrayd.snapshots import Lun, Snapshots
from labemu_iscsi.io.server import IscsiServer
from labemu_nfs.io.server import NfsServer
from labemu_stages.feed import Feed
from labemu_store.block.api import BlockStore
from labemu_store.block.awaited import AwaitedStore
from labemu_store.errors import StoreConfigError, StoreError


class ArrayConfig(ShelfConfig):
    """The `config` of an array's agent: what it serves, on which addresses, and where its data lies."""

    protocols: tuple[Literal["iscsi", "nfs"], ...]
    portals: tuple[str, ...]


class ArrayServices:
    """What runs in the array.

    Args:
        config: see ArrayConfig.
        directory: the agent's folder; the NFS server keeps its handle key there.
        lab: the lab's name, for serial numbers.
        outside: threads that live in the machine's own network, for what lies elsewhere.
    """

    def __init__(self, config: ArrayConfig, directory: Path, lab: str, outside: Executor | None = None) -> None:
        self._shelf = build_shelf(config, directory, outside)
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
            LabError: the array does not speak its protocol, or the data cannot be kept.
        """
        await asyncio.to_thread(self._shelf.prepare, datastore)
        await self.offer(datastore)

    async def offer(self, datastore: DatastoreRecord) -> None:
        """Offer a datastore's target or export, whether or not its data can be reached now.

        Raises:
            LabError: the array does not speak its protocol.
        """
        if datastore.protocol == "iscsi":
            if datastore.where not in self._target_server().targets:
                self._target_server().add_target(datastore.where)
        else:
            await self._exports.offer(datastore)

    async def withdraw(self, datastore: DatastoreRecord) -> None:
        """Stop serving a datastore; its folder goes if it is empty."""
        if datastore.protocol == "iscsi":
            await self._target_server().remove_target(datastore.where)
        else:
            await self._exports.withdraw(datastore)
        await asyncio.to_thread(self._shelf.withdraw, datastore)

    async def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Make a volume with its first content; one that is there keeps its own, and grows where it is smaller."""
        await asyncio.to_thread(self._shelf.make, datastore, volume)
        if datastore.protocol == "nfs":
            self._exports.look(datastore)

    async def attach(self, datastore: DatastoreRecord, volume: VolumeRecord, *, later: bool = False) -> None:
        """Offer a volume: a LUN of the datastore's target. A file needs nothing, its export shows it.

        Args:
            datastore: its datastore.
            volume: the volume.
            later: one whose data cannot be reached now is offered all the same, and is not ready until it can.

        Raises:
            LabError: it cannot be offered.
        """
        if volume.lun is None:
            return
        server = self._target_server()
        present = server.targets[datastore.where].device.units.get(volume.lun)
        if present is not None:
            if present.store.size != volume.size:
                server.resize_lun(datastore.where, volume.lun, volume.size)
            return
        state = self._shelf.state(datastore, volume.name)
        try:
            store = await asyncio.to_thread(self._shelf.open, datastore, volume, later=later)
        except StoreConfigError as error:
            raise LabError(f"cannot open {datastore.name}/{volume.name}: {error}", hint=error.hint) from error
        serial = naming.serial(self._lab, datastore.name, volume.name)
        try:
            server.add_lun(datastore.where, volume.lun, store, serial=serial, state=state)
        except ValueError as error:
            store.close()
            raise LabError(
                f"cannot offer volume {volume.name} of {datastore.name}: {error}",
                hint=f"look at {state.path}; without that file the volume is free for all",
            ) from error

    async def settle(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """After a start: end what a kill interrupted, a merge of layers say, while the volume is used.

        Raises:
            LabError: the disk below is full, or fails.
        """
        if volume.lun is None:
            return
        if self._shelf.path(datastore, volume.name) is not None:
            await self._snapshots.settle(self._lun(datastore, volume))
            return
        store = self._store(datastore, volume)
        if isinstance(store, AwaitedStore):
            with suppress(StoreError):  # it is not ready, and says so
                await asyncio.to_thread(store.reach)

    async def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """Before a start: remove what copies and images that were interrupted left."""
        await asyncio.to_thread(self._shelf.remove_drafts, datastore)

    def snapshots(self, datastore: DatastoreRecord, volume: VolumeRecord) -> tuple[Snapshots, Lun]:
        """What makes snapshots of a volume, and the volume as it wants it.

        Raises:
            UsageError: the volume is a file on an export, or no file.
        """
        if self._shelf.path(datastore, volume.name) is None:
            raise UsageError(
                f"{datastore.name}/{volume.name} is not in a file: the array cannot keep snapshots of it, nor clone it",
                hint="put the disk on an array whose backing is file://",
            )
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
            path=self.file(datastore, volume.name),
        )

    async def detach(self, datastore: DatastoreRecord, volume: VolumeRecord, *, discard: bool = False) -> str:
        """Stop offering a volume; returns what its user should know: its last changes could not be brought to its storage, and wait.

        Args:
            datastore: its datastore.
            volume: the volume.
            discard: its data is about to be destroyed: nothing that waits needs to be kept.
        """
        if volume.lun is None or volume.lun not in self._target_server().targets[datastore.where].device.units:
            return ""
        store = self._store(datastore, volume)
        if discard and isinstance(store, AwaitedStore):
            store.discard()
        try:
            await self._target_server().remove_lun(datastore.where, volume.lun)
        except StoreError as error:
            return (
                f"{datastore.name}/{volume.name}: its last changes could not be brought to its storage "
                f"({os.strerror(error.errno or 0)}); they are kept in the lab's data folder until it is used again"
            )
        return ""

    def _store(self, datastore: DatastoreRecord, volume: VolumeRecord) -> BlockStore:
        assert volume.lun is not None
        return self._target_server().targets[datastore.where].device.units[volume.lun].store

    async def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Delete a volume's data, and who had it reserved.

        Raises:
            LabError: it cannot be deleted now.
        """
        await asyncio.to_thread(self._shelf.destroy, datastore, name)
        if datastore.protocol == "nfs":
            self._exports.look(datastore)

    @property
    def outlives_agent(self) -> bool:
        """Whether volumes are still there after a restart."""
        return self._shelf.outlives_agent

    def datastore_properties(self, datastore: DatastoreRecord, volumes: Sequence[VolumeRecord]) -> JsonObject:
        """Protocol, capacity, what is used of it, and what its volumes may come to use, in bytes."""
        return {
            "protocol": datastore.protocol,
            "capacity": datastore.size,
            "used": self._shelf.used(datastore),
            "provisioned": sum(volume.size for volume in volumes),
            "where": datastore.where,
        }

    def volume_properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """Size and what is used of it, in bytes."""
        told = self._shelf.properties(datastore, volume)
        properties: JsonObject = {"size": volume.size, "lun": volume.lun, **told}
        return properties if volume.clone_of is None else {**properties, "clone_of": volume.clone_of}

    def file(self, datastore: DatastoreRecord, name: str) -> Path:
        """Where the data of a volume in a file is, or will be."""
        path = self._shelf.path(datastore, name)
        assert path is not None
        return path

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
        return [server.watch for server in (self._iscsi, self._nfs) if server is not None]

    def sessions(self) -> dict[str, list[Json]]:
        """Who is connected, by protocol."""
        return {
            "iscsi": [] if self._iscsi is None else [asdict(session) for session in self._iscsi.sessions()],
            "nfs": [] if self._nfs is None else list(self._nfs.clients),
        }

    def _target_server(self) -> IscsiServer:
        if self._iscsi is None:
            raise LabError("this array does not speak iSCSI", hint='add "iscsi" to its protocols')
        return self._iscsi

    @property
    def _exports(self) -> Exports:
        if self._nfs is None:
            raise LabError("this array does not speak NFS", hint='add "nfs" to its protocols')
        return Exports(self._nfs, self._shelf)
