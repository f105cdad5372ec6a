"""Disks on any filesystem that fsspec knows: one object, which is only read, or chunks of our own layout.

The layout: `PREFIX/manifest.json` (`{"version": 1, "size": bytes, "chunk": bytes}`) and `PREFIX/chunks/INDEX`, the index in 12 hexadecimal
digits. A chunk that is missing, or the part of it that is, reads as zeroes. A chunk is replaced as a whole: at once where a filesystem puts
objects, by a rename where it writes files.

Nothing here keeps a change back longer than `flush`; what delays them is writeback.py.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from labemu_store.block.api import Buffer, Capabilities, Extent, Operation
from labemu_store.block.extents import joined
from labemu_store.errors import StoreConfigError, StoreError

CHUNK: Final = 1 << 20  # a compromise: larger ones cost small writes dearly, smaller ones cost a request each
_CACHE: Final = 64 << 20
_PENDING: Final = 16  # changed chunks that are held until flush; more are uploaded at once
_IN_PLACE: Final = {"file", "local", "sftp", "ssh", "ftp", "smb"}  # a write there can be seen half done


class FileSystem(Protocol):
    """What is used of fsspec's AbstractFileSystem."""

    protocol: Any

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object."""

    def pipe_file(self, path: str, value: bytes) -> None:
        """Make an object."""

    def rm_file(self, path: str) -> None:
        """Remove an object."""

    def mv(self, path1: str, path2: str) -> None:
        """Rename."""

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        """What lies under a folder."""

    def info(self, path: str) -> dict[str, Any]:
        """An object's size."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder."""

    def exists(self, path: str) -> bool:
        """Whether there is an object."""

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings."""


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Whatever a filesystem raises becomes a StoreError; its words stay inside, since they may carry credentials."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        code = getattr(error, "errno", None)
        known = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, TimeoutError: errno.ETIMEDOUT}
        if not isinstance(code, int) or not code:
            code = next((value for kind, value in known.items() if isinstance(error, kind)), errno.EIO)
        raise StoreError(code, f"{what} failed: {os.strerror(code)} ({type(error).__name__})") from None


class _Cached:
    """A bounded cache of blocks, least recently used first out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, index: int) -> bytes | None:
        block = self._blocks.get(index)
        if block is not None:
            self._blocks.move_to_end(index)
        return block

    def put(self, index: int, block: bytes) -> None:
        self.drop(index)
        self._blocks[index] = block
        self._bytes += len(block)
        while self._bytes > self._limit and self._blocks:
            self._bytes -= len(self._blocks.popitem(last=False)[1])

    def drop(self, index: int) -> None:
        self._bytes -= len(self._blocks.pop(index, b""))


class ObjectStore:
    """A disk in chunks, or (without `manifest`) one object that is only read.

    Args:
        filesystem: an fsspec filesystem.
        path: the prefix, or the object.
        size: bytes.
        chunk: bytes of a chunk, or of what is read at a time.
        raw: whether `path` is an object.
        cache: bytes of what was read that are kept in memory.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        path: str,
        *,
        size: int,
        chunk: int = CHUNK,
        raw: bool = False,
        cache: int = _CACHE,
    ) -> None:
        self._fs, self._path, self._chunk, self._raw = filesystem, path, chunk, raw
        self.size = size
        self.capabilities = Capabilities(blocking=True, thin=not raw, read_only=raw, survives_kill=False)
        protocol = filesystem.protocol
        self._rename = bool(_IN_PLACE & {protocol} if isinstance(protocol, str) else _IN_PLACE & set(protocol))
        self._lock = threading.RLock()
        self._cache = _Cached(cache)
        self._pending: dict[int, bytearray] = {}
        self._version = 0
        self._present: dict[int, int] = {} if raw else self._list()

    def _list(self) -> dict[int, int]:
        with translated("listing the chunks"):
            self._fs.invalidate_cache()
            found: dict[int, int] = {}
            for entry in self._fs.ls(f"{self._path}/chunks", detail=True):
                name = str(entry["name"]).rsplit("/", 1)[-1]
                if len(name) == 12:
                    found[int(name, 16)] = int(entry["size"] or self._chunk)
            return found

    def _name(self, index: int) -> str:
        return f"{self._path}/chunks/{index:012x}"

    def read(self, offset: int, length: int) -> Buffer:
        """From memory where it is there, else by requests of whole chunks."""
        if offset < 0 or offset + length > self.size:
            raise StoreError(errno.EINVAL, "read beyond the end of the disk")
        parts, end = [], offset + length
        while offset < end:
            index, start = divmod(offset, self._chunk)
            stop = min(self._chunk, start + end - offset)
            parts.append(self._get(index)[start:stop])
            offset += stop - start
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _get(self, index: int) -> bytes:
        """A whole chunk."""
        with self._lock:
            if index in self._pending:
                return bytes(self._pending[index])
            block = self._cache.get(index)
            if block is not None:
                return block
            if not self._raw and index not in self._present:
                return bytes(self._chunk)
            version = self._version
        block = self._fetch(index)
        with self._lock:
            if version == self._version:  # else it may be old already
                self._cache.put(index, block)
        return block

    def _fetch(self, index: int) -> bytes:
        with translated("reading"):
            if self._raw:
                start = index * self._chunk
                end = min(start + self._chunk, self.size)
                block = self._fs.cat_file(self._path, start=start, end=end)
                if len(block) != end - start:
                    raise StoreError(errno.EIO, "the object is shorter than it was")
                return block
            return self._fs.cat_file(self._name(index)).ljust(self._chunk, b"\0")

    def write(self, offset: int, data: Buffer) -> None:
        """Into changed chunks in memory, which `flush` uploads, or this when they are many."""
        if self._raw:
            raise StoreError(errno.EROFS, os.strerror(errno.EROFS))
        view, end = memoryview(data), offset + len(data)
        if offset < 0 or end > self.size:
            raise StoreError(errno.EINVAL, "write beyond the end of the disk")
        with self._lock:
            while offset < end:
                index, start = divmod(offset, self._chunk)
                stop = min(self._chunk, start + end - offset)
                whole = stop - start == self._chunk
                if index not in self._pending:
                    if len(self._pending) >= _PENDING:
                        self._upload(next(iter(self._pending)))
                    self._pending[index] = bytearray(self._chunk) if whole else bytearray(self._get(index))
                self._pending[index][start:stop] = view[: stop - start]
                view = view[stop - start :]
                offset += stop - start

    def _upload(self, index: int) -> None:
        """A failure leaves it pending."""
        content = bytes(self._pending[index]).rstrip(b"\0")
        self._version += 1
        self._cache.drop(index)
        with translated("writing"):
            if not content:
                if index in self._present:
                    self._fs.rm_file(self._name(index))
                    del self._present[index]
            else:
                _replace(self._fs, self._name(index), content, rename=self._rename)
                self._present[index] = len(content)
        self._cache.put(index, bytes(self._pending.pop(index)))

    def unmap(self, offset: int, length: int) -> None:
        """Chunks that are all zeroes are removed."""
        end = offset + length
        while offset < end:
            index, start = divmod(offset, self._chunk)
            stop = min(self._chunk, start + end - offset)
            if index in self._present or index in self._pending:
                self.write(offset, bytes(stop - start))
            offset += stop - start

    def write_zeroes(self, offset: int, length: int) -> None:
        """There is no space to keep for zeroes."""
        self.unmap(offset, length)

    def flush(self) -> None:
        """Upload what was changed."""
        with self._lock:
            for index in list(self._pending):
                self._upload(index)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """By chunks; an object is all data."""
        return joined(self._pieces(offset, offset + length))

    def _pieces(self, offset: int, end: int) -> Iterator[Extent]:
        while offset < end:
            index, start = divmod(offset, self._chunk)
            stop = min(self._chunk, start + end - offset)
            is_data = self._raw or index in self._present or index in self._pending
            yield Extent(offset, stop - start, is_data=is_data)
            offset += stop - start

    def allocated(self) -> int:
        """Bytes of the objects."""
        return self.size if self._raw else sum(self._present.copy().values())

    def resize(self, size: int) -> None:
        """What is cut off is removed first; then the manifest says the new size."""
        if self._raw:
            raise StoreError(errno.EROFS, os.strerror(errno.EROFS))
        with self._lock:
            if size < self.size:
                self.unmap(size, self.size - size)
            self.flush()
            with translated("writing the manifest"):
                put_manifest(self._fs, self._path, size, self._chunk, rename=self._rename)
            self.size = size

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """What there is comes by itself."""
        return 0.0

    def close(self) -> None:
        """Upload what was changed."""
        if not self._raw:
            self.flush()


def _replace(filesystem: FileSystem, name: str, content: bytes, *, rename: bool) -> None:
    if not rename:
        filesystem.pipe_file(name, content)
        return
    draft = name + ".new"
    filesystem.pipe_file(draft, content)
    filesystem.mv(draft, name)


def put_manifest(filesystem: FileSystem, path: str, size: int, chunk: int, *, rename: bool) -> None:
    """Write a disk's manifest."""
    body = json.dumps({"version": 1, "size": size, "chunk": chunk}).encode()
    _replace(filesystem, f"{path}/manifest.json", body, rename=rename)


def open_objects(
    filesystem: FileSystem, path: str, *, size: int | None = None, chunk: int = CHUNK, cache: int = _CACHE
) -> ObjectStore:
    """Open the disk at a path: chunks where there is a manifest, the object where there is one, else new chunks of `size` bytes.

    Raises:
        StoreConfigError: there is nothing and no size was given; the manifest is damaged or of a later version.
        StoreError: the filesystem failed.
    """
    path = path.rstrip("/")
    with translated("opening"):
        there = filesystem.exists(f"{path}/manifest.json")
        found = json.loads(filesystem.cat_file(f"{path}/manifest.json")) if there else None
        info = filesystem.info(path) if found is None and filesystem.exists(path) else {}
        if info.get("type") == "file":
            return ObjectStore(filesystem, path, size=int(info["size"]), chunk=chunk, raw=True, cache=cache)
        if found is None and size is not None:
            filesystem.makedirs(f"{path}/chunks", exist_ok=True)
            put_manifest(filesystem, path, size, chunk, rename=False)
            found = {"version": 1, "size": size, "chunk": chunk}
    if found is None:
        raise StoreConfigError("there is no disk at this URL", hint="give its size to create it: ?size=1GiB")
    if found.get("version") != 1:
        raise StoreConfigError("the disk was written by a later version", hint="use that version")
    store = ObjectStore(filesystem, path, size=int(found["size"]), chunk=int(found["chunk"]), cache=cache)
    if size is not None and size > store.size:
        store.resize(size)
    return store
