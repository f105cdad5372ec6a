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
    """Network, port group, node, router, group and firewall."""
    from labctl_network.kinds.firewall import FirewallKind
    from labctl_network.kinds.group import GroupKind
    from labctl_network.kinds.network import NetworkKind
    from labctl_network.kinds.node import NodeKind
    from labctl_network.kinds.portgroup import PortGroupKind
    from labctl_network.kinds.router import RouterKind

    return (NetworkKind(), PortGroupKind(), NodeKind(), RouterKind(), GroupKind(), FirewallKind())


@hookimpl
def labctl_unit_handlers() -> Iterable[UnitHandler]:
    """Netns, bridge, link, routing, ports and firewall."""
    from labctl.linux.sockets import SocketPool
    from labctl_network.handlers.bridge import BridgeHandler
    from labctl_network.handlers.firewall import FirewallHandler
    from labctl_network.handlers.link import LinkHandler
    from labctl_network.handlers.netns import NetnsHandler
    from labctl_network.handlers.ports import PortsHandler
    from labctl_network.handlers.routing import RoutingHandler

    pool = SocketPool()
    return (
        NetnsHandler(pool),
        BridgeHandler(pool),
        LinkHandler(pool),
        RoutingHandler(),
        PortsHandler(),
        FirewallHandler(pool),
    )


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    """The groups `link`, `net` and `firewall`."""
    text = "The distributed firewall: rules, which of them decides, and how often each did."
    return (
        CommandGroup(name="link", help="Slow, lossy, broken cables.", app="labctl_network.cli.link:app"),
        CommandGroup(
            name="net", help="Networks: who is on them, and which way frames take.", app="labctl_network.cli.net:app"
        ),
        CommandGroup(name="firewall", help=text, app="labctl_network.cli.firewall:app"),
    )


@hookimpl
def labctl_doctor() -> Sequence[DoctorFinding]:
    """What impairs links and filters ports here; the rest of what it needs of the kernel, the core looks at."""
    from labctl_network.doctor import firewall, netem

    return (netem(), firewall())
