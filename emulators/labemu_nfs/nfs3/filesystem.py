"""FSSTAT, FSINFO, PATHCONF (RFC 1813 3.3.18 to 3.3.20)."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.limits import MAX_IO, PREFERRED_IO, PREFERRED_READDIR
from labemu_nfs.nfs3.request import Request
from labemu_nfs.nfs3.status import Status
from labemu_nfs.nfs3.types import post_op
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import Decoder, u32
from labemu_store.file.types import MAX_OFFSET

_OK = u32(Status.OK)
_FSSTAT = Struct(">6QI")
_FSINFO = Struct(">7IQ3I")
_PATHCONF = Struct(">6I")

FSF_LINK, FSF_SYMLINK, FSF_HOMOGENEOUS, FSF_CANSETTIME = 1, 2, 8, 16
_MULTIPLE = 4096


def fsstat3(request: Request, arguments: Decoder) -> Body:
    """FSSTAT: RFC 1813 3.3.18."""
    target = request.target(arguments)
    space = target.store.space()
    return [
        _OK
        + post_op(target.before, target.export.fsid)
        + _FSSTAT.pack(
            space.total, space.free, space.available, space.files_total, space.files_free, space.files_available, 0
        )
    ]


def fsinfo3(request: Request, arguments: Decoder) -> Body:
    """FSINFO: RFC 1813 3.3.19."""
    target = request.target(arguments)
    can = target.store.capabilities
    properties = FSF_HOMOGENEOUS | FSF_CANSETTIME
    properties |= (FSF_LINK if can.hard_links else 0) | (FSF_SYMLINK if can.symlinks else 0)
    seconds, nanoseconds = divmod(can.time_granularity, 1_000_000_000)
    limits = _FSINFO.pack(
        MAX_IO, PREFERRED_IO, _MULTIPLE, MAX_IO, PREFERRED_IO, _MULTIPLE, PREFERRED_READDIR,
        MAX_OFFSET, seconds, nanoseconds, properties,
    )  # fmt: skip
    return [_OK + post_op(target.before, target.export.fsid) + limits]


def pathconf3(request: Request, arguments: Decoder) -> Body:
    """PATHCONF: RFC 1813 3.3.20: long names are refused, owners are root's to change, names keep their case."""
    target = request.target(arguments)
    can = target.store.capabilities
    limits = _PATHCONF.pack(min(can.max_links, 0xFFFF_FFFF), can.max_name, 1, 1, 0, 1)
    return [_OK + post_op(target.before, target.export.fsid) + limits]
