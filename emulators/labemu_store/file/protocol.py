"""What every file store offers, in protocols with one reason each.

Rules: no method checks permissions (labemu_store.file.access does, with the caller's identity, which a store does not know);
every method raises OSError and nothing else; none of them follows a symlink; names are single components, without a slash.
A store is used from one thread, save that the callable which `sync` returns may run in another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from labemu_store.file.types import (
    AttributeChange,
    Attributes,
    Capabilities,
    DirectoryEntry,
    FileKind,
    Key,
    Ownership,
    Space,
    XattrMode,
)

Buffer = bytes | bytearray | memoryview


class NodeStore(Protocol):
    """Nodes and their attributes."""

    @property
    def root(self) -> Key:
        """The directory that everything else is under."""

    def getattr(self, node: Key) -> Attributes:
        """The attributes as they are now. Raises ESTALE where the node is gone."""

    def setattr(self, node: Key, change: AttributeChange) -> None:
        """Change attributes. Raises EINVAL, EPERM, EFBIG, ENOSPC, EROFS, EISDIR."""

    def readlink(self, node: Key) -> bytes:
        """A symlink's target. Raises EINVAL where the node is none."""


class DataStore(Protocol):
    """The bytes of regular files."""

    def read(self, node: Key, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file. Raises EISDIR, EINVAL for other kinds."""

    def write(self, node: Key, offset: int, data: Buffer) -> int:
        """Write all of `data` (not yet durable) and return its length; holes before it stay holes."""

    def sync(self, node: Key) -> Callable[[], None]:
        """What to call, in any thread and exactly once, to make all that was done to the node so far durable; it raises OSError."""


class NameStore(Protocol):
    """Directories."""

    def lookup(self, directory: Key, name: bytes) -> Key:
        """The node of a name. Raises ENOENT, ENOTDIR, ENAMETOOLONG."""

    def peek(self, directory: Key, name: bytes) -> tuple[Key, Attributes]:
        """As `lookup`, with the attributes, for listings: the node is not expected to be used soon."""

    def glance(self, directory: Key, name: bytes) -> Attributes:
        """As `peek`, for who wants neither the key nor the change number, which is none to be told to anybody."""

    def parent(self, directory: Key) -> Key:
        """The directory above; the root's is the root."""

    def readdir(self, directory: Key, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
        """Entries after `cookie` (0 = from the start, `.` and `..` first), and whether that was the last of them.

        Args:
            directory: what to list.
            cookie: of the last entry that the caller has; entries that stay all the while are listed exactly once.
            size: about how many bytes of names are wanted; at least one entry comes where there is one.
        """

    def create(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        """A new empty file. Raises EEXIST where the name is taken."""

    def mkdir(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        """A new directory. Raises EEXIST."""

    def symlink(self, directory: Key, name: bytes, target: bytes, owner: Ownership) -> Key:
        """A new symlink. Raises EEXIST, and EOPNOTSUPP where the store has none."""

    def mknod(self, directory: Key, name: bytes, kind: FileKind, device: tuple[int, int], owner: Ownership) -> Key:
        """A new FIFO, SOCKET, BLOCK or CHARACTER node. Raises EEXIST, EOPNOTSUPP, EPERM."""

    def link(self, node: Key, directory: Key, name: bytes) -> None:
        """One more name for a node. Raises EEXIST, EMLINK, EPERM for a directory, EOPNOTSUPP."""

    def unlink(self, directory: Key, name: bytes) -> None:
        """Remove a name of anything but a directory. Raises EISDIR, ENOENT."""

    def rmdir(self, directory: Key, name: bytes) -> None:
        """Remove an empty directory. Raises ENOTDIR, ENOTEMPTY, ENOENT."""

    def rename(self, directory: Key, name: bytes, to_directory: Key, to_name: bytes) -> None:
        """Move a name, replacing what is there, atomically. Raises what the system call of that name does."""


class SparseStore(Protocol):
    """Where the bytes of files are and where none are, and copies that need not pass through the caller.

    `offset` and `size` count bytes; `size` is at least 1, and nothing reaches beyond MAX_OFFSET (EINVAL, EFBIG).
    """

    def seek(self, node: Key, offset: int, *, data: bool) -> int:
        """The first place from `offset` on that is in data, or in a hole, as the end of the file is. Raises ENXIO where there is none."""

    def allocate(self, node: Key, offset: int, size: int) -> None:
        """Make sure that writing these bytes will find room; the file grows to hold them. Raises ENOSPC, EOPNOTSUPP."""

    def deallocate(self, node: Key, offset: int, size: int) -> None:
        """Make these bytes zero and give their room back; the file's size stays. Raises EOPNOTSUPP."""

    def copy(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> Callable[[], int]:
        """What to call, in any thread and exactly once, to copy bytes of one file to another or the same.

        It returns how many were copied, fewer only at the end of the source, and raises OSError.
        """

    def clone(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> None:
        """Have the files share these bytes until one of them is written; `size` 0 is to the end. Raises EOPNOTSUPP, EINVAL, EXDEV."""


class XattrStore(Protocol):
    """Extended attributes of users, by names without a prefix. Each method raises EOPNOTSUPP where they cannot be kept."""

    def getxattr(self, node: Key, name: bytes) -> bytes:
        """A value. Raises ENODATA."""

    def setxattr(self, node: Key, name: bytes, value: Buffer, mode: XattrMode) -> None:
        """Set a value. Raises EEXIST, ENODATA as the mode says, ENOSPC, E2BIG."""

    def listxattr(self, node: Key) -> list[bytes]:
        """The names, in no order but a lasting one."""

    def removexattr(self, node: Key, name: bytes) -> None:
        """Take one away. Raises ENODATA."""


@runtime_checkable
class PathStore(Protocol):
    """A store that can tell where a node is; not every one can, and nothing but faults and messages should want to know."""

    def path(self, node: Key) -> bytes:
        """One of the node's paths below the root, `a/b`; empty for the root and where there is none. Raises ESTALE."""


@runtime_checkable
class KeepingStore(Protocol):
    """A store whose files can outlive their last name, as open files of a process do; not every one can."""

    def keep(self, node: Key) -> None:
        """Keep a file's bytes from now on: once its last name is gone its key stays good. Nests. Raises ESTALE where it is gone already."""

    def drop(self, node: Key) -> None:
        """One `keep` less; with the last of them a file without a name is gone."""


class FileStore(NodeStore, DataStore, NameStore, SparseStore, XattrStore, Protocol):
    """A POSIX-shaped file system with stated capabilities."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; constant."""

    @property
    def url(self) -> str:
        """Where it is, as open_file_store takes it."""

    def space(self) -> Space:
        """How full it is."""

    def close(self) -> None:
        """Give back every descriptor. No method may be called afterwards."""
