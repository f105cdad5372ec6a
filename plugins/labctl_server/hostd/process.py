"""A VM's process: detached from hostd, found again by its token, waited for through a pidfd.

A token is a variable in the process's environment; it names lab, host and VM. Only processes in the host's network namespace count, so
that a lab of the same name elsewhere on the machine is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from labctl.linux import processes
from labctl.linux.processes import ProcessId

TOKEN = "LABCTL_VM"  # noqa: S105 - the name of a variable
OWN_NAMESPACE = Path("/proc/self/ns/net")

_NOT_INHERITED = "LABCTL_TOKEN"
"""Hostd's own token, by which labd finds hostd: it must not be found on a VM."""

LAST_LINES = 3
"""So many lines of QEMU's log are told when it does not start."""


def token_of(lab: str, host: str, vm: str) -> str:
    """The token of a VM's process, `NAME=value`."""
    return f"{TOKEN}={lab}/{host}/{vm}"


def spawn(argv: Sequence[str], token: str, *, folder: Path, log: Path) -> ProcessId:
    """Start a VM's process in our own namespace and cgroup.

    Args:
        argv: the command.
        token: see token_of.
        folder: its working folder: the paths of its sockets may then be relative, and the folder's as long as it likes.
        log: where its output goes.

    Raises:
        LabError: it could not be started.
    """
    name, _, value = token.partition("=")
    environment = {key: text for key, text in os.environ.items() if key != _NOT_INHERITED}
    return processes.spawn(argv, environment={**environment, name: value}, directory=folder, log=log)


def find(token: str, namespace: Path = OWN_NAMESPACE) -> ProcessId | None:
    """The process that carries a token and lives in a network namespace, or None."""
    try:
        home = namespace.stat()
    except OSError:
        return None  # the namespace is gone, and whatever lived there with it
    for process in processes.find_by_environment(token):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if os.path.samestat(Path(f"/proc/{process.pid}/ns/net").stat(), home):
                return process
    return None


async def ended(process: ProcessId) -> int | None:
    """Wait for a process's end; returns its exit status where it is our child (negative: a signal), else None."""
    descriptor = processes.open_pidfd(process)
    if descriptor is not None:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return processes.reap(process)


def last_words(journal: Path) -> str:
    """What a process said last, for an error's message."""
    try:
        lines = journal.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return "; ".join(lines[-LAST_LINES:]) or "QEMU said nothing"
