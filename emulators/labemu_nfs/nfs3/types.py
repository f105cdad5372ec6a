"""The structures of NFSv3 (RFC 1813 2.5, 2.6) as bytes."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.limits import MAX_PATH
from labemu_nfs.nfs3.status import Nfs3Error, Status
from labemu_nfs.xdr import FALSE, TRUE, Decoder, XdrError
from labemu_store.file.types import NOW, AttributeChange, Attributes, Now

_FATTR = Struct(">5I2Q2I2Q6I")
_WCC = Struct(">IQ4I")
_TIME = Struct(">II")
_SECOND = 1_000_000_000
_U32 = 0xFFFF_FFFF

FATTR_SIZE = _FATTR.size
NO_WCC = FALSE + FALSE


def fattr3(of: Attributes, fsid: int) -> bytes:
    """The attributes of a node (RFC 1813 2.5); times outside 1970 to 2106 wrap."""
    kind, mode, links, uid, gid, size, used, device, fileid, atime, mtime, ctime, _ = of
    asec, ans = divmod(atime, _SECOND)
    msec, mns = divmod(mtime, _SECOND)
    csec, cns = divmod(ctime, _SECOND)
    return _FATTR.pack(
        kind, mode, links, uid, gid, size, used, *device, fsid, fileid,
        asec & _U32, ans, msec & _U32, mns, csec & _U32, cns,
    )  # fmt: skip


def post_op(of: Attributes, fsid: int) -> bytes:
    """post_op_attr, present."""
    return TRUE + fattr3(of, fsid)


def pre_op(of: Attributes) -> bytes:
    """pre_op_attr, present."""
    msec, mns = divmod(of.mtime, _SECOND)
    csec, cns = divmod(of.ctime, _SECOND)
    return _WCC.pack(1, of.size, msec & _U32, mns, csec & _U32, cns)


def nfstime3(decoder: Decoder) -> int:
    """A time in nanoseconds. Raises Nfs3Error INVAL for a fraction of a second or more."""
    seconds, nanoseconds = decoder.unpack(_TIME)
    if nanoseconds >= _SECOND:
        raise Nfs3Error(Status.INVAL)
    return seconds * _SECOND + nanoseconds


def _set_time(decoder: Decoder) -> int | Now | None:
    how = decoder.u32()
    if how > 2:
        raise XdrError("no such time_how")
    if how == 2:
        return nfstime3(decoder)
    return NOW if how == 1 else None


def sattr3(decoder: Decoder) -> AttributeChange:
    """What to set (RFC 1813 2.5, sattr3)."""
    return AttributeChange(
        mode=decoder.u32() & 0o7777 if decoder.boolean() else None,
        uid=decoder.u32() if decoder.boolean() else None,
        gid=decoder.u32() if decoder.boolean() else None,
        size=decoder.u64() if decoder.boolean() else None,
        atime=_set_time(decoder),
        mtime=_set_time(decoder),
    )


def filename3(decoder: Decoder, longest: int) -> bytes:
    """A name. Raises Nfs3Error NAMETOOLONG, ACCES for an empty one or one with a slash or zero byte (RFC 1813 3.2)."""
    name = decoder.string(MAX_PATH)
    if len(name) > longest:
        raise Nfs3Error(Status.NAMETOOLONG)
    if not name or b"/" in name or b"\0" in name:
        raise Nfs3Error(Status.ACCES)
    return name
