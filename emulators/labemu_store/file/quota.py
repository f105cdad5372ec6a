"""A file store that holds no more than it was given: bytes and files.

What counts is what files take on the backing, so holes are free. How much a write takes is known only afterwards, so writes are reckoned
at their full length until that could be too much; then the files that were written are looked at, and the reckoning is exact again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from labemu_store.file.protocol import Buffer, FileStore, KeepingStore, PathStore
from labemu_store.file.types import AttributeChange, FileKind, Key, Ownership, Space

_UNLIMITED: Final = 1 << 63
_AT_ONCE: Final = 1 << 20
"""Bytes of names that are listed together."""

_AS_IT_IS: Final = (
    "root", "url", "capabilities", "getattr", "readlink", "read", "sync", "lookup", "peek", "glance", "parent", "readdir", "link", "seek",
    "getxattr", "setxattr", "listxattr", "removexattr", "close",
)  # fmt: skip
"""What no limit touches."""


def _full() -> OSError:
    return OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


class QuotaStore:
    """A FileStore with limits, which may be changed at any time.

    What changes the store otherwise than through this object is seen by `recount`.

    Args:
        inner: the store; closed with this.
        size: bytes, or None for what the backing has.
        files: files and directories, the root not counted, or None.
    """

    def __init__(self, inner: FileStore, *, size: int | None = None, files: int | None = None) -> None:
        self._inner = inner
        optional = [("path", PathStore), ("keep", KeepingStore), ("drop", KeepingStore)]
        for name in (*_AS_IT_IS, *(name for name, kind in optional if isinstance(inner, kind))):
            setattr(self, name, getattr(inner, name))
        self._size = self._files = _UNLIMITED
        self._used = self._count = 0
        self._reckoned = 0
        self._before: dict[Key, int] = {}
        self.limit(size=size, files=files)
        self.recount()

    @property
    def inner(self) -> FileStore:
        """The store without limits."""
        return self._inner

    def limit(self, *, size: int | None, files: int | None) -> None:
        """Set the limits. What is there beyond them stays, and nothing more is taken."""
        self._size = _UNLIMITED if size is None else size
        self._files = _UNLIMITED if files is None else files

    def recount(self) -> None:
        """Look at everything. Raises OSError."""
        self._before.clear()
        self._used = self._reckoned = self._count = 0
        below = [self._inner.root]
        seen: set[int] = set()
        while below:
            directory = below.pop()
            cookie, last = 0, False
            while not last:
                entries, last = self._inner.readdir(directory, cookie, _AT_ONCE)
                for entry in entries:
                    cookie = entry.cookie
                    if entry.name in (b".", b".."):
                        continue
                    key, attributes = self._inner.peek(directory, entry.name)
                    if attributes.links > 1 and attributes.kind is not FileKind.DIRECTORY:
                        if attributes.fileid in seen:
                            continue
                        seen.add(attributes.fileid)
                    self._count += 1
                    self._used += attributes.used
                    if attributes.kind is FileKind.DIRECTORY:
                        below.append(key)

    def space(self) -> Space:
        """What the limits leave, and the backing has."""
        there = self._inner.space()
        self._measure()
        size, files = self._size, self._files
        left, files_left = max(0, size - self._used), max(0, files - self._count)
        return Space(
            total=min(there.total, size),
            free=min(there.free, left),
            available=min(there.available, left),
            files_total=min(there.files_total, files),
            files_free=min(there.files_free, files_left),
            files_available=min(there.files_available, files_left),
        )

    # -- reckoning -----------------------------------------------------------------------------------------------------

    def _watch(self, node: Key) -> None:
        """A node is about to be changed."""
        if node not in self._before:
            self._before[node] = self._inner.getattr(node).used

    def _measure(self) -> None:
        """Look at what was changed."""
        for node, before in self._before.items():
            try:
                self._used += self._inner.getattr(node).used - before
            except OSError:  # it is gone, and its room with it
                self._used -= before
        self._before.clear()
        self._reckoned = 0

    def _take(self, node: Key, size: int, most: Callable[[], int]) -> None:
        """A node is about to take up to `size` bytes; `most` tells how many exactly. Raises EDQUOT."""
        if self._used + self._reckoned + size > self._size:
            self._measure()
            growth = most() if self._used + size > self._size else 0
            if growth and self._used + growth > self._size:
                raise _full()
        self._watch(node)
        self._reckoned += size

    def _growth(self, node: Key, offset: int, size: int) -> int:
        """How many of these bytes have no room yet: those beyond the end, and all where the file has holes."""
        now = self._inner.getattr(node)
        holes = now.used < now.size
        return size if holes else max(0, offset + size - max(now.size, now.used))

    def _one_more(self) -> None:
        if self._count >= self._files or (self._used >= self._size and not self._room()):
            raise _full()

    def _room(self) -> bool:
        self._measure()
        return self._used < self._size

    # -- what takes and gives room ----------------------------------------------------------------------------------------

    def write(self, node: Key, offset: int, data: Buffer) -> int:
        """See DataStore. Raises EDQUOT too."""
        size = len(data)
        self._take(node, size, partial(self._growth, node, offset, size))
        return self._inner.write(node, offset, data)

    def setattr(self, node: Key, change: AttributeChange) -> None:
        """See NodeStore. A file that grows has a hole there, which is free."""
        if change.size is not None:
            self._watch(node)
        self._inner.setattr(node, change)

    def allocate(self, node: Key, offset: int, size: int) -> None:
        """See SparseStore. Raises EDQUOT too."""
        self._take(node, size, partial(self._growth, node, offset, size))
        self._inner.allocate(node, offset, size)

    def deallocate(self, node: Key, offset: int, size: int) -> None:
        """See SparseStore."""
        self._watch(node)
        self._inner.deallocate(node, offset, size)

    def copy(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> Callable[[], int]:
        """See SparseStore. Raises EDQUOT too."""
        size = min(size, max(0, self._inner.getattr(node).size - offset)) or size
        self._take(to, size, partial(self._growth, to, to_offset, size))
        return self._inner.copy(node, offset, to, to_offset, size)

    def clone(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> None:
        """See SparseStore. What is shared counts for each. Raises EDQUOT too."""
        length = size or max(0, self._inner.getattr(node).size - offset)
        self._take(to, length, partial(self._growth, to, to_offset, length))
        self._inner.clone(node, offset, to, to_offset, size)

    def create(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        """See NameStore. Raises EDQUOT too."""
        return self._new(self._inner.create, directory, name, owner)

    def mkdir(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        """See NameStore. Raises EDQUOT too."""
        return self._new(self._inner.mkdir, directory, name, owner)

    def symlink(self, directory: Key, name: bytes, target: bytes, owner: Ownership) -> Key:
        """See NameStore. Raises EDQUOT too."""
        return self._new(self._inner.symlink, directory, name, target, owner)

    def mknod(self, directory: Key, name: bytes, kind: FileKind, device: tuple[int, int], owner: Ownership) -> Key:
        """See NameStore. Raises EDQUOT too."""
        return self._new(self._inner.mknod, directory, name, kind, device, owner)

    def _new(self, make: Callable[..., Key], *arguments: Any) -> Key:
        self._one_more()
        key = make(*arguments)
        self._count += 1
        self._used += self._inner.getattr(key).used
        return key

    def unlink(self, directory: Key, name: bytes) -> None:
        """See NameStore."""
        self._losing(directory, name, lambda: self._inner.unlink(directory, name))

    def rmdir(self, directory: Key, name: bytes) -> None:
        """See NameStore."""
        self._losing(directory, name, lambda: self._inner.rmdir(directory, name))

    def rename(self, directory: Key, name: bytes, to_directory: Key, to_name: bytes) -> None:
        """See NameStore."""
        self._losing(to_directory, to_name, lambda: self._inner.rename(directory, name, to_directory, to_name))

    def _losing(self, directory: Key, name: bytes, change: Callable[[], None]) -> None:
        """A change may take a node's last name away. One that is still open counts no more."""
        try:
            key, attributes = self._inner.peek(directory, name)
        except OSError:
            change()
            return
        before = self._before.get(key, attributes.used)
        change()
        try:
            now = self._inner.peek(directory, name)[0]
        except OSError:
            now = None
        if now == key:
            return  # renamed onto itself
        if attributes.kind is FileKind.DIRECTORY or attributes.links == 1:
            self._before.pop(key, None)
            self._used -= before
            self._count -= 1
