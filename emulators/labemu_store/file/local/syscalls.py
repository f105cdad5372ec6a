"""The Linux calls that Python's os module lacks: kernel file handles, getdents64 with its cookies, statx with the time of birth.

Rule: only thin calls live here; each raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

FALLOC_KEEP_SIZE = 0x1
FALLOC_PUNCH_HOLE = 0x2

AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_MAX_HANDLE_SZ = 128
_STATX_BTIME = 0x800
_STATX_INO = 0x100
_HANDLE_HEAD = struct.Struct("=Ii")
_STATX_SIZE = 256
_STATX_MASK_INO_BTIME = struct.Struct("=I28xQ40xqI")
"""struct statx: mask at 0, ino at 32, btime (seconds, nanoseconds) at 80 (statx(2))."""


def _fail() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


class HandleReader:
    """Asks for kernel file handles, with one buffer for all its calls; for use in one thread."""

    def __init__(self) -> None:
        self._buffer = bytearray(_HANDLE_HEAD.size + _MAX_HANDLE_SZ)
        self._mount = ctypes.c_int()
        as_array = (ctypes.c_char * len(self._buffer)).from_buffer(self._buffer)
        self._arguments = (as_array, ctypes.byref(self._mount))

    def read(self, directory: int, name: bytes) -> tuple[int, bytes]:
        """The handle (type, bytes) of `name` in the directory, of a symlink itself; of the descriptor where `name` is empty."""
        _HANDLE_HEAD.pack_into(self._buffer, 0, _MAX_HANDLE_SZ, 0)
        if _libc.name_to_handle_at(directory, name, *self._arguments, 0 if name else AT_EMPTY_PATH):
            raise _fail()
        size, kind = _HANDLE_HEAD.unpack_from(self._buffer)
        return kind, bytes(self._buffer[_HANDLE_HEAD.size : _HANDLE_HEAD.size + size])


def open_by_handle(mount: int, kind: int, handle: bytes, flags: int) -> int:
    """A descriptor of what a kernel handle names, on the file system that `mount` is a descriptor in."""
    buffer = ctypes.create_string_buffer(_HANDLE_HEAD.pack(len(handle), kind) + handle)
    descriptor: int = _libc.open_by_handle_at(mount, buffer, flags)
    if descriptor < 0:
        raise _fail()
    return descriptor


def getdents(directory: int, size: int) -> bytes:
    """The next records of a directory (struct linux_dirent64), about `size` bytes of them; empty at the end."""
    buffer = ctypes.create_string_buffer(size)
    count: int = _libc.getdents64(directory, buffer, size)
    if count < 0:
        raise _fail()
    return buffer.raw[:count] if count < size else buffer.raw


def inode_and_birth(directory: int, name: bytes) -> tuple[int, int]:
    """Inode number and time of birth in nanoseconds (0 where the file system keeps none); `name` as in name_to_handle."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    flags = _AT_SYMLINK_NOFOLLOW if name else AT_EMPTY_PATH
    if _libc.statx(directory, name, flags, _STATX_INO | _STATX_BTIME, buffer):
        raise _fail()
    mask, inode, seconds, nanoseconds = _STATX_MASK_INO_BTIME.unpack_from(buffer)
    return inode, seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else 0


def fallocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    """Take or give back the space of some bytes (fallocate(2))."""
    if _libc.fallocate(descriptor, mode, offset, size):
        raise _fail()
