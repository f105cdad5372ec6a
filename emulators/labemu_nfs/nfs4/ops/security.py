"""SECINFO and SECINFO_NO_NAME (RFC 7530 16.31, RFC 8881 18.29, 18.45): which credentials are taken."""

from __future__ import annotations

from labemu_nfs.exports import Export
from labemu_nfs.nfs4.compound import FROM_41, Compound, Op
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.ops.names import above, find, named
from labemu_nfs.xdr import Decoder, XdrError, u32

_CURRENT, _PARENT = 0, 1
"""secinfo_style4."""


def _flavors(compound: Compound, export: Export) -> bytes:
    if compound.minor:  # RFC 8881 2.6.3.1.1.8: the current filehandle is used up
        compound.current = None
        compound.stateid = None
    flavors = export.flavors
    return u32(len(flavors)) + b"".join(map(u32, flavors))


def secinfo(compound: Compound, arguments: Decoder) -> bytes:
    """SECINFO: RFC 8881 18.29."""
    node = compound.node
    name = named(compound, node, arguments)
    export, _ = find(compound, node, name)
    return _flavors(compound, export)


def secinfo_no_name(compound: Compound, arguments: Decoder) -> bytes:
    """SECINFO_NO_NAME: RFC 8881 18.45."""
    node = compound.node
    style = arguments.u32()
    if style not in (_CURRENT, _PARENT):
        raise XdrError("no such secinfo_style4")
    return _flavors(compound, (above(compound, node) if style == _PARENT else node).export)


OPS = (
    Op(Number.SECINFO, secinfo),
    Op(Number.SECINFO_NO_NAME, secinfo_no_name, FROM_41),
)
