"""ACCESS, GETATTR, SETATTR, VERIFY, NVERIFY (RFC 7530 16.1, 16.7, 16.32, 16.35, 16.15; RFC 8881 18.1, 18.7, 18.30, 18.31, 18.15)."""

from __future__ import annotations

from labemu_nfs.nfs4.attributes import SUPPORTED, WRITE_ONLY, Facts, facts_of, plan_of
from labemu_nfs.nfs4.compound import V42, Compound, Op, Wait
from labemu_nfs.nfs4.constants import Access, Attribute, Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.referral import absent
from labemu_nfs.nfs4.settings import allowed_change, decode_fattr, decode_settings
from labemu_nfs.nfs4.state.api import WRITE
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_bitmap, decode_stateid, encode_bitmap
from labemu_nfs.xdr import Decoder, u32
from labemu_store.file import access
from labemu_store.file.types import FileKind

_OF_FILES = Access.READ | Access.MODIFY | Access.EXTEND | Access.EXECUTE
_OF_DIRECTORIES = Access.READ | Access.LOOKUP | Access.MODIFY | Access.EXTEND | Access.DELETE
_XATTRS = Access.XAREAD | Access.XAWRITE | Access.XALIST
_DEPENDS_ON_HOLDER = 1 << Attribute.CHANGE | 1 << Attribute.SIZE


def access_(compound: Compound, arguments: Decoder) -> bytes:
    """ACCESS: RFC 8881 18.1: which of the bits can be told, and which are granted."""
    node = compound.node
    wanted = arguments.u32()
    supported = wanted & tellable(compound, node)
    return u32(supported) + u32(supported & granted(node))


def tellable(compound: Compound, node: Node) -> int:
    """The bits that ACCESS can tell of a node."""
    known = _OF_DIRECTORIES if node.attributes.kind is FileKind.DIRECTORY else _OF_FILES
    if compound.minor >= V42 and node.store.capabilities.xattrs:
        known |= _XATTRS  # RFC 8276 8.5
    return known


def granted(node: Node) -> int:
    """All that the caller may do to a node, in ACCESS's bits."""
    held = access.permitted(node.attributes, node.who)
    directory = node.attributes.kind is FileKind.DIRECTORY
    bits = 0
    if held & access.READ:
        bits |= Access.READ | Access.XAREAD | Access.XALIST
    if held & access.WRITE and not node.export.read_only:
        bits |= Access.MODIFY | Access.EXTEND | Access.XAWRITE
        if directory:
            bits |= Access.DELETE
    if held & access.EXECUTE:
        bits |= Access.LOOKUP if directory else Access.EXECUTE
    return bits


def getattr_(compound: Compound, arguments: Decoder) -> bytes:
    """GETATTR: RFC 8881 18.7; attributes that are not supported are left out."""
    node = compound.node
    mask = decode_bitmap(arguments)
    if mask & WRITE_ONLY:
        raise Nfs4Error(Status.INVAL)  # RFC 8881 5.5
    if node.export.refer:
        return absent(node.export, compound.context.pseudo.mounted_on(node.export), mask)
    return plan_of(mask, compound.minor).encode(_facts(compound, node, mask))


def _facts(compound: Compound, node: Node, mask: int) -> Facts:
    """The facts, with change and size as the holder of a write delegation has them (RFC 8881 10.4.3)."""
    facts = facts_of(compound.context, node)
    if mask & _DEPENDS_ON_HOLDER:
        told = compound.context.states.changed_elsewhere(compound, node.file)
        if told is not None:
            facts.attributes = facts.attributes._replace(change=told[0], size=told[1])
    return facts


def setattr_(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """SETATTR: RFC 8881 18.30; the store is asked once for all of it."""
    node = compound.node
    stateid = decode_stateid(arguments)
    settings = decode_settings(arguments, compound.minor)
    if settings.umask is not None:
        raise Nfs4Error(Status.INVAL)  # RFC 8275 6: for new nodes only
    node.require_writable()
    before = node.attributes
    change = settings.over(before.mode)
    if change.size is not None:
        node.require_file()
        compound.context.states.check_io(compound, stateid, WRITE)
    if settings.mask & ~(1 << Attribute.SIZE):
        compound.context.states.check_change(compound, node.file)
    change = allowed_change(before, node.who, change)
    node.store.setattr(node.key, change)
    return compound.durable([node], lambda: encode_bitmap(settings.mask))


def _matches(compound: Compound, arguments: Decoder) -> bool:
    """Whether the attributes are as the client says.

    Raises:
        Nfs4Error: ATTRNOTSUPP for one that is not supported, INVAL for one that can only be set, and for rdattr_error
            (RFC 8881 18.31.3).
    """
    node = compound.node
    mask, values = decode_fattr(arguments)
    if mask & ~SUPPORTED[compound.minor]:
        raise Nfs4Error(Status.ATTRNOTSUPP)
    if mask & (WRITE_ONLY | 1 << Attribute.RDATTR_ERROR):
        raise Nfs4Error(Status.INVAL)
    return plan_of(mask, compound.minor).values(_facts(compound, node, mask)) == values.view


def verify(compound: Compound, arguments: Decoder) -> bytes:
    """VERIFY: RFC 8881 18.31."""
    if not _matches(compound, arguments):
        raise Nfs4Error(Status.NOT_SAME)
    return b""


def nverify(compound: Compound, arguments: Decoder) -> bytes:
    """NVERIFY: RFC 8881 18.15."""
    if _matches(compound, arguments):
        raise Nfs4Error(Status.SAME)
    return b""


OPS = (
    Op(Number.ACCESS, access_),
    Op(Number.GETATTR, getattr_),
    Op(Number.SETATTR, setattr_, once=True, failed=u32(0)),
    Op(Number.VERIFY, verify),
    Op(Number.NVERIFY, nverify),
)
