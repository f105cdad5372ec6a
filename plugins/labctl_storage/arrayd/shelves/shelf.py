"""What the array asks of wherever its volumes lie. Blocking: callers run it in a thread.

Rules: every call can be repeated, since labd repeats what it is not sure of; an existing volume is never overwritten; a volume appears
when it is whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from labctl.model.json import JsonObject
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labemu_iscsi.io.state import FileStateStore
from labemu_store.block.api import BlockStore
from labemu_store.file.protocol import FileStore


class Shelf(Protocol):
    """A place for volumes."""

    @property
    def outlives_agent(self) -> bool:
        """Whether volumes are still there when the agent starts again."""

    def prepare(self, datastore: DatastoreRecord) -> None:
        """See that a datastore's volumes can be kept.

        Raises:
            LabError: they cannot.
        """

    def withdraw(self, datastore: DatastoreRecord) -> None:
        """Leave nothing of a datastore but its volumes."""

    def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Make a volume with its first content; one that is there keeps its own.

        Raises:
            LabError: it cannot be made.
        """

    def open(self, datastore: DatastoreRecord, volume: VolumeRecord, *, later: bool) -> BlockStore:
        """Open a volume, as large as its record says.

        Args:
            datastore: its datastore.
            volume: the volume.
            later: one that cannot be reached now is opened when it can.

        Raises:
            StoreConfigError: it cannot be opened.
        """

    def state(self, datastore: DatastoreRecord, name: str) -> FileStateStore:
        """Where a volume's reservations are kept."""

    def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Delete a volume's data and what belongs to it; one that is gone is fine.

        Raises:
            LabError: it cannot be deleted now.
        """

    def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """Before a start: remove what was interrupted."""

    def used(self, datastore: DatastoreRecord) -> int:
        """Bytes that a datastore takes."""

    def properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """What to tell of a volume besides what its record says; `used` is in bytes."""

    def path(self, datastore: DatastoreRecord, name: str) -> Path | None:
        """A volume's file, where it is one: only then it can have snapshots and clones."""


@runtime_checkable
class ExportShelf(Protocol):
    """A shelf that can offer datastores as files, too."""

    def export(self, datastore: DatastoreRecord) -> FileStore:
        """The files of a datastore.

        Raises:
            LabError: they cannot be had.
        """

    def close_export(self, datastore: DatastoreRecord, store: FileStore) -> None:
        """Close what `export` gave; what waits is brought to where it lies."""
