"""Giving back what another process holds in memory and can read again from its files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from labctl.linux import syscalls
from labctl.linux.processes import ProcessId, open_pidfd


def page_out(process: ProcessId, folder: Path) -> int:
    """Take the pages of files below a folder out of a process's memory; they come back when it touches them.

    The kernel does so for files that no other process maps, and only for root (process_madvise(2) wants CAP_SYS_NICE in the machine's own
    user namespace).

    Args:
        process: whose memory.
        folder: which files, by the path under which they were mapped.

    Returns:
        Bytes of the ranges that were advised; 0 where it is not allowed, or nothing of the folder is mapped.
    """
    descriptor = open_pidfd(process)
    if descriptor is None:
        return 0
    try:
        return sum(_advise(descriptor, start, length) for start, length in _mappings(process.pid, folder))
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ESRCH, errno.ENOSYS, errno.EINVAL):
            raise
        return 0
    finally:
        os.close(descriptor)


def _mappings(pid: int, folder: Path) -> list[tuple[int, int]]:
    """Start and length of each mapping of a file below the folder (proc_pid_maps(5))."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(f"{folder}/"):
            start, _, end = fields[0].partition("-")
            found.append((int(start, 16), int(end, 16) - int(start, 16)))
    return found


def _advise(descriptor: int, start: int, length: int) -> int:
    return syscalls.process_madvise(descriptor, start, length, syscalls.MADV_PAGEOUT)
