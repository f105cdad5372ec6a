"""What a cluster's hosts and VMs use, and how well each VM is served. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labctl_server.kinds.rule_spec import broken

BURST = 0.2
"""How much of the score of a VM is room to burst: so much is lost on a host whose processors are just all used."""


@dataclass(frozen=True, kw_only=True)
class HostLoad:
    """A host.

    Args:
        name: its name.
        cpus: processors that its VMs share.
        memory: bytes that its VMs share.
        open: whether VMs may come and go: it responds, and is not in maintenance.
    """

    name: str
    cpus: float
    memory: int
    open: bool = True


@dataclass(frozen=True, kw_only=True)
class VmLoad:
    """A VM.

    Args:
        name: its name.
        host: where it is.
        cpu: processors in use (1.5 is one and a half).
        memory: bytes that it takes of its host, also while it is off.
        hosts: where it may run.
        rules: those about it (labctl_server.kinds.rule_spec.rules_of).
        running: whether it runs; one that does not is not moved.
    """

    name: str
    host: str
    cpu: float
    memory: int
    hosts: tuple[str, ...]
    rules: tuple[Mapping[str, Any], ...] = ()
    running: bool = True


@dataclass(kw_only=True)
class Load:
    """A cluster, with its VMs where they are or would be.

    Args:
        hosts: by name.
        vms: by name.
        places: VM → host; at first where they are.
    """

    hosts: Mapping[str, HostLoad]
    vms: Mapping[str, VmLoad]
    places: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = self.places or {vm.name: vm.host for vm in self.vms.values()}

    def on(self, host: str) -> Sequence[VmLoad]:
        """The VMs that are on a host."""
        return [self.vms[vm] for vm, place in self.places.items() if place == host]

    def cpu(self, host: str) -> float:
        """The processors that a host's VMs use, as a part of those it has."""
        return sum(vm.cpu for vm in self.on(host) if vm.running) / max(self.hosts[host].cpus, 1e-9)

    def taken(self, host: str) -> int:
        """The bytes of memory that a host has given to VMs."""
        return sum(vm.memory for vm in self.on(host))

    def served(self, host: str) -> float:
        """The score of each VM on a host, from 0 to 100: what it gets of what it wants, less what is missing to burst."""
        used = self.cpu(host)
        return 100.0 * (min(1.0, 1.0 / used) if used > 0 else 1.0) - 100.0 * BURST * min(used, 1.0)

    def scores(self) -> dict[str, float]:
        """The score of each VM that runs."""
        hosts = {host: self.served(host) for host in self.hosts}
        return {vm.name: hosts[self.places[vm.name]] for vm in self.vms.values() if vm.running}

    def score(self) -> float:
        """The cluster's: its VMs' mean; 100 where none runs."""
        scores = self.scores()
        return sum(scores.values()) / len(scores) if scores else 100.0

    def broken(self, vm: str, host: str, *, should: bool) -> list[str]:
        """Why a VM on a host would break rules: those that must be kept, or those that are wishes."""
        found = (broken(rule, vm, host, self.places) for rule in self.vms[vm].rules if bool(rule["should"]) is should)
        return [why for why in found if why]

    def takes(self, vm: str, host: str) -> bool:
        """Whether a host could take a VM that is elsewhere: it may run there, there is room, and the host is open."""
        wanted, there = self.vms[vm], self.hosts.get(host)
        return (
            there is not None
            and there.open
            and host in wanted.hosts
            and host != self.places[vm]
            and self.taken(host) + wanted.memory <= there.memory
        )

    def movable(self, vm: str) -> bool:
        """Whether a VM runs on a host that can let it go."""
        here = self.hosts.get(self.places[vm])
        return self.vms[vm].running and here is not None and here.open

    def moved(self, vm: str, host: str) -> Load:
        """The same, with a VM on another host."""
        return Load(hosts=self.hosts, vms=self.vms, places={**self.places, vm: host})
