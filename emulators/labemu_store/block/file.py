"""A store on a file descriptor: the fast path of file:// (and, through memfd, of memory://).

pread and pwrite on the page cache: no copy in Python beyond the one bytes object that a read returns.
Holes are real: fallocate punches them, SEEK_DATA and SEEK_HOLE find them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from labemu_store.block.api import Buffer, Capabilities, Extent, Operation
from labemu_store.errors import StoreConfigError, StoreError

_FALLOC_KEEP_SIZE = 0x01
_FALLOC_PUNCH_HOLE = 0x02
_FALLOC_ZERO_RANGE = 0x10
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_ZEROES = bytes(1 << 20)  # one write's worth where fallocate is missing
_STAT_BLOCK = 512  # st_blocks counts in these whatever the filesystem's block is

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> bool:
    """Whether the filesystem did it; raises StoreError when it failed at what it supports."""
    while _libc.fallocate(descriptor, mode, offset, length) != 0:
        code = ctypes.get_errno()
        if code in _UNSUPPORTED:
            return False
        if code != errno.EINTR:
            raise StoreError(code, os.strerror(code))
    return True


class FileBlockStore:
    """A regular file or a block device as a store.

    Args:
        descriptor: open for reading and, unless `read_only`, writing; the store closes it.
        name: for messages.
        read_only: refuse writes with EROFS.
    """

    vectored: Final = True

    def __init__(self, descriptor: int, *, name: str, read_only: bool = False) -> None:
        self._descriptor = descriptor
        self.name = name
        self._size = os.lseek(descriptor, 0, os.SEEK_END)
        self.capabilities = Capabilities(read_only=read_only)
        self._run = (0, 0)  # of data, as last found: some filesystems take milliseconds to see where it ends

    @classmethod
    def open(cls, path: Path, *, size: int | None = None, read_only: bool = False) -> FileBlockStore:
        """Open the file, or make a sparse one of `size` bytes when it does not exist; a smaller file grows to `size`.

        The file is locked while it is open, so that two targets cannot serve the same one.

        Raises:
            StoreConfigError: when it is missing and no size was given, cannot be opened or is in use.
        """
        flags = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
        if size is not None and not read_only:
            flags |= os.O_CREAT
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError as error:
            raise StoreConfigError(f"{path} does not exist", hint="give its size to create it: ?size=1GiB") from error
        except OSError as error:
            raise StoreConfigError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            store = cls(descriptor, name=str(path), read_only=read_only)
            if size is not None and not read_only and store.size < size:
                store.resize(size)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreConfigError(f"{path} is in use by another process", hint="stop it, or serve a copy") from error
        except OSError:
            os.close(descriptor)
            raise
        return store

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def read(self, offset: int, length: int) -> Buffer:
        """One pread; what lies beyond a file that someone else cut short is an error, not silence."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length:
            return data
        return self._read_rest(offset, length, data)

    def _read_rest(self, offset: int, length: int, data: bytes) -> bytes:
        parts = [data]
        have = len(data)
        while have < length:
            part = os.pread(self._descriptor, length - have, offset + have)
            if not part:
                raise StoreError(errno.EIO, f"{self.name} ends before byte {offset + length}")
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def write(self, offset: int, data: Buffer) -> None:
        """One pwrite, or as many as the kernel takes."""
        length = len(data)
        if offset + length > self._size:
            raise StoreError(errno.EINVAL, f"write beyond the end of {self.name}")
        if self.capabilities.read_only:
            raise StoreError(errno.EROFS, os.strerror(errno.EROFS))
        done = os.pwrite(self._descriptor, data, offset)
        while done < length:
            done += os.pwrite(self._descriptor, memoryview(data)[done:], offset + done)

    def readv(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """One preadv; where the kernel gives less, each buffer by itself."""
        if os.preadv(self._descriptor, buffers, offset) == length:
            return
        for buffer in buffers:
            buffer[:] = self.read(offset, len(buffer))
            offset += len(buffer)

    def writev(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """One pwritev; where the kernel takes less, each buffer by itself."""
        if offset + length > self._size or self.capabilities.read_only:
            self.write(offset, b"".join(buffers))  # says what is wrong
        if os.pwritev(self._descriptor, buffers, offset) == length:
            return
        for buffer in buffers:
            self.write(offset, buffer)
            offset += len(buffer)

    def unmap(self, offset: int, length: int) -> None:
        """Punch a hole; write zeroes where the filesystem has none."""
        self._clear(_FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE, offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Zeroes in allocated space where the filesystem can, else plain zeroes."""
        self._clear(_FALLOC_ZERO_RANGE | _FALLOC_KEEP_SIZE, offset, length)

    def _clear(self, mode: int, offset: int, length: int) -> None:
        if offset + length > self._size:
            raise StoreError(errno.EINVAL, f"range beyond the end of {self.name}")
        if self.capabilities.read_only:
            raise StoreError(errno.EROFS, os.strerror(errno.EROFS))
        self._run = (0, 0)
        if length and not _fallocate(self._descriptor, mode, offset, length):
            for start in range(offset, offset + length, len(_ZEROES)):
                self.write(start, memoryview(_ZEROES)[: offset + length - start])

    def flush(self) -> None:
        """fdatasync: data, and the size and extents needed to find it."""
        os.fdatasync(self._descriptor)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Data and holes as the filesystem tells them (in its own granularity)."""
        end = offset + length
        while offset < end:
            start, hole = self._run
            data = offset if start <= offset < hole else self._seek(offset, os.SEEK_DATA, end)
            if data > offset:
                yield Extent(offset, data - offset, is_data=False)
            if data < end:
                if not start <= data < hole:
                    hole = self._seek(data, os.SEEK_HOLE, self._size)
                    self._run = (data, hole)
                hole = min(hole, end)
                yield Extent(data, hole - data, is_data=True)
                data = hole
            offset = data

    def _seek(self, offset: int, whence: int, end: int) -> int:
        try:
            return min(os.lseek(self._descriptor, offset, whence), end)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here to the end
                return end
            if error.errno in _UNSUPPORTED:  # then all is data
                return offset if whence == os.SEEK_DATA else end
            raise

    def allocated(self) -> int:
        """Bytes of the filesystem that the file takes."""
        return os.fstat(self._descriptor).st_blocks * _STAT_BLOCK

    def resize(self, size: int) -> None:
        """ftruncate."""
        os.ftruncate(self._descriptor, size)
        self._size = size
        self._run = (0, 0)

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """None of our own making."""
        return 0.0

    def close(self) -> None:
        """Flush and close."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            if not self.capabilities.read_only:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
