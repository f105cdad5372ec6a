"""Holes, copies inside the kernel and extended attributes of local files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from errno import EFBIG, EINVAL, ENODATA, ENOTSUP, ENXIO
from functools import partial
from struct import Struct

from labemu_store.file.local.descriptors import Descriptors
from labemu_store.file.local.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate
from labemu_store.file.protocol import Buffer
from labemu_store.file.types import MAX_OFFSET, Key, XattrMode

_PREFIX = "user."
"""Of the attributes that belong to users; the others are the system's (xattr(7))."""

_FICLONERANGE = 0x4020940D
_CLONE_RANGE = Struct("=qQQQ")
"""struct file_clone_range: source descriptor, offset, length, offset in the target (ioctl_ficlonerange(2))."""

_FLAGS = {XattrMode.EITHER: 0, XattrMode.CREATE: os.XATTR_CREATE, XattrMode.REPLACE: os.XATTR_REPLACE}


def has_xattrs(descriptor: int) -> bool:
    """Whether the file system of a descriptor keeps users' attributes."""
    try:
        os.getxattr(f"/proc/self/fd/{descriptor}", f"{_PREFIX}none")
    except OSError as error:
        return error.errno == ENODATA
    return True


def _check(offset: int, size: int) -> None:
    if size < 1:
        raise OSError(EINVAL, "no bytes")
    if offset + size > MAX_OFFSET:
        raise OSError(EFBIG, "beyond what a file can hold")


class LocalSparse:
    """What SparseStore and XattrStore ask for, over open nodes."""

    _open: Descriptors

    def seek(self, node: Key, offset: int, *, data: bool) -> int:
        descriptor = self._open.node(node).open_data(write=False)
        if offset > MAX_OFFSET:
            raise OSError(ENXIO, "beyond the end")
        return os.lseek(descriptor, offset, os.SEEK_DATA if data else os.SEEK_HOLE)

    def allocate(self, node: Key, offset: int, size: int) -> None:
        _check(offset, size)
        opened = self._open.node(node)
        opened.change += 1
        fallocate(opened.open_data(write=True), 0, offset, size)

    def deallocate(self, node: Key, offset: int, size: int) -> None:
        _check(offset, min(size, MAX_OFFSET - offset))
        opened = self._open.node(node)
        descriptor = opened.open_data(write=True)
        opened.change += 1
        size = min(
            size, os.fstat(descriptor).st_size - offset
        )  # nothing is beyond the end, and ext4 takes no larger numbers
        if size > 0:
            fallocate(descriptor, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, offset, size)

    def copy(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> Callable[[], int]:
        _check(max(offset, to_offset), size)
        source = os.dup(self._open.node(node).open_data(write=False))
        try:
            opened = self._open.node(to)
            target = os.dup(opened.open_data(write=True))
        except BaseException:
            os.close(source)
            raise
        opened.change += 1
        return partial(_copy, source, offset, target, to_offset, size)

    def clone(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> None:
        source = self._open.node(node).open_data(write=False)
        opened = self._open.node(to)
        target = opened.open_data(write=True)
        opened.change += 1
        if max(offset, to_offset) + size > MAX_OFFSET:
            raise OSError(EFBIG, "beyond what a file can hold")
        fcntl.ioctl(target, _FICLONERANGE, _CLONE_RANGE.pack(source, offset, size, to_offset))

    def getxattr(self, node: Key, name: bytes) -> bytes:
        return os.getxattr(self._open.node(node).link, _PREFIX.encode() + name)

    def setxattr(self, node: Key, name: bytes, value: Buffer, mode: XattrMode) -> None:
        opened = self._open.node(node)
        os.setxattr(opened.link, _PREFIX.encode() + name, value, _FLAGS[mode])
        opened.change += 1

    def listxattr(self, node: Key) -> list[bytes]:
        try:
            names = os.listxattr(self._open.node(node).link)
        except OSError as error:
            if error.errno == ENOTSUP:
                return []
            raise
        return [os.fsencode(name[len(_PREFIX) :]) for name in names if name.startswith(_PREFIX)]

    def removexattr(self, node: Key, name: bytes) -> None:
        opened = self._open.node(node)
        os.removexattr(opened.link, _PREFIX.encode() + name)
        opened.change += 1


def _copy(source: int, offset: int, target: int, to_offset: int, size: int) -> int:
    """Copy inside the kernel, where file systems allow it without moving bytes; returns how many."""
    done = 0
    try:
        while done < size:
            count = os.copy_file_range(source, target, size - done, offset + done, to_offset + done)
            if not count:
                break
            done += count
    finally:
        os.close(source)
        os.close(target)
    return done
