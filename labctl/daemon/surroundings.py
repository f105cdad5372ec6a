"""Where a lab lives: on the machine itself as root, or in a user namespace of its own.

Without root, a holder process keeps the lab's user and mount namespaces alive; it is written down in `holder.json`, first by the token
that stands in its environment, then by its pid and start time, so that a crash in between never leaves one that nobody knows.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from labctl.linux import processes, userns
from labctl.linux.processes import ProcessId
from labctl.runtime.agents.files import write_whole
from labctl.runtime.paths import LabPaths

HOLDER_FILE = "holder.json"

TOKEN = "LABCTL_HOLDER"  # noqa: S105 - the name of a variable


class Surroundings:
    """A lab's surroundings.

    Args:
        holder_process: who holds the user namespace, or None as root.
    """

    def __init__(self, holder_process: ProcessId | None) -> None:
        self._holder = holder_process

    @classmethod
    def of(cls, paths: LabPaths) -> Surroundings:
        """The surroundings to start a labd in; makes them where needed.

        Raises:
            MissingRightError: we are not root, and may not make user namespaces.
        """
        if os.geteuid() == 0:
            return cls(None)
        return cls(_recorded(paths) or _start(paths))

    @classmethod
    def recorded(cls, paths: LabPaths, *, rootless: bool) -> Surroundings:
        """The surroundings that a labd finds itself in."""
        return cls(_recorded(paths) if rootless else None)

    @property
    def rootless(self) -> bool:
        """Whether the lab has a user namespace of its own."""
        return self._holder is not None

    @property
    def holder(self) -> ProcessId | None:
        """Who holds the user namespace."""
        return self._holder

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command that runs another there.

        Raises:
            NotRunningError: the holder is gone.
        """
        return list(argv) if self._holder is None else userns.enter_command(self._holder, argv)

    def release(self) -> None:
        """End the holder; the namespaces go with the last process in them."""
        if self._holder is not None:
            processes.terminate([self._holder], grace=0)


def _start(paths: LabPaths) -> ProcessId:
    token = secrets.token_hex(16)
    file = _file(paths)
    write_whole(file, json.dumps({"token": token}).encode())
    holder = userns.start_holder({"PATH": os.environ.get("PATH", os.defpath), TOKEN: token})
    write_whole(file, json.dumps({"token": token, "pid": holder.pid, "start_time": holder.start_time}).encode())
    return holder


def _recorded(paths: LabPaths) -> ProcessId | None:
    try:
        known = json.loads(_file(paths).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if "pid" in known:
        holder = ProcessId(pid=known["pid"], start_time=known["start_time"])
        return holder if processes.alive(holder) else None
    found = processes.find_by_environment(f"{TOKEN}={known['token']}")
    return min(found, default=None)


def _file(paths: LabPaths) -> Path:
    return paths.directory / HOLDER_FILE
