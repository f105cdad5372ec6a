"""Where everything of labctl lives on the machine.

    HOME/labs/LAB/        a lab's state; gone after `down`
        journal.db        what was made (labctl.runtime.journal)
        labd.sock         labd's HTTP interface, 0600
        labd.log
        netns/            rootless: the nodes' network namespaces
        nodes/NODE/       each node's own folder (its agent's configuration, keys, log, socket)
    HOME/data/LAB/        persistent disks; removed by `down --purge`

HOME is $LABCTL_HOME, else /var/lib/labctl for root and ~/.local/state/labctl for everybody else. Images
are in a cache that plugins know too: labctl.plugin.places.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from labctl.errors import LabError
from labctl.plugin.api import LabInfo
from labctl.plugin.places import image_cache

MAX_SOCKET_PATH = 107
"""sun_path has 108 bytes, one of them for the terminating zero (unix(7))."""

LONGEST_SOCKET = "nodes/abcdefghijklmnopqrstuvwxyz123456/agent.sock"
"""The deepest socket in a lab's folder, with a node's name of full length (Kind.max_name_length)."""

MAX_NAMESPACE_NAME = 64
"""Longer names are legal, but unreadable in `ip netns`."""

NETNS_FOLDER = Path("/run/netns")
"""Where `ip netns` looks, so that a lab's nodes can be entered with the usual tools."""


def default_home() -> Path:
    """The folder of all labs' state; see the module."""
    given = os.environ.get("LABCTL_HOME")
    if given:
        return Path(given).absolute()
    return Path("/var/lib/labctl") if os.geteuid() == 0 else Path.home() / ".local" / "state" / "labctl"


def short_name(name: str, limit: int) -> str:
    """`name`, or where it is longer than `limit` its beginning with a stable hash of the whole (8 hexadecimal digits)."""
    if len(name) <= limit:
        return name
    digest = hashlib.blake2s(name.encode(), digest_size=4).hexdigest()
    return f"{name[: limit - 9]}-{digest}"


@dataclass(frozen=True)
class LabPaths:
    """A lab's places.

    Args:
        home: the folder of all labs.
        lab: the lab's name.
    """

    home: Path
    lab: str

    @property
    def directory(self) -> Path:
        """The lab's state folder."""
        return self.home / "labs" / self.lab

    @property
    def data(self) -> Path:
        """What outlives `down`."""
        return self.home / "data" / self.lab

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.directory / "journal.db"

    @property
    def socket(self) -> Path:
        """labd's socket."""
        return self.directory / "labd.sock"

    @property
    def log(self) -> Path:
        """labd's log."""
        return self.directory / "labd.log"

    def node(self, node: str) -> Path:
        """A node's own folder."""
        return self.directory / "nodes" / node

    def namespace(self, node: str, *, rootless: bool) -> Path:
        """The file that stands for a node's network namespace: LAB-NODE, or LAB.NODE where the node's name has a dash.

        So no two labs ever mean the same file: `a-b` with node `c` has `a-b-c`, `a` with node `b-c` has `a.b-c`.
        """
        if rootless:
            return self.directory / "netns" / node
        between = "." if "-" in node else "-"
        return NETNS_FOLDER / short_name(f"{self.lab}{between}{node}", MAX_NAMESPACE_NAME)

    def check(self) -> None:
        """Make sure that unix sockets fit below the lab's folder.

        Raises:
            LabError: the path is too long.
        """
        longest = len(os.fsencode(self.directory / LONGEST_SOCKET))
        if longest > MAX_SOCKET_PATH:
            raise LabError(
                f"{self.directory} is {longest - MAX_SOCKET_PATH} characters too long a path for unix sockets",
                hint="set LABCTL_HOME to a shorter one, such as /tmp/labctl",
            )

    def info(self, *, rootless: bool, images: Path | None = None) -> LabInfo:
        """The lab as plugins see it."""
        return LabInfo(
            name=self.lab,
            directory=self.directory,
            data_directory=self.data,
            image_directory=images or image_cache(),
            rootless=rootless,
        )
