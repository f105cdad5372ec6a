"""The words of a file store: what a file is, what may change about it, what a store can do.

Theory: a node is named by its key, a short byte string that only its store can read. A key stays valid for as long as the node
exists: across renames, and across restarts where the capabilities say so. Names are bytes, as on disk and on the wire; times
are nanoseconds since 1970. Whatever goes wrong is an OSError with a POSIX errno: ESTALE for a key whose node is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

Key = bytes
"""Names a node within its store; at most MAX_KEY bytes."""

MAX_KEY = 32
"""An NFSv3 filehandle has 64 bytes (RFC 1813 2.4); version, export and signature take 25 of them."""

MAX_OFFSET = 2**63 - 1
"""Linux's loff_t is signed, so no store holds a byte beyond this."""


class FileKind(IntEnum):
    """What a node is; the numbers are those of ftype3 (RFC 1813 2.5)."""

    REGULAR = 1
    DIRECTORY = 2
    BLOCK = 3
    CHARACTER = 4
    SYMLINK = 5
    SOCKET = 6
    FIFO = 7


class Attributes(NamedTuple):
    """A node's attributes.

    Args:
        kind: what it is.
        mode: the permission bits, with set-id and sticky (12 bits).
        links: its names.
        uid, gid: its owner.
        size: bytes.
        used: bytes that it takes on the backing; less than `size` where it has holes.
        device: major and minor of a BLOCK or CHARACTER node, else (0, 0).
        fileid: unique in the store for as long as the node exists.
        atime, mtime, ctime: nanoseconds.
        change: another and higher number after every change of the node's bytes, names or attributes that was made through this store
            (RFC 8881 5.8.1.4); a change made past it shows as soon as it moves `ctime`.
    """

    kind: FileKind
    mode: int
    links: int
    uid: int
    gid: int
    size: int
    used: int
    device: tuple[int, int]
    fileid: int
    atime: int
    mtime: int
    ctime: int
    change: int


class Now:
    """The type of NOW: a time that the store takes from its own clock."""


NOW = Now()


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeChange:
    """What to change of a node; None leaves as is. `atime` and `mtime` are nanoseconds or NOW."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | Now | None = None
    mtime: int | Now | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ownership:
    """Whose a new node is, and its permission bits."""

    mode: int
    uid: int
    gid: int


class XattrMode(IntEnum):
    """How to set an extended attribute; the numbers are those of setxattr_option4 (RFC 8276 8.4.2)."""

    EITHER = 0
    CREATE = 1
    REPLACE = 2


class DirectoryEntry(NamedTuple):
    """One name in a directory; a listing goes on after it when given its cookie (64 bits, never 0)."""

    fileid: int
    name: bytes
    cookie: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """How full a store is: bytes and files; `available` is what an ordinary user may still take."""

    total: int
    free: int
    available: int
    files_total: int
    files_free: int
    files_available: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a store can do, stated rather than found out.

    Args:
        hard_links: `link` works.
        symlinks: `symlink` works.
        ownership: owners can be set.
        special_files: `mknod` works.
        persistent_keys: keys outlive a restart of the process.
        xattrs: extended attributes can be kept.
        max_name: bytes of a name.
        max_links: names of one node.
        time_granularity: nanoseconds.
    """

    hard_links: bool
    symlinks: bool
    ownership: bool
    special_files: bool
    persistent_keys: bool
    xattrs: bool = False
    max_name: int = 255
    max_links: int = 32000
    time_granularity: int = 1
