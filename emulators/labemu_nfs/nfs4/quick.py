"""The quick forms of the operations that clients send most: see compound.Quick.

Rules: a quick form answers byte for byte as the handler would, leases and counts included, or not at all; every rule of the protocol
that has an unusual case stays in the handler, which is then asked. What is remembered from call to call is what cannot become wrong
while the exports are the same ones (`ExportTable.generation`): which handles are good, and how attributes of an export are packed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from struct import Struct

from labemu_nfs.exports import Export
from labemu_nfs.limits import MAX_IO, MAX_READDIR
from labemu_nfs.nfs4.attributes import MAX_PLANS, WRITE_ONLY
from labemu_nfs.nfs4.compound import Compound, Handler, Op, Quick
from labemu_nfs.nfs4.constants import MAX_HANDLE as _MAX_HANDLE
from labemu_nfs.nfs4.constants import Attribute, Number, StableHow
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.listing import QuickListing, UnusualError
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.ops import attributes, data, directories, filehandles, names
from labemu_nfs.nfs4.packing import Packer
from labemu_nfs.nfs4.state import api
from labemu_nfs.nfs4.status import Status
from labemu_nfs.nfs4.types import decode_bitmap
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.xdr import Decoder, opaque, padding
from labemu_store.file import access
from labemu_store.file.access import Identity
from labemu_store.file.types import MAX_OFFSET, FileKind, Key

_U32 = Struct(">I")
_TWO = Struct(">II")
_FOUR = Struct(">IIII")
_MAX_TEXT = 256
_TEXTS = tuple(Struct(f">{size}s{-size & 3}x") for size in range(_MAX_TEXT))
"""Opaque data of each size with its padding: a struct fails where the message ends before."""

_READDIR = Struct(">Q8sIII")
_LISTS = access.READ | access.EXECUTE
_READ = Struct(">I12sQI")
_WRITE = Struct(">I12sQII")
_WRITTEN = Struct(">IIII8s")
_BITMAP_WORDS = 3
_DOTS = (b".", b"..")
_SET_IDS = 0o6000
_DEPENDS_ON_HOLDER = 1 << Attribute.CHANGE | 1 << Attribute.SIZE
_DIRECTORY, _REGULAR = FileKind.DIRECTORY, FileKind.REGULAR
_READ_OVERHEAD = 16
"""Bytes of READ's results besides the data, less what `room` keeps for a status."""

_MAX_PLACES = 16384
"""Handles of callers that are remembered (some 8 MB)."""


def _done(number: Number) -> bytes:
    return _TWO.pack(number, Status.OK)


_PUTFH, _LOOKUP, _GETFH = _done(Number.PUTFH), _done(Number.LOOKUP), _done(Number.GETFH)
_READ_DIRECTORY = _done(Number.READDIR)
_SAVEFH, _RESTOREFH, _GETATTR = _done(Number.SAVEFH), _done(Number.RESTOREFH), _done(Number.GETATTR)


class _Known:
    """What is known of an export: whether names in it may lead out of it, the longest name, and how sets of attributes are packed."""

    __slots__ = ("crosses", "longest", "packers")

    def __init__(self, context: Context4, export: Export) -> None:
        self.crosses = context.pseudo.crosses(export) or bool(export.refer)
        self.longest = min(export.store.capabilities.max_name, _MAX_TEXT - 1)
        self.packers: dict[tuple[bytes, int], Packer | None] = {}


class QuickForms:
    """The quick forms, with what they remember.

    Args:
        context: of the COMPOUNDs.
    """

    def __init__(self, context: Context4) -> None:
        self._context = context
        self._exports = context.exports
        self._generation = -1
        self._places: dict[tuple[bytes, Credential, str], tuple[Export, Key, Identity]] = {}
        self._known: dict[Export, _Known] = {}

    def of(self, rows: Iterable[Op]) -> tuple[Op, ...]:
        """The operations, those that have a quick form with it."""
        quick: dict[Handler, Quick] = {
            filehandles.putfh: self.putfh,
            filehandles.getfh: self.getfh,
            filehandles.savefh: self.savefh,
            filehandles.restorefh: self.restorefh,
            names.lookup: self.lookup,
            attributes.getattr_: self.getattr_,
            attributes.access_: self.access_,
            data.read: self.read,
            data.write: self.write,
            directories.readdir: self.readdir,
        }
        return tuple(replace(op, quick=quick.get(op.handler)) for op in rows)

    # -- what is remembered --------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """The exports are others now."""
        self._generation = self._exports.generation
        self._places.clear()
        self._known.clear()

    def _about(self, export: Export) -> _Known:
        known = self._known.get(export)
        if known is None:
            known = self._known[export] = _Known(self._context, export)
        return known

    # -- the current filehandle ----------------------------------------------------------------------------------------

    def putfh(self, compound: Compound, view: memoryview, at: int) -> int:
        """PUTFH: see filehandles."""
        size: int = _U32.unpack_from(view, at)[0]
        if size > _MAX_HANDLE:
            return 0
        text = _TEXTS[size]
        handle: bytes = text.unpack_from(view, at + 4)[0]
        if self._generation != self._exports.generation:
            self._forget()
        who = handle, compound.credential, compound.caller.address
        place = self._places.get(who)
        if place is None:
            node = self._context.open(handle, compound.caller, compound.credential)
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            self._places[who] = node.export, node.key, node.who
        else:
            node = Node(*place)
            if not node.export.refer:
                node.attributes  # noqa: B018 # as in Context4.node
        compound.current = node
        compound.stateid = None
        compound.put(_PUTFH)
        return at + 4 + text.size

    def getfh(self, compound: Compound, view: memoryview, at: int) -> int:
        """GETFH: see filehandles."""
        node = compound.current
        if node is None or node.export.refer:
            return 0
        handle = self._context.handles.make(node.export.fsid, node.key)
        compound.put(_GETFH + opaque(handle))
        return at

    def savefh(self, compound: Compound, view: memoryview, at: int) -> int:
        """SAVEFH: see filehandles."""
        if compound.current is None:
            return 0
        compound.saved, compound.saved_stateid = compound.current, compound.stateid
        compound.put(_SAVEFH)
        return at

    def restorefh(self, compound: Compound, view: memoryview, at: int) -> int:
        """RESTOREFH: see filehandles."""
        if compound.saved is None:
            return 0
        compound.current, compound.stateid = compound.saved, compound.saved_stateid
        compound.put(_RESTOREFH)
        return at

    def lookup(self, compound: Compound, view: memoryview, at: int) -> int:
        """LOOKUP: see names; of plain names, in directories from which no name leads out of the export."""
        node = compound.current
        size: int = _U32.unpack_from(view, at)[0]
        if node is None:
            return 0
        export = node.export
        known = self._known.get(export) or self._about(export)
        if known.crosses or not 0 < size <= known.longest:
            return 0
        text = _TEXTS[size]
        name: bytes = text.unpack_from(view, at + 4)[0]
        if name in _DOTS or b"/" in name or b"\0" in name or not name.isascii():
            return 0
        directory = node.attributes
        if directory.kind is not _DIRECTORY:
            return 0
        access.require(directory, node.who, access.EXECUTE)
        key, there = node.store.peek(node.key, name)
        compound.current = Node(export, key, node.who, there)
        compound.stateid = None
        compound.put(_LOOKUP)
        return at + 4 + text.size

    # -- attributes ----------------------------------------------------------------------------------------------------

    def getattr_(self, compound: Compound, view: memoryview, at: int) -> int:
        """GETATTR: see attributes; of sets that have a Packer."""
        node = compound.current
        words: int = _U32.unpack_from(view, at)[0]
        if node is None or words > _BITMAP_WORDS:
            return 0
        text = _TEXTS[4 + 4 * words]
        bitmap: bytes = text.unpack_from(view, at)[0]
        packer = self.packer(compound, node.export, bitmap)
        if packer is None:
            return 0
        found = node.attributes
        if packer.mask & _DEPENDS_ON_HOLDER:
            told = self._context.states.changed_elsewhere(compound, (node.export.fsid, node.key))
            if told is not None:
                found = found._replace(change=told[0], size=told[1])
        compound.put(_GETATTR + packer.encode(node.key, found))
        return at + text.size

    def packer(self, compound: Compound, export: Export, bitmap: bytes) -> Packer | None:
        """What packs a set of attributes, given as a bitmap4; None for the handler."""
        known = self._known.get(export) or self._about(export)
        which = bitmap, compound.minor
        try:
            return known.packers[which]
        except KeyError:
            if len(known.packers) >= MAX_PLANS:
                known.packers.clear()
            packer = known.packers[which] = self._made(export, *which)
            return packer

    def _made(self, export: Export, bitmap: bytes, minor: int) -> Packer | None:
        mask = decode_bitmap(Decoder(memoryview(bitmap)))
        if export.refer or mask & WRITE_ONLY:
            return None
        try:
            return Packer(self._context, export, mask, minor)
        except LookupError:
            return None

    def access_(self, compound: Compound, view: memoryview, at: int) -> int:
        """ACCESS: see attributes."""
        node = compound.current
        wanted: int = _U32.unpack_from(view, at)[0]
        if node is None:
            return 0
        supported = wanted & attributes.tellable(compound, node)
        compound.put(_FOUR.pack(Number.ACCESS, Status.OK, supported, supported & attributes.granted(node)))
        return at + 4

    def readdir(self, compound: Compound, view: memoryview, at: int) -> int:
        """READDIR: see directories; where no other export is below, and sets that have a Packer."""
        words: int
        cookie, verifier, wanted, everything, words = _READDIR.unpack_from(view, at)
        node = compound.current
        if node is None or words > _BITMAP_WORDS or verifier != directories.VERIFIER:
            return 0
        at += _READDIR.size - 4
        text = _TEXTS[4 + 4 * words]
        bitmap: bytes = text.unpack_from(view, at)[0]
        packer = self.packer(compound, node.export, bitmap)
        left = min(everything, MAX_READDIR, compound.room) - directories.OVERHEAD
        if packer is None or left < 0 or cookie in directories.RESERVED_COOKIES or self._about(node.export).crosses:
            return 0
        found = node.attributes
        if found.kind is not _DIRECTORY or _LISTS & ~access.permitted(found, node.who):
            return 0
        try:
            results = QuickListing(compound, node, packer).read(cookie, left, wanted or left)
        except UnusualError:
            return 0
        compound.put_large([_READ_DIRECTORY, results])
        return at + text.size

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read(self, compound: Compound, view: memoryview, at: int) -> int:
        """READ: see data; with a stateid that says at once that it is good."""
        seqid, other, offset, count = _READ.unpack_from(view, at)
        node = compound.current
        if node is None or count > MAX_IO or count > compound.room - _READ_OVERHEAD:
            return 0
        found = node.attributes
        if found.kind is not _REGULAR or not self._context.states.may_io(compound, seqid, other, api.READ):
            return 0
        access.require_io(found, node.who, access.READ)
        size = found.size
        part = b"" if offset >= size or not count else node.store.read(node.key, offset, min(count, size - offset))
        count = len(part)
        self._context.shared.bytes_read += count
        head = _FOUR.pack(Number.READ, Status.OK, offset + count >= size, count)
        compound.put_large([head, part, padding(count)] if count & 3 else [head, part])
        return at + _READ.size

    def write(self, compound: Compound, view: memoryview, at: int) -> int:
        """WRITE: see data; UNSTABLE, to where a file may be written."""
        seqid, other, offset, stable, count = _WRITE.unpack_from(view, at)
        node = compound.current
        start = at + _WRITE.size
        end: int = start + count + (-count & 3)
        if stable or node is None or not 0 < count <= MAX_IO or offset + count > MAX_OFFSET or end > len(view):
            return 0
        before = node.attributes
        if before.kind is not _REGULAR or node.export.read_only:
            return 0
        if not self._context.states.may_io(compound, seqid, other, api.WRITE):
            return 0
        access.require_io(before, node.who, access.WRITE)
        node.store.write(node.key, offset, view[start : start + count])
        compound.changed()
        shared = self._context.shared
        shared.bytes_written += count
        compound.put(_WRITTEN.pack(Number.WRITE, Status.OK, count, StableHow.UNSTABLE, shared.verifier))
        return end
