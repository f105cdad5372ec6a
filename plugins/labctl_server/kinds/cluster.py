"""Kind `cluster`: hosts that share their VMs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import format_bytes
from labctl.model.resource import Resource
from labctl.plugin.api import Action, ActionContext, CompileView, Description, Kind, TopologyView
from labctl_server.drs.actions import drs_actions, tend
from labctl_server.kinds.cluster_spec import ClusterSpec
from labctl_server.kinds.placement import ClusterPlacement, Placement, host_memory, vms_of

T = TypeVar("T")


class ClusterKind(Kind[ClusterSpec]):
    """A group of hosts; it makes nothing by itself, but places its VMs."""

    name = "cluster"
    summary = "hosts that share their VMs"
    spec = ClusterSpec

    def check(self, resource: Resource[ClusterSpec], view: TopologyView) -> Iterable[Problem]:
        """It has hosts, each once and in no other cluster, and together they have the memory for its VMs."""
        hosts = resource.spec.hosts
        if not hosts:
            yield Problem(
                path=resource.path("hosts"),
                message="the cluster has no hosts",
                hint='name some: hosts = ["esx1", "esx2"]',
            )
            return
        for index, host in enumerate(hosts):
            if host in hosts[:index]:
                yield Problem(
                    path=resource.path("hosts", index),
                    message=f'host "{host}" is named twice',
                    hint="remove the second",
                )
            elif (other := _earlier_owner(host, resource, view)) is not None:
                yield Problem(
                    path=resource.path("hosts", index),
                    message=f'host "{host}" is in {other} already',
                    hint="a host is in one cluster; remove it from one of the two",
                )
        yield from _check_memory(resource, view)

    def provide(self, contract: type[T], resource: Resource[ClusterSpec], view: CompileView) -> T | None:
        """The contract Placement."""
        return ClusterPlacement(resource, view) if contract is Placement else None  # type: ignore[return-value] # T is Placement

    def describe(self, resource: Resource[ClusterSpec], view: CompileView) -> Description:
        """Its hosts and modes."""
        spec = resource.spec
        return Description(
            summary=f"{len(spec.hosts)} host{'s' if len(spec.hosts) != 1 else ''}",
            links={Address("host", host): "member" for host in spec.hosts},
            drawn="none",
            properties={"hosts": list(spec.hosts), "ha": spec.ha, "drs": spec.drs},
        )

    def actions(self) -> Mapping[str, Action]:
        """DRS."""
        return drs_actions()

    async def tend(self, context: ActionContext, resource: Resource[ClusterSpec]) -> float:
        """DRS each interval."""
        return await tend(context, resource)


def _earlier_owner(host: str, resource: Resource[ClusterSpec], view: TopologyView) -> Address | None:
    for other in view.resources("cluster"):
        if other.address == resource.address:
            return None
        if host in other.spec.hosts:
            return other.address
    return None


def _check_memory(resource: Resource[ClusterSpec], view: TopologyView) -> Iterable[Problem]:
    hosts = set(resource.spec.hosts)
    vms = [
        *vms_of(resource.address, view),
        *(vm for host in sorted(hosts) for vm in vms_of(Address("host", host), view)),
    ]
    needed = sum(vm.spec.memory for vm in vms)
    there = sum(host_memory(host, view) for host in hosts)
    if needed > there:
        yield Problem(
            path=resource.path(),
            message=f"its VMs need {format_bytes(needed)} of memory, its hosts have {format_bytes(there)}",
            hint="give the hosts more memory, the VMs less, or add a host",
        )
