"""Listings of local directories with the kernel's own cookies.

Theory: getdents64 gives with each entry the position (d_off) after it, to which lseek can return; ext4, xfs, btrfs and today's tmpfs keep
those positions valid while entries come and go, for as long as the directory lives, so they serve as NFS cookies, across restarts too.
"""

from __future__ import annotations

import os
from struct import Struct

from labemu_store.file.local.syscalls import getdents
from labemu_store.file.types import DirectoryEntry

_HEAD = Struct("=QqHB")
"""struct linux_dirent64: inode, position after it, length of the record, type; then the name, ended by a zero byte."""

MIN_CHUNK = 1024
MAX_CHUNK = 65536
"""Bytes asked of the kernel at once: at least one longest record, at most what a reply of a usual size can hold."""


def list_directory(descriptor: int, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
    """Entries after `cookie`, about `size` bytes of records, and whether the directory ends there."""
    os.lseek(descriptor, cookie, os.SEEK_SET)
    records = getdents(descriptor, max(MIN_CHUNK, min(size, MAX_CHUNK)))
    if not records:
        return [], True
    entries: list[DirectoryEntry] = []
    at, end = 0, len(records)
    while at < end:
        fileid, position, length, _ = _HEAD.unpack_from(records, at)
        start = at + _HEAD.size
        entries.append(DirectoryEntry(fileid, records[start : records.index(0, start)], position))
        at += length
    return entries, False
