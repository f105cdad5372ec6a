"""Packet sockets inside the namespaces of a lab.

As root a thread enters each namespace. Rootless the lab's user namespace must be entered first, which a program with threads cannot
do: a process of its own does it, opens the sockets, and passes them back over a unix socket.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from labctl.errors import LabError
from labctl.linux.namespaces import run_in
from labctl.linux.packet_ring import DEFAULT_SIZE, open_packet_socket
from labctl.linux.processes import ProcessId
from labctl.linux.userns import enter_command

START_DEADLINE = 20.0
"""Seconds for the opener to pass the sockets: a Python start on a busy machine."""

_MOST = 253
"""Descriptors that one message can carry (SCM_MAX_FD of the kernel)."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """An interface inside a lab.

    Args:
        name: what the capture calls it.
        interface: its name in its namespace.
        namespace: the file of its network namespace.
    """

    name: str
    interface: str
    namespace: str


def open_sockets(
    spots: Sequence[Spot], *, holder: ProcessId | None = None, size: int = DEFAULT_SIZE
) -> list[socket.socket]:
    """Open a ring at each spot, in their order.

    Args:
        spots: where; at most 253.
        holder: the process that holds the lab's user namespace, of a rootless lab.
        size: bytes of each ring.

    Raises:
        LabError: a namespace or an interface is gone, or the right is missing.
    """
    if holder is not None:
        return _through_opener(spots, holder, size)
    with ExitStack() as opened:
        sockets = [opened.enter_context(_open(spot, size)) for spot in spots]
        opened.pop_all()
    return sockets


def _open(spot: Spot, size: int) -> socket.socket:
    return run_in(Path(spot.namespace), lambda: open_packet_socket(spot.interface, size=size))


def _through_opener(spots: Sequence[Spot], holder: ProcessId, size: int) -> list[socket.socket]:
    if len(spots) > _MOST:
        raise LabError(
            f"cannot capture {len(spots)} links at once", hint=f"choose at most {_MOST} by --host or --network"
        )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        request = json.dumps({"spots": [asdict(spot) for spot in spots], "size": size})
        words = [sys.executable, "-m", "labctl.trace.capture.opener", str(theirs.fileno())]
        done = subprocess.run(
            enter_command(holder, words),
            input=request,
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=START_DEADLINE,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(
                f"cannot capture inside the lab: {done.stderr.strip() or 'the opener of packet sockets died'}",
                hint="only the user who brought a rootless lab up can look into it",
            )
        _, descriptors, _, _ = socket.recv_fds(ours, 1, _MOST)
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]
