"""MOUNT version 3 (RFC 1813 5): from a path to the first filehandle, and who has mounted what (which is advice only)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from labemu_nfs.context import Context
from labemu_nfs.exports import Export
from labemu_nfs.limits import MAX_MOUNT_PATH, MAX_MOUNTS
from labemu_nfs.nfs3.status import Status, status_of
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Procedure, Program, null
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32
from labemu_store.file.types import FileKind, Key

MOUNT_PROGRAM = 100005


class MountTable:
    """Who has mounted what, as far as clients have said: (address, path), the latest last."""

    def __init__(self) -> None:
        self._mounts: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(tuple(self._mounts))

    def add(self, address: str, path: str) -> None:
        """A client has mounted a path."""
        self._mounts[address, path] = None
        self._mounts.move_to_end((address, path))
        if len(self._mounts) > MAX_MOUNTS:
            self._mounts.popitem(last=False)

    def remove(self, address: str, path: str | None = None) -> None:
        """A client has unmounted a path, or all of its paths."""
        for mount in [m for m in self._mounts if m[0] == address and path in (None, m[1])]:
            del self._mounts[mount]


class Mount:
    """The procedures of MOUNT.

    Args:
        context: exports and handles, shared with NFS.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.mounts = MountTable()

    def mnt(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """MNT: RFC 1813 5.2.1. Directories below an export can be mounted too; symlinks on the way are not followed."""
        path = arguments.string(MAX_MOUNT_PATH).decode("utf-8", "surrogateescape")
        found = self._context.exports.above(path) if path.startswith("/") else None
        if found is None or found[0].refer:
            return [u32(Status.NOENT)]
        export, rest = found
        if not export.admits(caller.address):
            return [u32(Status.ACCES)]
        try:
            key = self._descend(export, rest)
        except OSError as error:
            return [u32(status_of(error))]
        if key is None:
            return [u32(Status.NOTDIR)]
        self.mounts.add(caller.address, path)
        handle = self._context.handles.make(export.fsid, key)
        flavors = export.flavors
        return [u32(Status.OK) + opaque(handle) + u32(len(flavors)) + b"".join(map(u32, flavors))]

    @staticmethod
    def _descend(export: Export, rest: str) -> Key | None:
        key = export.store.root
        for name in rest.encode("utf-8", "surrogateescape").split(b"/"):
            if name in (b"", b"."):
                continue
            if name == b"..":
                key = export.store.parent(key)
                continue
            key = export.store.lookup(key, name)
            if export.store.getattr(key).kind is not FileKind.DIRECTORY:
                return None
        return key

    def dump(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """DUMP: RFC 1813 5.2.2."""
        parts = [TRUE + opaque(address.encode()) + opaque(_bytes(path)) for address, path in self.mounts]
        return [b"".join((*parts, FALSE))]

    def umnt(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """UMNT: RFC 1813 5.2.3."""
        self.mounts.remove(caller.address, arguments.string(MAX_MOUNT_PATH).decode("utf-8", "surrogateescape"))
        return []

    def umnt_all(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """UMNTALL: RFC 1813 5.2.4."""
        self.mounts.remove(caller.address)
        return []

    def export(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """EXPORT: RFC 1813 5.2.5."""
        parts: list[bytes] = []
        for export in self._context.exports:
            if export.refer:
                continue
            groups = b"".join(TRUE + opaque(str(network).encode()) for network in export.clients)
            parts.append(TRUE + opaque(_bytes(export.path)) + groups + FALSE)
        return [b"".join((*parts, FALSE))]

    def program(self) -> Program:
        """MOUNT as a table. Version 1, with its NULL, DUMP, UMNT and EXPORT, is what showmount and old unmounters call."""
        dump, umnt = Procedure("DUMP", self.dump), Procedure("UMNT", self.umnt)
        umnt_all, export = Procedure("UMNTALL", self.umnt_all), Procedure("EXPORT", self.export)
        nothing = Procedure("NULL", null)
        old = (nothing, None, dump, umnt, umnt_all, export)
        return Program(
            MOUNT_PROGRAM,
            "mount",
            {1: old, 3: (nothing, Procedure("MNT", self.mnt), dump, umnt, umnt_all, export)},
        )


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
