"""Which host a VM starts on.

Rules: pure and deterministic. A host that breaks a rule ([rule.NAME]) is out of the question, and one that breaks a wish comes last. The
least loaded host by memory comes first, and the file's order decides between equals; a VM that has a place keeps it while the place is
still right (CompileView.place remembers). A VM that names its host stays there and counts as its load. One Placement serves a whole
compilation: the cluster provides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.quantity import format_bytes
from labctl.model.resource import Resource
from labctl.plugin.api import CompileView, TopologyView
from labctl_server.kinds.rule_spec import broken, rules_of

if TYPE_CHECKING:
    from labctl_server.kinds.cluster_spec import ClusterSpec
    from labctl_server.kinds.vm_spec import VmSpec

POOL = "vm-host"
"""The pool of CompileView.place in which VMs' hosts are remembered."""


class Placement(Protocol):
    """What a cluster provides to its VMs."""

    def host_of(self, vm: str) -> str:
        """The host that a VM of the cluster is to run on.

        Raises:
            LabError: no host has room for it.
        """


class ClusterPlacement:
    """Spreads a cluster's VMs over its hosts.

    Args:
        cluster: the cluster.
        view: the topology.
    """

    def __init__(self, cluster: Resource[ClusterSpec], view: CompileView) -> None:
        self._cluster = cluster
        self._view = view
        self._places: Mapping[str, str] | None = None

    def host_of(self, vm: str) -> str:
        """The VM's host (see Placement)."""
        if self._places is None:
            self._places = self._place_all()
        return self._places[vm]

    def _place_all(self) -> Mapping[str, str]:
        free = free_memory(self._cluster.spec.hosts, self._view)
        bound = {vm.name: vm.spec.host for vm in self._view.resources("vm") if vm.spec.host is not None}
        places: dict[str, str] = {}
        for vm in vms_of(self._cluster.address, self._view):
            host = self._view.place(POOL, vm.name, self._candidates(vm, free, {**bound, **places}))
            free[host] -= vm.spec.memory
            places[vm.name] = host
        return places

    def _candidates(self, vm: Resource[VmSpec], free: Mapping[str, int], places: Mapping[str, str]) -> Sequence[str]:
        room = [host for host in free if free[host] >= vm.spec.memory]
        if not room:
            best = max(free.values(), default=0)
            raise LabError(
                f"{vm.address} needs {format_bytes(vm.spec.memory)} of memory, and no host of {self._cluster.address} has "
                f"more than {format_bytes(max(best, 0))} free",
                hint="give the hosts more memory, the VM less, or the cluster another host",
            )
        rules = rules_of(vm.name, self._view)
        against = {host: [rule for rule in rules if broken(rule, vm.name, host, places)] for host in room}
        kept = [host for host in room if all(rule["should"] for rule in against[host])]
        if not kept:
            why = {broken(rule, vm.name, host, places) for host in room for rule in against[host] if not rule["should"]}
            raise LabError(
                f"{vm.address} has no place in {self._cluster.address}: {'; '.join(sorted(filter(None, why)))}",
                hint="bind a VM to a host, make a rule a wish (should = true), or add a host",
            )
        wishes = {host: len(against[host]) for host in kept}
        best_kept = [host for host in kept if wishes[host] == min(wishes.values())]
        return sorted(best_kept, key=lambda host: host_memory(host, self._view) - free[host])


def free_memory(hosts: Sequence[str], view: TopologyView) -> dict[str, int]:
    """Bytes on each host that the VMs which are bound to it leave over."""
    free = {host: host_memory(host, view) for host in hosts}
    for vm in view.resources("vm"):
        where = home(vm, view)
        if where is not None and where.kind == "host" and where.name in free:
            free[where.name] -= vm.spec.memory
    return free


def host_memory(host: str, view: TopologyView) -> int:
    """A host's memory in bytes."""
    return int(view.resource(Address("host", host)).spec.memory)


def vms_of(where: Address, view: TopologyView) -> list[Resource[VmSpec]]:
    """The VMs that belong to a cluster or host, in the file's order."""
    return [vm for vm in view.resources("vm") if home(vm, view) == where]


def home(vm: Resource[VmSpec], view: TopologyView) -> Address | None:
    """The cluster or host that a VM belongs to, or None where the file leaves it open.

    A VM that says nothing belongs to the only cluster; where there is none, to the only host.
    """
    if vm.spec.host is not None:
        return Address("host", vm.spec.host)
    if vm.spec.cluster is not None:
        return Address("cluster", vm.spec.cluster)
    for kind in ("cluster", "host"):
        found = view.resources(kind)
        if found:
            return found[0].address if len(found) == 1 else None
    return None


def possible_hosts(vm: Resource[VmSpec], view: TopologyView) -> Sequence[str]:
    """The hosts that a VM may run on; none where the file leaves it open."""
    where = home(vm, view)
    if where is None:
        return ()
    return (where.name,) if where.kind == "host" else tuple(view.resource(where).spec.hosts)
