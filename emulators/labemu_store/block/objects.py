"""Disks on any filesystem that fsspec knows: one object, which is only read, or chunks of our own layout.

How the chunks lie there is said in layout.py. A chunk that is missing, or the part of it that is, reads as zeroes; one is replaced as a
whole.
Readers hold a lock only to look at what is in memory; writers and uploads exclude each other, so a slow upload delays no reader.

Nothing here keeps a change back longer than `flush`; what delays them is writeback.py.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from labemu_store.block import layout
from labemu_store.block.api import Buffer, Capabilities, Extent, Operation
from labemu_store.block.extents import joined
from labemu_store.block.layout import CHUNK
from labemu_store.errors import UNREACHABLE, StoreConfigError, StoreError
from labemu_store.remote.calls import FileSystem, protocols, translated

CACHE: Final = 64 << 20  # bytes that were read and are kept in memory
_PENDING: Final = 16  # changed chunks that are held until flush; more are uploaded at once
_WEB: Final = frozenset(
    {"http", "https"}
)  # objects to read; a path there may end in a query, and anything may answer anything
_AT_A_TIME: Final = 8  # uploads: each waits for the network most of its time


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
        cache: int = CACHE,
    ) -> None:
        self._fs, self._path, self._chunk, self._raw = filesystem, path, chunk, raw
        self.size = size
        self.capabilities = Capabilities(
            blocking=True, thin=not raw, read_only=raw, survives_kill=False, granularity=0 if raw else chunk
        )
        self._lock = threading.Lock()  # of what is in memory; never held over a request
        self._writing = threading.RLock()  # one writer or upload at a time
        self._cache = _Cached(cache)
        self._pending: dict[int, bytearray] = {}
        self._version = 0
        self._unreachable: StoreError | None = None
        self._present: dict[int, int] = {} if raw else layout.chunks(filesystem, path, chunk)

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
        while True:
            with self._lock:
                if index in self._pending:
                    return bytes(self._pending[index])
                block = self._cache.get(index)
                if block is not None:
                    return block
                if not self._raw and index not in self._present:
                    return bytes(self._chunk)
                version = self._version
            try:
                block = self._fetch(index)
            except StoreError as error:
                if error.errno == errno.ENOENT and version != self._version:
                    continue  # it was unmapped meanwhile
                raise
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
                    raise StoreError(errno.EIO, "the object's size is not what it was")
                return block
            block = self._fs.cat_file(layout.chunk_name(self._path, index))
        if len(block) != self._present.get(index, len(block)):
            raise StoreError(errno.EIO, "a chunk's size is not what it was")
        return block.ljust(self._chunk, b"\0")

    def write(self, offset: int, data: Buffer) -> None:
        """Into changed chunks in memory, which `flush` uploads, or this when they are many."""
        if self._raw:
            raise StoreError(errno.EROFS, os.strerror(errno.EROFS))
        view, end = memoryview(data), offset + len(data)
        if offset < 0 or end > self.size:
            raise StoreError(errno.EINVAL, "write beyond the end of the disk")
        with self._writing:
            while offset < end:
                index, start = divmod(offset, self._chunk)
                stop = min(self._chunk, start + end - offset)
                if index not in self._pending:
                    if len(self._pending) >= _PENDING:
                        self.flush()
                    whole = stop - start == self._chunk
                    chunk = bytearray(self._chunk) if whole else bytearray(self._get(index))
                    chunk[start:stop] = view[: stop - start]
                    with self._lock:
                        self._pending[index] = chunk
                else:
                    with self._lock:
                        self._pending[index][start:stop] = view[: stop - start]
                view = view[stop - start :]
                offset += stop - start

    def prepare(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch the chunks of which only a part is about to be written, several at a time, instead of each when its turn comes."""
        covered: dict[int, int] = {}
        for offset, length in ranges:
            for index in range(offset // self._chunk, -(-(offset + length) // self._chunk)):
                start = max(offset, index * self._chunk)
                covered[index] = covered.get(index, 0) + min(offset + length, (index + 1) * self._chunk) - start
        wanted = [
            i for i, length in covered.items() if length < self._chunk and i in self._present and not self._cached(i)
        ]
        if len(wanted) > 1:
            with ThreadPoolExecutor(min(_AT_A_TIME, len(wanted)), thread_name_prefix="labemu-fetch") as pool:
                list(pool.map(self._get, wanted))

    def _cached(self, index: int) -> bool:
        with self._lock:
            return self._cache.get(index) is not None

    def flush(self) -> None:
        """Upload what was changed, several chunks at a time; what fails stays for the next one.

        Raises:
            StoreError: the first failure, when all have been tried.
        """
        with self._writing:
            self._unreachable = None
            waiting = list(self._pending)
            if len(waiting) < 2:
                for index in waiting:
                    self._upload(index)
                return
            with ThreadPoolExecutor(min(_AT_A_TIME, len(waiting)), thread_name_prefix="labemu-upload") as pool:
                done: list[Future[None]] = [pool.submit(self._upload, index) for index in waiting]
        for each in done:
            each.result()

    def _upload(self, index: int) -> None:
        """A failure leaves it pending; where it was the way there, the rest need not wait for theirs."""
        if self._unreachable is not None:
            raise self._unreachable
        content = bytes(self._pending[index])
        kept = content.rstrip(b"\0")
        try:
            with translated("writing"):
                if kept:
                    layout.put_chunk(self._fs, self._path, index, kept)
                elif index in self._present:
                    layout.remove_chunk(self._fs, self._path, index)
        except StoreError as error:
            if error.errno in UNREACHABLE:
                self._unreachable = error
            raise
        with self._lock:
            self._version += 1
            if kept:
                self._present[index] = len(kept)
            else:
                self._present.pop(index, None)
            self._cache.put(index, content)
            del self._pending[index]

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
        with self._writing:
            if size < self.size:
                self.unmap(size, self.size - size)
            self.flush()
            layout.put_manifest(self._fs, self._path, layout.Manifest(size, self._chunk))
            self.size = size

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """What there is comes by itself."""
        return 0.0

    def close(self) -> None:
        """Upload what was changed."""
        if not self._raw:
            self.flush()


def open_objects(
    filesystem: FileSystem, path: str, *, size: int | None = None, chunk: int = CHUNK, cache: int = CACHE
) -> ObjectStore:
    """Open the disk at a path: chunks where there is a manifest, the object where there is one, else new chunks of `size` bytes.

    Raises:
        StoreConfigError: there is nothing and no size was given; the manifest is damaged or of a later version.
        StoreError: the filesystem failed.
    """
    path = path.rstrip("/")
    found = None if _WEB & protocols(filesystem) else layout.read_manifest(filesystem, path)
    if found is None:
        raw = _object_size(filesystem, path)
        if raw is not None:
            return ObjectStore(filesystem, path, size=raw, chunk=chunk, raw=True, cache=cache)
        if size is None:
            raise StoreConfigError("there is no disk at this URL", hint="give its size to create it: ?size=1GiB")
        found = layout.Manifest(size, chunk)
        layout.create(filesystem, path, found)
    store = ObjectStore(filesystem, path, size=found.size, chunk=found.chunk, cache=cache)
    if size is not None and size > store.size:
        store.resize(size)
    return store


def _object_size(filesystem: FileSystem, path: str) -> int | None:
    """An object's size in bytes, or None where there is none.

    Raises:
        StoreConfigError: it is there and cannot be a disk.
        StoreError: the filesystem failed.
    """
    try:
        with translated("opening"):
            info = filesystem.info(path)
            if info.get("type") != "file":
                return None
            if info.get("size") is None:
                raise StoreConfigError("the server does not say how large it is", hint="copy it, and serve the copy")
            size = int(info["size"])
            if size > 1 and len(filesystem.cat_file(path, start=1, end=2)) != 1:
                raise StoreConfigError(
                    "the server does not hand out parts of it", hint="use one that answers range requests"
                )
    except StoreError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    return size
