"""The network plugin's registration: what the entry point `network` names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from labctl.plugin.api import CommandGroup, DoctorFinding
from labctl.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from labctl.plugin.api import Kind, UnitHandler


@hookimpl
def labctl_kinds() -> Iterable[Kind[Any]]:
    """Network and node."""
    from labctl_network.kinds.network import NetworkKind
    from labctl_network.kinds.node import NodeKind

    return (NetworkKind(), NodeKind())


@hookimpl
def labctl_unit_handlers() -> Iterable[UnitHandler]:
    """Netns, bridge and link."""
    from labctl.linux.sockets import SocketPool
    from labctl_network.handlers.bridge import BridgeHandler
    from labctl_network.handlers.link import LinkHandler
    from labctl_network.handlers.netns import NetnsHandler

    pool = SocketPool()
    return (NetnsHandler(pool), BridgeHandler(pool), LinkHandler(pool))


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    """The group `link`."""
    return (CommandGroup(name="link", help="Slow, lossy, broken cables.", app="labctl_network.cli.link:app"),)


@hookimpl
def labctl_doctor() -> Sequence[DoctorFinding]:
    """What impairs links here; the rest of what it needs of the kernel, the core looks at."""
    from labctl_network.doctor import netem

    return (netem(),)
