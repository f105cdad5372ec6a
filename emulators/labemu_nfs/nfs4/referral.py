"""File systems that are elsewhere (RFC 7530 8, RFC 8881 11): what a client is told of one, so that it goes there.

Theory: an export with `refer` is absent. LOOKUP reaches its root, and nothing can be done with that (MOVED) but to ask where it is.
"""

from __future__ import annotations

from labemu_nfs.exports import Export
from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import encode_bitmap
from labemu_nfs.xdr import opaque, u32, u64

_LOCATIONS = 1 << Attribute.FS_LOCATIONS
_ERROR = 1 << Attribute.RDATTR_ERROR


def pathname(path: str) -> bytes:
    """A path as pathname4."""
    names = [name.encode("utf-8", "surrogateescape") for name in path.split("/") if name]
    return u32(len(names)) + b"".join(map(opaque, names))


def locations(export: Export) -> bytes:
    """fs_locations (RFC 7530 8.8): the path of the file system's root here, and where else it is."""
    elsewhere = [u32(1) + opaque(host.encode()) + pathname(path) for host, path in export.refer]
    return pathname(export.path) + u32(len(elsewhere)) + b"".join(elsewhere)


def absent(export: Export, covered: int, mask: int) -> bytes:
    """fattr4 of an absent file system (RFC 8881 11.4.1): of what is asked for, the little that is known here.

    Args:
        export: it.
        covered: the fileid of the directory that it covers.
        mask: what is asked for.

    Raises:
        Nfs4Error: MOVED, unless where it is or rdattr_error is asked for.
    """
    if not mask & (_LOCATIONS | _ERROR):
        raise Nfs4Error(Status.MOVED)
    values = {
        Attribute.FSID: u64(export.fsid) + u64(0),
        Attribute.RDATTR_ERROR: u32(Status.MOVED),
        Attribute.FS_LOCATIONS: locations(export),
        Attribute.MOUNTED_ON_FILEID: u64(covered),
    }
    given = {number: value for number, value in values.items() if mask >> number & 1}
    return encode_bitmap(sum(1 << number for number in given)) + opaque(b"".join(given.values()))
