"""READDIR (RFC 7530 16.24, RFC 8881 18.23).

Cookies are the store's, valid as long as the directory, so the verifier is constant: zeros. `.` and `..` are not listed, and their cookies,
1 and 2, are nobody's. What cannot be found out about an entry is told in its rdattr_error where the client asks for that.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, ESTALE
from struct import Struct

from labemu_nfs.limits import MAX_READDIR
from labemu_nfs.nfs4.attributes import WRITE_ONLY, Facts, Plan, plan_of
from labemu_nfs.nfs4.compound import Compound, Op
from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.referral import absent
from labemu_nfs.nfs4.status import Nfs4Error, Status, status_of
from labemu_nfs.nfs4.types import decode_bitmap, encode_bitmap
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32
from labemu_store.file import access
from labemu_store.file.types import Attributes, DirectoryEntry, FileKind

VERIFIER = bytes(8)
_ARGUMENTS = Struct(">Q8sII")
OVERHEAD = 8 + 4 + 4
"""Bytes of the results without entries: verifier, the end of the list, eof."""

_ENTRY = Struct(">IQI")
_TO_RECORDS = 3
"""What an entry takes in a reply, with attributes, over what it takes in the store's listing: what would have no room is not listed."""

_NEARLY = 8
"""A reply is full enough with less than this part of it left."""

DOTS = (b".", b"..")
RESERVED_COOKIES = (1, 2)
_RDATTR_ERROR = 1 << Attribute.RDATTR_ERROR
_FILEID_ONLY = 1 << Attribute.FILEID | 1 << Attribute.MOUNTED_ON_FILEID | _RDATTR_ERROR
_ONLY_ERROR = encode_bitmap(_RDATTR_ERROR)


def readdir(compound: Compound, arguments: Decoder) -> bytes:
    """READDIR: RFC 8881 18.23: `dircount` is a hint of the size of the names, `maxcount` bounds everything."""
    node = compound.node
    cookie, verifier, names, everything = arguments.unpack(_ARGUMENTS)
    mask = decode_bitmap(arguments)
    if mask & WRITE_ONLY:
        raise Nfs4Error(Status.INVAL)
    if node.attributes.kind is not FileKind.DIRECTORY:
        raise Nfs4Error(Status.NOTDIR)
    access.require(node.attributes, node.who, access.READ)
    if cookie in RESERVED_COOKIES:
        raise Nfs4Error(Status.BAD_COOKIE)  # RFC 8881 18.23.3
    if verifier != VERIFIER:  # type: ignore[comparison-overlap] # what Struct gives for "s" is bytes
        raise Nfs4Error(Status.NOT_SAME)  # RFC 8881 18.23.3
    left = min(everything, MAX_READDIR, compound.room) - OVERHEAD
    if left < 0:
        raise Nfs4Error(Status.TOOSMALL)
    listing = Listing(compound, node, plan_of(mask, compound.minor))
    return listing.read(cookie, left, names or left)


class Listing:
    """One READDIR under way.

    Args:
        compound: which it is of.
        node: the directory, whose entries may be told to the caller.
        plan: of the attributes.
    """

    def __init__(self, compound: Compound, node: Node, plan: Plan) -> None:
        self._compound = compound
        self._node = node
        self._plan = plan
        self._bare = not plan.mask & ~_FILEID_ONLY
        self._crosses = compound.context.pseudo.crosses(node.export)
        self._allowed = bool(access.permitted(node.attributes, node.who) & access.EXECUTE)

    def read(self, cookie: int, left: int, names: int) -> bytes:
        """The results, from after a cookie on: `left` bytes of entries, about `names` bytes of names."""
        parts: list[bytes] = [VERIFIER]
        enough = left // _NEARLY
        while True:
            entries, eof = self._list(cookie, max(1, min(left // _TO_RECORDS, names)))
            for entry in entries:
                cookie = entry.cookie
                part = b"" if entry.name in DOTS else self.entry(entry)
                left -= len(part)
                if left < 0 or (names <= 0 and part):
                    if len(parts) == 1:
                        raise Nfs4Error(Status.TOOSMALL)
                    return b"".join((*parts, FALSE, FALSE))
                if part:
                    parts.append(part)
                    names -= len(entry.name) + 16
            if eof:
                return b"".join((*parts, FALSE, TRUE))
            if len(parts) > 1 and (left <= enough or names <= 0):
                return b"".join((*parts, FALSE, FALSE))

    def _list(self, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
        try:
            return self._node.store.readdir(self._node.key, cookie, size)
        except OSError as error:
            if error.errno == EINVAL:  # not a position in this directory
                raise Nfs4Error(Status.BAD_COOKIE) from None
            raise

    def entry(self, entry: DirectoryEntry) -> bytes:
        """entry4; nothing for one that went away meanwhile. Raises Nfs4Error, OSError where the client asks for no rdattr_error."""
        try:
            attributes = self._attributes(entry)
        except (Nfs4Error, OSError) as error:
            status = error.status if isinstance(error, Nfs4Error) else status_of(error)
            if isinstance(error, OSError) and error.errno in (ENOENT, ESTALE):
                return b""
            if not self._plan.mask & _RDATTR_ERROR:
                raise
            attributes = _ONLY_ERROR + u32(4) + u32(status)
        name = entry.name
        return _ENTRY.pack(1, entry.cookie, len(name)) + opaque(name)[4:] + attributes

    def _attributes(self, entry: DirectoryEntry) -> bytes:
        node, context = self._node, self._compound.context
        inner = context.pseudo.crossing(node.export, node.key, entry.name) if self._crosses else None
        if inner is not None and inner.refer:
            return absent(inner, context.pseudo.mounted_on(inner), self._plan.mask)
        if inner is not None:
            root = context.node(inner, inner.store.root, self._compound.caller, self._compound.credential)
            return self._plan.encode(Facts(context, inner, root.key, root.attributes))
        if self._bare:
            attributes = _known_by_number(entry.fileid)
            return self._plan.encode(Facts(context, node.export, b"", attributes))
        if not self._allowed:
            raise Nfs4Error(Status.ACCESS)
        key, attributes = node.store.peek(node.key, entry.name)
        return self._plan.encode(Facts(context, node.export, key, attributes))


def _known_by_number(fileid: int) -> Attributes:
    """All that is asked for is the fileid, so nothing else need be found out."""
    return Attributes(FileKind.REGULAR, 0, 0, 0, 0, 0, 0, (0, 0), fileid, 0, 0, 0, 0)


OPS = (Op(Number.READDIR, readdir),)
