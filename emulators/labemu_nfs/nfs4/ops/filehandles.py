"""PUTFH, PUTROOTFH, PUTPUBFH, GETFH, SAVEFH, RESTOREFH (RFC 7530 16.20 to 16.30, RFC 8881 18.8, 18.19 to 18.28)."""

from __future__ import annotations

from labemu_nfs.nfs4.compound import Compound, Op
from labemu_nfs.nfs4.constants import MAX_HANDLE, Number
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.xdr import Decoder, opaque


def putfh(compound: Compound, arguments: Decoder) -> bytes:
    """PUTFH: RFC 8881 18.19."""
    handle = arguments.string(MAX_HANDLE)
    compound.go_to(compound.context.open(handle, compound.caller, compound.credential))
    return b""


def putrootfh(compound: Compound, arguments: Decoder) -> bytes:
    """PUTROOTFH: RFC 8881 18.21; the public filehandle is the root's too (18.20)."""
    context = compound.context
    start = context.pseudo.start
    compound.go_to(context.node(start, start.store.root, compound.caller, compound.credential))
    return b""


def getfh(compound: Compound, arguments: Decoder) -> bytes:
    """GETFH: RFC 8881 18.8; that it is MOVED is how a client learns of a referral (RFC 8881 11.4.3)."""
    if compound.node.export.refer:
        raise Nfs4Error(Status.MOVED)
    return opaque(compound.context.handle(compound.node))


def savefh(compound: Compound, arguments: Decoder) -> bytes:
    """SAVEFH: RFC 8881 18.28; the current stateid is saved too."""
    compound.saved = compound.node
    compound.saved_stateid = compound.stateid
    return b""


def restorefh(compound: Compound, arguments: Decoder) -> bytes:
    """RESTOREFH: RFC 8881 18.27; 4.0 has a status of its own for nothing saved (RFC 7530 16.29)."""
    if compound.saved is None:
        raise Nfs4Error(Status.NOFILEHANDLE if compound.minor else Status.RESTOREFH)
    compound.current = compound.saved
    compound.stateid = compound.saved_stateid
    return b""


OPS = (
    Op(Number.PUTFH, putfh),
    Op(Number.PUTROOTFH, putrootfh),
    Op(Number.PUTPUBFH, putrootfh),
    Op(Number.GETFH, getfh),
    Op(Number.SAVEFH, savefh),
    Op(Number.RESTOREFH, restorefh),
)
