"""A file store in memory, gone with its process: for tests, scratch exports and demonstrations.

Theory: a node is found by its number, which with the store's own random prefix is its key; neither is ever used twice, so a dead key
is known to be dead, in the next process too. A directory gives each entry a cookie from a counter, so listings stay right while
entries come and go. Bytes are held in pages, made when first written, so holes cost nothing.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from errno import (
    E2BIG,
    EEXIST,
    EFBIG,
    EINVAL,
    EISDIR,
    ENODATA,
    ENOENT,
    ENOSPC,
    ENOTDIR,
    ENOTEMPTY,
    ENXIO,
    EPERM,
    ESTALE,
)
from os import strerror, urandom

from labemu_store.file.memory_node import MemoryNode
from labemu_store.file.protocol import Buffer
from labemu_store.file.types import (
    MAX_OFFSET,
    AttributeChange,
    Attributes,
    Capabilities,
    DirectoryEntry,
    FileKind,
    Key,
    Now,
    Ownership,
    Space,
    XattrMode,
)

PAGE = 65536
"""Bytes of a page: the unit of holes."""

DEFAULT_CAPACITY = 1 << 30
"""Bytes of pages that a store may take: 1 GiB, so that a runaway client gets ENOSPC and the machine stays up."""

_ENTRY_BYTES = 24
"""What an entry is reckoned at besides its name when a listing is cut to size."""


def _error(code: int) -> OSError:
    return OSError(code, strerror(code))


def _check_range(offset: int, size: int) -> None:
    if size < 1:
        raise _error(EINVAL)
    if offset + size > MAX_OFFSET:
        raise _error(EFBIG)


class MemoryFileStore:
    """A FileStore in memory.

    Args:
        capacity: bytes that file content may take.
        clock: nanoseconds since 1970.
    """

    def __init__(self, *, capacity: int = DEFAULT_CAPACITY, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._capacity = capacity
        self._used = 0
        self._nodes: dict[Key, MemoryNode] = {}
        self._kept: dict[Key, int] = {}
        self._prefix = urandom(8)
        self._last = 0
        self._root = self._new(FileKind.DIRECTORY, Ownership(mode=0o755, uid=0, gid=0))
        self._capabilities = Capabilities(
            hard_links=True, symlinks=True, ownership=True, special_files=True, xattrs=True, persistent_keys=False
        )

    @property
    def root(self) -> Key:
        return self._root.key

    @property
    def url(self) -> str:
        return "memory://"

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def _new(self, kind: FileKind, owner: Ownership) -> MemoryNode:
        self._last += 1
        node = MemoryNode(self._prefix, self._last, kind, owner, self._clock())
        self._nodes[node.key] = node
        return node

    def _node(self, key: Key) -> MemoryNode:
        node = self._nodes.get(key)
        if node is None:
            raise _error(ESTALE)
        return node

    def _directory(self, key: Key) -> MemoryNode:
        node = self._node(key)
        if node.kind is not FileKind.DIRECTORY:
            raise _error(ENOTDIR)
        return node

    def _file(self, key: Key) -> MemoryNode:
        node = self._node(key)
        if node.kind is not FileKind.REGULAR:
            raise _error(EISDIR if node.kind is FileKind.DIRECTORY else EINVAL)
        return node

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def getattr(self, node: Key) -> Attributes:
        it = self._node(node)
        size = len(it.target) if it.kind is FileKind.SYMLINK else it.size
        return Attributes(
            it.kind, it.mode, it.links, it.uid, it.gid, size, len(it.pages) * PAGE, it.device, it.number,
            it.atime, it.mtime, it.ctime, it.change,
        )  # fmt: skip

    def setattr(self, node: Key, change: AttributeChange) -> None:
        now = self._clock()
        if change.size is not None:
            self._resize(self._file(node), change.size)
        it = self._node(node)
        it.mode = it.mode if change.mode is None else change.mode
        it.uid = it.uid if change.uid is None else change.uid
        it.gid = it.gid if change.gid is None else change.gid
        if change.atime is not None:
            it.atime = now if isinstance(change.atime, Now) else change.atime
        if change.size is not None:
            it.mtime = now
        if change.mtime is not None:
            it.mtime = now if isinstance(change.mtime, Now) else change.mtime
        it.ctime = now

    def _resize(self, it: MemoryNode, size: int) -> None:
        if size > MAX_OFFSET:
            raise _error(EFBIG)
        if size < it.size:
            for number in [number for number in it.pages if number * PAGE >= size]:
                del it.pages[number]
                self._used -= PAGE
            last = it.pages.get(size // PAGE)
            if last is not None:
                last[size % PAGE :] = bytes(PAGE - size % PAGE)
        it.size = size

    def readlink(self, node: Key) -> bytes:
        it = self._node(node)
        if it.kind is not FileKind.SYMLINK:
            raise _error(EINVAL)
        return it.target

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read(self, node: Key, offset: int, size: int) -> bytes:
        it = self._file(node)
        end = min(offset + size, it.size)
        parts: list[Buffer] = []
        while offset < end:
            number, within = divmod(offset, PAGE)
            take = min(PAGE - within, end - offset)
            page = it.pages.get(number)
            parts.append(bytes(take) if page is None else memoryview(page)[within : within + take])
            offset += take
        return b"".join(parts)

    def write(self, node: Key, offset: int, data: Buffer) -> int:
        it = self._file(node)
        view = memoryview(data)
        end = offset + len(view)
        if end > MAX_OFFSET:
            raise _error(EFBIG)
        done = 0
        while done < len(view):
            number, within = divmod(offset + done, PAGE)
            take = min(PAGE - within, len(view) - done)
            self._page(it, number)[within : within + take] = view[done : done + take]
            done += take
            it.size = max(it.size, offset + done)
        it.mtime = it.ctime = self._clock()
        return done

    def _page(self, it: MemoryNode, number: int) -> bytearray:
        page = it.pages.get(number)
        if page is None:
            if self._used + PAGE > self._capacity:
                raise _error(ENOSPC)
            self._used += PAGE
            page = it.pages[number] = bytearray(PAGE)
        return page

    def sync(self, node: Key) -> Callable[[], None]:
        self._node(node)
        return _nothing

    # -- holes, copies, extended attributes ----------------------------------------------------------------------------

    def seek(self, node: Key, offset: int, *, data: bool) -> int:
        it = self._file(node)
        if offset >= it.size:
            raise _error(ENXIO)
        number = offset // PAGE
        if data:
            number = min((page for page in it.pages if page >= number), default=-1)
            if number < 0:
                raise _error(ENXIO)
        else:
            while number in it.pages:
                number += 1
        return min(max(offset, number * PAGE), it.size)

    def allocate(self, node: Key, offset: int, size: int) -> None:
        it = self._file(node)
        _check_range(offset, size)
        first, last = offset // PAGE, (offset + size - 1) // PAGE
        missing = last + 1 - first - sum(first <= number <= last for number in it.pages)
        if self._used + missing * PAGE > self._capacity:
            raise _error(ENOSPC)
        for number in range(first, last + 1):
            self._page(it, number)
        it.size = max(it.size, offset + size)
        it.mtime = it.ctime = self._clock()

    def deallocate(self, node: Key, offset: int, size: int) -> None:
        it = self._file(node)
        size = min(size, MAX_OFFSET - offset)
        _check_range(offset, size)
        end = offset + size
        for number in [number for number in it.pages if number * PAGE < end and (number + 1) * PAGE > offset]:
            start, stop = max(offset - number * PAGE, 0), min(end - number * PAGE, PAGE)
            if stop - start == PAGE:
                del it.pages[number]
                self._used -= PAGE
            else:
                it.pages[number][start:stop] = bytes(stop - start)
        it.mtime = it.ctime = self._clock()

    def copy(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> Callable[[], int]:
        size = min(size, max(0, self._file(node).size - offset))
        if size:
            self._copy(self._file(node), offset, self._file(to), to_offset, size)
        return lambda: size

    def clone(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> None:
        end = self._file(node).size
        if offset + size > end:
            raise _error(EINVAL)
        if offset < end:
            self._copy(self._file(node), offset, self._file(to), to_offset, size or end - offset)

    def _copy(self, it: MemoryNode, offset: int, to: MemoryNode, to_offset: int, size: int) -> None:
        """Copy what is in pages, and leave holes where there are holes."""
        _check_range(max(offset, to_offset), size)
        if it is to and abs(offset - to_offset) < size:
            raise _error(EINVAL)
        self.deallocate(to.key, to_offset, size)
        for number in sorted(it.pages):
            start, stop = max(number * PAGE, offset), min((number + 1) * PAGE, offset + size)
            if start < stop:
                data = bytes(it.pages[number][start - number * PAGE : stop - number * PAGE])
                self.write(to.key, to_offset + start - offset, data)
        to.size = max(to.size, to_offset + size)

    def getxattr(self, node: Key, name: bytes) -> bytes:
        value = self._node(node).xattrs.get(name)
        if value is None:
            raise _error(ENODATA)
        return value

    def setxattr(self, node: Key, name: bytes, value: Buffer, mode: XattrMode) -> None:
        it = self._node(node)
        if mode is XattrMode.CREATE and name in it.xattrs:
            raise _error(EEXIST)
        if mode is XattrMode.REPLACE and name not in it.xattrs:
            raise _error(ENODATA)
        if len(value) > PAGE:
            raise _error(E2BIG)
        it.xattrs[name] = bytes(value)
        it.ctime = self._clock()

    def listxattr(self, node: Key) -> list[bytes]:
        return list(self._node(node).xattrs)

    def removexattr(self, node: Key, name: bytes) -> None:
        it = self._node(node)
        if it.xattrs.pop(name, None) is None:
            raise _error(ENODATA)
        it.ctime = self._clock()

    # -- names ---------------------------------------------------------------------------------------------------------

    def lookup(self, directory: Key, name: bytes) -> Key:
        found = self._directory(directory).entries.get(name)
        if found is None:
            raise _error(ENOENT)
        return found[1].key

    def peek(self, directory: Key, name: bytes) -> tuple[Key, Attributes]:
        key = self.lookup(directory, name)
        return key, self.getattr(key)

    def glance(self, directory: Key, name: bytes) -> Attributes:
        return self.getattr(self.lookup(directory, name))

    def parent(self, directory: Key) -> Key:
        return self._directory(directory).parent.key

    def path(self, node: Key) -> bytes:
        it = self._node(node)
        below = [(b"", self._root)]
        while below:
            prefix, directory = below.pop()
            for name, (_, found) in directory.entries.items():
                if found is it:
                    return prefix + name
                if found.entries:
                    below.append((prefix + name + b"/", found))
        return b""

    def readdir(self, directory: Key, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
        it = self._directory(directory)
        entries: list[DirectoryEntry] = []
        if cookie < 1:
            entries.append(DirectoryEntry(it.number, b".", 1))
        if cookie < 2:
            entries.append(DirectoryEntry(it.parent.number, b"..", 2))
        for at in range(bisect_right(it.cookies, cookie), len(it.cookies)):
            name = it.names.get(it.cookies[at])
            if name is None:
                continue
            if size <= 0:
                return entries, False
            entries.append(DirectoryEntry(it.entries[name][1].number, name, it.cookies[at]))
            size -= len(name) + _ENTRY_BYTES
        return entries, True

    def _add(self, directory: Key, name: bytes, kind: FileKind, owner: Ownership) -> MemoryNode:
        above = self._directory(directory)
        if not above.links:
            raise _error(ESTALE)
        if name in above.entries:
            raise _error(EEXIST)
        node = self._new(kind, owner)
        above.put(name, node)
        if kind is FileKind.DIRECTORY:
            node.parent = above
            above.links += 1
        above.mtime = above.ctime = node.ctime
        return node

    def create(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        return self._add(directory, name, FileKind.REGULAR, owner).key

    def mkdir(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        return self._add(directory, name, FileKind.DIRECTORY, owner).key

    def symlink(self, directory: Key, name: bytes, target: bytes, owner: Ownership) -> Key:
        node = self._add(directory, name, FileKind.SYMLINK, owner)
        node.target = target
        return node.key

    def mknod(self, directory: Key, name: bytes, kind: FileKind, device: tuple[int, int], owner: Ownership) -> Key:
        node = self._add(directory, name, kind, owner)
        node.device = device
        return node.key

    def link(self, node: Key, directory: Key, name: bytes) -> None:
        it, above = self._node(node), self._directory(directory)
        if it.kind is FileKind.DIRECTORY:
            raise _error(EPERM)
        if name in above.entries:
            raise _error(EEXIST)
        above.put(name, it)
        it.links += 1
        it.ctime = above.mtime = above.ctime = self._clock()

    def unlink(self, directory: Key, name: bytes) -> None:
        above = self._directory(directory)
        if self._node(self.lookup(directory, name)).kind is FileKind.DIRECTORY:
            raise _error(EISDIR)
        self._dropped(above.take(name))
        above.mtime = above.ctime = self._clock()

    def rmdir(self, directory: Key, name: bytes) -> None:
        above = self._directory(directory)
        victim = self._directory(self.lookup(directory, name))
        if victim.entries:
            raise _error(ENOTEMPTY)
        above.take(name)
        above.links -= 1
        victim.links = 0
        del self._nodes[victim.key]
        above.mtime = above.ctime = self._clock()

    def _dropped(self, it: MemoryNode) -> None:
        it.links -= 1
        it.ctime = self._clock()
        if not it.links and it.key not in self._kept:
            self._bury(it)

    def _bury(self, it: MemoryNode) -> None:
        self._used -= len(it.pages) * PAGE
        del self._nodes[it.key]

    def keep(self, node: Key) -> None:
        self._node(node)
        self._kept[node] = self._kept.get(node, 0) + 1

    def drop(self, node: Key) -> None:
        self._kept[node] -= 1
        if not self._kept[node]:
            del self._kept[node]
            it = self._nodes.get(node)
            if it is not None and not it.links:
                self._bury(it)

    def rename(self, directory: Key, name: bytes, to_directory: Key, to_name: bytes) -> None:
        source, target = self._directory(directory), self._directory(to_directory)
        it = self._node(self.lookup(directory, name))
        if it.kind is FileKind.DIRECTORY:
            self._require_not_below(target, it)
        there = target.entries.get(to_name)
        if there is not None:
            if there[1] is it:
                return
            self._clear_way(it, there[1], to_directory, to_name)
        source.take(name)
        target.put(to_name, it)
        if it.kind is FileKind.DIRECTORY:
            it.parent = target
            source.links -= 1
            target.links += 1
        it.ctime = source.mtime = source.ctime = target.mtime = target.ctime = self._clock()

    @staticmethod
    def _require_not_below(at: MemoryNode, moved: MemoryNode) -> None:
        while True:
            if at is moved:
                raise _error(EINVAL)
            if at.parent is at:
                return
            at = at.parent

    def _clear_way(self, it: MemoryNode, victim: MemoryNode, directory: Key, name: bytes) -> None:
        if victim.kind is FileKind.DIRECTORY:
            if it.kind is not FileKind.DIRECTORY:
                raise _error(EISDIR)
            self.rmdir(directory, name)
        else:
            if it.kind is FileKind.DIRECTORY:
                raise _error(ENOTDIR)
            self.unlink(directory, name)

    def space(self) -> Space:
        free = self._capacity - self._used
        files = 1 << 32
        return Space(
            total=self._capacity, free=free, available=free,
            files_total=files, files_free=files - len(self._nodes), files_available=files - len(self._nodes),
        )  # fmt: skip

    def close(self) -> None:
        self._nodes.clear()


def _nothing() -> None:
    """Memory has nowhere to be written to."""
