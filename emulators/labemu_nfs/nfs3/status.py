"""nfsstat3 (RFC 1813 2.6), and which one an errno of a store becomes."""

from __future__ import annotations

import errno
from enum import IntEnum


class Status(IntEnum):
    """What a procedure answers."""

    OK = 0
    PERM = 1
    NOENT = 2
    IO = 5
    NXIO = 6
    ACCES = 13
    EXIST = 17
    XDEV = 18
    NODEV = 19
    NOTDIR = 20
    ISDIR = 21
    INVAL = 22
    FBIG = 27
    NOSPC = 28
    ROFS = 30
    MLINK = 31
    NAMETOOLONG = 63
    NOTEMPTY = 66
    DQUOT = 69
    STALE = 70
    REMOTE = 71
    BADHANDLE = 10001
    NOT_SYNC = 10002
    BAD_COOKIE = 10003
    NOTSUPP = 10004
    TOOSMALL = 10005
    SERVERFAULT = 10006
    BADTYPE = 10007
    JUKEBOX = 10008


class Nfs3Error(Exception):
    """A procedure fails with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


_BY_ERRNO = {
    errno.EPERM: Status.PERM,
    errno.ENOENT: Status.NOENT,
    errno.EIO: Status.IO,
    errno.ENXIO: Status.NXIO,
    errno.EACCES: Status.ACCES,
    errno.EEXIST: Status.EXIST,
    errno.EXDEV: Status.XDEV,
    errno.ENODEV: Status.NODEV,
    errno.ENOTDIR: Status.NOTDIR,
    errno.EISDIR: Status.ISDIR,
    errno.EINVAL: Status.INVAL,
    errno.EFBIG: Status.FBIG,
    errno.ENOSPC: Status.NOSPC,
    errno.EROFS: Status.ROFS,
    errno.EMLINK: Status.MLINK,
    errno.ENAMETOOLONG: Status.NAMETOOLONG,
    errno.ENOTEMPTY: Status.NOTEMPTY,
    errno.EDQUOT: Status.DQUOT,
    errno.ESTALE: Status.STALE,
    errno.EOPNOTSUPP: Status.NOTSUPP,
    errno.ELOOP: Status.INVAL,
    errno.ETXTBSY: Status.ACCES,
    errno.EBUSY: Status.ACCES,  # a mount point: NFSv3 has no word for it
    errno.EMFILE: Status.JUKEBOX,  # out of descriptors for the moment: the client tries again
    errno.ENFILE: Status.JUKEBOX,
    errno.ENOMEM: Status.JUKEBOX,
    errno.EAGAIN: Status.JUKEBOX,
    errno.ETIMEDOUT: Status.JUKEBOX,  # what holds the bytes cannot be reached: it may be back soon
}


def status_of(error: OSError) -> Status:
    """The status of a store's error; IO for what NFSv3 has no word for."""
    return _BY_ERRNO.get(error.errno or errno.EIO, Status.IO)
