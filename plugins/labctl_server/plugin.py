"""The server plugin's registration: what the entry point `server` names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from labctl.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from labctl.plugin.api import CommandGroup, DoctorFinding, Kind, UnitHandler


@hookimpl
def labctl_kinds() -> Iterable[Kind[Any]]:
    """Host, cluster, VM and rule."""
    from labctl_server.kinds.cluster import ClusterKind
    from labctl_server.kinds.host import HostKind
    from labctl_server.kinds.rule import RuleKind
    from labctl_server.kinds.vm import VmKind

    return (HostKind(), ClusterKind(), VmKind(), RuleKind())


@hookimpl
def labctl_unit_handlers() -> Iterable[UnitHandler]:
    """Image and VM."""
    from labctl_server.handlers.image import ImageHandler
    from labctl_server.handlers.vm import VmHandler

    return (ImageHandler(), VmHandler())


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    """The groups `vm`, `host`, `cluster` and `image`, and the command `top`."""
    from labctl.plugin.api import CommandGroup

    return (
        CommandGroup(name="vm", help="Virtual machines: list, start, stop, reset.", app="labctl_server.cli.vm:app"),
        CommandGroup(name="host", help="Hosts: list, maintenance mode.", app="labctl_server.cli.host:app"),
        CommandGroup(
            name="cluster", help="Clusters: list, balance load (DRS), remediate.", app="labctl_server.cli.cluster:app"
        ),
        CommandGroup(
            name="top",
            help="What hosts, VMs and arrays do right now.",
            app="labctl_server.cli.top:app",
            single=True,
        ),
        CommandGroup(name="image", help="Images that VMs start from: build, list.", app="labctl_server.cli.image:app"),
    )


@hookimpl
def labctl_doctor() -> Sequence[DoctorFinding]:
    """QEMU, its drivers, KVM, the tools that build images, memory."""
    from labctl_server.doctor import examine

    return examine()
