"""The shelf of an array whose data lies elsewhere: disks in chunks for LUNs, files in a tree for exports."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from labctl.model.json import JsonObject
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.shelves.objects import ObjectShelf
from labctl_storage.arrayd.shelves.shelf import Shelf
from labctl_storage.arrayd.shelves.trees import TreeShelf
from labemu_iscsi.io.state import FileStateStore
from labemu_store.block.api import BlockStore
from labemu_store.file import FileStore


class ElsewhereShelf:
    """Asks the one or the other, by the datastore's protocol.

    Args:
        backing: the URL above the datastores.
        folder: where changes and trees are.
        cache: bytes that may wait for each LUN.
        options: of the filesystem.
        secret: a TOML file with more of them; None is none.
        executor: on whose threads the filesystem is called.
    """

    outlives_agent = True

    def __init__(
        self,
        backing: str,
        folder: Path,
        *,
        cache: int,
        options: Mapping[str, Any],
        secret: Path | None,
        executor: Executor | None,
    ) -> None:
        self._luns = ObjectShelf(backing, folder, cache=cache, options=options, secret=secret, executor=executor)
        self._files = TreeShelf(backing, folder, options=options, secret=secret, executor=executor)

    def _of(self, datastore: DatastoreRecord) -> Shelf:
        return self._files if datastore.protocol == "nfs" else self._luns

    def prepare(self, datastore: DatastoreRecord) -> None:
        """See Shelf."""
        self._of(datastore).prepare(datastore)

    def withdraw(self, datastore: DatastoreRecord) -> None:
        """See Shelf."""
        self._of(datastore).withdraw(datastore)

    def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """See Shelf."""
        self._of(datastore).make(datastore, volume)

    def open(self, datastore: DatastoreRecord, volume: VolumeRecord, *, later: bool) -> BlockStore:
        """See Shelf."""
        return self._of(datastore).open(datastore, volume, later=later)

    def state(self, datastore: DatastoreRecord, name: str) -> FileStateStore:
        """See Shelf."""
        return self._of(datastore).state(datastore, name)

    def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """See Shelf."""
        self._of(datastore).destroy(datastore, name)

    def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """See Shelf."""
        self._of(datastore).remove_drafts(datastore)

    def used(self, datastore: DatastoreRecord) -> int:
        """See Shelf."""
        return self._of(datastore).used(datastore)

    def properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """See Shelf."""
        return self._of(datastore).properties(datastore, volume)

    def path(self, datastore: DatastoreRecord, name: str) -> Path | None:
        """See Shelf."""
        return self._of(datastore).path(datastore, name)

    def export(self, datastore: DatastoreRecord) -> FileStore:
        """See ExportShelf."""
        return self._files.export(datastore)

    def close_export(self, datastore: DatastoreRecord, store: FileStore) -> None:
        """See ExportShelf."""
        self._files.close_export(datastore, store)
