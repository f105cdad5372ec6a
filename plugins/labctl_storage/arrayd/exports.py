"""The array's NFS exports: datastores as files, with what their clients may do."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from labctl.errors import LabError
from labctl_storage.arrayd.registry import DatastoreRecord
from labctl_storage.arrayd.shelves.shelf import ExportShelf, Shelf
from labemu_nfs.exports import Export, parse_clients
from labemu_nfs.io.server import NfsServer
from labemu_store.file import FileStore
from labemu_store.file.quota import QuotaStore

_TABLES: Final = 64
"""A qcow2 file takes up to one part in so many more than its disk has, for its tables; that is not counted against the datastore."""

_LEAST: Final = 8 << 20
"""Bytes: what its tables take at least."""


class Exports:
    """What runs in an array of its NFS server.

    Args:
        server: the array's.
        shelf: where datastores lie.
    """

    def __init__(self, server: NfsServer, shelf: Shelf) -> None:
        self._server = server
        self._shelf = shelf

    async def offer(self, datastore: DatastoreRecord) -> None:
        """Offer a datastore, or change what one gives that is offered, from the next call of a client on.

        Raises:
            LabError: its files cannot be had.
        """
        wanted = datastore.export
        limits = {"size": datastore.size + max(datastore.size // _TABLES, _LEAST), "files": wanted.files}
        clients = parse_clients(",".join(wanted.clients))
        present = self._find(datastore)
        if present is None:
            inner = await asyncio.to_thread(self._exporting.export, datastore)
            present = Export(path=datastore.where, store=cast("FileStore", QuotaStore(inner, **limits)))
            present.change(read_only=wanted.read_only, squash=wanted.squash, clients=clients)
            self._server.add_export(present)
            return
        present.change(read_only=wanted.read_only, squash=wanted.squash, clients=clients)
        _quota(present).limit(**limits)

    async def withdraw(self, datastore: DatastoreRecord) -> None:
        """Offer it no more; its handles are stale."""
        present = self._find(datastore)
        if present is not None:
            self._server.release_export(datastore.where)
            await asyncio.to_thread(self._exporting.close_export, datastore, present.store)

    def look(self, datastore: DatastoreRecord) -> None:
        """Its files were changed otherwise than by clients."""
        present = self._find(datastore)
        if present is not None:
            _quota(present).recount()

    def _find(self, datastore: DatastoreRecord) -> Export | None:
        return next((export for export in self._server.exports if export.path == datastore.where), None)

    @property
    def _exporting(self) -> ExportShelf:
        if not isinstance(self._shelf, ExportShelf):
            raise LabError(
                "an NFS export needs files, and this array keeps its data in memory",
                hint="give the array a file:// backing, or one elsewhere",
            )
        return self._shelf


def _quota(export: Export) -> QuotaStore:
    assert isinstance(export.store, QuotaStore)
    return export.store
