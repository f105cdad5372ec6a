"""The system calls that Python 3.11's os module lacks, through ctypes. Each raises OSError; each releases the GIL while it runs."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 1 << 20

MNT_DETACH = 2

MADV_PAGEOUT = 21

_PR_SET_THP_DISABLE = 41

_SYS_PROCESS_MADVISE = 440  # the same number on every architecture (asm-generic/unistd.h)

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (unshare(2))."""
    _check(_libc.unshare(flags), None)


def setns(fd: int, flags: int) -> None:
    """Move the calling thread into the namespace that a descriptor stands for (setns(2))."""
    _check(_libc.setns(fd, flags), None)


def mount(source: str, target: str, flags: int) -> None:
    """Bind-mount, or change propagation (mount(2) without a file system type)."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None), target)


def umount(target: str, flags: int = 0) -> None:
    """Unmount (umount2(2))."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


class _Range(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def process_madvise(pidfd: int, start: int, length: int, advice: int) -> int:
    """Advise the kernel on a range of another process's memory (process_madvise(2)); returns the bytes advised."""
    vector = _Range(start, length)
    arguments = (ctypes.c_int(pidfd), ctypes.byref(vector), ctypes.c_size_t(1), ctypes.c_int(advice), ctypes.c_uint(0))
    done = int(_libc.syscall(ctypes.c_long(_SYS_PROCESS_MADVISE), *arguments))
    _check(min(done, 0), None)
    return done


def disable_huge_pages() -> None:
    """Give this process, and those that it starts from now on, pages of the base size only (PR_SET_THP_DISABLE, prctl(2))."""
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(_PR_SET_THP_DISABLE, ctypes.c_ulong(1), zero, zero, zero), None)


def _check(result: int, path: str | None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
