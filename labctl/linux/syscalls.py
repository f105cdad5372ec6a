"""The system calls that Python 3.11's os module lacks, through ctypes. Each raises OSError; each releases the GIL while it runs."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 1 << 20

MNT_DETACH = 2

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


def _check(result: int, path: str | None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
