"""A node that a COMPOUND is about: the current or saved filehandle, opened."""

from __future__ import annotations

from labemu_nfs.exports import Export
from labemu_nfs.nfs4.state.model import FileId
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_store.file.access import Identity
from labemu_store.file.protocol import FileStore
from labemu_store.file.types import Attributes, FileKind, Key


class Node:
    """A node with whom it is used by.

    Args:
        export: where it is.
        key: the store's name of it.
        who: the caller, as this export knows him.
        attributes: as of now, where they are known.
    """

    __slots__ = ("_attributes", "export", "key", "store", "who")

    def __init__(self, export: Export, key: Key, who: Identity, attributes: Attributes | None = None) -> None:
        self.export = export
        self.key = key
        self.store: FileStore = export.store
        self.who = who
        self._attributes = attributes

    @property
    def file(self) -> FileId:
        """Names it in the server."""
        return self.export.fsid, self.key

    @property
    def attributes(self) -> Attributes:
        """As of now; asked of the store again only after `changed`. Raises OSError, Nfs4Error MOVED."""
        known = self._attributes
        if known is None:
            if self.export.refer:  # RFC 8881 15.1.2.4
                raise Nfs4Error(Status.MOVED)
            known = self._attributes = self.store.getattr(self.key)
        return known

    def changed(self) -> None:
        """Its attributes may be others now."""
        self._attributes = None

    def require_directory(self) -> Attributes:
        """Its attributes. Raises Nfs4Error NOTDIR, or SYMLINK for one (RFC 7530 13.1.8)."""
        attributes = self.attributes
        if attributes.kind is not FileKind.DIRECTORY:
            raise Nfs4Error(Status.SYMLINK if attributes.kind is FileKind.SYMLINK else Status.NOTDIR)
        return attributes

    def require_file(self, other: Status = Status.INVAL) -> Attributes:
        """Its attributes. Raises Nfs4Error ISDIR, SYMLINK (4.1: RFC 8881 15.1.8.3 leaves it to the caller as `other`), or `other`."""
        attributes = self.attributes
        if attributes.kind is not FileKind.REGULAR:
            raise Nfs4Error(Status.ISDIR if attributes.kind is FileKind.DIRECTORY else other)
        return attributes

    def require_writable(self) -> None:
        """Raise Nfs4Error ROFS on a read-only export."""
        if self.export.read_only:
            raise Nfs4Error(Status.ROFS)
