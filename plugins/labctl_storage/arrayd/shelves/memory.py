"""Volumes in the agent's memory: gone when it ends, and then its LUNs are gone too, until `labctl up` makes them anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from labctl.model.json import JsonObject
from labctl_storage.arrayd.content import check_source
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labemu_iscsi.io.state import FileStateStore
from labemu_store.block.api import BlockStore
from labemu_store.block.filters.base import Clear
from labemu_store.block.memory import MemoryBlockStore

_PIECE: Final = 1 << 20


class _Lent(Clear):
    """A store that outlives its LUN: it may be offered again."""

    def close(self) -> None:
        """It is the shelf's."""


class MemoryShelf:
    """Sparse memory for each volume.

    Args:
        folder: where reservations are kept.
    """

    outlives_agent = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[tuple[str, str], MemoryBlockStore] = {}

    def prepare(self, datastore: DatastoreRecord) -> None:
        """Make the folder for reservations."""
        (self._folder / datastore.name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def withdraw(self, datastore: DatastoreRecord) -> None:
        """Nothing is left: the agent's folder goes with it."""

    def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Fill it from its image."""
        key = (datastore.name, volume.name)
        if key in self._open:
            return
        if volume.source is not None:
            check_source(volume.source, volume.size)
        store = MemoryBlockStore(volume.size, name=f"{datastore.name}-{volume.name}")
        if volume.source is not None:
            for offset, piece in _pieces(volume.source):
                store.write(offset, piece)
        self._open[key] = store

    def open(self, datastore: DatastoreRecord, volume: VolumeRecord, *, later: bool) -> BlockStore:
        """What `make` made."""
        store = self._open[datastore.name, volume.name]
        if store.size < volume.size:
            store.resize(volume.size)
        return _Lent(store)

    def state(self, datastore: DatastoreRecord, name: str) -> FileStateStore:
        """In the folder."""
        return FileStateStore(self._folder / datastore.name / f"{name}.reservations")

    def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Let go of it."""
        store = self._open.pop((datastore.name, name), None)
        if store is not None:
            store.close()
        self.state(datastore, name).path.unlink(missing_ok=True)

    def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """There are none."""

    def used(self, datastore: DatastoreRecord) -> int:
        """All its volumes'."""
        return sum(store.allocated() for (name, _), store in self._open.items() if name == datastore.name)

    def properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """What is used."""
        store = self._open.get((datastore.name, volume.name))
        return {"used": 0 if store is None else store.allocated(), "snapshots": 0}

    def path(self, datastore: DatastoreRecord, name: str) -> Path | None:
        """It is no file."""
        return None


def _pieces(source: Path) -> Iterator[tuple[int, bytes]]:
    """What an image holds that is not zeroes."""
    with source.open("rb") as file:
        offset = 0
        while piece := file.read(_PIECE):
            if piece.strip(b"\0"):
                yield offset, piece
            offset += len(piece)
