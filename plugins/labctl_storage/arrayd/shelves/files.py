"""Volumes in files: raw with holes for LUNs, qcow2 for exports."""

from __future__ import annotations

from pathlib import Path

from labctl.errors import LabError
from labctl.model.json import JsonObject
from labctl_storage import naming
from labctl_storage.arrayd import content, disks
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labemu_iscsi.io.state import FileStateStore
from labemu_store.block.api import BlockStore
from labemu_store.file import FileStore, LocalFileStore


class FileShelf:
    """A folder for each datastore, a file for each volume.

    Args:
        root: the folder above them.
    """

    outlives_agent = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, datastore: DatastoreRecord) -> Path:
        """A datastore's folder."""
        return self._root / datastore.name

    def path(self, datastore: DatastoreRecord, name: str) -> Path:
        """A volume's file."""
        return self.folder(datastore) / naming.volume_file(name, datastore.protocol)

    def prepare(self, datastore: DatastoreRecord) -> None:
        """Make its folder."""
        folder = self.folder(datastore)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(
                f"cannot keep datastore {datastore.name} in {folder}: {error.strerror}",
                hint="give the array another backing",
            ) from error

    def withdraw(self, datastore: DatastoreRecord) -> None:
        """Remove its folder, and the array's above it, if nothing is left in them."""
        for path in (self.folder(datastore), self._root):
            try:
                path.rmdir()
            except OSError:
                return

    def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Make its file; one that is smaller grows."""
        create = content.make_qcow2 if datastore.protocol == "nfs" else content.make_raw
        create(self.path(datastore, volume.name), volume.size, volume.source)

    def open(self, datastore: DatastoreRecord, volume: VolumeRecord, *, later: bool) -> BlockStore:
        """Open its file, through its layers where it has any."""
        return disks.open_disk(self.path(datastore, volume.name), volume.size)

    def state(self, datastore: DatastoreRecord, name: str) -> FileStateStore:
        """Beside its file."""
        return FileStateStore.beside(self.path(datastore, name))

    def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Delete its file and layers, and who had it reserved."""
        content.remove(self.path(datastore, name))
        self.state(datastore, name).path.unlink(missing_ok=True)

    def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """Remove what copies and images that were interrupted left."""
        content.remove_drafts(self.folder(datastore))

    def used(self, datastore: DatastoreRecord) -> int:
        """With all layers."""
        return sum(disks.allocated(file) for file in self.folder(datastore).glob("*") if file.is_file())

    def properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """Its file, and how many snapshots it has."""
        file = self.path(datastore, volume.name)
        return {"used": disks.allocated(file), "file": file.name, "snapshots": disks.count_snapshots(file)}

    def export(self, datastore: DatastoreRecord) -> FileStore:
        """Its folder."""
        return LocalFileStore(self.folder(datastore))

    def close_export(self, datastore: DatastoreRecord, store: FileStore) -> None:
        """Close it."""
        store.close()
