"""GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR (RFC 8276 8.4)."""

from __future__ import annotations

from errno import EOPNOTSUPP
from struct import Struct

from labemu_nfs.limits import MAX_PATH
from labemu_nfs.nfs4.compound import V42, Compound, Op, Wait
from labemu_nfs.nfs4.constants import MAX_XATTR, Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import change_info, decode_text
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32, u64
from labemu_store.file import access
from labemu_store.file.types import FileKind, XattrMode

_LIST = Struct(">QI")
_MAX_NAME = 250
"""Bytes: what Linux takes (XATTR_NAME_MAX), without the prefix that the store puts before it."""


def _node(compound: Compound, want: int) -> Node:
    """The current node, whose extended attributes may be read or written. Raises Nfs4Error, OSError."""
    node = compound.node
    if not node.store.capabilities.xattrs:
        raise OSError(EOPNOTSUPP, "no extended attributes")
    if node.attributes.kind not in (FileKind.REGULAR, FileKind.DIRECTORY):
        raise Nfs4Error(Status.WRONG_TYPE)
    if want == access.WRITE:
        node.require_writable()
    access.require(node.attributes, node.who, want)
    return node


def _name(arguments: Decoder) -> bytes:
    """xattrkey4. Raises Nfs4Error INVAL, NAMETOOLONG, BADCHAR."""
    name = decode_text(arguments, MAX_PATH)
    if len(name) > _MAX_NAME:
        raise Nfs4Error(Status.NAMETOOLONG)
    if b"\0" in name:
        raise Nfs4Error(Status.BADCHAR)
    return name


def getxattr(compound: Compound, arguments: Decoder) -> bytes:
    """GETXATTR: RFC 8276 8.4.1."""
    node = _node(compound, access.READ)
    return opaque(node.store.getxattr(node.key, _name(arguments)))


def setxattr(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """SETXATTR: RFC 8276 8.4.2."""
    node = _node(compound, access.WRITE)
    how = arguments.u32()
    name = _name(arguments)
    value = arguments.string(compound.size)
    if how not in XattrMode.__members__.values():
        raise Nfs4Error(Status.INVAL)
    if len(value) > MAX_XATTR:
        raise Nfs4Error(Status.XATTR2BIG)
    compound.context.states.check_change(compound, node.file)
    before = node.attributes.change
    node.store.setxattr(node.key, name, value, XattrMode(how))
    return compound.durable([node], lambda: change_info(before, node.attributes.change))


def listxattrs(compound: Compound, arguments: Decoder) -> bytes:
    """LISTXATTRS: RFC 8276 8.4.3; the cookie is how many names the client has, in the order of the alphabet."""
    node = _node(compound, access.READ)
    cookie, most = arguments.unpack(_LIST)
    names = sorted(node.store.listxattr(node.key))
    if cookie > len(names):
        raise Nfs4Error(Status.BAD_COOKIE)
    left = min(most, compound.room - 16) - 4
    parts: list[bytes] = []
    for name in names[cookie:]:
        part = opaque(name)
        left -= len(part)
        if left < 0:
            break
        parts.append(part)
    end = cookie + len(parts)
    if end < len(names) and not parts:
        raise Nfs4Error(Status.TOOSMALL)
    return b"".join((u64(end), u32(len(parts)), *parts, TRUE if end == len(names) else FALSE))


def removexattr(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """REMOVEXATTR: RFC 8276 8.4.4."""
    node = _node(compound, access.WRITE)
    name = _name(arguments)
    compound.context.states.check_change(compound, node.file)
    before = node.attributes.change
    node.store.removexattr(node.key, name)
    return compound.durable([node], lambda: change_info(before, node.attributes.change))


OPS = (
    Op(Number.GETXATTR, getxattr, (V42,)),
    Op(Number.SETXATTR, setxattr, (V42,), once=True),
    Op(Number.LISTXATTRS, listxattrs, (V42,)),
    Op(Number.REMOVEXATTR, removexattr, (V42,), once=True),
)
