"""What processes and links have used, as /proc tells it (proc_pid_stat(5), proc_pid_net(5))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME, _RSS = 11, 12, 21
"""Fields of /proc/PID/stat, counted from behind the command's name."""


@dataclass(frozen=True, kw_only=True)
class ProcessUsage:
    """What a process takes.

    Args:
        cpu: seconds of processor time, in user space and in the kernel.
        memory: bytes in memory.
    """

    cpu: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class LinkUsage:
    """What went through a link of a namespace."""

    received_bytes: int
    received_packets: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_dropped: int


def process_usage(pid: int) -> ProcessUsage | None:
    """A process's usage; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ProcessUsage(cpu=(int(fields[_UTIME]) + int(fields[_STIME])) * _TICK, memory=int(fields[_RSS]) * _PAGE)


def link_usage(table: Path = Path("/proc/thread-self/net/dev")) -> Mapping[str, LinkUsage]:
    """Each link of the calling thread's namespace, by its name."""
    found = {}
    for line in table.read_text().splitlines()[2:]:  # two lines of headings
        name, _, rest = line.rpartition(":")
        numbers = [int(word) for word in rest.split()]
        found[name.strip()] = LinkUsage(
            received_bytes=numbers[0],
            received_packets=numbers[1],
            received_dropped=numbers[3],
            sent_bytes=numbers[8],
            sent_packets=numbers[9],
            sent_dropped=numbers[11],
        )
    return found
